"""What happens after a provider was paid: nothing that goes wrong then may cost the answer, or the count."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from alacena import (
    CacheManager,
    Context,
    cached,
    configure,
    get_embeddings_batch_with_cache,
    get_with_cache_aside,
    track_token_usage,
)
from alacena.common.tracking import track_query
from alacena.engine.base.errors import (
    BackendUnavailableError,
    EncodeError,
    IdempotencyConflictError,
    OutcomeUnknownError,
    ServerReplyError,
)
from alacena.ledger import pending_usage as pending

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from alacena import Cache

REFUSALS = [
    BackendUnavailableError("away"),
    OutcomeUnknownError("lost"),
    *(ServerReplyError(f"{code} refused") for code in ("OOM", "NOREPLICAS", "MISCONF", "READONLY", "NOPERM")),
]


class Outage:
    """Makes the server of an open cache refuse what the ledger asks of it."""

    def __init__(self, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
        store = cache.ledger._port.store
        self.error: BaseException | None = None
        self.executes = False
        self.script = store.script
        monkeypatch.setattr(store, "script", self)

    async def __call__(self, *words: Any, **more: Any) -> Any:
        if self.error is None or self.executes:
            answer = await self.script(*words, **more)
        if self.error is not None:
            raise self.error
        return answer


@pytest.fixture
async def cache_here(url: str | None) -> AsyncIterator[Cache]:
    configure(redis_url=url, ttl_jitter_ratio=0.0, redis_budget_s=5.0)
    yield await CacheManager.cache()
    await CacheManager.close()


@pytest.fixture
async def outage(cache_here: Cache, monkeypatch: pytest.MonkeyPatch) -> Outage:
    return Outage(cache_here, monkeypatch)


async def embed(text: str) -> Any:
    async def provider(texts: list[str]) -> list[list[float]]:
        await track_token_usage("acme", 7, "small-3", operation="embedding", idempotency_key=f"emb-{text}")
        return [[1.0] for _ in texts]

    return (await get_embeddings_batch_with_cache([text], "acme", "small-3", provider))[0]


async def answer(text: str) -> Any:
    async def source() -> str:
        await track_token_usage("acme", 100, "gpt", idempotency_key=f"chat-{text}")
        return f"an answer to {text}"

    return (await get_with_cache_aside("query_result", text, "acme", generate_func=source))[0]


async def settled(cache: Cache) -> None:
    """Counts what waits, without waiting for it to be tried."""
    await cache.ledger._pending.flush()


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: str(error).split()[0])
async def test_an_outage_costs_neither_the_answer_nor_the_count(
    cache_here: Cache, outage: Outage, error: Exception
) -> None:
    """BerriAI/litellm#35273: what only counts must not take requests down. The guide's own recipe, as it is written."""
    outage.error = error
    for _ in range(2):
        assert await embed("a") == [[1.0]]
        assert await answer("q") == "an answer to q"
    health = cache_here.stats()["background"]
    assert health["ledger"]["pending"] == 2
    assert health["failing"]
    assert "not counted" in cache_here.guarantee()["faults"]["alacena: pending usage"]
    outage.error = None
    await settled(cache_here)
    assert (await cache_here.ledger.totals("acme")).used == 107
    assert cache_here.stats()["background"]["ledger"]["pending"] == 0
    assert cache_here.stats()["background"]["failing"] == {}
    assert "alacena: pending usage" not in cache_here.guarantee()["faults"]


async def spend(cache: Cache, actual: Any, before: Callable[[], None] = lambda: None) -> Any:
    budget = cache.budgets("tokens", tenant_id="acme", limit=1_000)

    async def source() -> str:
        async with await budget.reserve(100) as reservation:
            before()
            await reservation.commit(actual)
        return "an answer"

    return (await get_with_cache_aside("answer", "q", "acme", source))[0]


@pytest.mark.parametrize("executes", [False, True], ids=["lost", "done"])
@pytest.mark.parametrize("error", REFUSALS[:3], ids=lambda error: str(error).split()[0])
async def test_a_commit_in_an_outage_costs_neither_the_answer_nor_the_money(
    cache_here: Cache, outage: Outage, error: Exception, executes: bool
) -> None:
    """After BerriAI/litellm 35273 and 26672: the budget's server went away while the model was answering."""
    outage.executes = executes

    def goes_away() -> None:
        outage.error = error

    assert await spend(cache_here, 120, goes_away) == "an answer"
    budget = cache_here.budgets("tokens", tenant_id="acme", limit=1_000)
    outage.error = None
    await budget._port._background.close()
    state = await budget.state()
    assert (state.spent, state.reserved) == (120, 0)


