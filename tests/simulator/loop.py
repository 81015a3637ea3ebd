"""`SimLoop`: an asyncio event loop with virtual time, a seeded schedule and no operating system underneath.

The idea is FoundationDB's: one seed owns time, order and network, so that every failure can be replayed.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import random
import socket
from typing import TYPE_CHECKING, Any, Literal, TypeVar, TypeVarTuple, Unpack

from tests.simulator.errors import SimDeadlockError, SimStuckError, SimUnsupportedError
from tests.simulator.process import CURRENT

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Coroutine, Generator, Sequence

    from tests.simulator.network import Listener, SimNetwork
    from tests.simulator.process import SimProcess

    Factory = Callable[[], asyncio.BaseProtocol]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Schedule = Literal["random", "fifo"]
"""``"random"``: any ready task may run next; plain callbacks keep the order that asyncio promises.
``"fifo"``: asyncio's own order."""

MAX_STEPS = 5_000_000
"""How many callbacks a run may execute before it counts as stuck."""


class SimTask(asyncio.Task[Any]):
    """A task whose hash is its number, so that sets of tasks iterate in the same order in every replay."""

    def __init__(self, number: int, coro: Any, **kwargs: Any) -> None:
        self.number = number
        super().__init__(coro, **kwargs)

    def __hash__(self) -> int:
        return self.number


