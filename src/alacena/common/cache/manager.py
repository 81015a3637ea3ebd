"""`CacheManager`: the guide's door to the process-wide cache."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, Literal

from alacena.common import runtime
from alacena.common.cache.primitive_names import flag_name, split_tenant
from alacena.common.cache.primitives import Primitives
from alacena.common.cache.tenancy import Id, Permissions, check_data, scope_of, tenant_first, tenant_of
from alacena.common.context.vars import ambient_tenant
from alacena.common.runtime import PROCESS
from alacena.constants import TTL_EXTENDED, TTL_PERMANENT, TTL_SHORT, TTL_STANDARD
from alacena.engine import MISSING, UNSET, Scope
from alacena.engine.base.arguments import check_values
from alacena.engine.base.errors import ArgumentError, show
from alacena.engine.base.remote_tier import NOT_FOUND
from alacena.engine.base.scope import several

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from alacena.engine import Cache, Claim, Reading, Settings, TtlOrUnset
    from alacena.engine.base.keys import DocumentId

_LOCKS: Final = frozenset({"lock", "job_lock"})


class CacheManager(Primitives):
    """The process-wide cache, memory first, then Redis.

    Basic operations are static: ``await CacheManager.get("document", doc_id, tenant_id)``. Lists, sets, counters and
    flags belong to the instance: ``await CacheManager.get_instance().rpush(...)``. The static ones are there too.

    Everywhere, ``tenant_id`` left out means the ambient tenant of `Context`; if there is none, that is a
    `MissingTenantError`. Cache verbs (get, set, delete, invalidate) do not fail with Redis: reads miss, and
    writes say ``False``. The instance's verbs raise `BackendError`: a pretended success would lose work.
    """

    ttl_short: Final = TTL_SHORT
    ttl_standard: Final = TTL_STANDARD
    ttl_extended: Final = TTL_EXTENDED
    ttl_permanent: Final = TTL_PERMANENT

    __slots__ = ()

    @staticmethod
    def get_instance() -> CacheManager:
        """Returns the instance. Not a coroutine; every call gives the same one."""
        return _INSTANCE

    @property
    def settings(self) -> Settings:
        """The settings of the process-wide cache: of the open one, or of the one that the next call opens."""
        return runtime.settings()

    @staticmethod
    async def initialize() -> Literal[True]:
        """Opens the process-wide cache on the running loop. The first call of anything else does it too."""
        await runtime.opened()
        return True

    @staticmethod
    async def cache() -> Cache:
        """Returns the process-wide `Cache` itself, opened if it is not: its queues, locks, ledger, `explain`, `guarantee`."""
        return await runtime.opened()

    @staticmethod
    async def close(*, timeout_s: float = 5.0) -> None:
        """Closes the process-wide cache; it can be configured and opened again, on another loop too.

        Args:
            timeout_s: How long the work under way may take before it is cancelled.

        Cancellation: the closing goes on without the caller; closing again waits for it.
        """
        await runtime.close(timeout_s=timeout_s)

    @staticmethod
    async def get(
        data_type: str,
        resource_id: str,
        tenant_id: str | None = None,
        agent_id: Id = None,
        conversation_id: Id = None,
        collection_id: Id = None,
        use_memory: bool = True,
        search_hierarchy: bool = True,
        user_id: Id = None,
        permissions: Permissions = None,
        # Not by name only: the default of such an argument is looked up at each call, a fifth of an awaited look into a dict.
        default: Any = None,
    ) -> Any:
        """Returns the value of an entry, or ``default`` on a miss. ``0``, ``""``, ``[]``, ``{}`` and ``False`` are values.

        Args:
            data_type: The data type, such as ``"document"``.
            resource_id: Which one.
            tenant_id: The tenant; left out: the ambient tenant.
            agent_id: The agent's own entry. The same holds for the next two.
            conversation_id: The conversation's own entry.
            collection_id: The collection's own entry.
            use_memory: Whether this process's memory may answer; ``False`` asks Redis.
            search_hierarchy: Look at each more general scope too, most specific first.
            user_id: The user's own entry.
            permissions: The entry of this set of permissions; without it and ``user_id``, the public entry of the tenant.
            default: The result of a miss.

        Raises:
            MissingTenantError: No tenant is given and none is ambient.
            TenantMismatchError: The tenant is not the ambient one.

        Cost: 0 round trips on a memory hit, otherwise 1.
        If Redis fails: a miss.
        """
        tenant: Any = tenant_id
        if (ambient := ambient_tenant()) is not None and ambient is not tenant_id:
            # Also on a hit: a tenant that is named and is not the ambient one is an error, not an answer.
            tenant = ambient if tenant_id is None or ambient == tenant_id else tenant_of(tenant_id)
        if use_memory and PROCESS.thread == get_ident():
            try:
                if user_id is not None or permissions is not None:
                    value = MISSING  # what names a reader is looked up by its scope, which checks who asks
                elif agent_id is None and conversation_id is None and collection_id is None:
                    # A name of its own: a call of what an attribute holds takes longer if it is written as one of a method.
                    peek = PROCESS.peek
                    value = peek((tenant, data_type, resource_id))
                else:
                    value = PROCESS.peek((tenant, data_type, resource_id, agent_id, conversation_id, collection_id))
            except TypeError:  # a part that cannot be looked up: what follows says which
                value = MISSING
            if value is not MISSING:
                return value
        # Not opened() at once: its coroutine and its lock would be on the way of every hit on the server.
        cache = PROCESS.cache if PROCESS.thread == get_ident() else None
        if cache is None:
            cache = await runtime.opened()
        if agent_id is conversation_id is collection_id is user_id is permissions is None:
            # Text is a key as it is. Anything else (a UUID, the value of a generator) is settled first.
            where: str | Iterable[Scope] = tenant if type(tenant) is str else tenant_of(tenant_id)
        else:
            scope = scope_of(tenant_id, agent_id, conversation_id, collection_id, user_id, permissions)
            where = scope.widening() if search_hierarchy else (scope,)
        found = await cache._find(data_type, resource_id, where, use_memory=use_memory)
        return default if found is None or found.value is NOT_FOUND else found.value

    @staticmethod
    async def set(
        data_type: str,
        resource_id: str,
        value: Any,
        tenant_id: str | None = None,
        agent_id: Id = None,
        conversation_id: Id = None,
        collection_id: Id = None,
        ttl: TtlOrUnset = UNSET,
        use_memory: bool = True,
        *,
        document_id: DocumentId | None = None,
        document_ids: Iterable[DocumentId] = (),
        tags: Iterable[str] = (),
        user_id: Id = None,
        permissions: Permissions = None,
    ) -> bool:
        """Stores a value.

        Args:
            data_type: The data type.
            resource_id: Which one.
            value: Any supported value; it comes back with its type.
            tenant_id: The tenant; left out: the ambient tenant.
            agent_id: Make it the agent's own. The same holds for the next two.
            conversation_id: Make it the conversation's own.
            collection_id: Make it the collection's own.
            ttl: Seconds or a ``timedelta``; left out: the type's default; ``None`` (``TTL_PERMANENT``): for ever.
            use_memory: Whether this process's memory keeps a copy.
            document_id: The document it was made from, besides those that the value itself names; see
                `alacena.engine.base.lineage.documents_in`.
            document_ids: Several of them.
            tags: Other names that it depends on, for `invalidate`.
            user_id: Make it the user's own.
            permissions: Keep it for this set of permissions. An entry with neither is public in its tenant.

        Returns:
            Whether it was stored where other processes see it.

        Raises:
            EncodeError: The value cannot be stored; the message names the path of the part that cannot.
            TenantMismatchError: The tenant is not the ambient one, or the value says that it is another tenant's.
            ValueError: ``ttl`` is zero, negative or NaN.

        Cost: 1 round trip; one more for a type, scope, document or tag that this process has not met.
        If Redis fails: ``False``.
        """
        scope = scope_of(tenant_id, agent_id, conversation_id, collection_id, user_id, permissions)
        return await (await runtime.opened()).set(
            data_type,
            resource_id,
            check_data(value, scope.tenant_id),
            scope,
            ttl=ttl,
            use_memory=use_memory,
            tags=tags,
            document_ids=_documents(document_id, document_ids),
        )

    @staticmethod
    async def delete(
        data_type: str | None = None,
        resource_id: str | None = None,
        tenant_id: str | None = None,
        agent_id: Id = None,
        conversation_id: Id = None,
        collection_id: Id = None,
        *,
        key: str | None = None,
        user_id: Id = None,
        permissions: Permissions = None,
    ) -> bool:
        """Removes the one entry named; or, with ``key=``, the list, set or flag of that name.

        Returns:
            Whether there was something to remove.

        Raises:
            TypeError: Neither ``data_type`` and ``resource_id`` nor ``key`` is given.

        Cost: 1 round trip. Other processes drop their copies.
        """
        cache = await runtime.opened()
        if key is not None:
            tenant, name = split_tenant(key, tenant_id)
            holders = (cache.lists, cache.sets, cache.flags)
            # Not `or`: a list, a set and a flag may bear one name, and all of them are removed.
            return any(await asyncio.gather(*(holder.delete(name, tenant_id=tenant) for holder in holders)))
        if data_type is None or resource_id is None:
            msg = "write delete(data_type, resource_id, tenant_id), or delete(key=...) for a list, a set or a flag"
            raise ArgumentError(msg)
        scope = scope_of(tenant_id, agent_id, conversation_id, collection_id, user_id, permissions)
        deleted = await cache.delete(data_type, resource_id, scope)
        # set_if_not_exists keeps these as flags and not as entries, and code gives them back by delete().
        if data_type in _LOCKS:
            lowered = await cache.flags.delete(flag_name(data_type, resource_id), tenant_id=scope.tenant_id)
            deleted = lowered or deleted
        return deleted

    @staticmethod
    async def invalidate(
        tenant_id: str | None,
        data_type: str | None = None,
        resource_id: str | None = None,
        agent_id: Id = None,
        conversation_id: Id = None,
        collection_id: Id = None,
        *,
        document_id: DocumentId | None = None,
        document_ids: Iterable[DocumentId] = (),
        tags: Iterable[str] = (),
        user_id: Id = None,
        permissions: Permissions = None,
    ) -> int:
        """Ends everything that a scope covers, in every process. Ids are literal, never patterns.

        Args:
            tenant_id: The tenant; ``None``: the ambient tenant.
            data_type: The type; ``None``: every type.
            resource_id: Which, at every scope; ``None`` or ``"*"``: the whole type.
            agent_id: Only the agent's own entries. The same holds for the next two.
            conversation_id: Only the conversation's own entries.
            collection_id: Only the collection's own entries.
            document_id: Everything that was made from this document.
            document_ids: Everything that was made from one of these.
            tags: Everything that depends on one of these names.
            user_id: Only the user's own entries.
            permissions: Only entries of exactly this set of permissions.

        Returns:
            More than 0 where anything could have been invalidated.

        Raises:
            InvalidKeyError: A data type stands in the place of the tenant.
            TenantMismatchError: The tenant is not the ambient one.

        Cost: 1 round trip, for any number of entries.
        If Redis fails: 0; this process's memory is clean, and the server hears of it before it is read again.
        """
        whose = tenant_first(tenant_id, data_type, "invalidate(tenant_id, data_type, resource_id)")
        parts = (agent_id, conversation_id, collection_id, user_id)
        if any(part is not None for part in (*parts, permissions)):
            tenant = whose.tenant_id if isinstance(whose, Scope) else whose
            whose = scope_of(tenant, *parts, permissions)
        return await (await runtime.opened()).invalidate(
            whose,
            data_type,
            None if resource_id == "*" else resource_id,
            document_ids=_documents(document_id, document_ids),
            tags=tags,
        )

    @staticmethod
    async def invalidate_cache(
        scope: Literal["tenant", "agent", "conversation", "collection", "user"],
        tenant_id: str | None = None,
        agent_id: str | None = None,
        conversation_id: str | None = None,
        collection_id: str | None = None,
        user_id: str | None = None,
    ) -> int:
        """Ends all that belongs to a whole tenant, agent, conversation, collection or user. Returns as `invalidate` does.

        Raises:
            ValueError: There is no such scope, or the id that it needs is missing.
        """
        ids = {"agent": agent_id, "conversation": conversation_id, "collection": collection_id, "user": user_id}
        if not isinstance(scope, str) or scope not in ("tenant", *ids):
            raise ArgumentError(f"invalidate_cache(scope={show(scope)}): scopes are tenant, {', '.join(ids)}")
        if scope == "tenant":
            return await CacheManager.invalidate(tenant_id)
        if ids[scope] is None:
            raise ArgumentError(f"invalidate_cache(scope={scope!r}) needs {scope}_id=")
        return await CacheManager.invalidate(tenant_id, **{f"{scope}_id": ids[scope]})  # type: ignore[arg-type]

    @staticmethod
    async def get_many(
        data_type: str,
        resource_ids: Iterable[str],
        tenant_id: str | None = None,
        agent_id: Id = None,
        conversation_id: Id = None,
        collection_id: Id = None,
        *,
        user_id: Id = None,
        permissions: Permissions = None,
    ) -> dict[str, Any]:
        """Returns the values of many entries by id; ids without a value are left out.

        Cost: 1 round trip a node for each 1,000 ids.
        """
        scope = scope_of(tenant_id, agent_id, conversation_id, collection_id, user_id, permissions)
        return await (await runtime.opened()).get_many(data_type, resource_ids, scope)

    @staticmethod
    async def set_many(
        data_type: str,
        values: Mapping[str, Any],
        tenant_id: str | None = None,
        agent_id: Id = None,
        conversation_id: Id = None,
        collection_id: Id = None,
        ttl: TtlOrUnset = UNSET,
        *,
        document_id: DocumentId | None = None,
        document_ids: Iterable[DocumentId] = (),
        tags: Iterable[str] = (),
        user_id: Id = None,
        permissions: Permissions = None,
    ) -> bool:
        """Stores many values by id, as `set` does each. Returns whether all were stored.

        Args:
            data_type: Their type.
            values: The values by id.
            tenant_id: The tenant; left out: the ambient tenant.
            agent_id: Make them the agent's own. The same holds for the next two.
            conversation_id: Make them the conversation's own.
            collection_id: Make them the collection's own.
            ttl: As for `set`.
            document_id: The document that all of them were made from, besides those that each of them names itself.
            document_ids: Several of them.
            tags: Other names that all of them depend on, for `invalidate`.
            user_id: Make them the user's own.
            permissions: Keep them for this set of permissions.

        Cost: 1 round trip a node for each 400 entries; one more for what `set` asks for.
        If Redis fails: ``False``.
        """
        scope = scope_of(tenant_id, agent_id, conversation_id, collection_id, user_id, permissions)
        check_values(values)
        # All are checked before anything is sent: a value of another tenant's stores none of the others.
        for value in values.values():
            check_data(value, scope.tenant_id)
        given = _documents(document_id, document_ids)
        cache = await runtime.opened()
        stored = await cache.set_many(data_type, values, scope, ttl=ttl, tags=tags, document_ids=given)
        return stored == len(values)

    @staticmethod
    @asynccontextmanager
    async def reading(
        tenant_id: str | None = None,
        agent_id: Id = None,
        conversation_id: Id = None,
        collection_id: Id = None,
        *,
        document_id: DocumentId | None = None,
        document_ids: Iterable[DocumentId] = (),
        tags: Iterable[str] = (),
        data_types: Iterable[str] = (),
    ) -> AsyncIterator[Reading]:
        """Puts this around code that reads a document, works on it, and stores the outcome.

        ::

            async with CacheManager.reading("acme", document_id="d1") as reading:
                chunks = split(await fetch("d1"))
                await reading.set_many("chunk", chunks)

        A value that is invalidated after the block began is not stored by it: a document that is deleted while it is ingested
        leaves no chunks.

        Args:
            tenant_id: The tenant; ``None``: the ambient tenant.
            agent_id: All that is stored is the agent's own. The same holds for the next two.
            conversation_id: All that is stored is the conversation's own.
            collection_id: All that is stored is the collection's own.
            document_id: The document that is read: all that is stored depends on it.
            document_ids: Others, likewise. What a value itself names as its ``document_id`` is added to them.
            tags: Other names, likewise.
            data_types: Types that are stored: naming them spares each `set` a round trip.

        Cost: 1 round trip before the block.
        If Redis fails: the block runs; its ``set`` returns ``False``.
        """
        cache = await runtime.opened()
        scope = scope_of(tenant_id, agent_id, conversation_id, collection_id)
        async with cache.reading(
            scope,
            document_ids=_documents(document_id, document_ids),
            tags=tags,
            data_types=data_types,
        ) as reading:
            reading.check = partial(check_data, tenant_id=scope.tenant_id)
            yield reading

    @staticmethod
    @asynccontextmanager
    async def claim(
        data_type: str,
        resource_id: str,
        tenant_id: str | None = None,
        agent_id: Id = None,
        conversation_id: Id = None,
        collection_id: Id = None,
        *,
        user_id: Id = None,
        permissions: Permissions = None,
        **options: Any,
    ) -> AsyncIterator[Claim]:
        """Puts this around code that looks a value up, and makes and stores it if there is none.

        ::

            async with CacheManager.claim("answer", "q1") as claim:
                if not claim.found:
                    await claim.store(await model(question))

        While the block runs, other claims and reads of the entry wait for its value.

        Args:
            data_type: The data type.
            resource_id: Which one.
            tenant_id: The tenant; left out: the ambient tenant.
            agent_id: Make the entry the agent's own. The same holds for the next two.
            conversation_id: Make it the conversation's own.
            collection_id: Make it the collection's own.
            user_id: Make it the user's own.
            permissions: Keep it for this set of permissions.
            options: As for `Cache.claim`: ``ttl``, ``tags``, ``document_ids``, ``policy``, ``use_memory``.

        Raises:
            MissingTenantError: No tenant is given and none is ambient.
            TenantMismatchError: The tenant is not the ambient one, or (from ``store``) the value says that it is another's.
            CircularLoadError: The block or load that claims is itself waited for by a load of this entry.

        Cost: As for `Cache.claim`.
        If Redis fails: the block makes the value; ``store`` returns ``False``.
        """
        scope = scope_of(tenant_id, agent_id, conversation_id, collection_id, user_id, permissions)
        async with (await runtime.opened()).claim(data_type, resource_id, scope, **options) as claim:
            # The engine knows no surroundings: it is told here how to find out whose a value says that it is.
            claim.check = partial(check_data, tenant_id=scope.tenant_id)
            yield claim

    @staticmethod
    async def ttl(
        data_type: str,
        resource_id: str,
        tenant_id: str | None = None,
        agent_id: Id = None,
        conversation_id: Id = None,
        collection_id: Id = None,
        *,
        user_id: Id = None,
        permissions: Permissions = None,
    ) -> int:
        """Returns whole seconds that an entry has left, at least 1; ``-1``: it never expires; ``-2``: there is none."""
        scope = scope_of(tenant_id, agent_id, conversation_id, collection_id, user_id, permissions)
        left_s = await (await runtime.opened()).ttl(data_type, resource_id, scope)
        # The last half second must not round to 0: an entry that is alive has time left.
        return round(left_s) if left_s < 0 else max(1, round(left_s))

    @staticmethod
    async def set_if_not_exists(
        data_type: str, resource_id: str, value: Any, tenant_id: str | None = None, *, ttl: float | None = None
    ) -> bool:
        """Raises a flag unless it is raised; `delete` of the same ``"lock"`` or ``"job_lock"`` lowers it.

        Returns:
            ``True`` for the one caller that raised it. For work that must not run twice, prefer `acquire_job_lock`.

        Atomicity: one command on the server; memory is never asked.
        """
        tenant = tenant_of(tenant_id)
        cache = await runtime.opened()
        name = flag_name(data_type, resource_id)
        return await cache.flags.set_nx(name, check_data(value, tenant), tenant_id=tenant, ttl_s=ttl)


def _documents(document_id: DocumentId | None, document_ids: Iterable[DocumentId]) -> tuple[Any, ...]:
    given = tuple(several(document_ids))
    return given if document_id is None else (document_id, *given)


_INSTANCE: Final = CacheManager()
