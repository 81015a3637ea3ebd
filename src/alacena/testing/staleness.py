"""The stale-read rule, applied to a history: of a simulation, or of the logs of real processes.

A read that starts more than the bound after an invalidation was acknowledged must not return anything older than the version that
the invalidation announced. Values carry the version that the source gave them, so a history is enough: the steps
of the cache need not be known. The idea is that of Meta's Polaris and Uber's Cache Inspector.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import msgspec

from alacena.engine.base.arguments import list_of
from alacena.engine.base.errors import ArgumentError, show
from alacena.engine.base.ttl import real_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a process did, with the instants between which it happened.

    The instants come from one clock: the virtual one, or ``CLOCK_MONOTONIC`` of one machine.

    Attributes:
        kind: ``"read"``, or ``"invalidate"`` for anything after which older versions must not be seen.
        key: The entry that was read or invalidated.
        version: The version that the read returned; or the oldest version that may be seen after the invalidation.
        called_at: When the call started, in seconds.
        returned_at: When it returned (for an invalidation: was acknowledged), in seconds.
        actor: Which process did it; its own invalidations bind it at once.
        bound_s: The bound of this one read, in seconds, if it differs; 0 for a read that skips memory.
    """

    kind: Literal["read", "invalidate"]
    key: str
    version: int
    called_at: float
    returned_at: float
    actor: str = ""
    bound_s: float | None = None


@dataclass(frozen=True, slots=True)
class Violation:
    """A read that breaks the rule.

    Attributes:
        read: The read.
        invalidation: The earliest invalidation that it broke.
        late_s: How long after the bound the read started, in seconds.
    """

    read: Operation
    invalidation: Operation
    late_s: float

    def __str__(self) -> str:
        return (
            f"{self.read.actor or 'a process'} read {self.read.key} version {self.read.version} at "
            f"{self.read.called_at:.6f} s; version {self.invalidation.version} was acknowledged to "
            f"{self.invalidation.actor or 'a process'} at {self.invalidation.returned_at:.6f} s"
        )


@dataclass(slots=True)
class Report:
    """The verdict on a history.

    Attributes:
        reads: How many reads it holds.
        invalidations: How many invalidations.
        violations: The reads that broke the rule, in the order of the history.
        staleness_s: For every read that returned something older than the version acknowledged before it started: how long
            before, in seconds, ascending. Reads that returned nothing stale are not in it.
    """

    reads: int = 0
    invalidations: int = 0
    violations: list[Violation] = field(default_factory=list)
    staleness_s: list[float] = field(default_factory=list)

    @property
    def max_s(self) -> float:
        """The worst staleness seen, in seconds; 0 if no read was stale."""
        return self.staleness_s[-1] if self.staleness_s else 0.0

    def quantile(self, ratio: float) -> float:
        """Returns the staleness that this ratio of *all* reads did not exceed, in seconds."""
        # Reads that were not stale are not listed: they stand before the others, with 0 s each.
        rank = int(ratio * self.reads) - (self.reads - len(self.staleness_s))
        if rank < 0 or not self.staleness_s:
            return 0.0
        return self.staleness_s[min(rank, len(self.staleness_s) - 1)]

    def raise_for_violations(self) -> None:
        """Fails if there is a violation.

        Raises:
            AssertionError: There is; the message names the first ones.
        """
        if self.violations:
            shown = "\n".join(map(str, self.violations[:5]))
            raise AssertionError(f"{len(self.violations)} stale reads of {self.reads}:\n{shown}")


class _Timeline:
    """The invalidations of one key in the order of their acknowledgement, with the highest version so far."""

    def __init__(self, invalidations: Sequence[Operation]) -> None:
        self._times: list[float] = []
        self._versions: list[int] = []
        self._events: list[Operation] = []
        for event in sorted(invalidations, key=lambda operation: operation.returned_at):
            # A read that breaks one of no higher version breaks an earlier one as well.
            # Without these, times and versions rise together, and can be searched by halves.
            if not self._versions or event.version > self._versions[-1]:
                self._times.append(event.returned_at)
                self._versions.append(event.version)
                self._events.append(event)

    def first_broken(self, read: Operation, bound_s: float) -> Operation | None:
        """Returns the earliest invalidation above the read's version, if its bound had passed when the read started."""
        index = bisect_right(self._versions, read.version)
        if index < len(self._events) and self._times[index] + bound_s < read.called_at:
            return self._events[index]
        return None

    def staleness_s(self, read: Operation) -> float | None:
        """Returns how long before the read's start the earliest invalidation above its version was acknowledged."""
        index = bisect_right(self._versions, read.version)
        if index < bisect_left(self._times, read.called_at):
            return read.called_at - self._times[index]
        return None


