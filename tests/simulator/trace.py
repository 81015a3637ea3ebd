"""What happened in a simulation, in order: the thing that must come out byte-identical from the same seed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class Event(NamedTuple):
    """One thing that happened.

    Attributes:
        at: Virtual seconds.
        kind: A word such as ``"connect"``, ``"deliver"``, ``"fault"``, ``"command"`` or one of your own.
        where: The link, server or process it happened to.
        what: The rest, readable.
    """

    at: float
    kind: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.at:.9f} {self.kind} {self.where} {self.what}"


class Trace:
    """The events of one run.

    Args:
        clock: Gives the instant of an event, in virtual seconds.
        detailed: Whether single deliveries and commands are recorded too (slower, longer), or only connections, faults
            and what the scenario notes. The schedule itself does not depend on it.
    """

    def __init__(self, clock: Callable[[], float], *, detailed: bool = True) -> None:
        self.events: list[Event] = []
        self.detailed = detailed
        self._clock = clock

    def note(self, kind: str, where: str, what: str = "") -> None:
        """Record an event now."""
        self.events.append(Event(self._clock(), kind, where, what))

    def text(self, last: int | None = None) -> str:
        """The events as lines, all of them or the ``last`` ones."""
        events = self.events if last is None else self.events[-last:]
        return "\n".join(map(str, events))

    def digest(self) -> str:
        """A hash of the whole text: equal for two runs that did the same."""
        return hashlib.blake2b(self.text().encode(), digest_size=16).hexdigest()
