"""A simulated connection: two pipes, each with its own delays and faults."""

from __future__ import annotations

import contextvars
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import random

    from tests.simulator.loop import SimLoop
    from tests.simulator.trace import Trace

EOF = "eof"
RESET = "reset"
_NO_CONTEXT = contextvars.Context


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkProfile:
    """How one direction of a link treats what is sent through it. Ratios are chances a write, spans are uniform.

    Attributes:
        latency_s: Shortest and longest delay. Order within a direction is always kept, as TCP keeps it.
        split_ratio: Chance that a write arrives in pieces, cut at random bytes, each with its own delay.
        stall_ratio: Chance that the direction stands still before the write arrives.
        stall_s: Shortest and longest stall.
        reset_ratio: Chance that the connection is reset instead of delivering the write.
        blackhole_ratio: Chance that the direction loses the write and all that follows, telling nobody (half-open).
    """

    latency_s: tuple[float, float] = (0.000_05, 0.000_5)
    split_ratio: float = 0.0
    stall_ratio: float = 0.0
    stall_s: tuple[float, float] = (0.01, 0.5)
    reset_ratio: float = 0.0
    blackhole_ratio: float = 0.0


class Receiver(Protocol):
    """The end of a pipe."""

    def feed(self, data: bytes) -> None:
        """Take bytes that arrived."""

    def feed_end(self, kind: str) -> None:
        """Take the end of the stream: ``"eof"`` or ``"reset"``."""


class Item(NamedTuple):
    """Something under way: bytes, or the end of the stream."""

    due: float
    data: bytes
    end: str | None


class Pipe:
    """One direction of a link: a FIFO with delays.

    Attributes:
        unread: Bytes sent and not yet read by the program at the other end.
        receiver: Where the bytes come out.
    """

    def __init__(self, loop: SimLoop, chance: random.Random, trace: Trace, name: str, profile: LinkProfile) -> None:
        self.name = name
        self.profile = profile
        self.unread = 0
        self.receiver: Receiver | None = None
        self.ended = False
        self._loop = loop
        self._chance = chance
        self._trace = trace
        self._queue: deque[Item] = deque()
        self._free_at = 0.0
        self._stalled = False
        self._lossy = False
        self._timer_due: float | None = None

    def send(self, data: bytes) -> None:
        """Put bytes under way; the profile may delay, cut or lose them."""
        if self.ended or not data:
            return
        if self._struck(self.profile.blackhole_ratio):
            self.blackhole()
        if self._lossy:
            return
        if self._struck(self.profile.reset_ratio):
            self._trace.note("fault", self.name, "reset by the seed")
            self.finish(RESET)
            return
        if self._struck(self.profile.stall_ratio):
            self._free_at = max(self._free_at, self._loop.time()) + self._between(self.profile.stall_s)
        self.unread += len(data)
        for piece in self._pieces(data):
            self._enqueue(piece, None)

    def finish(self, end: str) -> None:
        """Put the end of the stream under way, behind what was sent before. Only the first end counts."""
        if self.ended:
            return
        self.ended = True
        if not self._lossy:
            self._enqueue(b"", end)

    def stall(self) -> None:
        """Hold everything that is under way or will be sent, until `release`."""
        self._trace.note("fault", self.name, "stalled")
        self._stalled = True

    def release(self) -> None:
        """Let what a `stall` held back arrive now."""
        self._trace.note("fault", self.name, "released")
        self._stalled = False
        self._arrive()

    def blackhole(self) -> None:
        """Lose everything from now on, and what is under way, without telling anybody."""
        self._trace.note("fault", self.name, "blackholed")
        self._lossy = True
        self._queue.clear()

    def _struck(self, ratio: float) -> bool:
        return ratio > 0.0 and self._chance.random() < ratio

    def _between(self, span: tuple[float, float]) -> float:
        return span[0] + (span[1] - span[0]) * self._chance.random()

    def _pieces(self, data: bytes) -> list[bytes]:
        if len(data) < 2 or not self._struck(self.profile.split_ratio):
            return [data]
        count = self._chance.randint(1, min(4, len(data) - 1))
        cuts = sorted(self._chance.sample(range(1, len(data)), count))
        return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]

    def _enqueue(self, data: bytes, end: str | None) -> None:
        due = max(self._free_at, self._loop.time() + self._between(self.profile.latency_s))
        self._free_at = due
        self._queue.append(Item(due, data, end))
        self._arm()

    def _arm(self) -> None:
        if self._queue and self._timer_due is None:
            self._timer_due = self._queue[0].due
            self._loop.call_at(self._timer_due, self._ring, context=_NO_CONTEXT())

    def _ring(self) -> None:
        self._timer_due = None
        self._arrive()

    def _arrive(self) -> None:
        while self._queue and not self._stalled and self._queue[0].due <= self._loop.time():
            self._deliver(self._queue.popleft())
        if not self._stalled:
            self._arm()

    def _deliver(self, item: Item) -> None:
        if self._trace.detailed:
            self._trace.note("deliver", self.name, item.end or f"{len(item.data)} bytes")
        if self.receiver is None:
            return
        if item.end is None:
            self.receiver.feed(item.data)
        else:
            self.receiver.feed_end(item.end)


class Link:
    """A connection between a client and a listener.

    Attributes:
        number: Counts the connections of the network.
        client: The name of the process that connected.
        address: Where it connected to.
        listener: Who accepted it; whoever takes over the address later is another.
        up: Client to server.
        down: Server to client.
    """

    def __init__(self, number: int, client: str, address: object, listener: object, up: Pipe, down: Pipe) -> None:
        self.number = number
        self.client = client
        self.address = address
        self.listener = listener
        self.up = up
        self.down = down

    def reset(self) -> None:
        """Reset both directions, as a middlebox does: each side learns it behind what was under way to it."""
        self.up.finish(RESET)
        self.down.finish(RESET)

    def hang_up(self) -> None:
        """Let the client's system close the socket: the server sees the end, the client sees nothing more."""
        self.up.finish(EOF)
        self.down.blackhole()

    def vanish(self) -> None:
        """Lose both directions silently: a half-open connection on both sides."""
        self.up.blackhole()
        self.down.blackhole()

    def stall(self) -> None:
        """Hold both directions."""
        self.up.stall()
        self.down.stall()

    def release(self) -> None:
        """Release both directions."""
        self.up.release()
        self.down.release()