async def test_a_commit_outside_of_a_source_is_raised(cache_here: Cache, outage: Outage) -> None:
    reservation = await cache_here.budgets("tokens", tenant_id="acme", limit=9).reserve(5)
    outage.error = BackendUnavailableError("away")
    with pytest.raises(BackendUnavailableError):
        await reservation.commit(3)
    with pytest.raises(ValueError, match="actual"):
        await reservation.commit("3")  # type: ignore[arg-type]


@pytest.mark.parametrize("actual", [1.5, "120", -1, 2**60], ids=repr)
async def test_a_bad_amount_in_a_source_counts_as_what_was_set_aside(cache_here: Cache, actual: Any) -> None:
    """After sapientinc/PRAXIST 81: what the provider said could not be counted, so nothing was."""
    assert await spend(cache_here, actual) == "an answer"
    state = await cache_here.budgets("tokens", tenant_id="acme", limit=1_000).state()
    assert (state.spent, state.reserved) == (100, 0)


async def test_a_commit_that_the_cache_cannot_make_before_its_end_is_in_the_log(
    cache_here: Cache, outage: Outage, caplog: pytest.LogCaptureFixture
) -> None:
    def goes_away() -> None:
        outage.error = BackendUnavailableError("away")

    assert await spend(cache_here, 120, goes_away) == "an answer"
    await cache_here.budgets("tokens", tenant_id="acme", limit=1_000)._port._background.close()
    assert "120 were spent and are not counted" in caplog.text
    assert "given up" in caplog.text


async def test_what_was_counted_though_nobody_heard_is_counted_once(cache_here: Cache, outage: Outage) -> None:
    outage.error, outage.executes = OutcomeUnknownError("lost"), True

    async def source() -> str:
        await track_token_usage("acme", 3, "m")  # without a key of its own
        return "v"

    assert (await get_with_cache_aside("t", "i", "acme", generate_func=source))[0] == "v"
    outage.error = None
    await settled(cache_here)
    assert (await cache_here.ledger.totals("acme")).used == 3


async def test_outside_of_a_source_an_outage_is_raised(outage: Outage) -> None:
    outage.error = BackendUnavailableError("away")
    with pytest.raises(BackendUnavailableError):
        await track_token_usage("acme", 1, "m")


async def test_a_task_that_outlives_its_source_is_outside_of_it(outage: Outage) -> None:
    later: list[asyncio.Task[bool]] = []
    go = asyncio.Event()

    async def track() -> bool:
        await go.wait()
        return await track_token_usage("acme", 1, "m")

    async def source() -> str:
        later.append(asyncio.create_task(track()))
        return "v"

    await get_with_cache_aside("t", "i", "acme", generate_func=source)
    outage.error = BackendUnavailableError("away")
    go.set()
    with pytest.raises(BackendUnavailableError):
        await later[0]


class Lazy(Mapping[str, Any]):
    """A mapping of another make, whose values are made as they are read, and fail."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    def __getitem__(self, name: str) -> Any:
        if self.error is not None:
            raise self.error
        return name

    def __iter__(self) -> Any:
        return iter(("a", "b"))

    def __len__(self) -> int:
        return 2

    def values(self) -> Any:
        return (self[name] for name in self)


class Answer:
    def __init__(self, held: Any) -> None:
        self.text = "the answer"
        self.held = held


HELD: dict[str, Callable[[], Any]] = {
    "values that are a generator": lambda: Lazy(None),
    "values that fail": lambda: Lazy(RuntimeError("the session is closed")),
    "objects that others hold": lambda: weakref.WeakValueDictionary({"a": Broken()}),
    "a reader of a connection": asyncio.StreamReader,
}


@pytest.mark.parametrize("held", HELD)
async def test_an_answer_that_holds_odd_things_reaches_its_caller(manager: type[CacheManager], held: str) -> None:
    """After langchain-ai/langchain 29003: looking into an answer for what it is made from failed, and took it down."""
    answer = Answer(HELD[held]())
    value, metrics = await get_with_cache_aside("answer", held, "acme", generate_func=lambda: answer)
    assert value is answer
    assert metrics["reason"] == "value"


class Broken:
    """An object of a client that was closed: whatever it is asked, it fails."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("closed")

    def __repr__(self) -> str:
        raise RuntimeError("closed")


