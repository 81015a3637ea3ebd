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

from alacena.testing.simulation.environment import WALL_ORIGIN, SimEnvironment
from alacena.testing.simulation.errors import (
    SimDeadlockError,
    SimStuckError,
    SimulationError,
    SimUnsupportedError,
    UnhandledError,
)
from alacena.testing.simulation.link import Link, LinkProfile, Pipe
from alacena.testing.simulation.loop import SimLoop
from alacena.testing.simulation.network import SimNetwork
from alacena.testing.simulation.process import SimProcess
from alacena.testing.simulation.replication import Replication
from alacena.testing.simulation.runner import Exploration, Outcome, SimOptions, Simulation, explore, run
from alacena.testing.simulation.server import SimServer, Twin
from alacena.testing.simulation.source import Row, SimSource, SourceCrashError, Transaction
from alacena.testing.simulation.trace import Event, Trace

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
