"""What a simulation itself can complain about."""

from __future__ import annotations


class SimulationError(AssertionError):
    """Something is wrong with the simulated program, as seen by the simulation."""


class SimDeadlockError(SimulationError):
    """Nothing is ready and no timer is set, and the main task still waits.

    Attributes:
        waiting: The names of the tasks that wait.
    """

    def __init__(self, at: float, waiting: list[str]) -> None:
        self.waiting = sorted(waiting)
        super().__init__(f"nothing can happen any more at {at:.6f} s; waiting: {', '.join(self.waiting)}")


class SimStuckError(SimulationError):
    """The step limit was passed: most likely two callbacks schedule each other for ever."""

    def __init__(self, steps: int, at: float) -> None:
        super().__init__(f"still busy after {steps} steps, at {at:.6f} s: a livelock, or raise max_steps")


class SimUnsupportedError(SimulationError, NotImplementedError):
    """The program asked for something that would let the outside world into the simulation."""


class UnhandledError(SimulationError):
    """A callback or a task failed and nobody looked at the error.

    Attributes:
        contexts: What the loop's exception handler was given, one dict an error.
    """

    def __init__(self, contexts: list[dict[str, object]]) -> None:
        self.contexts = contexts
        first = contexts[0]
        what = f"{first.get('message')}: {first.get('exception')!r}"
        super().__init__(f"{len(contexts)} unhandled error(s), the first: {what}")
