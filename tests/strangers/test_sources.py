"""What a source may say, what it may get wrong, and for how long it is left alone."""

import asyncio
import gc
from datetime import timedelta
from decimal import Decimal
from email.utils import format_datetime

import pytest

from alacena import (
    CacheManager,
    Context,
    add_cost,
    cached,
    depends_on,
    get_embeddings_batch_with_cache,
    get_with_cache_aside,
    set_retry_after,
    set_ttl,
    skip,
)
from alacena.engine import Policy, Scope
from alacena.testing.doubles import FakeEnvironment
from tests.unit.engine.scene import TENANT, play

MODES = pytest.mark.parametrize("server", [False, True])


class RateLimitError(Exception):
    """What a provider's client raises."""

    def __init__(self, response=None, retry_after=None):
        super().__init__("429")
        self.response = response
        if retry_after is not None:
            self.retry_after = retry_after


class Response:
    """The answer that such an error carries."""

    def __init__(self, status_code, **headers):
        self.status_code = status_code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


# What it may say


async def test_a_source_that_asks_for_ctx_has_one(manager):
    """After Aharshi3614/Devwhisper#293: apologies are cached; a source must be able to say "not this"."""

    async def apology(resource_id, tenant_id, ctx):
        assert ctx.get_tenant_id() == tenant_id
        ctx.skip()
        return "sorry"

    assert (await get_with_cache_aside("answer", "q", "acme", generate_func=apology))[0] == "sorry"
    async with Context(tenant_id="acme"):
        assert (await get_with_cache_aside("answer", "q", generate_func=apology))[0] == "sorry"
    given = Context(tenant_id="acme")
    assert (await get_with_cache_aside("answer", "q", generate_func=lambda ctx: ctx is given, ctx=given))[0] is True
    await CacheManager.delete("answer", "q", "acme")
    assert (await get_with_cache_aside("answer", "q", "acme", generate_func=apology))[1]["stored"] is False
    assert await CacheManager.get("answer", "q", "acme") is None


async def test_a_cached_function_says_the_same_by_functions(manager):
    calls = []

    @cached("answer")
    async def answer(question: str, tenant_id: str = "acme"):
        calls.append(question)
        add_cost(tokens=1_200, usd=Decimal("0.0024"))
        if question == "sorry":
            skip()
        if question == "short":
            set_ttl(timedelta(seconds=7))
        if question == "later":
            set_retry_after(30)
            raise RateLimitError
        return question

    for question in ("sorry", "sorry", "short", "short"):
        assert await answer(question) == question
    assert calls == ["sorry", "sorry", "short"]
    for _ in range(3):
        with pytest.raises(RateLimitError):
            await answer("later")
    assert calls[3:] == ["later"]
    skip()  # outside of a load it says nothing


# What it may get wrong


@MODES
@pytest.mark.parametrize(
    ("slip", "is_stored", "reason"),
    [
        (lambda c: c.cost(tokens="many"), True, None),
        (lambda c: c.cost(tokens=None), True, None),
        (lambda c: c.cost(usd=float("inf")), True, None),
        (lambda c: setattr(c, "ttl", "60"), False, "ttl"),
        (lambda c: setattr(c, "ttl", -1), False, "ttl"),
        (lambda c: c.depends_on(None), False, "tags"),
        (lambda c: setattr(c, "retry_after", "soon"), True, None),
    ],
)
def test_what_was_paid_for_is_handed_out_whatever_its_source_says_of_it(server, slip, is_stored, reason, caplog):
    """After monarch-initiative/ontogpt#465: bookkeeping inside a call must not cost the call's result."""

    async def scenario(stage):
        async def source(context):
            slip(context)
            return "paid for"

        found = await stage.cache.lookup("note", "n", TENANT, source)
        assert (found.value, found.stored, found.reason) == ("paid for", is_stored, reason)
        await asyncio.sleep(0.5)
        assert await stage.cache.get("note", "n", TENANT) == ("paid for" if is_stored else None)
        assert stage.cache.stats()["slips"] == 1

    play(scenario, server=server, seeds=(1,))
    assert "note 'n'" in caplog.text


