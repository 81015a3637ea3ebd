"""A simulated process: a set of tasks and callbacks that can be paused, resumed and killed together."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine

    from tests.simulator.environment import SimEnvironment
    from tests.simulator.loop import SimLoop
    from tests.simulator.network import SimNetwork
    from tests.simulator.trace import Trace

T = TypeVar("T")

CURRENT: contextvars.ContextVar[SimProcess | None] = contextvars.ContextVar("alacena_sim_process", default=None)
"""The process whose code runs. Tasks and callbacks inherit it, as they inherit every context variable."""


class SimProcess:
    """One operating-system process of the simulated system; they share the loop and the network, nothing else.

    Whatever a task of the process starts belongs to the process: tasks, timers, connections and their callbacks.

    Attributes:
        name: Shows up in the trace and on the process's links.
        environment: The process's own clocks and chance.
        alive: False after `kill`.
    """

    def __init__(
        self, loop: SimLoop, network: SimNetwork, trace: Trace, name: str, environment: SimEnvironment
    ) -> None:
        self.name = name
        self.environment = environment
        self.alive = True
        self._loop = loop
        self._network = network
        self._trace = trace
        self._paused = False
        self._parked: list[asyncio.Handle] = []

    def spawn(self, coroutine: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Start a task inside this process."""
        context = contextvars.copy_context()
        context.run(CURRENT.set, self)
        return self._loop.create_task(coroutine, name=name, context=context)

    @property
    def running(self) -> bool:
        """Whether the process gets the processor: alive and not paused."""
        return self.alive and not self._paused

    def park(self, handle: asyncio.Handle) -> None:
        """Keep a callback that came up while the process did not run (called by the loop)."""
        self._parked.append(handle)

    def pause(self) -> None:
        """Stop the process where it is, as ``SIGSTOP`` does: time goes on, bytes pile up, nothing runs."""
        self._trace.note("fault", self.name, "paused")
        self._paused = True

    def resume(self) -> None:
        """Let a paused process go on; what piled up runs first, in its order."""
        self._trace.note("fault", self.name, "resumed")
        self._paused = False
        self._release()

    def pause_for(self, seconds: float) -> None:
        """`pause` now and `resume` after ``seconds`` of virtual time."""
        self.pause()
        self._loop.call_at(self._loop.time() + seconds, self.resume, context=contextvars.Context())

    def suspend(self, seconds: float) -> None:
        """Let the whole machine sleep: nothing runs for ``seconds`` and the boot clock shows that they passed.

        The loop's own clock stands still for the process on a real machine; here the other processes go on, so the
        process is paused for that long and its boot clock ends up ``seconds`` further than its timers know.
        """
        self.environment.suspend(seconds)
        self.pause_for(seconds)

    def kill(self, *, silently: bool = False) -> None:
        """End the process as ``SIGKILL`` does: no handler runs, its sockets are closed by the system.

        Args:
            silently: The machine is gone rather than the process: peers are not told.
        """
        self._trace.note("fault", self.name, "killed")
        self.alive = False
        for link in self._network.links_of(self.name):
            if silently:
                link.vanish()
            else:
                link.hang_up()

    def bury(self) -> None:
        """Let the remains run after the simulation ended, so that cancelled tasks can unwind (called by the runner)."""
        self.alive = True
        self._paused = False
        self._release()

    def _release(self) -> None:
        parked, self._parked = self._parked, []
        self._loop.requeue(parked)


def current_name() -> str:
    """The name of the process whose code runs, or ``"-"`` outside of any."""
    process = CURRENT.get()
    return "-" if process is None else process.name
