"""A tenant's handle: every verb of a cache, with the tenant said once."""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Any

from alacena.engine.api.block_verbs import CLAIM_LIFE_S
from alacena.engine.base.keys import ident_of
from alacena.engine.base.remote_tier import MISSING, value_or
from alacena.engine.base.scope import Scope, check_pairs
from alacena.engine.base.ttl import UNSET, TtlOrUnset
from alacena.ledger.tenant_ledger import TenantLedger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from alacena.coordination.budgets import Budgets
    from alacena.coordination.counters import Counters
    from alacena.coordination.flags import Flags
    from alacena.coordination.limits import Limits
    from alacena.coordination.lists import Lists
    from alacena.coordination.locks import Locks
    from alacena.coordination.queues import Queues
    from alacena.coordination.sets import Sets
    from alacena.engine.api.verbs import Verbs
    from alacena.engine.base.keys import DocumentId
    from alacena.engine.base.lineage import DocumentsById
    from alacena.engine.base.policy import Policy
    from alacena.engine.base.remote_tier import Lookup
    from alacena.engine.reading.batch_alignment import BatchLoader
    from alacena.engine.reading.claim import Claim
    from alacena.engine.writing.source_reading import Reading


class Tenant:
    """Every verb of a cache for one tenant. Made by :meth:`alacena.engine.api.cache.Cache.tenant`.

    ::

        acme = cache.tenant("acme")
        document = await acme.load("document", "d1", load_document)
        async with acme.locks.acquire("reindex"):
            ...
        await acme.invalidate("document", "d1")

    A handle is small and keeps nothing open: make one a request, or one for as long as the cache lives. If it names an
    agent, a conversation, a collection, a user or permissions too, entries are read and written at that scope, and a
    read falls back to the more general ones. Locks, queues, counters and the like belong to the tenant in any case.

    Args:
        cache: The cache that does the work.
        scope: The entries that the handle reads and writes.

    Attributes:
        scope: As above.
    """

    __slots__ = ("_cache", "_plain", "_scope_ident", "_wider", "scope")

    def __init__(self, cache: Verbs, scope: Scope) -> None:
        self.scope = scope
        self._cache = cache
        self._plain = scope.tenant_id if scope.is_tenant_wide else None
        self._wider = scope.widening()
        # The part of an ident that all entries of the scope share.
        self._scope_ident = ident_of("", "", scope)[3:]

    @property
    def tenant_id(self) -> str:
        """The tenant."""
        return self.scope.tenant_id

    def __repr__(self) -> str:
        return f"Tenant({self.scope!r})"

    async def get(
        self,
        data_type: str,
        resource_id: str,
        *,
        use_memory: bool = True,
        search_hierarchy: bool = True,
        default: Any = None,
    ) -> Any:
        """Returns the value of an entry, or ``default``. See :meth:`Cache.get`.

        Args:
            data_type: Its type.
            resource_id: Its id within the type.
            use_memory: ``False``: ask Redis even if memory has it (staleness bound 0).
            search_hierarchy: Whether an entry of a more general scope may answer.
            default: The result of a miss.

        Raises:
            InvalidKeyError: The type or the id is blank or not text.

        Cost: 0 round trips if memory has it, else 1.
        If Redis fails: the default, within the read budget.
        """
        # The look of `Cache.get`, written out: calling that would put one more coroutine on the way of each hit.
        cache = self._cache
        if cache._guard.thread != get_ident():
            cache._open_parts()
        elif use_memory:
            try:
                if data_type in cache._unpeeked:
                    value = MISSING
                elif self._plain is not None:
                    value = cache.peek((self._plain, data_type, resource_id))
                else:
                    value = cache.peek((self.scope.tenant_id, data_type, resource_id, *self._scope_ident))
            except TypeError:  # a part that cannot be looked up: what follows says which
                value = MISSING
            if value is not MISSING:
                return value
        # A tenant's name is never blank, so `or` goes on only if the scope is narrower than the tenant.
        where = self._plain or (self._wider if search_hierarchy else (self.scope,))
        return value_or(await cache._find(data_type, resource_id, where, use_memory=use_memory), default)

    async def get_many(self, data_type: str, resource_ids: Iterable[str], *, use_memory: bool = True) -> dict[str, Any]:
        """Returns the values of many entries, by id; misses are left out.

        Cost: at most 1 round trip a node for each 1,000 ids.
        """
        return await self._cache.get_many(data_type, resource_ids, self.scope, use_memory=use_memory)

    async def peek_many(self, data_type: str, resource_ids: Iterable[str]) -> dict[str, Any]:
        """Works like :meth:`get_many`, and counts no miss: for a caller that loads the rest itself."""
        return await self._cache.peek_many(data_type, resource_ids, self.scope)

    async def lookup(
        self,
        data_type: str,
        resource_id: str,
        loader: Callable[..., Any] | None = None,
        *,
        ttl: TtlOrUnset = UNSET,
        tags: Iterable[str] = (),
        document_ids: Iterable[DocumentId] = (),
        policy: Policy | None = None,
        use_memory: bool = True,
        search_hierarchy: bool = True,
    ) -> Lookup[Any]:
        """Looks like :meth:`get` and :meth:`load`, and returns all that is known about the answer. See :meth:`Cache.lookup`.

        Args:
            data_type: Its type.
            resource_id: Its id within the type.
            loader: Asks the source on a miss; ``None``: only look.
            ttl: Seconds that the value stays fresh; left out: the type's.
            tags: Tags of the value, as far as they are known before it is loaded.
            document_ids: Documents it depends on, likewise.
            policy: In place of the type's.
            use_memory: Whether memory may answer and keep a copy.
            search_hierarchy: Whether an entry of a more general scope may answer.

        Raises:
            ValueError: ``ttl`` is not greater than 0.
        """
        return await self._cache.lookup(
            data_type,
            resource_id,
            self.scope,
            loader,
            ttl=ttl,
            tags=tags,
            document_ids=document_ids,
            policy=policy,
            use_memory=use_memory,
            search_hierarchy=search_hierarchy,
        )

    async def load(
        self,
        data_type: str,
        resource_id: str,
        loader: Callable[..., Any],
        *,
        ttl: TtlOrUnset = UNSET,
        tags: Iterable[str] = (),
        document_ids: Iterable[DocumentId] = (),
        policy: Policy | None = None,
        use_memory: bool = True,
        search_hierarchy: bool = True,
    ) -> Any:
        """Returns the value of an entry; asks the source if the tiers do not have it. See :meth:`Cache.load`.

        Args:
            data_type: Its type.
            resource_id: Its id within the type.
            loader: ``async def loader(context) -> value``; ``None`` means that the source has nothing. A loader
                without parameters, or one that is not async, is accepted.
            ttl: Seconds that the value stays fresh; left out: the type's.
            tags: Tags of the value, as far as they are known before it is loaded.
            document_ids: Documents it depends on, likewise.
            policy: In place of the type's.
            use_memory: Whether memory may answer and keep a copy.
            search_hierarchy: Whether an entry of a more general scope may answer.

        Raises:
            LoadTimeoutError: The type's hard timeout passed.
            Exception: The loader's own, as they are.

        Cost: 0 round trips from memory, 1 from Redis, 2 and the source on a miss.
        Cancellation: leaves the load to the other callers; the last to leave cancels it.
        If Redis fails: the source answers, and the value is not stored.
        """
        return await self._cache.load(
            data_type,
            resource_id,
            # By its name where that says all: a scope would be taken apart on every hit.
            self._plain or self.scope,
            loader,
            ttl=ttl,
            tags=tags,
            document_ids=document_ids,
            policy=policy,
            use_memory=use_memory,
            search_hierarchy=search_hierarchy,
        )

    async def load_many(
        self,
        data_type: str,
        resource_ids: Iterable[str],
        loader: BatchLoader,
        *,
        ttl: TtlOrUnset = UNSET,
        tags: Iterable[str] = (),
        document_ids: Iterable[DocumentId] = (),
        use_memory: bool = True,
    ) -> dict[str, Any]:
        """Returns many values by id, with one loader call for all that the tiers do not have. See :meth:`Cache.load_many`.

        Args:
            data_type: Their type.
            resource_ids: Their ids; repeated ones are loaded once.
            loader: ``async def loader(ids) -> mapping by id``, or a sequence in the order of the ids; ``None`` (or no
                entry in the mapping) for ids that the source does not have.
            ttl: As for :meth:`set`.
            tags: Tags of all of them.
            document_ids: Documents that all of them depend on.
            use_memory: Whether memory may answer and keep copies.

        Raises:
            LoadTimeoutError: The type's hard timeout passed, and not every missing entry has a stale one to stand in.
            ValueError: The loader returned values that cannot be told apart, or named other ids.
            Exception: The loader's own, as they are. Values loaded before are stored.

        Cost: 1 round trip a node for each 1,000 ids; one more for each 1,000 misses, and one loader call for all.
        Cancellation: the load is finished and stored: it is paid for.
        """
        return await self._cache.load_many(
            data_type,
            resource_ids,
            self.scope,
            loader,
            ttl=ttl,
            tags=tags,
            document_ids=document_ids,
            use_memory=use_memory,
        )

    async def refresh(
        self,
        data_type: str,
        resource_id: str,
        loader: Callable[..., Any],
        *,
        ttl: TtlOrUnset = UNSET,
        tags: Iterable[str] = (),
        document_ids: Iterable[DocumentId] = (),
    ) -> Any:
        """Asks the source even on a hit, and stores its answer. See :meth:`Cache.refresh`.

        Args:
            data_type: Its type.
            resource_id: Its id within the type.
            loader: As for :meth:`load`.
            ttl: As for :meth:`set`.
            tags: Tags of the value.
            document_ids: Documents it depends on.

        Cost: 1 round trip and the source; the answer is stored behind.
        If Redis fails: the source answers, and the value is not stored.
        """
        return await self._cache.refresh(
            data_type, resource_id, self.scope, loader, ttl=ttl, tags=tags, document_ids=document_ids
        )

    async def set(
        self,
        data_type: str,
        resource_id: str,
        value: Any,
        *,
        ttl: TtlOrUnset = UNSET,
        tags: Iterable[str] = (),
        document_ids: Iterable[DocumentId] = (),
        use_memory: bool = True,
    ) -> bool:
        """Stores a value that the caller vouches for: a load in flight loses to it. See :meth:`Cache.set`.

        Args:
            data_type: Its type.
            resource_id: Its id within the type.
            value: Anything the codec knows, except ``None``.
            ttl: Seconds it stays fresh; left out: the type's; ``None``: for ever.
            tags: Its tags.
            document_ids: Documents it depends on.
            use_memory: Whether this process keeps a copy.

        Returns:
            Whether it was stored.

        Raises:
            EncodeError: The value holds something that cannot be stored; the message names where.
            ValueError: ``ttl`` is not greater than 0, or the value is ``None``.

        Cost: 1 round trip; one more for a type, scope or tag that this process has not met.
        If Redis fails: ``False``; the older value is gone from memory, and its removal is made up for.
        """
        return await self._cache.set(
            data_type,
            resource_id,
            value,
            self.scope,
            ttl=ttl,
            tags=tags,
            document_ids=document_ids,
            use_memory=use_memory,
        )

    async def set_many(
        self,
        data_type: str,
        values: Mapping[str, Any],
        *,
        ttl: TtlOrUnset = UNSET,
        tags: Iterable[str] = (),
        document_ids: Iterable[DocumentId] | DocumentsById = (),
    ) -> int:
        """Stores many values by id, and returns how many were stored. See :meth:`Cache.set_many`.

        Cost: 1 round trip a node for each 400 entries, 100 of them in one command; one more as for :meth:`set`.
        """
        return await self._cache.set_many(data_type, values, self.scope, ttl=ttl, tags=tags, document_ids=document_ids)

    async def delete(self, data_type: str, resource_id: str) -> bool:
        """Removes the one entry named; True if it existed on the remote tier. See :meth:`Cache.delete`.

        Cost: 1 round trip.
        If Redis fails: it is gone from memory, ``False`` is returned, and the removal is made up for.
        """
        return await self._cache.delete(data_type, resource_id, self.scope)

    async def invalidate(
        self,
        data_type: str | None = None,
        resource_id: str | None = None,
        *,
        document_ids: Iterable[DocumentId] = (),
        tags: Iterable[str] = (),
    ) -> int:
        """Makes everything that matches a miss, wherever it is. See :meth:`Cache.invalidate`.

        Args:
            data_type: Only this type; ``None``: every type.
            resource_id: Only this resource, at every scope; ``None`` or ``"*"``: every one. Never a pattern.
            document_ids: Also everything that was made from these documents. Given alone, only that.
            tags: Also everything that carries these tags.

        Returns:
            A number greater than 0 if the server confirmed; 0 if it did not.

        Cost: 1 round trip a node, for any number of entries.
        If Redis fails: as for :meth:`delete`.
        """
        return await self._cache.invalidate(self.scope, data_type, resource_id, document_ids=document_ids, tags=tags)

    async def invalidate_known(self, *, document_ids: Iterable[DocumentId] = (), tags: Iterable[str] = ()) -> int:
        """Invalidates by document and tag, and returns of how many of them anything is known that depends on them.

        Cost: 1 round trip a node.
        If Redis fails: as for :meth:`delete`.
        """
        return await self._cache.invalidate_known(self.scope, document_ids=document_ids, tags=tags)

    def write(
        self,
        *resources: tuple[str, str],
        document_ids: Sequence[DocumentId] = (),
        hold_s: float | None = None,
    ) -> AbstractAsyncContextManager[None]:
        """Goes around a transaction of the source: readers bypass the entries until it is over. See :meth:`Cache.write`.

        ::

            async with acme.write(("document", "d1"), document_ids=["d1"]):
                async with connection.transaction():
                    ...

        Args:
            resources: ``(data_type, resource_id)`` of the entries that the transaction changes; invalidated at every scope.
            document_ids: Documents that it changes: values made from them are invalidated too.
            hold_s: Seconds; must be above the longest time the transaction may take.

        Raises:
            InvalidKeyError: A resource is no pair of data type and id.

        Cost: 1 round trip before the block and 2 after it.
        """
        # Here too: the message shows the call as it is written on a handle, and comes before the block is entered.
        check_pairs(resources, "write((data_type, resource_id), ...)")
        return self._cache.write(self.scope, *resources, document_ids=document_ids, hold_s=hold_s)

    def reading(
        self,
        *,
        document_ids: Iterable[DocumentId] = (),
        tags: Iterable[str] = (),
        data_types: Iterable[str] = (),
    ) -> AbstractAsyncContextManager[Reading]:
        """Goes around code that reads the source, works on the rows, and stores the outcome. See :meth:`Cache.reading`.

        Args:
            document_ids: Documents that are read: all that the reading stores depends on them.
            tags: Other names, likewise.
            data_types: Types that the reading stores: naming them spares each ``set`` a round trip.

        Cost: 1 round trip before the block.
        If Redis fails: the block runs; its values are not stored, and ``set`` returns ``False``.
        """
        return self._cache.reading(self.scope, document_ids=document_ids, tags=tags, data_types=data_types)

    def claim(
        self,
        data_type: str,
        resource_id: str,
        *,
        ttl: TtlOrUnset = UNSET,
        tags: Iterable[str] = (),
        document_ids: Iterable[DocumentId] = (),
        policy: Policy | None = None,
        use_memory: bool = True,
        search_hierarchy: bool = True,
    ) -> AbstractAsyncContextManager[Claim]:
        """Goes around code that looks a value up, and makes and stores it if there is none. See :meth:`Cache.claim`.

        Args:
            data_type: Its type.
            resource_id: Its id within the type.
            ttl: As for :meth:`set`.
            tags: Tags of the value.
            document_ids: Documents, likewise.
            policy: In place of the type's.
            use_memory: Whether memory may answer and keep a copy.
            search_hierarchy: Whether an entry of a more general scope may answer.

        Cost: as for :meth:`load`.
        If Redis fails: the block runs; its value reaches the waiting callers, and is not kept.
        """
        return self._cache.claim(
            data_type, resource_id, self.scope, ttl=ttl, tags=tags, document_ids=document_ids, policy=policy,
            use_memory=use_memory, search_hierarchy=search_hierarchy,
        )  # fmt: skip

    async def begin_claim(
        self,
        data_type: str,
        resource_id: str,
        *,
        ttl: TtlOrUnset = UNSET,
        tags: Iterable[str] = (),
        document_ids: Iterable[DocumentId] = (),
        policy: Policy | None = None,
        use_memory: bool = True,
        search_hierarchy: bool = True,
        life_s: float = CLAIM_LIFE_S,
    ) -> Claim:
        """Begins a :meth:`claim`, for code with two calls for look-up and store. See :meth:`Cache.begin_claim`.

        Cost: as for :meth:`load`.
        If Redis fails: as for :meth:`claim`.
        """
        return await self._cache.begin_claim(
            data_type, resource_id, self.scope, ttl=ttl, tags=tags, document_ids=document_ids, policy=policy,
            use_memory=use_memory, search_hierarchy=search_hierarchy, life_s=life_s,
        )  # fmt: skip

    async def ttl(self, data_type: str, resource_id: str) -> float:
        """Returns the seconds that an entry stays fresh: -1 for ever, -2 absent. Cost: 1 round trip."""
        return await self._cache.ttl(data_type, resource_id, self.scope)

    async def explain(self, data_type: str, resource_id: str) -> dict[str, Any]:
        """Returns the explanation of a read of this entry, for people. Cost: as for :meth:`Cache.explain`."""
        return await self._cache.explain(data_type, resource_id, self.scope)

    @property
    def locks(self) -> Locks:
        """Locks across processes, with a fence."""
        return self._cache.locks.of(self.scope.tenant_id)

    @property
    def queues(self) -> Queues:
        """Queues that lose nothing: ``acme.queues("ingestion")``."""
        return self._cache.queues.of(self.scope.tenant_id)

    @property
    def counters(self) -> Counters:
        """Atomic counters."""
        return self._cache.counters.of(self.scope.tenant_id)

    @property
    def limits(self) -> Limits:
        """Rate limits."""
        return self._cache.limits.of(self.scope.tenant_id)

    @property
    def budgets(self) -> Budgets:
        """Budgets: reserve, commit, refund."""
        return self._cache.budgets.of(self.scope.tenant_id)

    @property
    def lists(self) -> Lists:
        """Plain lists."""
        return self._cache.lists.of(self.scope.tenant_id)

    @property
    def sets(self) -> Sets:
        """Plain sets."""
        return self._cache.sets.of(self.scope.tenant_id)

    @property
    def flags(self) -> Flags:
        """Values that the first one to set them decides."""
        return self._cache.flags.of(self.scope.tenant_id)

    @property
    def ledger(self) -> TenantLedger:
        """The tenant's tokens: the usage, and by which model."""
        return TenantLedger(self._cache.ledger, self.scope)
