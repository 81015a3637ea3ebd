"""The promises of the coherence protocol, kept by the whole cache under every fault, and broken by every mutant."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import pytest

from alacena.engine.api.cache import Cache
from alacena.engine.base.settings import Settings
from tests.simulation.mutants import MUTANTS
from tests.simulation.scenario import Fault, Plan, play
from tests.simulator import LinkProfile, SimOptions, SimServer, Simulation, UnhandledError, run

if TYPE_CHECKING:
    from collections.abc import Iterator

SEEDS = int(os.environ.get("TESTS_SIMULATION_SEEDS", "2"))
"""How many seeds a plan is played with; a nightly run takes thousands."""
FIRST = int(os.environ.get("TESTS_SIMULATION_FIRST", "0"))

_MISFITS = (AttributeError, NameError, TypeError)
"""What code raises that does not fit the code around it."""

ROUGH = LinkProfile(latency_s=(0.000_1, 0.02), split_ratio=0.5)
BAD = LinkProfile(split_ratio=0.2, stall_ratio=0.01, reset_ratio=0.001, blackhole_ratio=0.000_5)
CUTS: tuple[Fault, ...] = ("kill_clients", "reset", "stall", "vanish", "half_open_up", "half_open_down")
TRUSTING = Plan(profile=ROUGH, memory_ratio=1.0, verbs=("resource",), keys=3, writing_processes=1)
"""Reads that memory answers as long as it may, and invalidations that only a push on the entry tells of."""

PLANS = {
    "calm": Plan(profile=ROUGH),
    "slow": Plan(
        slow_load_ratio=0.3, faults=("kill_clients", "half_open_down", "half_open_up", "vanish", "server_pause")
    ),
    "cut off": Plan(faults=CUTS, fault_every_s=0.4),
    "flushed": Plan(faults=("flush", "evict", "lose_generation", "lose_scripts")),
    "evicting": Plan(eviction="allkeys-lru", maxmemory_bytes=2500, keys=6, duration_s=3),
    "evicting volatile": Plan(eviction="volatile-ttl", maxmemory_bytes=2500, keys=6, duration_s=3),
    "small tracking table": Plan(tracking_table=6, keys=4, duration_s=3),
    "holds": Plan(verbs=("write",), keys=1, abandon_ratio=0.5),
    "trusting": TRUSTING,
    "trusting, flushed": replace(TRUSTING, faults=("flush",), fault_every_s=0.3),
    "trusting, entries evicted": replace(TRUSTING, verbs=("type", "resource"), faults=("evict",), fault_every_s=0.05),
    "trusting, evicting": replace(TRUSTING, eviction="allkeys-lru", maxmemory_bytes=6000, keys=12),
    "trusting, cut off": replace(TRUSTING, faults=("half_open_down", "vanish"), fault_every_s=1.5),
    "paused": Plan(faults=("pause", "suspend", "server_pause", "wall")),
    "restarting": Plan(faults=("restart_kept", "restart_lost")),
    "failing over": Plan(faults=("failover",), lag_s=(0.05, 0.6), fault_every_s=0.5),
    "swapped entries": Plan(faults=("swap",), fault_every_s=0.05),
    "named late": Plan(profile=ROUGH, verbs=("document",), late_tags=True, keys=3),
    "named late, flushed": Plan(
        verbs=("document", "document", "tag"), late_tags=True, keys=3, faults=("flush", "evict", "lose_generation")
    ),
    "named late, generations lost": Plan(
        verbs=("document",),
        late_tags=True,
        keys=6,
        slow_load_ratio=0.05,
        faults=("lose_generation",),
        fault_every_s=0.2,
    ),
    "named late, cut off": Plan(verbs=("document",), late_tags=True, keys=3, faults=CUTS, fault_every_s=0.4),
    "named late, failing over": Plan(
        verbs=("document",), late_tags=True, keys=3, faults=("failover",), lag_s=(0.05, 0.6), fault_every_s=0.5
    ),
    "tracking refused": Plan(profile=ROUGH, tracking="refused", keys=3),
    "tracking refused, flushed": Plan(
        tracking="refused", faults=("flush", "evict", "lose_generation"), fault_every_s=0.3
    ),
    "pushes swallowed": Plan(profile=ROUGH, tracking="swallowed", keys=3),
    "writes refused": Plan(faults=("refuse_writes",), fault_every_s=1.0),
    "writes refused, cut off": Plan(faults=("refuse_writes", "kill_clients", "half_open_down"), fault_every_s=0.6),
    "nested": Plan(
        profile=ROUGH, nested=True, keys=3, slow_load_ratio=0.1, verbs=("resource", "type", "tag"), readers=4
    ),
    "nested, cut off": Plan(nested=True, keys=3, slow_load_ratio=0.1, faults=CUTS, fault_every_s=0.4),
    "nested, generations lost": Plan(
        nested=True, keys=3, slow_load_ratio=0.1, faults=("lose_generation", "flush"), fault_every_s=0.2
    ),
    "entries removed": Plan(verbs=("delete",), slow_load_ratio=0.3),
    "entries replaced": Plan(
        verbs=("set", "set", "set", "delete"),
        writing_processes=1,
        keys=1,
        slow_load_ratio=0.3,
        faults=("evict",),
        fault_every_s=0.05,
    ),
    "unchanged after a wait": Plan(profile=ROUGH, conditional=True, verbs=("resource", "tag", "tag"), keys=2),
    "unchanged after a wait, cut off": Plan(conditional=True, verbs=("tag", "type"), faults=CUTS, fault_every_s=0.4),
    "outgrown": Plan(profile=ROUGH, outgrown_ratio=0.5, verbs=("commit", "commit", "resource"), write_pause_s=0.5),
    "blocks that die": Plan(verbs=("write",), keys=1, abandon_ratio=0.7, scoped=True),
    "blocks that die, evicted": Plan(
        verbs=("write",), keys=1, abandon_ratio=0.5, scoped=True, faults=("evict", "lose_generation")
    ),
    "readings": Plan(
        profile=ROUGH,
        late_tags=True,
        verbs=("reading", "reading", "document", "type", "tag"),
        keys=2,
        write_pause_s=0.1,
    ),
    "readings, flushed": Plan(
        verbs=("reading", "reading", "document", "tag"),
        late_tags=True,
        keys=2,
        faults=("flush", "evict", "lose_generation"),
    ),
    "readings, cut off": Plan(
        late_tags=True, verbs=("reading", "reading", "document", "tag"), faults=CUTS, fault_every_s=0.4
    ),
    "readings beside blocks": Plan(
        profile=ROUGH, verbs=("reading", "batch", "write", "resource", "delete"), keys=2, write_pause_s=0.1
    ),
    "readings beside blocks, scoped": Plan(
        profile=ROUGH, verbs=("reading", "batch", "write", "resource"), keys=2, write_pause_s=0.1, scoped=True
    ),
    "readings beside blocks, flushed": Plan(
        verbs=("reading", "batch", "write", "delete"),
        keys=2,
        faults=("flush", "evict", "lose_generation"),
    ),
    "readings beside blocks, cut off": Plan(
        verbs=("reading", "batch", "write", "resource", "delete"), keys=2, faults=CUTS, fault_every_s=0.4
    ),
    "readings beside blocks, failing over": Plan(
        verbs=("reading", "batch", "write", "resource"), faults=("failover",), lag_s=(0.05, 0.6), fault_every_s=0.5
    ),
    "readings beside blocks that die": Plan(
        profile=ROUGH, verbs=("reading", "batch", "write"), keys=1, write_pause_s=0.1, abandon_ratio=0.5, hold_s=0.2
    ),
    "readings of many": Plan(
        profile=ROUGH, memory_ratio=0.9, verbs=("batch", "batch", "type", "tag"), keys=4, write_pause_s=0.1
    ),
    "readings of many, evicted": Plan(
        verbs=("batch", "batch", "type", "tag"), keys=4, faults=("evict", "lose_generation", "flush", "lose_scripts")
    ),
    "in pieces": Plan(
        profile=ROUGH, piece_bytes=50, verbs=("reading", "batch", "type", "resource", "tag"), write_pause_s=0.1
    ),
    "in pieces, replaced": Plan(
        piece_bytes=50,
        verbs=("set", "set", "set", "delete"),
        writing_processes=1,
        keys=1,
        faults=("evict", "lose_scripts"),
        fault_every_s=0.05,
    ),
    "in pieces, cut off": Plan(
        piece_bytes=50, verbs=("reading", "resource", "write"), faults=(*CUTS, "flush"), fault_every_s=0.4
    ),
    "in pieces, failing over": Plan(
        piece_bytes=50, verbs=("reading", "resource"), faults=("failover",), lag_s=(0.05, 0.6), fault_every_s=0.5
    ),
    "everything": Plan(profile=BAD, faults=get_args(Fault), fault_every_s=0.5),
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """A server that is away is logged, again and again."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("plan", PLANS)
def test_no_read_is_stale_beyond_the_bound(plan: str) -> None:
    reads = 0
    for seed in range(FIRST, FIRST + SEEDS):
        record, report = play(PLANS[plan], seed)
        report.raise_for_violations()
        assert report.max_s <= PLANS[plan].bound_s
        reads += report.reads
        assert len(record.history) > 50
    assert reads > 80 * SEEDS


