"""Loads that wait for themselves: alone, in a circle, across tasks, through the limit, through another process."""

import asyncio

import pytest

from alacena import cached, get_embeddings_batch_with_cache, get_with_cache_aside
from alacena.engine import CircularLoadError, LoadTimeoutError, Policy
from tests.unit.engine.scene import TENANT, play

LONG_S = 60
"""Within that a test on a real clock ends, or it hangs."""


async def error_of(work):
    async with asyncio.timeout(LONG_S):
        with pytest.raises(CircularLoadError) as raised:
            await work
    return str(raised.value)


async def test_a_source_that_asks_for_its_own_entry_is_told_so_and_the_entry_lives_on(manager):
    """After awolverp/cachebox#54: a cached function that enters itself waits for its own lock."""

    async def source():
        return await get_with_cache_aside("answer", "same", "acme", lambda: "inner")

    assert "answer 'same' asks for answer 'same'" in await error_of(
        get_with_cache_aside("answer", "same", "acme", source)
    )
    assert (await get_with_cache_aside("answer", "same", "acme", lambda: "another's"))[0] == "another's"


async def test_a_circle_is_named_whatever_doors_it_goes_through(manager):
    """After langflow-ai/langflow#4464: one component asks for another, which asks for the first."""

    @cached("plan")
    async def plan(question: str, tenant_id: str = "acme"):
        return await asyncio.create_task(embeddings())

    async def embeddings():
        async def provider(texts):
            async with asyncio.TaskGroup() as group:
                task = group.create_task(plan("q"))
            return [[task.result()]]

        return await get_embeddings_batch_with_cache(["text"], "acme", "m", provider)

    async with asyncio.timeout(LONG_S):
        with pytest.raises(ExceptionGroup) as raised:
            await plan("q")
    told = str(raised.value.exceptions[0])
    assert told.count("plan '") == 2
    assert "embedding 'm:" in told


@pytest.mark.parametrize("how", ["alone", "gathered", "one of many"])
async def test_no_task_of_a_source_hides_what_it_waits_for(cache, how):
    async def first():
        if how == "gathered":
            return await asyncio.gather(cache.load("x", "B", "acme", second), cache.load("x", "C", "acme", third))
        if how == "one of many":
            return await cache.load_many("x", ["C", "B"], "acme", many)
        return await cache.load("x", "B", "acme", second)

    async def second():
        return await cache.load("x", "A", "acme", first)

    async def third():
        return "c"

    async def many(ids):
        return {one: await second() for one in ids}

    told = await error_of(cache.load("x", "A", "acme", first))
    assert "x 'A' asks for x" in told
    assert told.count("x 'A'") == 2


async def test_a_refresh_inside_the_load_of_its_entry_is_a_circle_too(cache):
    async def source():
        return await cache.refresh("x", "A", "acme", source)

    await error_of(cache.load("x", "A", "acme", source))
    await error_of(cache.refresh("x", "A", "acme", source))


async def test_recursion_with_other_arguments_and_loads_that_share_a_part_are_no_circles(cache):
    """After rungalileo/gcache#90: what may call itself with other arguments must go on doing so."""

    async def factorial(context):
        n = int(context.resource_id)
        return 1 if n == 0 else n * await cache.load("f", str(n - 1), "acme", factorial)

    async def part():
        await asyncio.sleep(0)
        return 1

    async def half():
        return await cache.load("x", "part", "acme", part)

    async def whole():
        halves = [cache.load("x", side, "acme", half) for side in ("left", "right")]
        return sum(await asyncio.gather(*halves, half()))

    assert await cache.load("f", "5", "acme", factorial) == 120
    assert await cache.load("x", "whole", "acme", whole) == 3


async def test_equal_names_in_two_caches_are_two_entries(open_cache):
    async with asyncio.timeout(LONG_S):
        front, back = await open_cache(redis_url=None), await open_cache(redis_url=None)

        async def source():
            return await back.load("x", "A", "acme", lambda: "v")

        assert await front.load("x", "A", "acme", source) == "v"


async def test_what_a_load_left_running_waits_for_nobody(cache):
    left, may_ask = [], asyncio.Event()

    async def later():
        await may_ask.wait()
        return await cache.load("x", "A", "acme", lambda: "again")

    async def source():
        left.append(asyncio.create_task(later()))
        return "v"

    assert await cache.load("x", "A", "acme", source) == "v"
    await cache.delete("x", "A", "acme")
    may_ask.set()
    assert await left[0] == "again"


@pytest.mark.parametrize("server", [False, True])
@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("limit", [1, 4])
def test_who_has_a_place_never_waits_for_who_waits_for_one(server, many, limit):
    """After bytedance/deer-flow#4294: a bound on calls under way, and answers that read a document everybody reads."""

    async def scenario(stage):
        async def document():
            await asyncio.sleep(0.05)
            return "document"

        async def documents(ids):
            await asyncio.sleep(0.05)
            return dict.fromkeys(ids, "document")

        def read():
            if many:
                return stage.cache.load_many("document", ["popular"], TENANT, documents)
            return stage.cache.load("document", "popular", TENANT, document)

        async def answer():
            await asyncio.sleep(0.05)
            return await read()

        asked = [asyncio.create_task(stage.cache.load("answer", f"a{n}", TENANT, answer)) for n in range(limit)]
        await asyncio.sleep(0.01)
        await asyncio.gather(*asked, read())
        assert stage.now() < 1.0

    play(scenario, server=server, max_loads_per_tenant=limit)


