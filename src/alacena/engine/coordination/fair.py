"""The queues of many tenants as one source of items, each tenant in turn."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, Protocol, Self

from alacena.engine.coordination.port import pause_s

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from alacena.engine.coordination.item import Item
    from alacena.engine.coordination.port import Port
    from alacena.engine.coordination.queue import Queue
    from alacena.engine.coordination.roster import Roster, Turn
    from alacena.engine.store import Bell

_TURNS_AT_ONCE: Final = 16


class Source(Protocol):
    """Whatever gives items: one queue, or the queues of many tenants."""

    async def take(self, max_items: int, visibility_s: float, token: str) -> tuple[list[Item], float | None]:
        """Take what there is, without waiting; and the seconds until something is due."""
        ...

    def bell(self) -> AbstractAsyncContextManager[Bell]:
        """Rings when it is worth looking."""
        ...


async def reserve_from(source: Source, port: Port, max_items: int, visibility_s: float, wait_s: float) -> list[Item]:
    """Take items, waiting up to ``wait_s`` seconds for the first."""
    items, _ = await source.take(max_items, visibility_s, port.token())
    if items or wait_s <= 0:
        return items
    deadline = port.environment.now() + wait_s
    async with source.bell() as bell:
        while True:
            items, due_s = await source.take(max_items, visibility_s, port.token())
            left_s = deadline - port.environment.now()
            if items or left_s <= 0:
                return items
            await bell.wait(min(left_s, pause_s(port.environment, due_s)))


class AllTenants:
    """The queues of one name, of every tenant that has items. The round is shared by all processes.

    Args:
        port: Where they are.
        roster: Who has items.
        queue_of: Gives a tenant's queue.
    """

    def __init__(self, port: Port, roster: Roster, queue_of: Callable[[str], Queue]) -> None:
        self._port = port
        self._roster = roster
        self._queue_of = queue_of

    async def reserve(self, max_items: int = 1, *, visibility_s: float = 60.0, wait_s: float = 0.0) -> list[Item]:
        """Take up to ``max_items`` of the tenants whose turn it is.

        Cost: 2 round trips (turns, then all their queues at once); 1 more for each tenant that had nothing.
        """
        return await reserve_from(self, self._port, max_items, visibility_s, wait_s)

    def bell(self) -> AbstractAsyncContextManager[Bell]:
        """Rings when a tenant announces work."""
        return self._roster.bell()

    async def take(self, max_items: int, visibility_s: float, token: str) -> tuple[list[Item], float | None]:
        """Take what there is, without waiting; and the seconds until the next turn."""
        items: list[Item] = []
        while True:
            turns, next_s = await self._roster.turns(min(max_items - len(items), _TURNS_AT_ONCE))
            if not turns:
                return items, next_s
            share = max((max_items - len(items)) // len(turns), 1)
            asked = (self._serve(turn, share, visibility_s, token) for turn in turns)
            for found in await asyncio.gather(*asked):
                items += found
            if items:
                return items, 0.0

    async def _serve(self, turn: Turn, share: int, visibility_s: float, token: str) -> list[Item]:
        items, due_s = await self._queue_of(turn.tenant_id).take(share, visibility_s, token)
        if items:
            self._roster.found(turn)
        else:
            await self._roster.put_off(turn, due_s)
        return items


class SomeTenants:
    """The queues of one name, of the tenants given. The round is this object's own.

    Args:
        port: Where they are.
        queues: The queues.
    """

    def __init__(self, port: Port, queues: Sequence[Queue]) -> None:
        if not queues:
            raise ValueError("give at least one tenant")
        self._port = port
        self._queues = list(queues)
        self._at = 0

    async def reserve(self, max_items: int = 1, *, visibility_s: float = 60.0, wait_s: float = 0.0) -> list[Item]:
        """Take up to ``max_items``, one of each tenant in turn.

        Cost: 1 round trip for each tenant looked at, until there are enough or all were looked at.
        """
        return await reserve_from(self, self._port, max_items, visibility_s, wait_s)

    def bell(self) -> AbstractAsyncContextManager[Bell]:
        """Rings when one of the tenants' queues does."""
        return _Bells(self._queues)

    async def take(self, max_items: int, visibility_s: float, token: str) -> tuple[list[Item], float | None]:
        """Take what there is, without waiting; and the seconds until something is due."""
        items: list[Item] = []
        dues: list[float] = []
        share = max(max_items // len(self._queues), 1)
        for _ in range(len(self._queues)):
            queue = self._queues[self._at]
            self._at = (self._at + 1) % len(self._queues)
            found, due_s = await queue.take(min(share, max_items - len(items)), visibility_s, token)
            items += found
            if due_s is not None:
                dues.append(due_s)
            if len(items) >= max_items:
                break
        return items, min(dues, default=None)


class _Bells:
    """Several bells as one."""

    def __init__(self, queues: Sequence[Queue]) -> None:
        self._queues = queues
        self._stack = AsyncExitStack()
        self._bells: list[Bell] = []

    async def __aenter__(self) -> Self:
        for queue in self._queues:
            self._bells.append(await self._stack.enter_async_context(queue.bell()))
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def wait(self, timeout_s: float) -> bool:
        """Wait until one of them rings."""
        waits = [asyncio.ensure_future(bell.wait(timeout_s)) for bell in self._bells]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return any(wait.result() for wait in done)
