"""Many entries in one call: what becomes of one says nothing of the others."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from alacena.engine import EncodeError, Policy, Scope
from alacena.engine.base.remote_tier import Found, Held, Lease, LeaseRequest, NewEntry
from tests.unit.engine.scene import TENANT, Source, play, settle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alacena.engine import Cache
    from tests.unit.engine.scene import Stage

    Open = Callable[..., Awaitable[Cache]]

POLICY = Policy(ttl=600, jitter_ratio=0)
MANY = 250


def keys_of(cache: Cache, *names: str, tenant: str = "acme") -> list[Any]:
    return [cache._open_parts().keys.entry("note", name, Scope(tenant)) for name in names]


def new_entry(value: Any, tags: tuple[str, ...] = ()) -> NewEntry:
    return NewEntry(value=value, fresh_for_s=600.0, tags=tags, policy=POLICY)


@pytest.fixture
async def cache(open_cache: Open) -> Cache:
    return await open_cache(policies={"note": POLICY}, tenant_buckets={"spread": 3})


@pytest.mark.parametrize("tenant", ["acme", "spread"])
async def test_more_than_one_call_holds_are_stored_and_found(cache: Cache, open_cache: Open, tenant: str) -> None:
    values = {f"n{number}": [number] for number in range(MANY)}
    assert await cache.set_many("note", values, tenant) == MANY
    assert await cache.get_many("note", list(values), tenant) == values
    if cache.settings.redis_url is not None:
        other = await open_cache(policies={"note": POLICY}, tenant_buckets={"spread": 3})
        assert await other.get_many("note", list(values), tenant) == values


async def test_of_a_batch_only_the_entry_that_a_transaction_holds_is_left_out(cache: Cache) -> None:
    async with cache.write("acme", ("note", "held")):
        assert await cache.set_many("note", {"a": 1, "held": 2, "b": 3}, "acme") == 2
        assert await cache.get_many("note", ["a", "held", "b"], "acme") == {"a": 1, "b": 3}
    assert cache.stats()["refused_fills"] == {"hold": 1}


async def test_of_a_reading_only_what_depends_on_an_ended_document_is_refused(cache: Cache) -> None:
    parts = cache._open_parts()
    keys = keys_of(cache, "a", "b", "c")
    begun = await parts.writer.begin(Scope("acme"), ("note",), ())
    assert begun is not None
    await cache.invalidate("acme", document_ids=("d1",))
    made = [new_entry(1), new_entry(2, ("document:d1",)), new_entry(3, ("document:d2",))]
    assert await parts.remote.store_many(keys, made, [begun[0]] * 3) == ["", "generation", ""]
    assert await cache.get_many("note", ["a", "b", "c"], "acme") == {"a": 1, "c": 3}


async def test_each_of_many_leases_is_given_to_who_asks_first_and_fills_once(cache: Cache) -> None:
    remote = cache._open_parts().remote
    settled: list[Any] = []
    a, b, c = keys_of(cache, "a", "b", "c")
    first = await remote.lease_many([LeaseRequest(a, (), settled.append), LeaseRequest(b, ("t",), settled.append)])
    assert [type(one) for one in first] == [Lease, Lease]
    second = await remote.lease_many([LeaseRequest(key, (), settled.append) for key in (b, c)])
    assert [type(one) for one in second] == [Held, Lease]
    assert settled == [*first, *second]
    await cache.invalidate("acme", tags=("t",))
    leases: Any = [*first, second[1]]
    made = [new_entry(name, tags) for name, tags in (("a", ()), ("b", ("t",)), ("c", ()))]
    assert await remote.fill_many(leases, made) == ["", "generation", ""]
    assert (await remote.fill_many(leases[:1], made[:1]))[0] == "lease"
    assert await cache.get_many("note", ["a", "b", "c"], "acme") == {"a": "a", "c": "c"}
    second[0].change.cancel()


async def test_who_asks_for_a_lease_where_there_is_an_entry_gets_the_entry(cache: Cache) -> None:
    if cache.settings.redis_url is None:
        pytest.skip("in memory nobody else fills")
    await cache.set("note", "there", "v", "acme")
    remote, ignore = cache._open_parts().remote, [].append
    there, missing = keys_of(cache, "there", "missing")
    found, lease = await remote.lease_many([LeaseRequest(key, (), ignore) for key in (there, missing)])
    assert isinstance(found, Found)
    assert found.value == "v"
    assert isinstance(lease, Lease)
    assert lease.previous is None
    (forced,) = await remote.lease_many([LeaseRequest(there, (), ignore, force=True)])
    assert isinstance(forced, Lease)
    assert forced.previous is not None


@pytest.mark.parametrize("count", [1, 101, 250])
async def test_leases_of_several_tenants_come_in_the_order_in_which_they_were_asked_for(
    cache: Cache, count: int
) -> None:
    remote, ignore = cache._open_parts().remote, [].append
    keys = [keys_of(cache, f"n{n}", tenant=("acme", "zeta", "spread")[n % 3])[0] for n in range(count)]
    leases = await remote.lease_many([LeaseRequest(key, (), ignore) for key in keys])
    assert [lease.key for lease in leases if isinstance(lease, Lease)] == keys
    made = [new_entry(number) for number in range(count)]
    assert await remote.fill_many(leases, made) == [""] * count  # type: ignore[arg-type]
    assert await cache.get("note", "n0", "acme") == 0


def test_single_loads_of_one_turn_ask_and_store_together() -> None:
    async def scenario(stage: Stage) -> None:
        assert stage.server is not None
        source = Source("v")
        before = stage.server.commands.get("EVALSHA", 0)
        loads = [stage.cache.load("note", f"n{number}", TENANT, source.load) for number in range(60)]
        assert await asyncio.gather(*loads) == ["v"] * 60
        assert source.asked == 60
        await asyncio.sleep(1)
        assert stage.server.commands["EVALSHA"] - before < 30
        assert stage.cache.stats()["fills"] == 60
        assert not any(stage.left_behind().values())

    play(scenario, server=True)


@pytest.mark.parametrize("size", [10, 10_000])
@pytest.mark.parametrize("document_ids", [(), ("d1",)])
async def test_by_the_time_that_a_caller_has_its_answer_its_fill_has_left(
    cache: Cache, size: int, document_ids: tuple[str, ...]
) -> None:
    async def load(context: Any) -> str:
        context.depends_on(document_ids)
        return "v" * size

    async def call(number: int) -> Any:
        name = f"n{number}"
        await cache.load("note", name, "acme", load, document_ids=document_ids)
        return await cache.get("note", name, "acme", use_memory=False)

    assert await asyncio.gather(*map(call, range(60))) == ["v" * size] * 60


@pytest.mark.parametrize("size", [10, 10_000])
async def test_what_a_batch_has_loaded_and_not_stored_yet_is_not_loaded_again(
    cache: Cache, open_cache: Open, size: int
) -> None:
    asked: list[str] = []

    async def load(ids: Any) -> dict[str, str]:
        asked.extend(ids)
        return dict.fromkeys(ids, "v" * size)

    other = cache if cache.settings.redis_url is None else await open_cache(policies={"note": POLICY})
    names = [f"n{number}" for number in range(2 * MANY)]
    # More than leaves by one call: the last of them are stored behind the answer, and their leases hold until then.
    await cache.load_many("note", names, "acme", load)
    for reader in (cache, other):
        assert len(await reader.load_many("note", names, "acme", load, use_memory=False)) == len(names)
    assert asked == names


@pytest.mark.parametrize("turns", range(8))
def test_of_loads_that_ask_together_one_that_is_cancelled_takes_no_other_along(turns: int) -> None:
    async def scenario(stage: Stage) -> None:
        loads = [
            asyncio.create_task(stage.cache.load("note", f"n{number}", TENANT, Source(number).load))
            for number in range(20)
        ]
        await settle(turns)
        for load in loads[::2]:
            load.cancel()
        outcomes = await asyncio.gather(*loads, return_exceptions=True)
        assert outcomes[1::2] == list(range(1, 20, 2))
        await asyncio.sleep(1)
        assert not any(stage.left_behind().values())
        assert set(await stage.cache.get_many("note", [f"n{n}" for n in range(20)], TENANT)) >= {
            f"n{n}" for n in range(1, 20, 2)
        }

    play(scenario, server=True)


def test_loads_that_ask_together_while_the_server_is_away_are_answered_and_leave_nothing() -> None:
    async def scenario(stage: Stage) -> None:
        assert stage.server is not None
        loads = [
            asyncio.create_task(stage.cache.load("note", f"n{number}", TENANT, Source(number, takes_s=0.01).load))
            for number in range(20)
        ]
        await settle(6)
        stage.server.kill_clients()
        assert await asyncio.gather(*loads) == list(range(20))
        await asyncio.sleep(10)
        assert not any(stage.left_behind().values())

    play(scenario, server=True)


@dataclass
class Row:
    """A row of an object mapper."""

    id: Any
    text: str = ""


REMEDY = "return a mapping by id"


@pytest.mark.parametrize(
    "make",
    [lambda one: {"id": one}, Row, lambda one: {"document_id": one, "n": 1}],
    ids=["dicts", "objects", "documents"],
)
async def test_rows_in_the_databases_order_are_not_taken_for_each_others(
    cache: Cache, make: Callable[[Any], Any]
) -> None:
    """`WHERE id IN (...)` answers in any order, and two users had each other's row."""
    with pytest.raises(ValueError, match="another order"):
        await cache.load_many("row", ["1", "2"], "acme", lambda ids: [make(2), make(1)])
    assert await cache.get_many("row", ["1", "2"], "acme") == {}
    with pytest.raises(ValueError, match=REMEDY):
        await cache.load_many("row", ["1", "2"], "acme", lambda ids: {"a", "b"})
    rows = {str(one): make(one) for one in (1, 2)}
    assert await cache.load_many("row", ["1", "2"], "acme", lambda ids: [make(1), make(2)]) == rows