@pytest.mark.parametrize("server", [False, True])
@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("how", ["refreshed", "past memory", "removed twice"])
def test_who_has_a_place_does_not_wait_for_the_lease_of_who_waits_for_one(server, many, how):
    """After bytedance/deer-flow#4294, too: what waits in line for the place was closed, and may not be joined."""

    async def scenario(stage):
        async def document():
            await asyncio.sleep(0.05)
            return "document"

        async def documents(ids):
            return dict.fromkeys(ids, await document())

        async def answer():
            await asyncio.sleep(0.1)
            use_memory = how != "past memory"
            if many:
                ids = ["popular"]
                return await stage.cache.load_many("document", ids, TENANT, documents, use_memory=use_memory)
            return await stage.cache.load("document", "popular", TENANT, document, use_memory=use_memory)

        asked = [asyncio.create_task(stage.cache.load("answer", "a", TENANT, answer))]
        await asyncio.sleep(0.01)
        asked.append(asyncio.create_task(stage.cache.load("document", "popular", TENANT, document)))
        await asyncio.sleep(0.01)
        if how == "refreshed":
            asked.append(asyncio.create_task(stage.cache.refresh("document", "popular", TENANT, document)))
        if how == "removed twice":
            await stage.cache.delete("document", "popular", TENANT)
            asked.append(asyncio.create_task(stage.cache.load("document", "popular", TENANT, document)))
            await asyncio.sleep(0.01)
            await stage.cache.delete("document", "popular", TENANT)
        await asyncio.gather(*asked)
        assert stage.now() < 1.0
        await asyncio.sleep(1.0)
        assert not any(stage.left_behind().values())
        assert stage.cache._parts.flights._aside == {}

    play(scenario, server=server, max_loads_per_tenant=1)


def test_two_tenants_that_read_of_each_other_need_no_place_twice():
    async def scenario(stage):
        async def inner():
            await asyncio.sleep(0.1)
            return "v"

        def asks(other):
            async def outer():
                await asyncio.sleep(0.1)
                return await stage.cache.load("x", "inner", other, inner)

            return outer

        pairs = (("a", "b"), ("b", "a"))
        await asyncio.gather(*(stage.cache.load("x", "outer", one, asks(other)) for one, other in pairs))
        assert stage.now() < 1.0

    play(scenario, max_loads_per_tenant=1)


def test_a_circle_through_another_process_ends_within_a_lease():
    """A is loaded here and asks for B, which is loaded there and asks for A: each waits for the other's lease."""

    async def scenario(stage):
        here, there = stage.caches

        def loaders(cache):
            async def first():
                await asyncio.sleep(0.5)
                return await cache.load("x", "B", TENANT, second)

            async def second():
                await asyncio.sleep(0.5)
                return await cache.load("x", "A", TENANT, first)

            return first, second

        loads = (here.load("x", "A", TENANT, loaders(here)[0]), there.load("x", "B", TENANT, loaders(there)[1]))
        errors = await asyncio.gather(*loads, return_exceptions=True)
        assert [type(error) for error in errors] == [CircularLoadError] * 2
        assert stage.now() < 20
        assert await here.load("x", "A", TENANT, lambda: "v") == "v"

    play(scenario, server=True, processes=2)


def test_a_batchs_loader_may_ask_for_what_another_process_loads_for_the_same_batch():
    async def scenario(stage):
        here, there = stage.caches

        async def slow():
            await asyncio.sleep(2)
            return "theirs"

        async def many(ids):
            return {one: await here.load("x", "B", TENANT, slow) for one in ids}

        theirs = asyncio.create_task(there.load("x", "B", TENANT, slow))
        await asyncio.sleep(0.5)
        assert await here.load_many("x", ["A", "B"], TENANT, many) == {"A": "theirs", "B": "theirs"}
        assert stage.now() < 4
        await theirs

    play(scenario, server=True, processes=2)


@pytest.mark.parametrize("server", [False, True])
@pytest.mark.parametrize("many", [False, True])
def test_a_load_that_would_never_end_is_an_error_of_two_minutes_that_names_the_source(server, many):
    """What no context variable can see, such as a worker of the application's own, ends at the default hard timeout."""

    async def scenario(stage):
        async def my_source(*_):
            await asyncio.Event().wait()

        def load():
            if many:
                return stage.cache.load_many("note", ["n", "m"], TENANT, my_source)
            return stage.cache.load("note", "n", TENANT, my_source)

        with pytest.raises(LoadTimeoutError, match=r"note 'n'.*my_source within 120 s, the hard_timeout_s of 'note'"):
            await load()
        assert 119 < stage.now() < 125

    play(scenario, policy=Policy(), server=server)
