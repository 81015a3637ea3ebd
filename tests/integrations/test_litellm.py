"""LiteLLM over the cache: equal calls made once, tenants apart, nothing stale, tokens counted once."""

from __future__ import annotations

import asyncio
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

if find_spec("litellm") is None or find_spec("soundfile") is None:
    pytest.skip("it is large: pip install 'alacena[litellm]'", allow_module_level=True)

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # it asks the network for its prices otherwise
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import litellm
    from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER
    from litellm.types.utils import ModelResponse, Usage

    from alacena.integrations.litellm import LedgerLogger, LiteLLMCache

from alacena import Cache, Context, Settings
from alacena.integrations.bridge import Bridge
from alacena.integrations.caller import Caller, Serving
from alacena.integrations.llm_transport import based_on
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.filterwarnings("ignore")  # LiteLLM's own


class Provider(litellm.CustomLLM):  # type: ignore[name-defined,misc]
    """Counts its calls; each waits for ``gate``, if there is one, and answers with its number."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.failures = 0
        self.gate: asyncio.Event | None = None

    async def acompletion(self, *args: Any, **kwargs: Any) -> ModelResponse:
        number = await self._begin()
        return _answer(kwargs["model_response"], number)

    def completion(self, *args: Any, **kwargs: Any) -> ModelResponse:
        self.calls += 1
        return _answer(kwargs["model_response"], self.calls)

    async def astreaming(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        number = await self._begin()
        for text in (f"answer {number}", "!"):
            ends = text == "!"
            usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15} if ends else None
            reason = "stop" if ends else ""
            yield {
                "text": text,
                "is_finished": ends,
                "finish_reason": reason,
                "index": 0,
                "usage": usage,
                "tool_use": None,
            }

    async def aembedding(self, *args: Any, **kwargs: Any) -> Any:
        number, response = await self._begin(), kwargs["model_response"]
        vectors = [[float(number), float(len(text))] for text in kwargs["input"]]
        response.data = [{"object": "embedding", "index": n, "embedding": one} for n, one in enumerate(vectors)]
        response.usage, response.model = Usage(prompt_tokens=7, completion_tokens=0, total_tokens=7), "m"
        return response

    async def _begin(self) -> int:
        self.calls += 1
        number = self.calls
        if self.gate is not None:
            await self.gate.wait()
        if number <= self.failures:
            raise litellm.RateLimitError("slow down", llm_provider="mine", model="m")
        return number


def _answer(response: ModelResponse, number: int) -> ModelResponse:
    response.choices[0].message.content = f"answer {number}"
    response.usage, response.model = Usage(prompt_tokens=10, completion_tokens=5, total_tokens=15), "m"
    return response


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Provider:
    provider = Provider()
    monkeypatch.setattr(litellm, "custom_provider_map", [{"provider": "mine", "custom_handler": provider}])
    monkeypatch.setattr(litellm, "suppress_debug_info", True)
    return provider


@pytest.fixture
async def ours(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LiteLLMCache]:
    for used in _used(LiteLLMCache(cache), monkeypatch):
        yield used
    await GLOBAL_LOGGING_WORKER.stop()


def _used(ours: LiteLLMCache, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiteLLMCache]:
    monkeypatch.setattr(litellm, "cache", ours)
    yield ours
    for name in ("input_callback", "success_callback", "_async_success_callback", "callbacks"):
        getattr(litellm, name).clear()


async def ask(text: str = "hello", tenant: str = "acme", **options: Any) -> Any:
    with Context(tenant_id=tenant):
        return await litellm.acompletion(model="mine/m", messages=[{"role": "user", "content": text}], **options)


def said(response: Any) -> str:
    return str(response.choices[0].message.content)


async def test_equal_calls_at_one_time_make_one_call(ours: LiteLLMCache, provider: Provider) -> None:
    provider.gate = asyncio.Event()
    running = [asyncio.create_task(ask()) for _ in range(3)]
    await until(lambda: provider.calls > 0)
    provider.gate.set()
    async with asyncio.timeout(60):
        answers = await asyncio.gather(*running)

    assert ([said(one) for one in answers], provider.calls) == (["answer 1"] * 3, 1)


async def test_hit_has_no_tokens_and_says_that_it_is_one(ours: LiteLLMCache, provider: Provider) -> None:
    first, again = await ask(), await ask()

    assert (first.usage.total_tokens, again.usage.total_tokens) == (15, 0)
    assert (said(again), again._hidden_params["cache_hit"], provider.calls) == ("answer 1", True, 1)


async def test_tenants_users_and_permissions_are_apart(ours: LiteLLMCache, provider: Provider) -> None:
    callers = [
        Caller(tenant_id="acme"),
        Caller(tenant_id="globex"),
        Caller(tenant_id="acme", user_id="u1"),
        Caller(tenant_id="acme", user_id="u1", permissions=frozenset({"a"})),
    ]
    for _ in range(2):
        for number, caller in enumerate(callers, 1):
            with Serving(caller):
                answer = await litellm.acompletion(model="mine/m", messages=[{"role": "user", "content": "hello"}])
            assert said(answer) == f"answer {number}"
    assert provider.calls == len(callers)


async def test_without_a_tenant_nothing_is_kept(
    ours: LiteLLMCache, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        await litellm.acompletion(model="mine/m", messages=[{"role": "user", "content": "hello"}])

    assert provider.calls == 2
    assert sum("without a tenant" in record.message for record in caplog.records) == 1


async def test_answer_asked_for_before_an_invalidation_is_not_kept(
    ours: LiteLLMCache, provider: Provider, cache: Cache
) -> None:
    provider.gate = asyncio.Event()
    first = asyncio.create_task(ask())
    await until(lambda: provider.calls > 0)
    await cache.invalidate("acme")
    provider.gate.set()
    assert said(await first) == "answer 1"

    assert said(await ask()) == "answer 2"
    assert said(await ask()) == "answer 2"


async def test_answer_ends_with_the_documents_that_it_was_made_from(
    ours: LiteLLMCache, provider: Provider, cache: Cache
) -> None:
    with based_on("d1"):
        await ask("one")
    await ask("two", metadata={"document_ids": ["d2"]})
    await cache.invalidate("acme", document_ids=["d1"])
    assert [said(await ask("one")), said(await ask("two"))] == ["answer 3", "answer 2"]
    await cache.invalidate("acme", document_ids=["d2"])
    assert said(await ask("two")) == "answer 4"


async def test_failed_call_lets_the_next_one_go_on(ours: LiteLLMCache, provider: Provider) -> None:
    provider.gate, provider.failures = asyncio.Event(), 1
    running = [asyncio.create_task(ask(num_retries=0)) for _ in range(3)]
    await until(lambda: provider.calls > 0)
    provider.gate.set()
    async with asyncio.timeout(60):
        outcomes = await asyncio.gather(*running, return_exceptions=True)

    assert sum(isinstance(one, Exception) for one in outcomes) == 1
    assert [said(one) for one in outcomes if not isinstance(one, BaseException)] == ["answer 2"] * 2


async def test_cancelled_call_lets_the_next_one_go_on(ours: LiteLLMCache, provider: Provider) -> None:
    provider.gate = asyncio.Event()
    first = asyncio.create_task(ask())
    await until(lambda: provider.calls > 0)
    second = asyncio.create_task(ask())
    first.cancel()
    await asyncio.wait((first,))
    provider.gate.set()
    async with asyncio.timeout(60):
        assert said(await second) == "answer 2"


async def test_stream_is_kept_after_its_end_and_one_cut_short_is_not(ours: LiteLLMCache, provider: Provider) -> None:
    async def listen(most: int = 100) -> str:
        with Context(tenant_id="acme"):
            stream = await litellm.acompletion(
                model="mine/m", messages=[{"role": "user", "content": "hello"}], stream=True
            )
            text = ""
            async for chunk in stream:
                text += chunk.choices[0].delta.content or ""
                most -= 1
                if not most:
                    break
            return text

    async with asyncio.timeout(60):
        assert await asyncio.create_task(listen(1)) == "answer 1"
        assert [await asyncio.create_task(listen()) for _ in range(2)] == ["answer 2!"] * 2
    assert provider.calls == 2


async def test_no_cache_asks_again_and_keeps_the_answer_and_no_store_keeps_none(
    ours: LiteLLMCache, provider: Provider
) -> None:
    assert said(await ask(cache={"no-store": True})) == "answer 1"
    assert said(await ask()) == "answer 2"
    assert said(await ask(cache={"no-cache": True})) == "answer 3"
    await until(lambda: not litellm.caching.caching_handler._PENDING_CACHE_WRITES)
    assert said(await ask()) == "answer 3"


async def test_inputs_of_embeddings_are_kept_one_by_one(ours: LiteLLMCache, provider: Provider, cache: Cache) -> None:
    async def embed(*texts: str) -> tuple[list[list[float]], int]:
        with Context(tenant_id="acme"):
            made = await litellm.aembedding(model="mine/m", input=list(texts))
            await until(lambda: not litellm.caching.caching_handler._PENDING_CACHE_WRITES)
            return [one["embedding"] for one in made.data], made.usage.total_tokens

    assert await embed("a") == ([[1.0, 1.0]], 7)
    assert await embed("a", "bb") == ([[1.0, 1.0], [2.0, 2.0]], 7)
    assert await embed("a", "bb") == ([[1.0, 1.0], [2.0, 2.0]], 0)

    provider.gate = asyncio.Event()
    running = asyncio.create_task(embed("ccc"))
    await until(lambda: provider.calls == 3)
    await cache.invalidate("acme")
    provider.gate.set()
    await running
    assert await embed("ccc") == ([[4.0, 3.0]], 7)


async def test_tokens_are_counted_once_and_those_of_hits_as_saved(
    ours: LiteLLMCache, provider: Provider, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litellm, "callbacks", [LedgerLogger(cache)])
    for _ in range(3):
        await ask()
    await ask(tenant="globex")

    async def totals(tenant: str) -> tuple[int, int, int]:
        counted = await cache.ledger.totals(tenant)
        return counted.used, counted.saved, counted.calls

    async with asyncio.timeout(60):
        while await totals("acme") != (15, 30, 1) or await totals("globex") != (15, 0, 1):
            await asyncio.sleep(0)


def test_call_that_is_logged_where_nobody_is_ambient_counts_for_whom_it_was_made() -> None:
    """As LiteLLM does with streams of sync calls."""
    with Bridge(Cache(Settings())) as bridge:
        logger, call = LedgerLogger(bridge), {"call_type": "completion"}
        with Context(tenant_id="acme"):
            logger.log_pre_api_call("m", [], call)
        for _ in range(2):
            now = datetime.now(UTC)
            logger.log_success_event(
                call, _answer(ModelResponse(id="chatcmpl-a1b2c3d4e5f6", choices=[{"message": {}}]), 1), now, now
            )

        async def totals() -> Any:
            return await bridge.cache.ledger.totals("acme")

        assert (bridge.run(totals()).used, bridge.run(totals()).calls) == (15, 1)


async def test_foreign_entry_is_a_miss(ours: LiteLLMCache, provider: Provider, cache: Cache) -> None:
    with Context(tenant_id="acme"):
        key = ours.get_cache_key(model="mine/m", messages=[{"role": "user", "content": "hello"}])
    for value in ("no json", 7, "[]", '{"timestamp": 1}', '{"timestamp": 1, "response": "{"}'):
        await cache.set("litellm_answer", key, value, "acme")
        assert said(await ask()).startswith("answer")
    assert provider.calls == 5


def test_sync_calls_of_threads_make_one_call_over_a_bridge(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    with Bridge(Cache(Settings())) as bridge, Context(tenant_id="acme"), ThreadPoolExecutor(3) as pool:
        for _ in _used(LiteLLMCache(bridge), monkeypatch):

            def call() -> str:
                messages = [{"role": "user", "content": "hello"}]
                return said(litellm.completion(model="mine/m", messages=messages))

            asked = [pool.submit(copy_context().run, call) for _ in range(3)]
            assert {one.result(60) for one in asked} == {"answer 1"}
    assert provider.calls == 1


def test_sync_call_without_a_bridge_is_not_cached_and_says_so(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in _used(LiteLLMCache(), monkeypatch):
        with Context(tenant_id="acme"):
            for number in (1, 2):
                answer = litellm.completion(model="mine/m", messages=[{"role": "user", "content": "hello"}])
                assert said(answer) == f"answer {number}"
    assert "litellm.completion is sync" in caplog.text