async def test_rows_that_the_database_has_not_are_nobody_elses(cache: Cache) -> None:
    """Fewer rows than ids: each says whose it is, so the missing one is missing, and not the last."""
    rows = [{"id": 3, "v": "c"}, {"id": 1, "v": "a"}]
    found = await cache.load_many("row", [1, 2, 3], "acme", lambda ids: rows)
    assert found == {"1": rows[1], "3": rows[0]} or found == {1: rows[1], 3: rows[0]}
    with pytest.raises(ValueError, match=REMEDY):
        await cache.load_many("row", ["4", "5"], "acme", lambda ids: [{"v": "whose?"}])


async def test_values_may_speak_of_others_that_are_asked_for(cache: Cache) -> None:
    """The manager of each: in the order of the ids, as agreed, though the rows have ids of their own."""
    boss, founder = {"id": "2"}, {"id": "9"}
    asked = {"1": boss, "2": founder, "3": boss}
    assert await cache.load_many("manager", list(asked), "acme", lambda ids: [asked[one] for one in ids]) == asked
    same = {"5": {"id": "6"}, "6": {"id": "6"}}
    assert await cache.load_many("manager", list(same), "acme", lambda ids: [same[one] for one in ids]) == same


LONG = 1_000
LAST = f"n{LONG - 1}"


