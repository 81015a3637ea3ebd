"""The limit of one tenant's loads under way."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Sequence

    from alacena.engine.loading.single_flight import Flight

V = TypeVar("V")


class _Line:
    """The places of one tenant, and the loads that wait for one."""

    __slots__ = ("free", "waiting")

    def __init__(self, places: int) -> None:
        self.free = places
        self.waiting: deque[asyncio.Future[bool]] = deque()

    def give(self) -> None:
        """Gives a place to the load that waits longest."""
        while self.waiting:
            turn = self.waiting.popleft()
            # One that was cancelled or hurried needs no place.
            if not turn.done():
                turn.set_result(True)
                return
        self.free += 1


class LoadLimiter:
    """Gives places to loads, so that an outage of the cache does not melt the source.

    A load that waits for a tenant's place waits in line behind that tenant alone. A load that another load waits for goes ahead
    of the line and needs no place: the other one may have the place that it would wait for, or may come to wait for it
    later. So the limit counts the loads that a request waits for, not those inside them.

    Args:
        per_tenant: The limit; ``None``: no limit.

    Attributes:
        is_limited: Whether there is a limit.
    """

    def __init__(self, per_tenant: int | None) -> None:
        self.is_limited = per_tenant is not None
        self._per_tenant = per_tenant
        self._lines: dict[str, _Line] = {}

    async def run(self, load: Coroutine[Any, Any, V], tenant_id: str, flights: Sequence[Flight]) -> V:
        """Returns the result of a load, for which it has a place. See :meth:`place`.

        Cancellation: while it waits for a place, the load is never begun.
        """
        try:
            async with self.place(tenant_id, flights):
                return await load
        finally:
            load.close()  # one that was not begun would be reported as never awaited

    @asynccontextmanager
    async def place(self, tenant_id: str, flights: Sequence[Flight] = ()) -> AsyncIterator[None]:
        """Yields a place for one load; waits while the tenant has none left and no other load waits for this one.

        Args:
            tenant_id: The tenant.
            flights: Its callers.
        """
        if self._per_tenant is None or any(flight.is_awaited for flight in flights):
            yield
            return
        line = self._lines.setdefault(tenant_id, _Line(self._per_tenant))
        try:
            has_place = await self._turn(line, flights)
            try:
                yield
            finally:
                if has_place:
                    line.give()
        finally:
            # A load that was hurried past the line may end after it: the tenant has another line by then.
            if line.free == self._per_tenant and not line.waiting and self._lines.get(tenant_id) is line:
                del self._lines[tenant_id]

    @staticmethod
    async def _turn(line: _Line, flights: Sequence[Flight]) -> bool:
        """Waits for a place, or for another load to wait for this one; whether there is a place to give back."""
        # This overtakes no load that waits: `give` frees a place only if none does.
        if line.free:
            line.free -= 1
            return True
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def hurry() -> None:
            if not turn.done():
                turn.set_result(False)

        line.waiting.append(turn)
        for flight in flights:
            flight.hurry = hurry
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                line.give()  # it came in the step in which its load was cancelled
            raise
        finally:
            for flight in flights:
                flight.hurry = None
            if turn in line.waiting:
                line.waiting.remove(turn)
