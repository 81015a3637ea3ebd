"""The fleet: who is there, what each has counted, and what only one of them knows; in virtual time."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import msgspec
import pytest

from alacena.engine import Cache, LimitExceededError, Settings, UsageError
from alacena.engine.base.counts import MOST_TENANTS
from alacena.testing.doubles import FakeEnvironment
from tests.unit.engine.scene import TENANT, Source, play


def names(members: list[Any]) -> list[str]:
    return sorted(member.name for member in members)


def test_each_process_is_listed_with_what_it_has_counted() -> None:
    async def scenario(stage: Any) -> None:
        one, two, three = stage.caches
        await one.load("note", "n", TENANT, lambda: "v")
        await asyncio.sleep(0.5)
        await two.get("note", "n", TENANT)
        await asyncio.sleep(5)
        members = await three.fleet()
        assert len(set(names(members))) == 3
        assert not any(member.is_stale for member in members)
        assert max(member.age_s for member in members) < 2.5
        counted = [m.snapshot.total.reads.load + m.snapshot.total.reads.redis for m in members]
        assert sorted(counted) == [0, 1, 1]

    play(scenario, server=True, processes=3)


def test_one_that_is_killed_is_stale_within_seconds_and_forgotten_later() -> None:
    async def scenario(stage: Any) -> None:
        left, killed = stage.caches
        await asyncio.sleep(3)
        name = killed._parts.process_view.fleet.name
        stage.processes[1].kill()

        async def ages() -> dict[str, tuple[bool, bool]]:
            return {m.name: (m.is_stale, m.snapshot is not None) for m in await left.fleet()}

        await asyncio.sleep(6)
        assert (await ages())[name] == (True, True)
        assert (await ages())[left._parts.process_view.fleet.name] == (False, True)
        await asyncio.sleep(10)
        assert (await ages())[name] == (True, False)
        await asyncio.sleep(60)
        assert name not in await ages()

    play(scenario, server=True, processes=2)


def test_one_that_closes_is_gone_at_once() -> None:
    async def scenario(stage: Any) -> None:
        one, two = stage.caches
        await asyncio.sleep(3)
        assert len(await one.fleet()) == 2
        await stage.processes[1].spawn(two.close())
        assert names(await one.fleet()) == [one._parts.process_view.fleet.name]

    play(scenario, server=True, processes=2)


def test_what_only_one_process_knows_is_asked_of_it() -> None:
    async def scenario(stage: Any) -> None:
        one, two = stage.caches
        await asyncio.sleep(1)
        await two.set("note", "n", "v", TENANT)
        slow = asyncio.ensure_future(
            stage.processes[1].spawn(two.load("note", "m", TENANT, Source("w", takes_s=20).load))
        )
        await asyncio.sleep(3)
        name = two._parts.process_view.fleet.name
        entry = {"data_type": "note", "resource_id": "n", "tenant_id": TENANT}
        began = stage.now()
        there = await one.ask(name, "explain", entry)
        assert stage.now() - began < 2.5
        here = await one.ask(one._parts.process_view.fleet.name, "explain", entry)
        assert (there["memory"]["alive"], here["memory"]) == (True, None)
        loads = await one.ask(name, "loads")
        assert loads["count"] == 1
        assert loads["loads"][0]["age_s"] > 3
        counted = await one.ask(name, "snapshot")
        assert counted["memory_entries"] >= 1
        assert "v" not in {str(value) for value in msgspec.to_builtins(counted).values()}
        await slow

    play(scenario, server=True, processes=2)


def test_a_tenant_that_a_snapshot_sums_up_is_found_by_asking() -> None:
    async def scenario(stage: Any) -> None:
        one, two = stage.caches
        await asyncio.sleep(1)
        for number in range(MOST_TENANTS + 40):
            await two.set("note", "n", "v", f"t{number}")
            await two.get("note", "n", f"t{number}")
        await asyncio.sleep(3)
        name, last = two._parts.process_view.fleet.name, f"t{MOST_TENANTS + 39}"
        listed = {row.tenant_id for row in two.snapshot().rows}
        assert last not in listed
        found = await one.ask(name, "tenant", {"tenant_id": last})
        assert found["is_listed"] is False
        assert found["types"]["note"]["entries"] == 1
        assert found["types"]["note"]["misses"] is None
        of_listed = await one.ask(name, "tenant", {"tenant_id": "t0"})
        assert (of_listed["is_listed"], of_listed["types"]["note"]["misses"]) == (True, 0)
        assert (await one.ask(name, "tenant", {"tenant_id": "nobody"})) == {"is_listed": False, "types": {}}

    play(scenario, server=True, processes=2)


def test_a_question_ends_in_time_and_says_what_is_wrong_with_it() -> None:
    async def scenario(stage: Any) -> None:
        one, two = stage.caches
        await asyncio.sleep(3)
        name = two._parts.process_view.fleet.name
        with pytest.raises(UsageError, match="explain, loads, snapshot, tenant"):
            await one.ask(name, "password")
        with pytest.raises(UsageError, match="missing 3 required"):
            await one.ask(name, "explain")
        stage.processes[1].kill()
        began = stage.now()
        with pytest.raises(TimeoutError, match="may have ended"):
            await one.ask(name, "loads", deadline_s=4)
        assert stage.now() - began == pytest.approx(4, abs=0.1)
        asked = [asyncio.ensure_future(one.ask(name, "loads", deadline_s=1)) for _ in range(40)]
        ended = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(error, LimitExceededError) for error in ended) >= 8
        assert {type(error) for error in ended} == {LimitExceededError, TimeoutError}

    play(scenario, server=True, processes=2)


def test_names_that_must_not_be_seen_on_the_server_are_not() -> None:
    async def scenario(stage: Any) -> None:
        one, _ = stage.caches
        await one.load("note", "n", "very-secret-tenant", lambda: "v")
        await asyncio.sleep(5)
        stored = str(
            [stage.server.keyspace.execute([b"GET", key]) for key in stage.server.keyspace.names() if b"said" in key]
        )
        assert "very-secret-tenant" not in stored
        tenants = {row.tenant_id for member in await one.fleet() for row in member.snapshot.rows}
        assert len(tenants) == 1
        assert "very-secret-tenant" not in tenants

    play(scenario, server=True, processes=2, key_secret="a secret of the operator")


def test_a_server_that_is_away_stops_nothing_and_the_fleet_is_back_with_it() -> None:
    async def scenario(stage: Any) -> None:
        one = stage.cache
        await asyncio.sleep(3)
        stage.sim.network.fail(stage.server.address)
        stage.server.kill_clients()
        await asyncio.sleep(30)
        assert one.snapshot().taken_at > 0
        stage.sim.network.restore(stage.server.address)
        await asyncio.sleep(30)
        assert len([member for member in await one.fleet() if not member.is_stale]) == 2
        assert "fleet" not in one.guarantee()["faults"]

    play(scenario, server=True, processes=2)


def test_none_says_nothing_of_itself_but_sees_the_others() -> None:
    async def scenario(stage: Any) -> None:
        await asyncio.sleep(10)
        assert await stage.caches[0].fleet() == []

    play(scenario, server=True, processes=2, fleet_every_s=None)


async def test_without_a_server_the_fleet_is_this_process() -> None:
    async with Cache(Settings(process_name="alone"), environment=FakeEnvironment()) as cache:
        await cache.get("note", "n", TENANT)
        (member,) = await cache.fleet()
        assert member.name.startswith("alone#")
        assert member.snapshot.total.reads.none == 1
        assert (await cache.ask(member.name, "loads"))["count"] == 0


def test_the_locks_of_one_that_is_killed_are_named_until_they_end() -> None:
    async def scenario(stage: Any) -> None:
        left, killed = stage.caches
        locks = killed.locks

        async def take() -> None:
            await locks.take("long", tenant_id=TENANT, ttl_s=300)
            await locks.try_acquire("by token", tenant_id=TENANT, ttl_s=200, token="t")
            short = await locks.take("given back", tenant_id=TENANT)
            await short.release()

        await stage.processes[1].spawn(take())
        await asyncio.sleep(3)
        name = killed._parts.process_view.fleet.name
        stage.processes[1].kill()

        async def found() -> dict[str, str | None]:
            return {state.key.split(":")[3]: state.process for state in await left.find_locks()}

        assert await found() == {"long": name, "by%20token": name}
        await asyncio.sleep(220)
        assert await found() == {"long": name}
        await asyncio.sleep(100)
        assert await found() == {}

    play(scenario, server=True, processes=2)


def test_a_lock_that_another_has_by_now_is_not_said_to_be_the_old_ones() -> None:
    async def scenario(stage: Any) -> None:
        left, other = stage.caches
        lock = await left.locks.take("long", tenant_id=TENANT)
        await asyncio.sleep(3)
        await lock.release()
        await stage.processes[1].spawn(other.locks.take("long", tenant_id=TENANT))
        # Neither has said anything since: the server is asked for the fence.
        left._parts.process_view.fleet._presence = dataclasses.replace(
            left._parts.process_view.fleet._presence, is_seen=False
        )
        (state,) = await left.find_locks()
        assert state.process is None
        await asyncio.sleep(3)
        (state,) = await left.find_locks()
        assert state.process == other._parts.process_view.fleet.name

    play(scenario, server=True, processes=2)


def test_a_lease_names_its_holder_also_after_it_was_killed() -> None:
    async def scenario(stage: Any) -> None:
        left, killed = stage.caches
        await asyncio.sleep(3)
        name = killed._parts.process_view.fleet.name
        stage.processes[1].spawn(killed.load("note", "n", TENANT, Source("v", takes_s=30).load))
        await asyncio.sleep(1)
        stage.processes[1].kill()
        facts = await left.explain("note", "n", TENANT)
        assert facts["lease"]
        assert name.endswith(f"#{facts['lease_holder']}")

    play(scenario, server=True, processes=2)