async def store_and_meanwhile(cache: Cache, act: Callable[[], Awaitable[object]], **depends: Any) -> int:
    """Stores a thousand values in one call; another task acts as soon as the first of them are stored."""
    remote: Any = cache._open_parts().remote
    store_many, acts = remote.store_many, [act]

    async def store_and_act(*arguments: Any) -> Any:
        fates = await store_many(*arguments)
        while acts:
            await asyncio.create_task(acts.pop()())  # type: ignore[arg-type]
        return fates

    remote.store_many = store_and_act
    try:
        return await cache.set_many("note", {f"n{n}": f"old {n}" for n in range(LONG)}, "acme", **depends)
    finally:
        remote.store_many = store_many


async def read_all(cache: Cache) -> dict[str, Any]:
    return await cache.get_many("note", [f"n{n}" for n in range(LONG)], "acme")


@pytest.mark.parametrize("ended", [{}, {"data_type": "note"}, {"tags": ["t"]}, {"document_ids": ["d"]}])
async def test_what_ends_between_two_portions_of_a_call_ends_all_of_them(cache: Cache, ended: dict[str, Any]) -> None:
    async def invalidate() -> None:
        assert await cache.invalidate("acme", **ended)

    stored = await store_and_meanwhile(cache, invalidate, tags=["t"], document_ids=["d"])
    assert 0 < stored < LONG
    assert await read_all(cache) == {}
    assert cache.stats()["refused_fills"] == {"generation": LONG - stored}
    assert await cache.set_many("note", {f"n{n}": n for n in range(LONG)}, "acme", tags=["t"]) == LONG


