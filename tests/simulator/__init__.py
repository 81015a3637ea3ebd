"""A deterministic simulation for asyncio programs: virtual time, a seeded schedule, an in-memory network with faults.

A scenario is a coroutine function that gets a `Simulation`. Everything that it and the code under test do (tasks,
timers, connections) is decided by one seed, so a failure is replayed by running the same seed again::

    async def scenario(sim):
        server = await asyncio.start_server(serve, "db", 5432)
        worker = sim.process("worker")
        task = worker.spawn(work())
        worker.pause_for(2.0)
        await task

    simulation.run(scenario, seed=42)

It is an event loop of its own: run it from synchronous code, not from a running loop.
"""

from tests.simulator.environment import WALL_ORIGIN, SimEnvironment
from tests.simulator.errors import (
    SimDeadlockError,
    SimStuckError,
    SimulationError,
    SimUnsupportedError,
    UnhandledError,
)
from tests.simulator.link import Link, LinkProfile, Pipe
from tests.simulator.loop import SimLoop
from tests.simulator.network import SimNetwork
from tests.simulator.process import SimProcess
from tests.simulator.replication import Replication
from tests.simulator.runner import Exploration, Outcome, SimOptions, Simulation, explore, run
from tests.simulator.server import SimServer, Twin
from tests.simulator.source import Row, SimSource, SourceCrashError, Transaction
from tests.simulator.trace import Event, Trace

__all__ = [
    "WALL_ORIGIN",
    "Event",
    "Exploration",
    "Link",
    "LinkProfile",
    "Outcome",
    "Pipe",
    "Replication",
    "Row",
    "SimDeadlockError",
    "SimEnvironment",
    "SimLoop",
    "SimNetwork",
    "SimOptions",
    "SimProcess",
    "SimServer",
    "SimSource",
    "SimStuckError",
    "SimUnsupportedError",
    "Simulation",
    "SimulationError",
    "SourceCrashError",
    "Trace",
    "Transaction",
    "Twin",
    "UnhandledError",
    "explore",
    "run",
]