@MODES
@pytest.mark.parametrize(
    ("say", "kept_s"),
    [
        (skip, 0),
        (lambda: set_ttl(5), 5),
        (lambda: depends_on(None), 0),
        (lambda: set_ttl("5"), 0),
        (lambda: add_cost(tokens=9, usd=0.1), 60),
    ],
    ids=["skip", "set_ttl", "a bad depends_on", "a bad set_ttl", "add_cost"],
)
def test_what_a_source_of_many_says_holds_for_each_value(server, say, kept_s):
    """After Aharshi3614/Devwhisper 293: what one source may say of its value, that of many may say of all it brings."""

    async def scenario(stage):
        def source(ids):
            say()
            return dict.fromkeys(ids, "sorry")

        ids = ["a", "b"]
        assert await stage.cache.load_many("note", ids, TENANT, source) == dict.fromkeys(ids, "sorry")
        await asyncio.sleep(1)
        assert len(await stage.cache.get_many("note", ids, TENANT)) == (2 if kept_s else 0)
        await asyncio.sleep(9)
        assert len(await stage.cache.get_many("note", ids, TENANT)) == (2 if kept_s > 10 else 0)

    play(scenario, server=server, seeds=(1,))


async def test_a_provider_may_say_that_its_vectors_are_not_to_be_kept(manager):
    calls = []

    def provider(texts):
        calls.append(texts)
        skip()
        return [[1.0] for _ in texts]

    for _ in range(2):
        assert (await get_embeddings_batch_with_cache(["a"], "acme", "m", provider))[0] == [[1.0]]
    assert len(calls) == 2


async def test_a_depends_on_that_fails_costs_nobody_the_answer(manager):
    value, metrics = await get_with_cache_aside(
        "answer", "q", "acme", lambda: "paid for", depends_on=lambda value: value["no such"]
    )
    assert (value, metrics["stored"], metrics["reason"]) == ("paid for", False, "tags")


@MODES
def test_dollars_are_no_seconds(server):
    """A load of no time that cost 30 dollars is not renewed as if it took half a minute."""

    async def scenario(stage):
        calls = []

        async def dear(context):
            calls.append(1)
            context.cost(usd=30)
            return "v"

        for _ in range(50):
            assert await stage.cache.load("note", "n", TENANT, dear) == "v"
            await asyncio.sleep(0.1)
        assert len(calls) == 1
        assert (await stage.cache.explain("note", "n", TENANT)).get("load_s", 0) < 1

    play(scenario, policy=Policy(ttl=60, jitter_ratio=0, early_refresh_beta=1.0), server=server)


# For how long it is left alone


@MODES
@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize(
    ("error", "policy"),
    [
        (RateLimitError(retry_after=20), Policy()),
        (RateLimitError(retry_after=timedelta(seconds=20)), Policy(retry_after_s=1)),
        (RateLimitError(Response(429, retry_after="20")), Policy()),
        (RateLimitError(Response(503, retry_after="20")), Policy(stale_if_error_s=60)),
        (RateLimitError(), Policy(retry_after_s=20)),
    ],
)
def test_waves_of_readers_make_one_call_while_the_source_is_to_be_left_alone(server, many, error, policy):
    """After NousResearch/hermes-agent#109234: 429, retry after 20 s, and each wave of readers asks again."""

    async def scenario(stage):
        calls = []

        async def limited(*_):
            calls.append(1)
            await asyncio.sleep(0.01)
            raise error

        def ask():
            if many:
                return stage.cache.load_many("note", ["n", "m"], TENANT, limited)
            return stage.cache.load("note", "n", TENANT, limited)

        for _ in range(17):
            got = await asyncio.gather(*(ask() for _ in range(20)), return_exceptions=True)
            assert all(one is error for one in got)
            await asyncio.sleep(1)
        assert len(calls) == 1
        assert await stage.cache.get("note", "n", TENANT) is None
        await asyncio.sleep(6)
        await asyncio.gather(ask(), return_exceptions=True)
        assert len(calls) == 2

    play(scenario, policy=policy, server=server, seeds=(1,))


