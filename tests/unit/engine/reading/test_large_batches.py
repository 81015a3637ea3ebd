"""Batches of more entries than one turn of the loop may take: still one call of the loader, and nothing is left out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from alacena.engine import Cache, Settings
from alacena.engine.coherence.value_store import ValueStore
from tests.unit.engine.scene import TENANT, play

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.unit.engine.scene import Stage

MANY = 2_300
MOST_IN_A_TURN = 1_000


class Shop:
    """A source of many values at once, which remembers how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0

    async def load(self, ids: Sequence[str]) -> dict[str, Any]:
        self.calls += 1
        return {one: [one] for one in ids}


def ids_of(count: int) -> list[str]:
    return [f"n{number}" for number in range(count)]


def remote_of(cache: Cache) -> Any:
    return cache._open_parts().remote


@pytest.mark.parametrize("server", [False, True])
def test_a_large_batch_is_one_call_of_the_loader_and_is_stored(server: bool) -> None:
    async def scenario(stage: Stage) -> None:
        shop, ids = Shop(), ids_of(MANY)
        found = await stage.cache.load_many("note", ids, TENANT, shop.load)
        assert found == {one: [one] for one in ids}
        await asyncio.sleep(2)
        assert shop.calls == 1
        assert stage.cache.stats()["fills"] == MANY
        assert await stage.cache.get_many("note", ids, TENANT) == found
        assert not any(stage.left_behind().values())

    play(scenario, server=server, seeds=(1,))


@pytest.mark.parametrize("server", [False, True])
def test_large_batches_at_the_same_moment_load_each_entry_once(server: bool) -> None:
    async def scenario(stage: Stage) -> None:
        asked: list[str] = []

        async def load(ids: Sequence[str]) -> dict[str, Any]:
            asked.extend(ids)
            await asyncio.sleep(0.5)
            return {one: [one] for one in ids}

        ids = ids_of(MANY)
        wanted = [ids[:1_800], ids[400:], ids[5:10]]
        found = await asyncio.gather(*(stage.cache.load_many("note", some, TENANT, load) for some in wanted))
        assert found == [{one: [one] for one in some} for some in wanted]
        assert sorted(asked) == sorted(ids)
        await asyncio.sleep(2)
        assert not any(stage.left_behind().values())

    play(scenario, server=server)


@pytest.mark.parametrize("portion", [1, 2, 3])
@pytest.mark.parametrize("server", [False, True])
def test_a_large_batch_whose_caller_leaves_while_it_is_begun_is_loaded_once_for_those_who_joined(
    server: bool, portion: int
) -> None:
    async def scenario(stage: Stage) -> None:
        runner = stage.cache._open_parts().batches._runner
        register, begun = runner.register, list[int]()
        shop, ids = Shop(), ids_of(MANY)

        def leave(*args: Any) -> Any:
            begun.append(1)
            if len(begun) == portion:
                load.cancel()
                joined.append(asyncio.create_task(stage.cache.load("note", ids[0], TENANT, lambda: "another")))
            return register(*args)

        joined: list[asyncio.Task[Any]] = []
        runner.register = leave  # type: ignore[method-assign]
        load = asyncio.create_task(stage.cache.load_many("note", ids, TENANT, shop.load))
        await asyncio.wait([load])
        assert load.cancelled()
        assert await joined[0] == [ids[0]]
        await asyncio.sleep(2)
        assert shop.calls == 1
        assert not any(stage.left_behind().values())

    play(scenario, server=server)


def test_a_large_batch_whose_loader_fails_fails_as_a_whole_and_leaves_nothing() -> None:
    async def scenario(stage: Stage) -> None:
        async def fail(ids: Sequence[str]) -> dict[str, Any]:
            raise LookupError(len(ids))

        with pytest.raises(LookupError, match=str(MANY)):
            await stage.cache.load_many("note", ids_of(MANY), TENANT, fail)
        await asyncio.sleep(2)
        assert not any(stage.left_behind().values())

    play(scenario, server=True)


