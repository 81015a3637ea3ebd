"""Fills that leave together: values loaded in one turn of the loop are stored by one call."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from alacena.engine.reading.filler import Fill, Filler

_MOST: Final = 100
_MOST_BYTES: Final = 1 << 16
"""What the fills of one call may be and carry: more would be sent in parts, and the last of them late."""


class GatheredFills:
    """The fills of one bucket that leave at the end of the turn."""

    __slots__ = ("_loop", "_waiters", "fills", "size")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.fills: list[Fill] = []
        self.size = 0
        self._waiters: list[asyncio.Future[bool]] = []

    def takes(self, fill: Fill) -> bool:
        """Returns whether there is room for a fill, and nothing about it that the others would have to wait for."""
        lease, new_entry = fill.lease, fill.new_entry
        if lease is None or new_entry is None or len(self.fills) >= _MOST:
            return False
        # Tags that the load named late are asked for first: a round trip more.
        if new_entry.tags and len(lease.stamps) - len(fill.key.generations) != len(new_entry.tags):
            return False
        return self.size + len(new_entry.payload or b"") <= _MOST_BYTES

    def add(self, fill: Fill) -> asyncio.Future[bool]:
        """Adds a fill; the future tells whether it was stored."""
        assert fill.new_entry is not None
        self.size += len(fill.new_entry.payload or b"")
        self.fills.append(fill)
        waiter: asyncio.Future[bool] = self._loop.create_future()
        self._waiters.append(waiter)
        return waiter

    def settle(self, stored: list[bool]) -> None:
        """Tells each whether it was stored."""
        for waiter, is_stored in zip(self._waiters, stored, strict=True):
            if not waiter.done():
                waiter.set_result(is_stored)

    def end(self) -> bool:
        """Leaves no caller waiting; returns whether one was."""
        waiting = [waiter for waiter in self._waiters if not waiter.done()]
        for waiter in waiting:
            waiter.set_result(False)
        return bool(waiting)


class FillGatherer:
    """Gathers the fills of one bucket that become ready in one turn of the loop.

    Args:
        filler: Stores them.
        own: Runs work in a task that the cache owns.
    """

    def __init__(self, filler: Filler, own: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]) -> None:
        self._filler = filler
        self._own = own
        self._open: dict[str, GatheredFills] = {}

    def open(self, bucket: str) -> GatheredFills:
        """Returns the fills of a bucket that leave in the next turn of the loop, before any other task has a turn.

        It is called before a load gives its callers their answer. A loop calls in the order in which it was asked to: they
        wake up behind it, so that their next commands come to it behind the fill.
        """
        gathered = self._open.get(bucket)
        if gathered is None:
            gathered = self._open[bucket] = GatheredFills()
            self._own(self._send(bucket, gathered)).add_done_callback(partial(self._end, bucket, gathered))
        return gathered

    async def _send(self, bucket: str, gathered: GatheredFills) -> None:
        # Before anything is awaited: a fill that was added after the call had left would never be sent.
        del self._open[bucket]
        if gathered.fills:
            gathered.settle(await self._filler.fill_many(gathered.fills))

    def _end(self, bucket: str, gathered: GatheredFills, _: asyncio.Task[None]) -> None:
        if self._open.get(bucket) is gathered:  # it was cancelled before its first step
            del self._open[bucket]
        if gathered.end():
            self._filler.give_up(gathered.fills)