SEEN_WITH = {
    "a journal begun anew is believed by a reading": 41,
    "neither the null push nor the canary's loss is heeded": 22,
    "the ending of a resource is not written into the journal": 19,
    "no heartbeat bounds memory": 21,
    "a journal begun anew is believed": 8,
    "endings are not written into the journal": 3,
    "a fill needs no lease": 2,
    "memory survives the connection": 2,
    "pushes come late": 2,
    "a journal that is full is left as it is": 2,
    "loads are joined after their entry was replaced": 1,
    "an older value outlives a newer one that is not stored": 1,
    "a hold ends no generation": 1,
    "a reading does not ask for its entry": 1,
}
"""Where to begin the search for a seed that shows a rare mutant: saves time, and decides nothing."""


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_simulation_catches(mutant: str) -> None:
    plan, switched_off = MUTANTS[mutant]
    begin = SEEN_WITH.get(mutant, 0)
    with switched_off():
        caught = any(is_caught(PLANS[plan], seed) for seed in range(begin, begin + 80))
        assert caught, f"{mutant}: not seen in 80 seeds of {plan!r}"


def is_caught(plan: Plan, seed: int) -> bool:
    """Whether a run with a mechanism switched off shows it."""
    caught = False
    try:
        _, report = play(plan, seed)
        caught = bool(report.violations)
    except* UnhandledError as group:
        # A mutant that only does not fit the code any more proves nothing.
        if any(isinstance(error, _MISFITS) for error in _unhandled(group)):
            pytest.fail(f"the mutant is broken: {group}")
        caught = True
    except* AssertionError:
        caught = True
    return caught


