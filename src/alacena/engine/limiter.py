"""How many loads one tenant may have under way."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class _Place:
    """A place that is held, as those see it who work inside."""

    __slots__ = ("held", "limiter", "tenant_id")

    def __init__(self, limiter: LoadLimiter, tenant_id: str) -> None:
        self.limiter = limiter
        self.tenant_id = tenant_id
        self.held = True


# The one context variable of the engine, and nobody's but this module's: whether a load was started by another load
# can be told by nothing else, since loaders start tasks of their own.
_INSIDE: Final[ContextVar[_Place | None]] = ContextVar("alacena_load_place", default=None)


class LoadLimiter:
    """Gives places to loads, so that an outage of the cache does not melt the source.

    Who waits for a tenant's place waits in line behind that tenant alone. A load that a loader of the same tenant asks
    for rides on the place of the outer one: if it had to wait for one, loads that wait for each other's places would
    wait for ever.

    Args:
        per_tenant: The limit; ``None``: no limit.
    """

    def __init__(self, per_tenant: int | None) -> None:
        self._per_tenant = per_tenant
        self._lines: dict[str, tuple[asyncio.Semaphore, int]] = {}

    @asynccontextmanager
    async def place(self, tenant_id: str) -> AsyncIterator[None]:
        """A place for one load; waits while the tenant has none left."""
        if self._per_tenant is None or self._is_inside(tenant_id):
            yield
            return
        semaphore, users = self._lines.get(tenant_id) or (asyncio.Semaphore(self._per_tenant), 0)
        self._lines[tenant_id] = (semaphore, users + 1)
        try:
            async with semaphore:
                place = _Place(self, tenant_id)
                token = _INSIDE.set(place)
                try:
                    yield
                finally:
                    place.held = False
                    _INSIDE.reset(token)
        finally:
            self._leave(tenant_id)

    def _is_inside(self, tenant_id: str) -> bool:
        place = _INSIDE.get()
        return place is not None and place.held and place.limiter is self and place.tenant_id == tenant_id

    def _leave(self, tenant_id: str) -> None:
        semaphore, users = self._lines[tenant_id]
        if users > 1:
            self._lines[tenant_id] = (semaphore, users - 1)
        else:
            del self._lines[tenant_id]
