"""Queues by name and tenant, and one view over all tenants of a name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alacena.coordination.per_tenant import PerTenant
from alacena.coordination.queue import Queue
from alacena.coordination.ready_tenants import ReadyTenants, list_key
from alacena.coordination.tenant_sources import AllTenants, SomeTenants
from alacena.coordination.worker import Worker
from alacena.engine.base.arguments import exact, list_of
from alacena.engine.base.errors import ArgumentError, TenantMismatchError
from alacena.engine.base.scope import identifier

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from alacena.coordination.coordination_context import CoordinationContext
    from alacena.coordination.item import Item
    from alacena.coordination.item_source import ItemSource
    from alacena.coordination.worker import Backoff
    from alacena.engine.base.closing import Deadline

_MOST_INDEXES: Final = 1_000


class Queues(PerTenant):
    """Gives queues. Durable as the server is: with ``appendonly yes`` an item survives a crash of it.

    Args:
        port: The coordination context.
        fair: Keep the index of tenants with work, by which :meth:`any` serves all tenants. Every process that pushes must agree.
    """

    def __init__(self, port: CoordinationContext, *, fair: bool = True) -> None:
        super().__init__(port)
        self._fair = fair
        self._indexes: dict[str, ReadyTenants] = {}

    def __call__(self, name: str, *, tenant_id: str | None = None, max_attempts: int = 5) -> Queue:
        """Returns the queue ``name`` of a tenant. Nothing is sent.

        Args:
            name: Its name.
            tenant_id: The tenant; not needed if these queues are bound to a tenant.
            max_attempts: After so many deliveries without an ack, an item is a dead letter.
        """
        return Queue(self._port, self._ready_tenants(name), name, self._tenant(tenant_id), max_attempts)

    def any(
        self, name: str, *, tenant_ids: Sequence[str] | None = None, max_attempts: int = 5
    ) -> AllTenants | SomeTenants:
        """Returns a view over the queue ``name`` of many tenants, served in turn however long each is.

        Args:
            name: The queues' name.
            tenant_ids: The tenants; left out: every tenant that has items, or the one that these queues are bound to.
            max_attempts: As above.
        """
        if tenant_ids is None and self.tenant_id is not None:
            tenant_ids = (self.tenant_id,)
        if tenant_ids is not None:
            tenants = list_of(tenant_ids, "tenant_ids", "tenants")
            queues = [self(name, tenant_id=tenant, max_attempts=max_attempts) for tenant in tenants]
            return SomeTenants(self._port, queues)
        ready_tenants = self._ready_tenants(name)
        if ready_tenants is None:
            raise ArgumentError("Queues(fair=False) keeps no index of tenants with work: give tenant_ids")
        return AllTenants(
            self._port, ready_tenants, lambda tenant: self(name, tenant_id=tenant, max_attempts=max_attempts)
        )

    async def reserve_any(
        self,
        name: str,
        *,
        tenant_ids: Sequence[str] | None = None,
        max_items: int = 1,
        visibility_s: float = 60.0,
        wait_s: float = 0.0,
        max_attempts: int = 5,
    ) -> list[Item]:
        """Takes items of many tenants in turn. See :meth:`any`: that view keeps its place between calls."""
        view = self.any(name, tenant_ids=tenant_ids, max_attempts=max_attempts)
        return await view.reserve(max_items, visibility_s=visibility_s, wait_s=wait_s)

    def worker(
        self,
        source: ItemSource,
        handler: Callable[[Item], Awaitable[object] | object],
        *,
        concurrency: int = 4,
        visibility_s: float = 60.0,
        heartbeat_s: float | None = None,
        backoff: Backoff | None = None,
        grace_s: float = 30.0,
    ) -> Worker:
        """Returns a worker on one or more of these queues: ``await cache.queues.worker(queue, handle).run()``.

        Args:
            source: A queue, or the view of :meth:`any`.
            handler: Called with each item; when it returns, the item is done.
            concurrency: How many handlers at a time.
            visibility_s: The length of a lease: for how long an item of a worker that died is out of sight.
            heartbeat_s: How often leases are lengthened; left out: a third of ``visibility_s``.
            backoff: How long a failed item waits.
            grace_s: How long :meth:`Worker.stop` lets running handlers finish.

        Raises:
            TenantMismatchError: A queue is another tenant's than these queues are bound to.
        """
        if isinstance(source, Queue):
            self._tenant(source.tenant_id)
        elif isinstance(source, SomeTenants):
            for tenant_id in source.tenant_ids:
                self._tenant(tenant_id)
        elif isinstance(source, AllTenants) and self.tenant_id is not None:
            raise TenantMismatchError(
                "the view", "of everybody", self.tenant_id, remedy="make the worker with the cache's own queues"
            )
        return Worker(
            self._port,
            source,
            handler,
            concurrency=concurrency,
            visibility_s=visibility_s,
            heartbeat_s=heartbeat_s,
            backoff=backoff,
            grace_s=grace_s,
        )

    async def find_keys(self, limit: int = 1_000) -> list[str]:
        """Returns the keys of queues, of every tenant or of the one that these are bound to, the last used first.

        A queue is listed from its first push on, until nothing was pushed into it for 90 days: 100,000 of them at most.
        Queues that serve no tenants in turn (``fair=False``) are not.

        Cost: 1 round trip, for any other content of the server; linear in the number of queues.

        Args:
            limit: How many at most.
        """
        limit = exact(limit, "limit", least=1)
        own = "" if self.tenant_id is None else self._port.key("queue", self.tenant_id, "any").partition("}")[0]
        # One tenant's queues may stand anywhere in the list: all of it is read, and cut at the end.
        found = await self._port.call("ZRANGE", list_key(self._port, "queue"), 0 if own else -limit, -1)
        keys = [key.decode("utf-8", "surrogatepass") for key in reversed(found)]
        return [key for key in keys if key.startswith(own)][:limit]

    async def close(self, deadline: Deadline | None = None) -> None:
        """Waits until everything given up has been given back."""
        self._refuse_bound("close()")
        await self._port._background.close(deadline)

    def _ready_tenants(self, name: str) -> ReadyTenants | None:
        if not self._fair:
            return None
        name = identifier("the name of a queue", name)
        # Shared by name, because each remembers which tenants it has announced: a new one would announce all of them
        # again. Put back at the end, so that the first in the dict is the one used longest ago.
        ready_tenants = self._indexes.pop(name, None) or ReadyTenants(self._port, "queue", name, "data")
        self._indexes[name] = ready_tenants
        if len(self._indexes) > _MOST_INDEXES:
            del self._indexes[next(iter(self._indexes))]  # Its next push announces its tenant once more.
        return ready_tenants