async def test_without_a_server_all_is_in_memory_when_the_answer_is_there() -> None:
    async with Cache(Settings()) as cache:
        ids = ids_of(MANY)
        found = await cache.load_many("note", ids, TENANT, Shop().load)
        # Nothing is awaited in between: a task reads what it has just loaded.
        assert [cache.peek((TENANT, "note", one)) for one in ids] == list(found.values())


async def test_the_loop_has_turns_while_a_large_batch_is_delivered() -> None:
    async with Cache(Settings()) as cache:
        filler = cache._open_parts().batches._filler
        evaluate, delivered, most = filler.evaluate, 0, 0

        def count(*args: Any, **kwargs: Any) -> Any:
            nonlocal delivered
            delivered += 1
            return evaluate(*args, **kwargs)

        async def look_on() -> None:
            nonlocal most
            while True:
                before = delivered
                await asyncio.sleep(0)
                most = max(most, delivered - before)

        filler.evaluate = count  # type: ignore[method-assign]
        onlooker = asyncio.create_task(look_on())
        await cache.load_many("note", ids_of(MANY), TENANT, Shop().load)
        onlooker.cancel()
        assert delivered == MANY
        assert 0 < most <= MOST_IN_A_TURN


def test_a_batch_that_is_ended_while_it_is_delivered_gives_its_leases_back() -> None:
    async def scenario(stage: Stage) -> None:
        parts = stage.cache._open_parts()
        filler = parts.batches._filler
        evaluate, delivered = filler.evaluate, 0

        def end_in_the_middle(*args: Any, **kwargs: Any) -> Any:
            nonlocal delivered
            delivered += 1
            if delivered == MANY // 2:
                for task in parts.flights.tasks:
                    task.cancel()
            return evaluate(*args, **kwargs)

        filler.evaluate = end_in_the_middle  # type: ignore[method-assign]
        load = asyncio.create_task(stage.cache.load_many("note", ids_of(MANY), TENANT, Shop().load))
        await asyncio.wait([load])
        assert load.exception() is not None
        await asyncio.sleep(2)
        assert MANY // 2 <= delivered < MANY
        assert not any(stage.left_behind().values())

    play(scenario, server=True, seeds=(1, 2))


def test_the_pushes_about_leases_that_a_store_deletes_are_expected() -> None:
    async def scenario(stage: Stage) -> None:
        coherence = remote_of(stage.cache)._coherence
        (node,) = remote_of(stage.cache)._nodes.all()
        woken: list[bytes] = []
        coherence.wake_waiters = woken.append
        await stage.cache.load_many("note", ids_of(120), TENANT, Shop().load)
        while stage.left_behind()["tasks"]:
            await asyncio.sleep(0.001)
        assert node.tracked
        assert woken == []
        assert not any(b":l:" in key for key in node._own)

    play(scenario, server=True)


def test_while_memory_is_off_no_copy_is_kept_of_what_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(stage: Stage) -> None:
        memory = stage.cache._open_parts().memory
        (node,) = remote_of(stage.cache)._nodes.all()
        values = {one: [one] for one in ids_of(120)}
        node._judge("a doubt")
        asked.clear()
        assert await stage.cache.set_many("note", values, TENANT) == len(values)
        assert asked == []
        assert len(memory.entries) == 0
        await asyncio.sleep(2)  # heartbeats end the doubt
        assert node.tracked
        assert await stage.cache.set_many("note", values, TENANT) == len(values)
        assert sum(asked) == len(memory.entries) == len(values)

    keep_new, asked = ValueStore.keep_new, []

    def watched(self: ValueStore, keys: Any, *given: Any) -> list[bool]:
        asked.append(len(keys))
        return keep_new(self, keys, *given)

    monkeypatch.setattr(ValueStore, "keep_new", watched)
    play(scenario, server=True)