def test_the_date_of_a_retry_after_is_understood_and_nonsense_is_not():
    from datetime import UTC, datetime

    from alacena.engine.loading.source_backoff import read_pause

    environment = FakeEnvironment()
    at = datetime.fromtimestamp(int(environment.wall()) + 30, UTC)
    told = read_pause(RateLimitError(Response(429, retry_after=format_datetime(at, usegmt=True))), environment)
    assert told is not None
    assert 28 < told < 31
    assert read_pause(RateLimitError(retry_after=10**9), environment) == 3600
    for nonsense in ("soon", "-5", "nan", ""):
        assert read_pause(RateLimitError(Response(429, retry_after=nonsense)), environment) is None
    assert read_pause(RateLimitError(Response(404, retry_after="20")), environment) is None
    assert read_pause(RateLimitError(retry_after="20"), environment) is None


@MODES
def test_by_default_a_cold_entrys_source_is_asked_again_at_once(server):
    async def scenario(stage):
        async def down():
            raise ConnectionError

        with pytest.raises(ConnectionError):
            await stage.cache.load("note", "n", TENANT, down)
        assert await stage.cache.load("note", "n", TENANT, lambda: "v") == "v"

    play(scenario, policy=Policy(), server=server)


@MODES
@pytest.mark.parametrize("how", ["refresh", "delete", "invalidate", "set"])
def test_what_changes_the_entry_ends_the_repetition(server, how):
    async def scenario(stage):
        async def limited():
            raise RateLimitError(retry_after=20)

        with pytest.raises(RateLimitError):
            await stage.cache.load("note", "n", TENANT, limited)
        await asyncio.sleep(0.2)
        if how == "refresh":
            assert await stage.cache.refresh("note", "n", TENANT, lambda: "v") == "v"
        elif how == "delete":
            await stage.cache.delete("note", "n", TENANT)
        elif how == "set":
            await stage.cache.set("note", "n", "v", TENANT)
        else:
            await stage.cache.invalidate(TENANT, "note")
        assert await stage.cache.load("note", "n", TENANT, lambda: "v") == "v"

    play(scenario, policy=Policy(), server=server)


@MODES
def test_a_task_group_that_fails_is_a_failure_like_any_other(server):
    """After python/cpython#116720: up to 3.12 a task whose group fails while it is being left stays "cancelling"."""

    async def scenario(stage):
        reports = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
        asked = []

        async def refused():
            raise ValueError("429")

        async def source(*_):
            asked.append(1)
            if len(asked) > 1:
                async with asyncio.TaskGroup() as group:
                    group.create_task(refused())
            return ["good"] if _ else "good"

        for load in (
            lambda: stage.cache.load("note", "n", TENANT, source),
            lambda: stage.cache.load_many("note", ["m"], TENANT, source),
        ):
            asked.clear()
            first = await load()
            await asyncio.sleep(2)
            for _ in range(20):
                assert await load() == first
            assert len(asked) == 2
        await asyncio.sleep(0.1)
        gc.collect()
        await asyncio.sleep(0)
        assert reports == []

    play(scenario, policy=Policy(ttl=1, stale_if_error_s=600, jitter_ratio=0), server=server, seeds=(1,))


def test_a_hard_timeout_after_a_task_group_that_failed_is_still_a_timeout():
    async def scenario(stage):
        async def refused():
            raise ValueError("429")

        async def source():
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(refused())
            except ExceptionGroup:
                await asyncio.sleep(1e6)

        with pytest.raises(TimeoutError, match="hard_timeout_s"):
            await stage.cache.load("note", "n", TENANT, source)

    play(scenario, policy=Policy(hard_timeout_s=2))


def test_who_follows_a_look_at_one_entry_still_sees_the_more_general_one():
    """A look at the agent's own entry, and one through the hierarchy at the same time, which the tenant's answers."""

    async def scenario(stage):
        one, two = stage.caches
        await two.set("note", "n", "the tenant's", TENANT)
        await one.get("note", "other", TENANT)
        agent = Scope(TENANT, agent_id="a1")
        exact = asyncio.create_task(one.get("note", "n", agent, search_hierarchy=False))
        await asyncio.sleep(0)
        through = [asyncio.create_task(one.get("note", "n", agent)) for _ in range(3)]
        assert await exact is None
        assert await asyncio.gather(*through) == ["the tenant's"] * 3

    play(scenario, server=True, processes=2)
