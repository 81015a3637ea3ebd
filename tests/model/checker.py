"""Breadth-first search over every interleaving of a model; the first violation found has the shortest trace."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

S = TypeVar("S")


class Step(NamedTuple, Generic[S]):
    """One thing that can happen in a state.

    Attributes:
        label: What happens, for the trace.
        state: The state after it.
        violation: What is wrong with its happening; ``None`` if nothing is.
    """

    label: str
    state: S
    violation: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a search found.

    Attributes:
        states: How many states were visited.
        complete: Whether all of them were.
        violation: What went wrong; ``None`` if nothing did.
        trace: The labels that lead there.
    """

    states: int
    complete: bool
    violation: str | None = None
    trace: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.violation is None:
            return f"{self.states} states{'' if self.complete else ' (not all)'}, no violation"
        lines = [f"{number:3}. {label}" for number, label in enumerate(self.trace, 1)]
        return "\n".join([f"{self.violation} ({self.states} states)", *lines])


def search(start: S, successors: Callable[[S], Iterator[Step[S]]], *, max_states: int = 5_000_000) -> Verdict:
    """Visit every state that can be reached from ``start``, until one step is a violation.

    Args:
        start: The first state; states are compared and hashed by value.
        successors: Everything that can happen in a state.
        max_states: Where to give up.
    """
    came_from: dict[S, tuple[S, str] | None] = {start: None}
    frontier = deque([start])
    while frontier and len(came_from) <= max_states:
        state = frontier.popleft()
        for step in successors(state):
            if step.violation is not None:
                return Verdict(len(came_from), False, step.violation, (*_path(came_from, state), step.label))
            if step.state not in came_from:
                came_from[step.state] = (state, step.label)
                frontier.append(step.state)
    return Verdict(len(came_from), complete=not frontier)


def _path(came_from: dict[S, tuple[S, str] | None], state: S) -> tuple[str, ...]:
    labels: list[str] = []
    while (origin := came_from[state]) is not None:
        state, label = origin
        labels.append(label)
    return tuple(reversed(labels))
