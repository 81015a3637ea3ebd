"""One item of a queue, held under a lease."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from alacena.engine.base.errors import NotOwnerError

if TYPE_CHECKING:
    from collections.abc import Sequence


class ItemQueue(Protocol):
    """The queue of an item, as far as its items use it."""

    @property
    def tenant_id(self) -> str:
        """The tenant that it belongs to."""
        ...

    async def ack(self, items: Sequence[Item]) -> list[Item]:
        """Finishes items for good; returns those that had lost their lease."""
        ...

    async def extend(self, items: Sequence[Item], visibility_s: float) -> list[Item]:
        """Lengthens leases; returns the items that had lost their lease."""
        ...

    async def nack(
        self, item: Item, delay_s: float = 0.0, reason: str | None = None, *, count_attempt: bool = True
    ) -> bool:
        """Gives an item back; False if its lease had ended."""
        ...

    async def give_back(self, items: Sequence[Item]) -> None:
        """Gives items back without counting an attempt."""
        ...


class Item:
    """An item that this process works on until its lease ends.

    Attributes:
        id: Its id, given or made.
        value: The pushed value.
        attempt: Which attempt this is, from 1. It grows with every delivery, so it can fence a write.
        tenant_id: The tenant that it belongs to.
        queue: The queue that it came from.
        slot: The proof of this delivery.
    """

    __slots__ = ("attempt", "id", "queue", "slot", "value")

    def __init__(self, queue: ItemQueue, item_id: str, slot: str, attempt: int, value: Any) -> None:
        self.id = item_id
        self.value = value
        self.attempt = attempt
        self.queue = queue
        self.slot = slot

    @property
    def tenant_id(self) -> str:
        """The tenant that it belongs to."""
        return self.queue.tenant_id

    async def ack(self) -> None:
        """Finishes it for good. Cost: 1 round trip. Idempotent.

        Raises:
            NotOwnerError: The lease ended: the item is or will be another worker's.
        """
        if await self.queue.ack([self]):
            raise self._not_owner()

    async def extend(self, visibility_s: float) -> None:
        """Lets the lease end ``visibility_s`` seconds from now. Cost: 1 round trip.

        Raises:
            NotOwnerError: The lease ended.
        """
        if await self.queue.extend([self], visibility_s):
            raise self._not_owner()

    async def nack(self, delay_s: float = 0.0, reason: str | None = None, *, count_attempt: bool = True) -> None:
        """Gives it back: to be tried again after ``delay_s``, or to the dead letters after its last attempt.

        Cost: 1 round trip, and 1 if the queue is served for all tenants. Idempotent.

        Args:
            delay_s: Seconds before it is ready again.
            reason: Why, for the reader of the dead letters: the first 1,000 characters are kept.
            count_attempt: False if nothing was tried.

        Raises:
            NotOwnerError: The lease ended.
        """
        if not await self.queue.nack(self, delay_s, reason, count_attempt=count_attempt):
            raise self._not_owner()

    def _not_owner(self) -> NotOwnerError:
        return NotOwnerError(
            f"item {self.id!r}, attempt {self.attempt}: its lease has ended: another worker has the item, or will have it"
        )

    def __repr__(self) -> str:
        return f"Item(id={self.id!r}, attempt={self.attempt}, tenant_id={self.tenant_id!r})"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An item that is not tried any more.

    Attributes:
        id: Its id.
        value: The pushed value; ``None`` if the bytes cannot be read here.
        attempts: How often it was delivered.
        reason: Why the last attempt failed.
        died_at: When, in seconds since the epoch on the server's clock.
        raw: The bytes, if they cannot be read here. ``replay`` brings them back to be read elsewhere.
    """

    id: str
    value: Any
    attempts: int
    reason: str
    died_at: float
    raw: bytes | None = None


@dataclass(frozen=True, slots=True)
class QueueStats:
    """A queue at one instant: ``pushed == ready + delayed + in_flight + dead + acked``, always.

    Attributes:
        pushed: Items ever taken in, each id once.
        ready: Waiting to be reserved.
        delayed: Not due yet.
        in_flight: Reserved; their lease may have ended without a look since.
        dead: Dead letters.
        acked: Settled for good: acknowledged, or discarded as dead letters.
        discarded: How many of those were discarded.
        oldest_age_s: How long ago the first of the ready was pushed; ``None`` if none is ready.
        throughput_per_s: Acknowledged a second over the last minute.
    """

    pushed: int
    ready: int
    delayed: int
    in_flight: int
    dead: int
    acked: int
    discarded: int
    oldest_age_s: float | None
    throughput_per_s: float

    @property
    def depth(self) -> int:
        """The number of items that are still to be done."""
        return self.ready + self.delayed + self.in_flight


def stats_from(reply: list[Any]) -> QueueStats:
    """Reads the answer of ``queue_stats``."""
    pushed, ready, delayed, in_flight, dead, acked, discarded, now_ms, minute, this, before, first = reply
    into_minute = now_ms % 60_000 / 60_000
    current = now_ms // 60_000
    # The counts are of the last minute with an acknowledgement, and of the one before. A minute later the last is the
    # one before; two minutes later both are over.
    before = this if minute == current - 1 else before if minute == current else 0
    this = this if minute == current else 0
    return QueueStats(
        pushed,
        ready,
        delayed,
        in_flight,
        dead,
        acked,
        discarded,
        oldest_age_s=max(now_ms - int(first), 0) / 1000 if first else None,
        throughput_per_s=(this + before * (1 - into_minute)) / 60,
    )
