"""The queues of many tenants as one source of items, each tenant in turn."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, Self

from alacena.coordination.item_source import MOST_BYTES, check_take, collect_taken, reserve_from
from alacena.engine.base.errors import ArgumentError, BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from alacena.coordination.coordination_context import CoordinationContext
    from alacena.coordination.item import Item
    from alacena.coordination.item_source import Taken
    from alacena.coordination.queue import Queue
    from alacena.coordination.ready_tenants import ReadyTenants, Turn
    from alacena.engine.remote.backend import Notification

_TURNS_AT_ONCE: Final = 16
_FAILED_PAUSE_S: Final = 5.0
"""For how long a tenant whose queue fails is passed over."""

_log = logging.getLogger("alacena")


class AllTenants:
    """The queues of one name, of every tenant that has items. The round is shared by all processes.

    Args:
        port: The coordination context.
        ready_tenants: The tenants that have items.
        queue_of: Gives a tenant's queue.
    """

    def __init__(
        self, port: CoordinationContext, ready_tenants: ReadyTenants, queue_of: Callable[[str], Queue]
    ) -> None:
        self._port = port
        self._ready_tenants = ready_tenants
        self._queue_of = queue_of

    async def reserve(self, max_items: int = 1, *, visibility_s: float = 60.0, wait_s: float = 0.0) -> list[Item]:
        """Takes up to ``max_items`` of the tenants that are due.

        A tenant with a failing queue does not keep the others waiting: it is passed over for a while, and said in the log.

        Cost: 2 round trips (turns, then all their queues at once); 1 more for each tenant that had nothing.
        Cancellation: items taken are given back in the background, without counting as an attempt.
        If Redis fails: raises if nothing was had.
        """
        return await reserve_from(self, self._port, max_items, visibility_s, wait_s)

    def bell(self) -> AbstractAsyncContextManager[Notification]:
        """Rings when a tenant announces work."""
        return self._ready_tenants.bell()

    async def take(self, max_items: int, visibility_s: float, token: str | None = None) -> Taken:
        """Takes the items that are ready, without waiting; ``due_s`` are the seconds until the next turn. See :meth:`reserve`."""
        max_items, _, token = check_take(max_items, visibility_s, token)
        with collect_taken(self._port) as taken:
            # This comes to an end: a tenant that had nothing is put off, and with no turn due it returns.
            while not taken.items:
                # No more turns than items are wanted, as each turn may take one.
                turns, taken.due_s = await self._ready_tenants.turns(min(max_items, _TURNS_AT_ONCE))
                if not turns:
                    return taken
                share = max(max_items // len(turns), 1)
                asked = (
                    self._serve(turn, share, visibility_s, token, taken, MOST_BYTES // len(turns)) for turn in turns
                )
                # All of them come to their end first, so that nothing is taken after it was given back.
                failed = [error for error in await asyncio.gather(*asked, return_exceptions=True) if error is not None]
                faults = [error for error in failed if not isinstance(error, BackendError)]
                if faults or (failed and not taken.items):
                    raise (faults or failed)[0]
            taken.due_s = 0.0
        return taken

    async def _serve(
        self, turn: Turn, share: int, visibility_s: float, token: str | None, taken: Taken, max_bytes: int
    ) -> None:
        """Adds a tenant's items to those taken."""
        try:
            found = await self._queue_of(turn.tenant_id).take(share, visibility_s, token, max_bytes)
            # Before the next await: if the turn cannot be put off, the items are still handed out or given back.
            _add(taken, found)
            if found.items:
                self._ready_tenants.note_work(turn)
            else:
                await self._ready_tenants.put_off(turn, found.due_s)
        except BackendError as error:
            await self._pass_over(turn, error)
            raise

    async def _pass_over(self, turn: Turn, error: BackendError) -> None:
        _tell(self._port, turn.tenant_id, error)
        try:
            await self._ready_tenants.put_off(turn, _FAILED_PAUSE_S)
        except BackendError as another:
            _log.debug("the turn of %r was not put off: %s", turn.tenant_id, another)


class SomeTenants:
    """The queues of one name, of the tenants given. The round is this object's own.

    Args:
        port: The coordination context.
        queues: The queues.
    """

    def __init__(self, port: CoordinationContext, queues: Sequence[Queue]) -> None:
        if not queues:
            raise ArgumentError("tenant_ids is empty: give at least one tenant")
        self._port = port
        self._queues = list(queues)
        self._at = 0

    @property
    def tenant_ids(self) -> list[str]:
        """The tenants that it serves."""
        return [queue.tenant_id for queue in self._queues]

    async def reserve(self, max_items: int = 1, *, visibility_s: float = 60.0, wait_s: float = 0.0) -> list[Item]:
        """Takes up to ``max_items``, one of each tenant in turn.

        A tenant with a failing queue does not keep the others waiting: it is passed over, and said in the log.

        Cost: 1 round trip for each tenant looked at, until there are enough or all were looked at.
        Cancellation: items taken are given back in the background, without counting as an attempt.
        If Redis fails: raises if nothing was had.
        """
        return await reserve_from(self, self._port, max_items, visibility_s, wait_s)

    def bell(self) -> AbstractAsyncContextManager[Notification]:
        """Rings when one of the tenants' queues does."""
        return _Bells(self._queues)

    async def take(self, max_items: int, visibility_s: float, token: str | None = None) -> Taken:
        """Takes the items that are ready, without waiting. See :meth:`reserve`."""
        max_items, _, token = check_take(max_items, visibility_s, token)
        failed: BackendError | None = None
        share = max(max_items // len(self._queues), 1)
        with collect_taken(self._port) as taken:
            for _ in range(len(self._queues)):
                queue = self._queues[self._at]
                # Moved on before it is asked: a queue that fails must not be the first again next time.
                self._at = (self._at + 1) % len(self._queues)
                try:
                    _add(taken, await queue.take(min(share, max_items - len(taken.items)), visibility_s, token))
                except BackendError as error:
                    failed = error
                    _tell(self._port, queue.tenant_id, error)
                if len(taken.items) >= max_items:
                    break
        if failed is not None and not taken.items:
            raise failed
        return taken


def _add(taken: Taken, found: Taken) -> None:
    taken.items += found.items
    taken.unreadable += found.unreadable
    if found.due_s is not None:
        taken.due_s = found.due_s if taken.due_s is None else min(taken.due_s, found.due_s)


def _tell(port: CoordinationContext, tenant_id: str, error: BackendError) -> None:
    if port.says_first(f"{tenant_id}: {type(error).__name__}"):
        _log.warning("the queue of tenant %r failed, and is passed over: %s", tenant_id, error)


class _Bells:
    """Several bells as one."""

    def __init__(self, queues: Sequence[Queue]) -> None:
        self._queues = queues
        self._stack = AsyncExitStack()
        self._bells: list[Notification] = []

    async def __aenter__(self) -> Self:
        # Entered in a block of their own: if one fails, nobody calls `__aexit__`, and the others would stay subscribed.
        async with AsyncExitStack() as entered:
            for queue in self._queues:
                self._bells.append(await entered.enter_async_context(queue.bell()))
            self._stack = entered.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def wait(self, timeout_s: float) -> bool:
        """Waits until one of them rings."""
        waits = [asyncio.ensure_future(bell.wait(timeout_s)) for bell in self._bells]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return any(wait.result() for wait in done)