def check(history: Iterable[Operation], bound_s: float, *, own_bound_s: float = 0.0) -> Report:
    """Applies the rule to a history, in any order; O(n log n).

    Args:
        history: The operations.
        bound_s: How long after its acknowledgement an invalidation may go unnoticed, in seconds.
        own_bound_s: The same for invalidations of the reading process itself.

    Returns:
        The violations and how stale reads were.
    """
    operations = list_of(history, "history", "operations")
    for one in operations:
        if not isinstance(one, Operation):
            raise ArgumentError(f"history must be a list of Operation, and holds {show(one)}")
    for name, bound in (("bound_s", bound_s), ("own_bound_s", own_bound_s)):
        if real_number(bound) is None:
            raise ArgumentError(f"{name} must be a number of seconds, not {show(bound)}")
    by_key: dict[str, list[Operation]] = {}
    by_actor: dict[tuple[str, str], list[Operation]] = {}
    for operation in operations:
        if operation.kind == "invalidate":
            by_key.setdefault(operation.key, []).append(operation)
            by_actor.setdefault((operation.key, operation.actor), []).append(operation)
    timelines = {key: _Timeline(events) for key, events in by_key.items()}
    own = {pair: _Timeline(events) for pair, events in by_actor.items()}
    nothing = _Timeline(())
    report = Report(invalidations=sum(map(len, by_key.values())))
    for read in operations:
        if read.kind == "read":
            timeline = timelines.get(read.key, nothing)
            _judge(report, read, timeline, own.get((read.key, read.actor), nothing), bound_s, own_bound_s)
    report.staleness_s.sort()
    return report


def _judge(
    report: Report, read: Operation, everybody: _Timeline, own: _Timeline, bound_s: float, own_bound_s: float
) -> None:
    report.reads += 1
    bound_s = bound_s if read.bound_s is None else read.bound_s
    # A bound of the read's own, such as 0 past memory, holds for its own process as well.
    own_bound_s = min(own_bound_s, bound_s)
    staleness_s = everybody.staleness_s(read)
    if staleness_s is not None:
        report.staleness_s.append(staleness_s)
    for timeline, allowed_s in ((everybody, bound_s), (own, own_bound_s)):
        broken = timeline.first_broken(read, allowed_s)
        if broken is not None:
            report.violations.append(Violation(read, broken, read.called_at - broken.returned_at - allowed_s))
            return


def dump(operation: Operation) -> str:
    """Returns an operation as one line of JSON, for the log of a real process."""
    if not isinstance(operation, Operation):
        raise ArgumentError(f"operation must be an Operation, not {show(operation)}")
    return msgspec.json.encode(operation).decode()


def _is_text(line: object) -> bool:
    if not isinstance(line, str | bytes):
        raise ArgumentError(f"lines must be a list of text, and holds {show(line)}")
    return True


def load(lines: Iterable[str | bytes]) -> list[Operation]:
    """Returns the operations of a log; blank lines are skipped, and so is a last line that a killed process left unfinished.

    Raises:
        ValueError: A line before the last is no operation.
    """
    texts = [line for line in list_of(lines, "lines", "lines") if _is_text(line) and line.strip()]
    decode = msgspec.json.Decoder(Operation).decode
    operations: list[Operation] = []
    for number, line in enumerate(texts, 1):
        try:
            operations.append(decode(line))
        except (msgspec.DecodeError, UnicodeEncodeError) as error:
            if number < len(texts):
                raise ArgumentError(f"line {number} is no operation: {error}") from error
    return operations
