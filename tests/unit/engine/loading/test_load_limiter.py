"""Places for loads: never more than the limit, nobody starves, none is lost."""

import asyncio

import pytest

from alacena.engine.loading.load_limiter import LoadLimiter
from tests.unit.engine.scene import TENANT, Source, play


def test_a_tenant_never_has_more_loads_under_way_than_allowed():
    async def scenario(stage):
        source = Source(takes_s=0.1)
        loads = [stage.cache.load("note", f"n{i}", TENANT, source.load) for i in range(50)]
        await asyncio.gather(*loads)
        assert (source.asked, source.most_under_way) == (50, 3)
        assert 1.7 <= stage.now() < 1.9

    play(scenario, max_loads_per_tenant=3)
    play(scenario, max_loads_per_tenant=3, server=True)


def test_one_tenants_flood_does_not_make_another_wait():
    async def scenario(stage):
        flood = Source(takes_s=1.0)
        loads = [asyncio.create_task(stage.cache.load("note", f"n{i}", "greedy", flood.load)) for i in range(100)]
        await asyncio.sleep(0.1)
        began = stage.now()
        await stage.cache.load("note", "n", "modest", Source(takes_s=0.1).load)
        assert stage.now() - began < 0.15
        assert flood.most_under_way == 2
        for load in loads:
            load.cancel()
        await asyncio.gather(*loads, return_exceptions=True)

    play(scenario, max_loads_per_tenant=2)


def test_who_waits_longest_is_next():
    async def scenario(stage):
        order = []

        def loader(number):
            async def load(_):
                order.append(number)
                await asyncio.sleep(1)
                return number

            return load

        async def call(number):
            await asyncio.sleep(number / 100)
            return await stage.cache.load("note", f"n{number}", TENANT, loader(number))

        await asyncio.gather(*(call(number) for number in range(10)))
        assert order == list(range(10))

    play(scenario, max_loads_per_tenant=1)


@pytest.mark.parametrize("ending", ["error", "cancelled while waiting", "cancelled while loading"])
def test_places_come_back_however_a_load_ends(ending):
    async def scenario(stage):
        first = Source(OSError() if ending == "error" else "v", takes_s=1.0)
        loads = [asyncio.create_task(stage.cache.load("note", f"n{i}", TENANT, first.load)) for i in range(6)]
        await asyncio.sleep(0.5)
        if ending != "error":
            started = loads[:2] if ending == "cancelled while loading" else loads[2:]
            for load in started:
                load.cancel()
        await asyncio.gather(*loads, return_exceptions=True)
        again = Source(takes_s=1.0)
        await asyncio.gather(*(stage.cache.load("note", f"m{i}", TENANT, again.load) for i in range(4)))
        assert again.most_under_way == 2
        assert stage.cache._parts.reader._runner._limiter._lines == {}

    play(scenario, max_loads_per_tenant=2)


@pytest.mark.parametrize("depth", [1, 3])
def test_a_load_inside_a_load_of_the_same_tenant_needs_no_place_of_its_own(depth):
    async def scenario(stage):
        async def nested(context):
            level, _, name = context.resource_id.partition("-")
            if int(level) == 0:
                await asyncio.sleep(0.1)
                return "leaf"
            parts = [stage.cache.load("note", f"{int(level) - 1}-{name}{side}", TENANT, nested) for side in "ab"]
            return await asyncio.gather(*parts)

        async with asyncio.timeout(60):
            await asyncio.gather(*(stage.cache.load("note", f"{depth}-{i}", TENANT, nested) for i in range(5)))

    play(scenario, max_loads_per_tenant=1)


def test_what_a_loader_leaves_running_has_no_place_any_more():
    async def scenario(stage):
        source = Source(takes_s=1.0)
        left = []

        async def load(_):
            async def later():
                await asyncio.sleep(0.1)
                await asyncio.gather(*(stage.cache.load("note", f"n{i}", TENANT, source.load) for i in range(3)))

            left.append(asyncio.create_task(later()))
            return "v"

        await stage.cache.load("note", "n", TENANT, load)
        await left[0]
        assert source.most_under_way == 1

    play(scenario, max_loads_per_tenant=1)


async def test_without_a_limit_there_is_no_line():
    limiter = LoadLimiter(None)
    async with limiter.place("a"), limiter.place("a"), limiter.place("a"):
        assert limiter._lines == {}


async def test_who_was_hurried_past_the_line_does_not_take_the_line_of_those_after_it_away():
    class Awaited:
        is_awaited = False
        hurry = None

    limiter, flight = LoadLimiter(1), Awaited()
    first, second = limiter.place(TENANT), limiter.place(TENANT, [flight])
    await first.__aenter__()
    hurried = asyncio.create_task(second.__aenter__())
    await asyncio.sleep(0)
    flight.hurry()
    await first.__aexit__(None, None, None)  # in the step in which the other was hurried: it still stands in line
    third, fourth = limiter.place(TENANT), limiter.place(TENANT)
    await third.__aenter__()
    await hurried
    await second.__aexit__(None, None, None)
    waiting = asyncio.create_task(fourth.__aenter__())
    await asyncio.sleep(0)
    assert not waiting.done()
    await third.__aexit__(None, None, None)
    await waiting
    await fourth.__aexit__(None, None, None)
    assert limiter._lines == {}
