"""Running a program in a simulation, once or for many seeds."""

from __future__ import annotations

import asyncio
import gc
import random
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from tests.simulator.environment import SimEnvironment
from tests.simulator.errors import SimulationError, UnhandledError
from tests.simulator.link import LinkProfile
from tests.simulator.loop import MAX_STEPS, Schedule, SimLoop
from tests.simulator.network import SimNetwork
from tests.simulator.process import SimProcess
from tests.simulator.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator

T = TypeVar("T")
_UNWINDING_STEPS = 200_000


@dataclass(frozen=True, kw_only=True, slots=True)
class SimOptions:
    """How a simulation runs.

    Attributes:
        profile: How the network behaves by default, both directions alike.
        schedule: See `tests.simulator.loop.Schedule`.
        executor: What ``run_in_executor`` does.
        max_steps: Callbacks after which the run counts as stuck.
        detailed_trace: Whether single deliveries and commands are recorded.
        allow_unhandled: Whether errors that reach the loop's exception handler are tolerated.
    """

    profile: LinkProfile = field(default_factory=LinkProfile)
    schedule: Schedule = "random"
    executor: Literal["refuse", "inline"] = "refuse"
    max_steps: int = MAX_STEPS
    detailed_trace: bool = False
    allow_unhandled: bool = False


class Simulation:
    """What a scenario gets to work with.

    Attributes:
        seed: The seed of the run.
        loop: The event loop that runs the scenario.
        network: Its network.
        trace: What happened so far.
        chance: Random numbers for the scenario's own decisions.
        environment: Clocks and chance of code that belongs to no process.
    """

    def __init__(self, seed: int | str, loop: SimLoop, options: SimOptions) -> None:
        self.seed = seed
        self.loop = loop
        self.trace = Trace(loop.time, detailed=options.detailed_trace)
        self.network = SimNetwork(loop, seed=seed, trace=self.trace, profile=options.profile)
        self.chance = random.Random(f"scenario/{seed}")
        self.environment = SimEnvironment(loop.time, seed=f"environment/{seed}")
        self.processes: list[SimProcess] = []

    def now(self) -> float:
        """The virtual time in seconds, the same for everybody."""
        return self.loop.time()

    def process(self, name: str, *, wall_skew_s: float = 0.0) -> SimProcess:
        """A new process with clocks and chance of its own."""
        environment = SimEnvironment(self.loop.time, seed=f"environment/{self.seed}/{name}", wall_skew_s=wall_skew_s)
        process = SimProcess(self.loop, self.network, self.trace, name, environment)
        self.processes.append(process)
        return process


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What a run came to.

    Attributes:
        seed: Run again with it for the same trace.
        result: What the scenario returned.
        trace: What happened.
        virtual_s: How much virtual time passed.
        steps: How many callbacks ran.
    """

    seed: int | str
    result: T
    trace: Trace
    virtual_s: float
    steps: int


def run(
    main: Callable[[Simulation], Coroutine[Any, Any, T]], *, seed: int | str, options: SimOptions | None = None
) -> Outcome[T]:
    """Run ``main`` to its end in a simulation of its own.

    What is still running when ``main`` returns is cancelled. The cyclic garbage collector is off meanwhile: finalisers
    would run whenever the history of the real process happens to trigger it.

    Args:
        main: The scenario; it gets the `Simulation`.
        seed: Names the schedule, the network's delays and faults, clocks and tokens.
        options: See `SimOptions`.

    Returns:
        The result with the trace; the same for the same seed, to the byte.

    Raises:
        SimDeadlockError: Nothing could happen any more.
        SimStuckError: The step limit was passed.
        UnhandledError: A background task or a callback failed.
        Exception: Whatever ``main`` raised, with a note that names the seed and shows the end of the trace.
    """
    options = options or SimOptions()
    loop = SimLoop(seed=seed, schedule=options.schedule, executor=options.executor, max_steps=options.max_steps)
    simulation = Simulation(seed, loop, options)
    unhandled: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: unhandled.append(context))
    with _collector_off():
        try:
            result = loop.run_until_complete(main(simulation))
            outcome = Outcome(seed, result, simulation.trace, loop.time(), loop.steps)
            _complain_about([] if options.allow_unhandled else unhandled)
        except BaseException as error:
            error.add_note(_failure_note(simulation))
            raise
        finally:
            _shut_down(simulation)
    return outcome


@dataclass(slots=True)
class Exploration:
    """What many runs came to.

    Attributes:
        runs: How many were run.
        steps: Callbacks executed in all of them.
        virtual_s: Virtual time that passed in all of them.
        failures: The seeds that failed, each with its error.
    """

    runs: int = 0
    steps: int = 0
    virtual_s: float = 0.0
    failures: dict[int | str, BaseException] = field(default_factory=dict)


def explore(
    main: Callable[[Simulation], Coroutine[Any, Any, object]],
    seeds: Iterable[int | str],
    *,
    options: SimOptions | None = None,
    stop_after: int = 1,
) -> Exploration:
    """Run ``main`` once a seed, and stop after ``stop_after`` failures.

    Args:
        main: The scenario.
        seeds: The seeds to try.
        options: See `SimOptions`.
        stop_after: How many failing seeds are enough.

    Returns:
        The figures and the failures; a failure is an exception that ``run`` would have raised.
    """
    report = Exploration()
    for seed in seeds:
        report.runs += 1
        try:
            outcome = run(main, seed=seed, options=options)
        except (AssertionError, Exception) as error:  # noqa: BLE001 - a failing scenario is a result here
            report.failures[seed] = error
            if len(report.failures) >= stop_after:
                break
        else:
            report.steps += outcome.steps
            report.virtual_s += outcome.virtual_s
    return report


def _complain_about(unhandled: list[dict[str, Any]]) -> None:
    if unhandled:
        raise UnhandledError(unhandled)


def _failure_note(simulation: Simulation) -> str:
    return (
        f"simulation seed {simulation.seed!r}, at {simulation.now():.6f} s; run again with seed={simulation.seed!r}. "
        f"The last events:\n{simulation.trace.text(last=20)}"
    )


def _shut_down(simulation: Simulation) -> None:
    loop = simulation.loop
    loop.allow(_UNWINDING_STEPS)
    try:
        for process in simulation.processes:
            process.bury()
        tasks = sorted(asyncio.all_tasks(loop), key=hash)
        for task in tasks:
            task.cancel()
        if tasks:
            _unwind(loop, tasks)
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def _unwind(loop: SimLoop, tasks: list[asyncio.Task[Any]]) -> None:
    async def wait() -> None:
        await asyncio.gather(*tasks, return_exceptions=True)

    try:
        loop.run_until_complete(wait())
    except SimulationError:
        # A task that swallows its cancellation must not hide the scenario's own outcome.
        return


@contextmanager
def _collector_off() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
