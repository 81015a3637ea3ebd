"""A cache on a stage: virtual time, a seeded schedule, a source that does what the test says."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from alacena.engine import Cache, Policy, Settings
from alacena.testing.doubles import RecordingObserver
from tests.simulator import SimOptions, SimServer, run

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from alacena.engine import LoadContext
    from tests.simulator import SimProcess, Simulation

TENANT = "acme"
SEEDS = tuple(range(1, 1 + int(os.environ.get("TESTS_SCENE_SEEDS", "2"))))
"""The schedules that each scenario is played with."""


class Source:
    """Answers with its value after a while, or fails; remembers who asked.

    Args:
        value: What it answers; an exception is raised.
        takes_s: How long it takes.
    """

    def __init__(self, value: Any = "v1", *, takes_s: float = 0.0) -> None:
        self.value = value
        self.takes_s = takes_s
        self.asked = 0
        self.under_way = 0
        self.most_under_way = 0
        self.cancelled = 0
        self.contexts: list[LoadContext] = []

    async def load(self, context: LoadContext) -> Any:
        """One load; what it answers is decided when it begins."""
        self.asked += 1
        self.contexts.append(context)
        value = self.value
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self.takes_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1
        if isinstance(value, BaseException):
            raise value
        return value


class Stage:
    """What a scenario plays on.

    Attributes:
        sim: Time, chance, network.
        processes: The simulated processes.
        caches: One for each; on one server, if there is one.
        server: The simulated server, or ``None``.
        seen: Their events.
    """

    def __init__(self, sim: Simulation, server: SimServer | None) -> None:
        self.sim = sim
        self.processes: list[SimProcess] = []
        self.caches: list[Cache] = []
        self.server = server
        self.seen = RecordingObserver()

    @property
    def cache(self) -> Cache:
        """The first one."""
        return self.caches[0]

    def now(self) -> float:
        """Virtual seconds."""
        return self.sim.now()

    def left_behind(self) -> dict[str, int]:
        """What should be nothing once all is quiet."""
        left = {"flights": 0, "tasks": 0, "looks": 0, "leases": 0}
        for cache in self.caches:
            parts = cache._parts
            assert parts is not None
            left["flights"] += len(parts.flights)
            left["tasks"] += len(parts.flights.tasks)
            left["looks"] += len(parts.reader._tiers._looking)
            left["leases"] += len(getattr(parts.remote, "_leases", ()))
        if self.server is not None:
            left["leases"] += sum(b":l:" in key for key in self.server.keyspace.names())
        return left


def play(
    scenario: Callable[[Stage], Coroutine[Any, Any, None]],
    *,
    policy: Policy | None = None,
    policies: dict[str, Policy] | None = None,
    seeds: Iterable[int] = SEEDS,
    processes: int = 1,
    server: bool = False,
    allow_unhandled: bool = False,
    **settings: Any,
) -> None:
    """Play a scenario once a seed: memory only, or processes on one simulated server.

    Args:
        scenario: What happens; an exception that nobody retrieved fails it too.
        policy: Of the type ``"note"``.
        policies: Of other types.
        seeds: Each names a schedule.
        processes: How many caches.
        server: Whether there is a server.
        allow_unhandled: Whether the loop's exception handler may be called.
        settings: As for `Settings`; no jitter unless asked for.
    """
    kept = {**(policies or {}), **({} if policy is None else {"note": policy})}
    options = {"ttl_jitter_ratio": 0.0, **({"redis_url": "redis://redis:6379"} if server else {}), **settings}

    async def main(sim: Simulation) -> None:
        stage = Stage(sim, SimServer(sim, ("redis", 6379)) if server else None)
        async with AsyncExitStack() as stack:
            for number in range(processes):
                process = sim.process(f"p{number}")
                cache = Cache(
                    Settings(**options), environment=process.environment, policies=kept, observers=[stage.seen]
                )
                await process.spawn(cache.open())
                stack.push_async_callback(cache.close)
                stage.processes.append(process)
                stage.caches.append(cache)
            await scenario(stage)

    for seed in seeds:
        run(main, seed=seed, options=SimOptions(allow_unhandled=allow_unhandled))


async def settle(turns: int = 20) -> None:
    """Let everything that is ready run."""
    for _ in range(turns):
        await asyncio.sleep(0)