def _unhandled(group: ExceptionGroup[UnhandledError]) -> Iterator[object]:
    for error in group.exceptions:
        if isinstance(error, ExceptionGroup):
            yield from _unhandled(error)
        else:
            yield from (context.get("exception") for context in error.contexts)


def test_a_run_repeats_itself_to_the_byte() -> None:
    plan = replace(PLANS["everything"], duration_s=2.0)
    options = SimOptions(profile=BAD, detailed_trace=True)
    (first, _), (second, _) = (play(plan, 7, options=options) for _ in range(2))
    assert first.trace_digest == second.trace_digest
    assert first.history == second.history


@pytest.mark.parametrize("seed", range(5))
def test_a_cold_key_is_loaded_once_by_all_processes(seed: int) -> None:
    async def main(sim: Simulation) -> int:
        SimServer(sim)
        loads = 0

        async def load() -> str:
            nonlocal loads
            loads += 1
            await asyncio.sleep(0.2)
            return "value"

        async def body(cache: Cache) -> None:
            async with cache:
                values = await asyncio.gather(*(cache.load("document", "d1", "acme", load) for _ in range(25)))
                assert set(values) == {"value"}

        bodies = []
        for number in range(8):
            process = sim.process(f"p{number}")
            settings = Settings(redis_url="redis://redis:6379", fleet_every_s=None)
            bodies.append(process.spawn(body(Cache(settings, environment=process.environment))))
        await asyncio.gather(*bodies)
        return loads

    assert run(main, seed=seed).result == 1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kill", [False, True], ids=["alive", "killed"])
def test_who_waits_for_a_load_sends_next_to_nothing(seed: int, *, kill: bool) -> None:
    """A process that waits asks for the entry, for the lease, and again when it is told of a change."""
    asking = ("GET", "MGET", "EVALSHA")
    waiting = 7

    async def main(sim: Simulation) -> int:
        server = SimServer(sim)
        began = asyncio.Event()

        async def load() -> str:
            began.set()
            await asyncio.sleep(1.0)
            return "value"

        settings = Settings(redis_url="redis://redis:6379", lease_s=4.0, fleet_every_s=None)
        processes = [sim.process(f"p{number}") for number in range(waiting + 1)]
        caches = [Cache(settings, environment=process.environment) for process in processes]
        opened = asyncio.Barrier(waiting + 2)

        async def body(cache: Cache, first: bool) -> None:
            async with cache:
                await opened.wait()
                if not first:
                    await began.wait()
                    await asyncio.sleep(0.1)
                assert await cache.load("document", "d1", "acme", load) == "value"
                await asyncio.sleep(0.5)

        bodies = [
            process.spawn(body(cache, cache is caches[0])) for process, cache in zip(processes, caches, strict=True)
        ]
        await opened.wait()
        await began.wait()
        await asyncio.sleep(0.05)
        before = sum(server.commands.get(name, 0) for name in asking)
        if kill:
            await asyncio.sleep(0.5)
            processes[0].kill()
        await asyncio.gather(*bodies[1:])
        return sum(server.commands[name] for name in asking) - before

    assert run(main, seed=seed).result <= (waiting + 1) * (4 if kill else 3)


def test_a_load_whose_process_is_killed_is_done_once_more_after_its_lease() -> None:
    async def main(sim: Simulation) -> tuple[int, float]:
        SimServer(sim)
        loads: list[str] = []

        async def body(name: str, cache: Cache) -> None:
            async def load() -> str:
                loads.append(name)
                await asyncio.sleep(0.5)
                return "value"

            async with cache:
                assert await cache.load("document", "d1", "acme", load) == "value"

        settings = Settings(redis_url="redis://redis:6379", lease_s=2.0, fleet_every_s=None)
        first, second = sim.process("first"), sim.process("second")
        first.spawn(body("first", Cache(settings, environment=first.environment)))
        await asyncio.sleep(0.1)
        task = second.spawn(body("second", Cache(settings, environment=second.environment)))
        await asyncio.sleep(0.1)
        first.kill()
        began = sim.now()
        await task
        assert loads == ["first", "second"]
        return len(loads), sim.now() - began

    for seed in range(5):
        _, waited = run(main, seed=seed).result
        assert 1.5 < waited < 4.0