class SimFuture(asyncio.Future[Any]):
    """A future whose hash is its number, for the same reason."""

    def __init__(self, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self.number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number


class SimLoop(asyncio.BaseEventLoop):
    """An event loop that is a pure function of its seed.

    There is no selector: time jumps to the next timer when nothing is ready. Connections go through a `SimNetwork`.
    What would let the outside in (threads, real sockets, signals, subprocesses) is refused with an error that says so.
    Code that iterates over sets of strings also depends on ``PYTHONHASHSEED``: set it to replay in another process.

    Args:
        seed: Names the schedule.
        schedule: See `Schedule`.
        executor: What ``run_in_executor`` does: ``"refuse"`` it, or run the function ``"inline"``, at once.
        max_steps: Callbacks after which `SimStuckError` is raised.
    """

    _ready: deque[asyncio.Handle]
    network: SimNetwork | None = None

    def __init__(
        self,
        *,
        seed: int | str,
        schedule: Schedule = "random",
        executor: Literal["refuse", "inline"] = "refuse",
        max_steps: int = MAX_STEPS,
    ) -> None:
        super().__init__()
        self.steps = 0
        self._max_steps = max_steps
        self._schedule = schedule
        self._executor_mode = executor
        self._random = random.Random(f"loop/{seed}")
        self._time = 0.0
        self._timers: list[tuple[float, float, asyncio.TimerHandle]] = []
        self._numbers = 0
        self._process: SimProcess | None = None

    def time(self) -> float:
        """The virtual time in seconds; it starts at zero."""
        return self._time

    def next_number(self) -> int:
        """The next number of this loop's sequence; names tasks, futures and connections."""
        self._numbers += 1
        return self._numbers

    def allow(self, steps: int) -> None:
        """Move the step limit to ``steps`` from now."""
        self._max_steps = self.steps + steps

    # Scheduling

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Schedule ``callback`` after ``delay`` virtual seconds."""
        return self.call_at(self._time + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Schedule ``callback`` at the virtual instant ``when``; equal instants run in an order from the seed."""
        tie = self._random.random() if self._schedule == "random" else float(self.next_number())
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, tie, timer))
        return timer

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Schedule ``callback``; there are no other threads in a simulation."""
        return self.call_soon(callback, *args, context=context)

    def requeue(self, handles: list[asyncio.Handle]) -> None:
        """Put back callbacks that a paused process could not run."""
        self._ready.extend(handles)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
        **kwargs: Any,
    ) -> asyncio.Task[T]:
        """Start a task; without a name it gets one that is the same in every replay."""
        if self.get_task_factory() is not None:
            return super().create_task(coro, name=name, context=context, **kwargs)
        context = contextvars.copy_context() if context is None else context
        # Code that starts a task for nobody leaves all context variables behind, but not the process that it runs in.
        if self._process is not None and CURRENT not in context:
            context.run(CURRENT.set, self._process)
        number = self.next_number()
        return SimTask(number, coro, loop=self, name=str(name or f"task-{number}"), context=context)

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return SimFuture(self.next_number(), self)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are skipped when they come up."""

    def _run_once(self) -> None:
        self._collect_due()
        while not self._ready:
            self._advance()
            self._collect_due()
        handle = self._pick()
        if handle.cancelled():
            return
        process = handle._context.get(CURRENT)  # type: ignore[attr-defined]
        if process is not None and not process.running:
            process.park(handle)
            return
        self.steps += 1
        if self.steps > self._max_steps:
            raise SimStuckError(self.steps, self._time)
        self._process = process
        handle._run()

    def _collect_due(self) -> None:
        timers = self._timers
        while timers and timers[0][0] <= self._time:
            self._ready.append(heapq.heappop(timers)[2])

    def _advance(self) -> None:
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not timers:
            raise SimDeadlockError(self._time, [task.get_name() for task in asyncio.all_tasks(self)])
        self._time = timers[0][0]

    def _pick(self) -> asyncio.Handle:
        ready = self._ready
        if self._schedule == "fifo" or len(ready) == 1:
            return ready.popleft()
        index = int(self._random.random() * len(ready))
        if not _is_task_step(ready[index]):
            index = next(i for i, handle in enumerate(ready) if not _is_task_step(handle))
        handle = ready[index]
        del ready[index]
        return handle

    # The outside world

    async def create_connection(  # type: ignore[override]
        self, protocol_factory: Factory, host: str | None = None, port: int | None = None, **options: Any
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Connect over the simulated network. TLS and ready-made sockets are refused."""
        _refuse_options("create_connection", options)
        return await self._net().connect(protocol_factory, (str(host), int(port or 0)))

    async def create_unix_connection(  # type: ignore[override]
        self, protocol_factory: Factory, path: str | None = None, **options: Any
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Connect to a simulated unix socket."""
        _refuse_options("create_unix_connection", options)
        return await self._net().connect(protocol_factory, str(path))

    async def create_server(  # type: ignore[override]
        self, protocol_factory: Factory, host: Any = None, port: int | None = None, **options: Any
    ) -> Listener:
        """Listen on the simulated network; port 0 picks a free one."""
        _refuse_options("create_server", options)
        name = host if isinstance(host, str) else "127.0.0.1"
        return self._net().listen(protocol_factory, (name, int(port or 0)))

    async def create_unix_server(  # type: ignore[override]
        self, protocol_factory: Factory, path: str | None = None, **options: Any
    ) -> Listener:
        """Listen on a simulated unix socket."""
        _refuse_options("create_unix_server", options)
        return self._net().listen(protocol_factory, str(path))

    async def getaddrinfo(self, host: Any, port: Any, **_options: Any) -> list[Any]:
        """Every name resolves to itself, at once."""
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]

    def run_in_executor(self, _executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Run ``func`` at once, or refuse: a thread would take the schedule out of the seed's hands."""
        if self._executor_mode == "refuse":
            raise SimUnsupportedError("run_in_executor needs a thread: executor='inline' runs the function in place")
        future = self.create_future()
        future.set_result(func(*args))
        return future

    def _net(self) -> SimNetwork:
        if self.network is None:
            raise SimUnsupportedError("this loop has no network: build it with simulation.run, or set loop.network")
        return self.network

    def _process_events(self, event_list: Sequence[Any]) -> None:
        """There is no selector, so there are no events of one."""

    def _write_to_self(self) -> None:
        """Nobody sleeps in a selector, so nobody needs waking."""


def _is_task_step(handle: asyncio.Handle) -> bool:
    return isinstance(getattr(handle._callback, "__self__", None), asyncio.Task)  # type: ignore[attr-defined]


def _refuse_options(call: str, options: dict[str, Any]) -> None:
    for option in ("ssl", "sock"):
        if options.get(option):
            raise SimUnsupportedError(f"{call}({option}=...) is not simulated: connect in plain")