FIGURES: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "no usage in the stream": (("acme", None, "m"), {}),
    "negative": (("acme", -1, "m"), {}),
    "a fraction": (("acme", 1.5, "m"), {}),
    "no word for the model": (("acme", 1, " "), {}),
    "a tenant that is none": ((object(), 1, "m"), {}),
    "a part that is none": (("acme", 1, "m"), {"parts": {"input": "many"}}),
    "a cost that is none": (("acme", 1, "m"), {"cost": "much"}),
    "no usage object": (("acme",), {"model": "m", "parts": None}),
    "a usage without any part": (("acme",), {"model": "m", "parts": {}}),
    "nothing at all": (("acme",), {}),
    "an input that is text": (("acme",), {"parts": {"input": "3", "output": 2}}),
    "an object that cannot be asked": (("acme",), {"parts": Broken()}),
    "an object that cannot be printed": (("acme", Broken(), "m"), {}),
}


@pytest.mark.parametrize("figures", FIGURES.values(), ids=FIGURES)
async def test_bad_figures_do_not_cost_the_answer(
    cache_here: Cache, figures: tuple[tuple[Any, ...], dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """ferro-labs/ai-gateway#281 and bircex/llmr#10: usage comes in the last chunk, or not at all."""
    words, more = figures

    async def source() -> str:
        assert not await track_token_usage(*words, idempotency_key="s1", **more)
        return "the answer"

    with caplog.at_level(logging.ERROR, "alacena"):
        assert (await get_with_cache_aside("answer", "s1", "acme", generate_func=source))[0] == "the answer"
    assert "s1" in caplog.text
    with pytest.raises((ValueError, TypeError, RuntimeError)):
        await track_token_usage(*words, idempotency_key="s1", **more)
    assert (await cache_here.ledger.totals("acme")).used == 0


async def test_a_question_without_usage_names_what_is_missing(cache_here: Cache) -> None:
    with pytest.raises(ValueError, match="tokens_in"):
        await track_query("acme", "query", "m", None, 5)  # type: ignore[arg-type]

    async def source() -> str:
        await track_query("acme", "query", "m", None, 5, idempotency_key="k")  # type: ignore[arg-type]
        return "v"

    assert (await get_with_cache_aside("answer", "q", "acme", generate_func=source))[0] == "v"
    assert (await cache_here.ledger.totals("acme")).used == 5


async def test_a_conflict_does_not_cost_the_answer_and_is_told(
    cache_here: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    await track_token_usage("acme", 10, "m", idempotency_key="k1")

    async def source() -> str:
        await track_token_usage("acme", 11, "m", idempotency_key="k1")
        return "v"

    assert (await get_with_cache_aside("answer", "q", "acme", generate_func=source))[0] == "v"
    assert cache_here.stats()["background"]["ledger"]["conflicts"] == 1
    assert all(word in caplog.text for word in ("'k1'", "10 tokens", "11 tokens"))
    with pytest.raises(IdempotencyConflictError, match=r"'k1'.*10 tokens.*11 tokens"):
        await track_token_usage("acme", 11, "m", idempotency_key="k1")
    assert (await cache_here.ledger.totals("acme")).used == 10


class Usage:
    """Like a provider's usage object."""

    def __init__(self) -> None:
        self.total_tokens = 15
        self.details = {"cached": 3}
        self._client = object()


class Details:
    """Like a pydantic model."""

    def model_dump(self) -> dict[str, Any]:
        return {"reasoning": 2, "of": Usage()}


async def test_metadata_takes_what_providers_give(cache_here: Cache) -> None:
    """BerriAI/litellm#37407 in its kind: usage objects are what one has at hand."""
    metadata = OrderedDict(usage=Usage(), details=Details(), price=Decimal("0.1"), both=(1, {2}))
    await track_token_usage("acme", 15, "m", metadata=metadata)
    numpy = pytest.importorskip("numpy")
    await track_token_usage("acme", numpy.int64(5), "m", metadata={"n": numpy.float32(0.5), "all": numpy.arange(3)})
    assert (await cache_here.ledger.totals("acme")).used == 20


@pytest.mark.parametrize("bad", [object, lambda: 1, "\0"], ids=["a class", "a function", "NUL"])
async def test_metadata_that_cannot_be_kept_is_left_out_in_a_source_and_refused_elsewhere(
    cache_here: Cache, bad: Any
) -> None:
    async def source() -> str:
        assert await track_token_usage("acme", 4, "m", metadata={"odd": bad})
        return "v"

    assert (await get_with_cache_aside("answer", "q", "acme", generate_func=source))[0] == "v"
    assert (await cache_here.ledger.totals("acme")).used == 4
    with pytest.raises(EncodeError):
        await track_token_usage("acme", 4, "m", metadata={"odd": bad})


async def test_an_engines_loader_is_a_source_too(
    open_cache: Callable[..., Awaitable[Cache]], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = await open_cache()
    outage = Outage(cache, monkeypatch)
    outage.error = BackendUnavailableError("away")

    async def load() -> str:
        await cache.ledger.record("acme", 2, model="m")
        return "v"

    async def load_many(ids: list[str]) -> list[str]:
        await cache.ledger.record("acme", 3, model="m")
        return ids

    assert await cache.load("t", "i", "acme", load) == "v"
    assert await cache.load_many("t", ["a", "b"], "acme", load_many) == {"a": "a", "b": "b"}
    with pytest.raises(BackendUnavailableError):
        await cache.ledger.record("acme", 2, model="m")
    outage.error = None
    await settled(cache)
    assert (await cache.ledger.totals("acme")).used == 5


async def test_a_decorated_function_is_a_source_too(cache_here: Cache, outage: Outage) -> None:
    @cached("summary")
    async def summary(document: str, tenant_id: str) -> str:
        await track_token_usage(tenant_id, 9, "m")
        return document

    outage.error = BackendUnavailableError("away")
    assert await summary("d", "acme") == "d"
    outage.error = None
    await settled(cache_here)
    assert (await cache_here.ledger.totals("acme")).used == 9


async def test_too_much_to_keep_is_in_the_log(
    cache_here: Cache, outage: Outage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pending, "MOST", 2)
    outage.error = BackendUnavailableError("away")
    for number in range(4):
        await answer(f"q{number}")
    assert cache_here.stats()["background"]["ledger"] == {"pending": 2, "lost": 2, "refused": 0, "conflicts": 0}
    assert "chat-q0" in caplog.text
    await CacheManager.close(timeout_s=0.05)
    assert "chat-q3" in caplog.text


async def test_with_a_spill_file_it_waits_there(
    url: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(redis_url=url, redis_budget_s=5.0, ledger_spill_path=str(tmp_path / "spill"))
    cache = await CacheManager.cache()
    outage = Outage(cache, monkeypatch)
    try:
        for error in REFUSALS:
            outage.error = error
            assert await answer(str(error))
            assert await track_token_usage("acme", 1, "m")
        assert (tmp_path / "spill").read_bytes().count(b"\n") == 2 * len(REFUSALS)
        outage.error = None
        assert await cache.ledger.drain() == 2 * len(REFUSALS)
        assert (await cache.ledger.totals("acme")).used == 101 * len(REFUSALS)
    finally:
        await CacheManager.close()


async def test_a_full_disk_costs_no_answer_either(
    url: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(redis_url=url, redis_budget_s=5.0, ledger_spill_path=str(tmp_path / "missing" / "spill"))
    cache = await CacheManager.cache()
    outage = Outage(cache, monkeypatch)
    try:
        outage.error = BackendUnavailableError("away")
        assert await answer("q") == "an answer to q"
        with pytest.raises(BackendUnavailableError) as told:
            await track_token_usage("acme", 1, "m")
        assert ["No such file" in note for note in told.value.__notes__] == [True]
        outage.error = None
        await settled(cache)
        assert (await cache.ledger.totals("acme")).used == 100
    finally:
        await CacheManager.close()


async def test_money_may_be_a_decimal(cache_here: Cache) -> None:
    """monarch-initiative/ontogpt#465 in its kind: the cost of an answer, said inside its source."""
    context = Context(tenant_id="acme")

    async def source(resource_id: str, tenant_id: str, ctx: Context) -> str:
        del resource_id, tenant_id
        ctx.cost(usd=Decimal("0.0024"))
        return "v"

    assert (await get_with_cache_aside("answer", "q", "acme", generate_func=source, ctx=context))[0] == "v"


def _broken(*_: object) -> Any:
    raise RuntimeError("a hook that fails")


@pytest.mark.parametrize(
    "hooks",
    [
        {"serializer": _broken, "deserializer": dict},
        {"serializer": lambda value: value.update(seen=True), "deserializer": dict},
        {"serializer": dict, "deserializer": _broken},
        {"depends_on": _broken},
        {"depends_on": lambda value: value["documents"]},
    ],
    ids=["serializer", "serializer of nothing", "deserializer", "depends_on", "depends_on of nothing"],
)
async def test_a_hook_of_the_callers_that_fails_costs_nobody_the_answer(
    manager: type[CacheManager], hooks: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """After BerriAI/litellm 35273: what was made of the answer failed, and the answer that was paid for was lost with it."""
    paid = 0

    def source() -> dict[str, Any]:
        nonlocal paid
        paid += 1
        return {"answer": "30 days"}

    for count in (1, 2):
        value, _ = await get_with_cache_aside("answer", "q", "acme", source, **hooks)
        assert value["answer"] == "30 days"
        assert paid == count
    assert "failed: " in caplog.text


async def test_what_can_only_be_misread_is_loaded_anew(manager: type[CacheManager]) -> None:
    """A value in the cache that its reader fails on, however it fails, is a miss."""
    await manager.set("answer", "q", {"answer": "old"}, "acme")

    def read(stored: dict[str, Any]) -> Any:
        if stored["answer"] == "old":
            raise RuntimeError("of an older version")
        return stored

    got = await get_with_cache_aside(
        "answer", "q", "acme", lambda: {"answer": "new"}, serializer=dict, deserializer=read
    )
    assert got[0] == {"answer": "new"}


USAGES: dict[str, tuple[Any, dict[str, int], int]] = {
    "Gemini": (
        SimpleNamespace(
            prompt_token_count=10,
            tool_use_prompt_token_count=5,
            candidates_token_count=4,
            thoughts_token_count=3,
            cached_content_token_count=2,
            total_token_count=22,
        ),
        {"input": 15, "output": 7, "cached": 2, "reasoning": 3},
        22,
    ),
    "Bedrock": (
        {"inputTokens": 10, "outputTokens": 5, "totalTokens": 18, "cacheReadInputTokens": 3},
        {"input": 13, "output": 5, "cached": 3},
        18,
    ),
    "LiteLLM": (
        {"prompt_tokens": 10, "completion_tokens": 5, "cache_read_input_tokens": 3},
        {"input": 10, "output": 5, "cached": 3},
        15,
    ),
    "LangChain": (
        {"input_tokens": 10, "output_tokens": 5, "input_token_details": {"cache_read": 3}},
        {"input": 10, "output": 5, "cached": 3},
        15,
    ),
}


@pytest.mark.parametrize("provider", USAGES)
async def test_the_usage_of_every_provider_is_counted_and_not_as_nothing(
    manager: type[CacheManager], provider: str
) -> None:
    """After BerriAI/litellm 14849: usage in other words than OpenAI's was counted as 0, and nobody heard of it."""
    usage, parts, tokens = USAGES[provider]
    await track_token_usage("acme", model="m", idempotency_key="call", parts=usage)
    totals = await (await manager.cache()).ledger.totals("acme")
    assert totals.used == tokens
    assert {name: count for name, count in totals.parts.items() if count} == parts


@pytest.mark.parametrize("usage", [[1], 5, "text", SimpleNamespace(tokens=5), {"total": 5}], ids=repr)
async def test_a_usage_that_names_no_tokens_is_refused(manager: type[CacheManager], usage: Any) -> None:
    with pytest.raises(ValueError, match="parts"):
        await track_token_usage("acme", model="m", parts=usage)
