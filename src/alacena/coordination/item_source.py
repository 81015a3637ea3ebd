"""Sources of items: one queue, or the queues of many tenants; and the wait for them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from alacena.coordination.coordination_context import pause_s
from alacena.engine.base.arguments import exact, milliseconds, text_id, wait_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractAsyncContextManager

    from alacena.coordination.coordination_context import CoordinationContext
    from alacena.coordination.item import Item, ItemQueue
    from alacena.engine.remote.backend import Notification

MOST_BYTES: Final = 8 << 20
"""Bytes of values in one reply, so that it arrives in time; a single item may be larger."""


@dataclass(slots=True)
class Taken:
    """The items that one look at a source gave.

    Attributes:
        items: The items, held here alone.
        due_s: Seconds until something is due; ``None``: nothing is known.
        unreadable: How many items could not be read, and were given back.
    """

    items: list[Item] = field(default_factory=list)
    due_s: float | None = None
    unreadable: int = 0


class ItemSource(Protocol):
    """A source of items: one queue, or the queues of many tenants."""

    async def take(self, max_items: int, visibility_s: float, token: str | None = None) -> Taken:
        """Takes the items that are ready, without waiting.

        Cancellation: items taken are given back in the background, without counting as an attempt.
        """
        ...

    def bell(self) -> AbstractAsyncContextManager[Notification]:
        """Rings when it is worth looking."""
        ...


async def reserve_from(
    source: ItemSource,
    port: CoordinationContext,
    max_items: int,
    visibility_s: float,
    wait_s: float,
    token: str | None = None,
) -> list[Item]:
    """Takes items, waiting up to ``wait_s`` seconds for the first. Nothing is kept if it cannot be handed out."""
    max_items, wait_s = exact(max_items, "max_items", least=1), wait_seconds(wait_s)
    taken = await source.take(max_items, visibility_s, token)
    if taken.items or wait_s <= 0:
        return taken.items
    deadline = port.environment.now() + wait_s
    # 1. The first look finds nothing. 2. Something is pushed, and its ring is heard by nobody. 3. The bell is held, and
    # a look comes before the wait: else the item of step 2 would be missed.
    with collect_taken(port) as found:
        async with source.bell() as bell:
            while True:
                taken = await source.take(max_items, visibility_s, token)
                # Kept in ``found`` at once: leaving the bell awaits, and a cancellation there gives them back.
                found.items = taken.items
                left_s = deadline - port.environment.now()
                if found.items or left_s <= 0:
                    break
                await bell.wait(min(left_s, pause_s(port.environment, taken.due_s)))
    return found.items


def check_take(
    max_items: int, visibility_s: float, token: str | None, *, most: int | None = None
) -> tuple[int, int, str | None]:
    """Returns the number of items, milliseconds of their lease and the token of a take, checked before anything is asked.

    Raises:
        ArgumentError: There is no such number of items, or the lease is no number of seconds.
        InvalidKeyError: The token is no text that UTF-8 carries.
    """
    return (
        exact(max_items, "max_items", least=1, most=most),
        milliseconds(visibility_s, "visibility_s"),
        None if token is None else text_id("token", token),
    )


@contextmanager
def collect_taken(port: CoordinationContext) -> Iterator[Taken]:
    """Collects items; where the block does not come to its end, they are given back."""
    taken = Taken()
    is_complete = False
    try:
        yield taken
        is_complete = True
    finally:
        if not is_complete:
            give_back(port, taken.items)


def give_back(port: CoordinationContext, items: Iterable[Item]) -> None:
    """Gives unseen items back in the background: at once, and without counting an attempt."""
    by_queue: dict[ItemQueue, list[Item]] = {}
    for item in items:
        by_queue.setdefault(item.queue, []).append(item)
    for queue, own in by_queue.items():
        port._background.start(queue.give_back(own))