async def test_what_another_process_ends_between_two_portions_ends_all_of_them(cache: Cache, open_cache: Open) -> None:
    if cache.settings.redis_url is None:
        pytest.skip("in memory there is no other process")
    other = await open_cache(policies={"note": POLICY})
    await cache.set("note", "first", 1, "acme")

    async def invalidate() -> None:
        assert await other.invalidate("acme")
        assert await cache.get("note", "first", "acme", use_memory=False) is None  # the push came before this answer

    assert 0 < await store_and_meanwhile(cache, invalidate) < LONG
    assert await read_all(cache) == await read_all(other) == {}


async def test_of_several_documents_the_one_that_ends_between_two_portions_takes_its_own(cache: Cache) -> None:
    ids = {f"n{n}": [f"d{n % 2}"] for n in range(LONG)}

    async def invalidate() -> None:
        await cache.invalidate("acme", document_ids=["d1"])

    await store_and_meanwhile(cache, invalidate, document_ids=ids)
    assert await read_all(cache) == {f"n{n}": f"old {n}" for n in range(0, LONG, 2)}


async def test_an_entry_that_is_changed_between_two_portions_stays_as_it_was_changed(cache: Cache) -> None:
    async def change() -> None:
        assert await cache.set("note", LAST, "new", "acme")
        assert await cache.set_many("note", {"n998": "newer", "n997": "newer"}, "acme") == 2
        await cache.delete("note", "n996", "acme")
        await cache.invalidate("acme", "note", "n995")
        async with cache.write("acme", ("note", "n994")):
            pass

    assert await store_and_meanwhile(cache, change) >= LONG - 2
    found = await read_all(cache)
    assert [found.get(f"n{n}") for n in range(993, LONG)] == ["old 993", None, None, None, "newer", "newer", "new"]


async def test_of_two_calls_for_the_same_entries_the_later_one_wins(cache: Cache) -> None:
    both = [cache.set_many("note", {f"n{n}": value for n in range(LONG)}, "acme") for value in ("a", "b")]
    assert await asyncio.gather(*both) == [LONG, LONG]
    assert await read_all(cache) == {f"n{n}": "b" for n in range(LONG)}


async def test_other_tasks_run_between_the_portions_of_a_call(cache: Cache) -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    values = {f"n{n}": {"text": f"{n}"} for n in range(LONG)}
    assert await cache.set_many("note", values, "acme") == LONG
    turning.cancel()
    assert turns >= 2 * (LONG // 200 - 1)


@pytest.mark.parametrize("use_memory", [True, False])
async def test_other_tasks_run_while_very_many_entries_are_looked_up(cache: Cache, use_memory: bool) -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    names = [f"n{number}" for number in range(5_000)]
    await cache.set_many("note", dict.fromkeys(names, "v"), "acme")
    turning = asyncio.create_task(turn())
    asked = [*names, "absent", names[0]]
    assert await cache.get_many("note", asked, "acme", use_memory=use_memory) == dict.fromkeys(names, "v")
    turning.cancel()
    assert turns >= 5


async def test_of_a_value_that_cannot_be_stored_nothing_is_stored_beside_it(cache: Cache) -> None:
    await cache.set_many("note", {"n0": "older", LAST: "older"}, "acme")
    values: dict[str, Any] = {f"n{n}": n for n in range(LONG)}
    with pytest.raises(EncodeError):
        await cache.set_many("note", {**values, LAST: object()}, "acme")
    assert await read_all(cache) == {}
