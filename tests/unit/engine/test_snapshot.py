"""The snapshot: what was counted where, bounded, immutable, there for every thread, and cheap."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import msgspec
import pytest

from alacena.engine import Cache, CacheClosedError, Policy, Settings, Snapshot
from alacena.engine.base.counts import MOST_ROWS, MOST_TENANTS, MOST_TYPES, Counts
from alacena.engine.base.keys import Keys
from alacena.engine.base.scope import Scope
from alacena.engine.base.snapshot import BOUNDS_S, REST, Latency
from alacena.testing.doubles import FakeEnvironment
from tests.unit.engine.scene import TENANT, Source, play

TURN_S = 1.2
"""A snapshot is renewed once a second; a little more than that."""


async def counted(cache: Cache) -> Snapshot:
    """The snapshot after what has happened so far was counted."""
    await asyncio.sleep(2 * TURN_S)
    return cache.snapshot()


def reads(snapshot: Snapshot) -> dict[str, int]:
    return {name: count for name, count in msgspec.structs.asdict(snapshot.total.reads).items() if count}


def misses(snapshot: Snapshot) -> dict[str, int]:
    return {name: count for name, count in msgspec.structs.asdict(snapshot.total.misses).items() if count}


@pytest.mark.parametrize("server", [False, True])
def test_each_read_counts_once_where_it_was_answered(server: bool) -> None:
    async def scenario(stage: Any) -> None:
        cache, source = stage.cache, Source("v", takes_s=0.5)
        await cache.get("note", "n", TENANT)
        first = asyncio.ensure_future(cache.load("note", "n", TENANT, source.load))
        await asyncio.sleep(0.1)
        await asyncio.gather(first, cache.load("note", "n", TENANT, source.load))
        await asyncio.sleep(0.1)
        for _ in range(3):
            assert await cache.get("note", "n", TENANT) == "v"
        assert await cache.get("note", "n", TENANT, use_memory=False) == "v"
        snapshot = await counted(cache)

        redis = {"redis": 1} if server else {}
        memory = {"memory": 3} if server else {"memory": 4}
        assert reads(snapshot) == {"none": 1, "load": 1, "waited": 1, **memory, **redis}
        assert misses(snapshot) == {"absent": 3}
        assert (snapshot.total.loads, snapshot.total.fills, snapshot.total.load_failures) == (1, 1, 0)
        assert snapshot.total.load_s == pytest.approx(0.5, abs=0.05)
        assert snapshot.total.entries == 1
        row = next(row for row in snapshot.rows if row.data_type == "note")
        assert (row.tenant_id, row.reads) == (TENANT, snapshot.total.reads)

    play(scenario, server=server)


def test_a_load_of_another_process_is_waited_for() -> None:
    async def scenario(stage: Any) -> None:
        source = Source("v", takes_s=0.5)
        await asyncio.gather(*(cache.load("note", "n", TENANT, source.load) for cache in stage.caches))
        counts = [reads(await counted(cache)) for cache in stage.caches]
        assert sorted(counts, key=str) == [{"load": 1}, {"waited": 1}]

    play(scenario, server=True, processes=2)


@pytest.mark.parametrize("server", [False, True])
def test_an_expired_entry_that_answers_is_stale_and_no_hit(server: bool) -> None:
    async def scenario(stage: Any) -> None:
        cache, source = stage.cache, Source("v")
        await cache.load("note", "n", TENANT, source.load)
        await asyncio.sleep(11)
        assert await cache.load("note", "n", TENANT, source.load) == "v"
        snapshot = await counted(cache)
        assert reads(snapshot) == {"load": 1, "stale": 1}
        assert misses(snapshot) == {"absent": 1, "expired": 1}

    play(scenario, server=server, policy=Policy(ttl=10, stale_while_revalidate_s=60))


@pytest.mark.parametrize("server", [False, True])
def test_a_batch_counts_each_of_its_entries(server: bool) -> None:
    async def scenario(stage: Any) -> None:
        cache = stage.cache
        await asyncio.sleep(1)
        await cache.set("note", "a", "v", TENANT)

        async def loader(ids: list[str]) -> dict[str, str]:
            return dict.fromkeys(ids, "v")

        await cache.load_many("note", ["a", "b", "c"], TENANT, loader)
        await asyncio.sleep(1)
        await cache.get_many("note", ["a", "b", "x"], TENANT)
        assert reads(await counted(cache)) == {"memory": 3, "load": 2, "none": 1}

    play(scenario, server=server)


@pytest.mark.parametrize("server", [False, True])
@pytest.mark.parametrize("way", ["absent", "expired", "tenant", "entry", "document", "too large"])
def test_a_miss_says_why(way: str, server: bool) -> None:
    async def scenario(stage: Any) -> None:
        cache = stage.cache
        if way == "too large":
            with pytest.raises(TypeError):
                await cache.set("note", "n", "v" * 5_000, TENANT)
            await cache.load("note", "n", TENANT, lambda: "v" * 5_000)
            expected = {"absent": 1, "too_large": 1}
        elif way != "absent":
            await cache.set("note", "n", "v", TENANT, ttl=10, document_ids=["d1"])
            assert await cache.get("note", "n", TENANT) == "v"
            expected = {"invalidated": 1}
        if way == "absent":
            expected = {"absent": 1}
        elif way == "expired":
            await asyncio.sleep(15)
            expected = {"expired": 1}
        elif way == "tenant":
            await cache.invalidate(TENANT)
        elif way == "entry":
            await cache.delete("note", "n", TENANT)
        elif way == "document":
            await cache.invalidate(TENANT, document_ids=["d1"])
        assert await cache.get("note", "n", TENANT) is None
        assert misses(await counted(cache)) == expected

    play(scenario, server=server, max_value_bytes=4_096)


def test_an_invalidation_elsewhere_is_the_reason_too() -> None:
    async def scenario(stage: Any) -> None:
        here, there = stage.caches
        await here.set("note", "n", "v", TENANT)
        assert await here.get("note", "n", TENANT) == "v"
        await there.invalidate(TENANT, "note", "n")
        await asyncio.sleep(1)
        assert await here.get("note", "n", TENANT) is None
        assert misses(await counted(here)) == {"invalidated": 1}

    play(scenario, server=True, processes=2)


async def test_what_made_room_is_missed_as_evicted() -> None:
    environment = FakeEnvironment()
    async with Cache(Settings(memory_max_bytes=20_000), environment=environment) as cache:
        for number in range(40):
            await cache.set("note", f"n{number}", "v" * 100, TENANT)
        for number in range(40):
            await cache.get("note", f"n{number}", TENANT)
        snapshot = cache._parts.process_view.recorder.renew()
    assert snapshot.total.misses.evicted == snapshot.total.evictions > 5
    assert snapshot.total.reads.none == snapshot.total.misses.total


def test_a_server_that_is_away_is_the_reason() -> None:
    async def scenario(stage: Any) -> None:
        cache = stage.cache
        await cache.set("note", "n", "v", TENANT)
        stage.sim.network.fail(stage.server.address)
        stage.server.kill_clients()
        await asyncio.sleep(5)
        assert await cache.get("note", "n", TENANT) is None
        snapshot = await counted(cache)
        assert misses(snapshot) == {"server_away": 1}
        assert not snapshot.connected
        assert snapshot.faults

    play(scenario, server=True)


async def test_counts_are_bounded_and_nothing_is_lost_by_it() -> None:
    counts = Counts()
    keys = Keys("alacena")
    for tenant in range(3 * MOST_TENANTS):
        for kind in range(2 * MOST_TYPES):
            counts.count_unanswered(keys.entry(f"type{kind}", "n", Scope(f"t{tenant}")))
    total, types = counts.sums()
    assert total.reads.none == 3 * MOST_TENANTS * 2 * MOST_TYPES
    assert len(types) == MOST_TYPES + 1
    assert len(counts.rows()) <= MOST_ROWS + MOST_TYPES + 1
    assert len({row.tenant for row in counts.rows()}) <= MOST_TENANTS + 1
    assert any(row.tenant == REST for row in counts.rows())


async def test_the_busiest_tenants_come_to_be_listed_and_totals_only_grow() -> None:
    counts = Counts()
    keys = Keys("alacena")
    for tenant in range(MOST_TENANTS + 5):
        counts.count_unanswered(keys.entry("note", "n", Scope(f"quiet{tenant}")))
    before = counts.sums()[0].reads.none
    for _ in range(3):
        for _ in range(500):
            counts.count_unanswered(keys.entry("note", "n", Scope("busy")))
        counts.elect(lambda _: 0, 0)
    counts.count_unanswered(keys.entry("note", "n", Scope("busy")))

    busy = [row for row in counts.rows() if row.tenant_id == "busy"]
    assert len(busy) == 1
    assert busy[0].reads.none >= 500
    assert counts.sums()[0].reads.none == before + 1_501
    assert len({row.tenant_id for row in counts.rows()}) == MOST_TENANTS + 1


async def test_a_thread_reads_it_and_it_cannot_be_changed() -> None:
    async with Cache() as cache:
        await cache.set("note", "n", "v", TENANT)
        found: list[Snapshot] = []
        thread = threading.Thread(target=lambda: found.append(cache.snapshot()))
        thread.start()
        thread.join()
        assert found[0] is cache.snapshot()
        with pytest.raises(AttributeError):
            found[0].memory_bytes = 1  # type: ignore[misc]
        assert hash(found[0].total) == hash(found[0].total)
        packed = msgspec.msgpack.encode(found[0])
        assert msgspec.msgpack.decode(packed, type=Snapshot) == found[0]
        assert msgspec.json.decode(msgspec.json.encode(found[0]))["process"] == found[0].process
    with pytest.raises(CacheClosedError):
        cache.snapshot()


async def test_stats_tell_what_the_snapshot_tells() -> None:
    async with Cache(environment=FakeEnvironment()) as cache:
        await cache.load("note", "n", TENANT, lambda: "v")
        await cache.get("note", "x", TENANT)
        for _ in range(5):
            cache.peek((TENANT, "note", "n"))
        snapshot, stats = cache._parts.process_view.recorder.renew(), cache.stats()
    assert stats["misses"] == snapshot.total.misses.total == 2
    assert stats["fills"] == snapshot.total.fills == 1
    assert stats["memory"][TENANT, "note"].hits == snapshot.total.reads.memory == 5


def test_a_quantile_is_the_bound_under_which_that_part_stayed() -> None:
    counts = [0] * (len(BOUNDS_S) + 1)
    counts[3], counts[9], counts[-1] = 90, 9, 1
    latency = Latency("load", tuple(counts), 1.0)
    assert latency.count == 100
    assert latency.quantile(0.5) == BOUNDS_S[3]
    assert latency.quantile(0.99) == BOUNDS_S[9]
    assert latency.quantile(1.0) == float("inf")


async def test_tokens_are_counted_once_and_by_what_they_are() -> None:
    async with Cache(environment=FakeEnvironment()) as cache:
        for _ in range(2):
            await cache.ledger.record(TENANT, 100, model="m", idempotency_key="k1", cost="0.25")
        await cache.ledger.record(TENANT, 40, model="m", idempotency_key="k2", saved=True, cost="0.10")
        (tokens,) = cache._parts.process_view.recorder.renew().tokens
    assert (tokens.tenant_id, tokens.used, tokens.saved, tokens.calls, tokens.saved_calls) == (TENANT, 100, 40, 1, 1)
    assert (tokens.used_micros, tokens.saved_micros) == (250_000, 100_000)


def test_the_slower_operations_have_their_times() -> None:
    async def scenario(stage: Any) -> None:
        cache = stage.cache
        await cache.load("note", "n", TENANT, Source("v", takes_s=0.3).load)
        await cache.get("note", "n", TENANT, use_memory=False)
        await cache.set("note", "m", "v", TENANT)
        await cache.invalidate(TENANT)
        snapshot = await counted(cache)
        times = {one.operation: one for one in snapshot.latencies}
        assert set(times) == {"redis_read", "load", "store", "invalidate"}
        assert times["load"].quantile(1.0) == 0.5
        assert times["redis_read"].count >= 2
        assert times["store"].count == 2
        assert times["invalidate"].count >= 1

    play(scenario, server=True)
