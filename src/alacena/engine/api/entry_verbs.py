"""The verbs of a cache for one entry, and for the entries of a scope: they turn arguments into keys, and decide nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from threading import get_ident
from typing import TYPE_CHECKING, Any

from alacena.engine.base.keys import NO_NAMES, collapse, ident_of, name_tags
from alacena.engine.base.policy import check_policy
from alacena.engine.base.remote_tier import MISSING, value_or
from alacena.engine.base.scope import Scope, check_order, identifier, make_scope
from alacena.engine.base.ttl import UNSET, TtlOrUnset, check_ttl
from alacena.engine.loading.load import Request, adapt

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from alacena.engine.api.assembly import Parts
    from alacena.engine.api.memory_hit_guard import MemoryHitGuard
    from alacena.engine.base.keys import DocumentId, EntryKey, Ident
    from alacena.engine.base.policy import Policy
    from alacena.engine.base.remote_tier import Found, Lookup
    from alacena.engine.memory import MemoryEntry

NO_PARTS = (None,) * 5
"""A call that names nothing below the tenant."""

"""What is left out of a call, as the default of its signature."""


class EntryVerbs(ABC):
    """The verbs of a cache that name one entry, or all that a scope covers.

    Attributes:
        peek: ``peek(ident)`` gives a fresh value in memory, or ``MISSING``; it is synchronous and sends nothing. ``ident``
            is ``(tenant_id, data_type, resource_id)``, for a scoped entry followed by agent, conversation and collection,
            for one that names a reader followed by user and permissions too, ``None`` if not given. Nothing is
            allocated for values that are immutable or shared.
        peek_entry: ``peek_entry(ident, environment.now())`` gives the entry in memory that holds the value, or ``None``: for
            a caller that has read the clock already. The entry's ``thaw``, if there is one, makes the reader's own copy.
    """

    peek: Callable[[Ident], Any]
    peek_entry: Callable[[Ident, float], MemoryEntry | None]

    _parts: Parts | None
    _guard: MemoryHitGuard
    _policies: dict[str, Policy]
    _unpeeked: frozenset[str]

    @abstractmethod
    def policy(self, data_type: str) -> Policy:
        """Returns the policy by which a data type is kept and loaded."""

    @abstractmethod
    def _open_parts(self) -> Parts: ...

    async def get(
        self,
        data_type: str,
        resource_id: str,
        tenant_id: str | Scope,
        *,
        agent_id: str | None = None,
        conversation_id: str | None = None,
        collection_id: str | None = None,
        user_id: str | None = None,
        permissions: Iterable[str] | None = None,
        use_memory: bool = True,
        search_hierarchy: bool = True,
        default: Any = None,
    ) -> Any:
        """Returns the value of an entry, or ``default``.

        Args:
            data_type: Its type.
            resource_id: Its id within the type.
            tenant_id: Its tenant, or its whole scope.
            agent_id: Its agent.
            conversation_id: Its conversation.
            collection_id: Its collection.
            user_id: The user that may see it.
            permissions: The set of permissions it was made under.
            use_memory: ``False``: ask Redis even if memory has it (staleness bound 0).
            search_hierarchy: Whether an entry of a more general scope may answer.
            default: The result of a miss.

        Returns:
            The value, private to the caller unless it is immutable or its type's policy shares it.

        Raises:
            MissingTenantError: No tenant.
            InvalidKeyError: A part of the key is blank or not text.

        Cost: 0 round trips if memory has it, else 1.
        If Redis fails: the default, within the read budget.
        """
        # On another thread, on another loop or with an observer, memory must not answer before the loop is checked.
        if self._guard.thread != get_ident():
            self._open_parts()
        # Permissions come in any order and form: only the long way makes them a set, as idents hold it.
        elif use_memory and user_id is None and permissions is None:
            try:
                ident: Ident = (tenant_id, data_type, resource_id)
                if not (agent_id is None and conversation_id is None and collection_id is None):
                    ident = (*ident, agent_id, conversation_id, collection_id)
                value = MISSING if data_type in self._unpeeked else self.peek(ident)
            except TypeError:  # a part that cannot be looked up: what follows says which
                value = MISSING
            if value is not MISSING:
                return value
        # Exactly `str`: a member of an Enum is made text by `make_scope`.
        if agent_id is conversation_id is collection_id is user_id is permissions is None and type(tenant_id) is str:
            where: str | Iterable[Scope] = tenant_id
        else:
            scope = make_scope(tenant_id, agent_id, conversation_id, collection_id, user_id, permissions)
            where = scope.widening() if search_hierarchy else (scope,)
        return value_or(await self._find(data_type, resource_id, where, use_memory=use_memory), default)

    def _find(
        self, data_type: str, resource_id: str, where: str | Iterable[Scope], *, use_memory: bool
    ) -> Coroutine[Any, Any, Found | None]:
        """Looks at the tiers for a fresh entry: for every read that loads nothing, once :attr:`peek` has not answered it.

        For a caller that has made sure that it runs on the thread of the cache's event loop.

        Not a coroutine of its own, which would be one more on the way of every hit on the server.

        Args:
            data_type: Its type.
            resource_id: Its id within the type.
            where: The tenant that has it; or the scopes to look at, most specific first.
            use_memory: Whether memory may answer and keep a copy.

        Cost: 0 round trips if memory has it, else 1.
        If Redis fails: a miss.
        """
        # Which loop runs takes a system call to ask: past memory the connection asks, once in each turn of the loop.
        parts = (None if use_memory else self._parts) or self._open_parts()
        try:
            policy = self._policies.get(data_type) or self.policy(data_type)
        except TypeError:  # no hash: text has one, and the check of a part says what it is instead
            policy = self.policy(identifier("data_type", data_type))
        if isinstance(where, str):
            keys: tuple[EntryKey, ...] = (parts.keys.plain(data_type, resource_id, where),)
        else:
            keys = tuple([parts.keys.entry(data_type, resource_id, scope) for scope in where])
        return parts.reader.find(keys, policy, use_memory and policy.use_memory)

    async def lookup(
        self,
        data_type: str,
        resource_id: str,
        tenant_id: str | Scope,
        loader: Callable[..., Any] | None = None,
        *,
        ttl: TtlOrUnset = UNSET,
        tags: Iterable[str] = (),
        document_ids: Iterable[DocumentId] = (),
        policy: Policy | None = None,
        use_memory: bool = True,
        search_hierarchy: bool = True,
    ) -> Lookup[Any]:
        """Works like :meth:`get` and :meth:`load`, and returns everything that is known about the answer.

        Args:
            data_type: Its type.
            resource_id: Its id within the type.
            tenant_id: Its tenant, or its whole scope.
            loader: Asks the source on a miss; ``None``: only look. See :meth:`load`.
            ttl: Seconds that the value stays fresh; left out: the type's.
            tags: Tags of the value, as far as they are known before it is loaded.
            document_ids: Documents it depends on, likewise.
            policy: In place of the type's.
            use_memory: Whether memory may answer and keep a copy.
            search_hierarchy: Whether an entry of a more general scope may answer.

        Raises:
            ValueError: ``ttl`` is not greater than 0.

        Cost: as for :meth:`get`, and with a loader as for :meth:`load`.
        If Redis fails: without a loader a miss, with one the source answers.
        """
        if ttl is not UNSET:
            ttl = check_ttl(ttl)
        names = () if tags is NO_NAMES and document_ids is NO_NAMES else name_tags(tags, document_ids)
        if loader is None:
            parts = self._open_parts()
            keys, policy = self._plan(parts, data_type, resource_id, tenant_id, policy, search_hierarchy)
            return await parts.reader.look(keys, policy, use_memory=use_memory)
        return await self._load(
            data_type, resource_id, tenant_id, loader, ttl, names, policy, use_memory, search_hierarchy
        )

    def _load(
        self,
        data_type: str,
        resource_id: str,
        tenant_id: str | Scope,
        loader: Callable[..., Any],
        ttl: TtlOrUnset,
        names: tuple[str, ...] = (),
        policy: Policy | None = None,
        use_memory: bool = True,
        search_hierarchy: bool = True,
    ) -> Coroutine[Any, Any, Lookup[Any]]:
        """Looks at the tiers and then at the source: for every read that may load, once memory has not answered it.

        Not a coroutine of its own, which each load would hold to its end. Arguments are those of :meth:`lookup`; ``ttl``
        is checked, and ``names`` are the tags and the documents as tags.
        """
        parts = self._open_parts()
        keys, policy = self._plan(parts, data_type, resource_id, tenant_id, policy, search_hierarchy)
        return parts.reader.load(
            Request(
                keys=keys,
                loader=adapt(loader),
                policy=policy,
                ttl=ttl,
                tags=collapse(names) if names else (),
                use_memory=use_memory,
            )
        )

    def _plan(
        self,
        parts: Parts,
        data_type: str,
        resource_id: str,
        tenant_id: str | Scope,
        policy: Policy | None,
        search_hierarchy: bool,
    ) -> tuple[tuple[EntryKey, ...], Policy]:
        """Returns where a read looks, most specific first, and how."""
        if type(tenant_id) is str:
            keys: tuple[EntryKey, ...] = (parts.keys.plain(data_type, resource_id, tenant_id),)
        else:
            keys = parts.keys.entries(data_type, resource_id, make_scope(tenant_id))
            keys = keys if search_hierarchy else keys[:1]
        if policy is not None:
            return keys, check_policy(policy)
        return keys, self._policies.get(data_type) or self.policy(data_type)

    async def load(
        self,
        data_type: str,
        resource_id: str,
        tenant_id: str | Scope,
        loader: Callable[..., Any],
        *,
        ttl: TtlOrUnset = UNSET,
        tags: Iterable[str] = (),
        document_ids: Iterable[DocumentId] = (),
        policy: Policy | None = None,
        use_memory: bool = True,
        search_hierarchy: bool = True,
    ) -> Any:
        """Returns the value of an entry; asks the source if the tiers do not have it.

        Args:
            data_type: Its type.
            resource_id: Its id within the type.
            tenant_id: Its tenant, or its whole scope.
            loader: ``async def loader(context) -> value``; ``None`` means that the source has nothing. A loader
                without parameters, or one that is not async, is accepted. See :class:`LoadContext`.
            ttl: Seconds that the value stays fresh; left out: the type's.
            tags: Tags of the value, as far as they are known before it is loaded.
            document_ids: Documents it depends on, likewise.
            policy: In place of the type's.
            use_memory: Whether memory may answer and keep a copy.
            search_hierarchy: Whether an entry of a more general scope may answer.

        Raises:
            ValueError: ``ttl`` is not greater than 0.
            LoadTimeoutError: The type's hard timeout passed.
            Exception: The loader's own, as they are.

        Cost: 0 round trips from memory, 1 from Redis, 2 and the source on a miss.
        Cancellation: leaves the load to the other callers; the last to leave cancels it.
        If Redis fails: the source answers, and the value is not stored.
        """
        # Arguments are checked before memory answers: a wrong call must not pass on each hit and fail on a miss.
        if ttl is not UNSET:
            ttl = check_ttl(ttl)
        given = name_tags(tags, document_ids) if tags is not NO_NAMES or document_ids is not NO_NAMES else ()
        # A policy of the call's own may want no memory, or an early refresh: both are for the long way.
        if use_memory and self._guard.thread == get_ident() and policy is None:
            try:
                ident: Ident = (tenant_id, data_type, resource_id)
                if isinstance(tenant_id, Scope):
                    ident = ident_of(data_type, resource_id, tenant_id)
                value = MISSING if data_type in self._unpeeked else self.peek(ident)
            except TypeError:  # a part that cannot be looked up: what follows says which
                value = MISSING
            if value is not MISSING:
                return value
        lookup = await self._load(
            data_type, resource_id, tenant_id, loader, ttl, given, policy, use_memory, search_hierarchy
        )
        return lookup.value

    async def refresh(
        self,
        data_type: str,
        resource_id: str,
        tenant_id: str | Scope,
        loader: Callable[..., Any],
        *,
        ttl: TtlOrUnset = UNSET,
        tags: Iterable[str] = (),
        document_ids: Iterable[DocumentId] = (),
    ) -> Any:
        """Asks the source even on a hit or during a load, and stores its answer.

        The answer is one that the source gave after the call: a load that was under way is not joined, and loses to this
        one. If the source has nothing, the entry is gone.

        Args:
            data_type: Its type.
            resource_id: Its id within the type.
            tenant_id: Its tenant, or its whole scope.
            loader: As for :meth:`load`.
            ttl: As for :meth:`set`.
            tags: Tags of the value.
            document_ids: Documents it depends on.

        Cost: 1 round trip and the source; the answer is stored behind.
        If Redis fails: the source answers, and the value is not stored.
        """
        parts = self._open_parts()
        request = Request(
            keys=(parts.keys.entry(data_type, resource_id, make_scope(tenant_id)),),
            loader=adapt(loader),
            policy=self.policy(data_type),
            ttl=check_ttl(ttl),
            tags=collapse(name_tags(tags, document_ids)),
        )
        return (await parts.reader.refresh(request)).value

    async def set(
        self,
        data_type: str,
        resource_id: str,
        value: Any,
        tenant_id: str | Scope,
        *,
        agent_id: str | None = None,
        conversation_id: str | None = None,
        collection_id: str | None = None,
        user_id: str | None = None,
        permissions: Iterable[str] | None = None,
        ttl: TtlOrUnset = UNSET,
        tags: Iterable[str] = (),
        document_ids: Iterable[DocumentId] = (),
        use_memory: bool = True,
    ) -> bool:
        """Stores a value that the caller vouches for: a load in flight loses to it.

        Args:
            data_type: Its type.
            resource_id: Its id within the type.
            value: Anything the codec knows, except ``None``.
            tenant_id: Its tenant, or its whole scope.
            agent_id: Its agent.
            conversation_id: Its conversation.
            collection_id: Its collection.
            user_id: The user that may see it.
            permissions: The set of permissions it was made under.
            ttl: Seconds it stays fresh; left out: the type's; ``None``: for ever.
            tags: Its tags.
            document_ids: Documents it depends on.
            use_memory: Whether this process keeps a copy.

        The value replaces an older one in any case: if it cannot be stored, the older one is removed.

        Returns:
            Whether it was stored; ``False`` while a source transaction holds the entry, if an invalidation overtook it,
            or if Redis failed. See :meth:`reading` for values that take a while to make.

        Raises:
            EncodeError: The value holds something that cannot be stored; the message names where.
            ValueError: ``ttl`` is not greater than 0, or the value is ``None``.

        Cost: 1 round trip; one more for a type, scope or tag that this process has not met.
        If Redis fails: ``False``; the older value is gone from memory, and its removal is made up for as for :meth:`delete`.
        """
        parts = self._open_parts()
        within = (agent_id, conversation_id, collection_id, user_id, permissions)
        key = parts.keys.within(data_type, resource_id, tenant_id, within)
        policy = self.policy(data_type)
        if not use_memory:
            policy = policy.but(use_memory=False)
        return await parts.writer.set_one(key, value, name_tags(tags, document_ids), policy, ttl)

    async def delete(
        self,
        data_type: str,
        resource_id: str,
        tenant_id: str | Scope,
        *,
        agent_id: str | None = None,
        conversation_id: str | None = None,
        collection_id: str | None = None,
        user_id: str | None = None,
        permissions: Iterable[str] | None = None,
    ) -> bool:
        """Removes the one entry named. A :meth:`reading` that began before does not store it.

        Returns:
            Whether it existed on the remote tier.

        Cost: 1 round trip.
        If Redis fails: it is gone from memory, ``False`` is returned, and the removal is made up for when the
            connection is back, before anything is read through it.
        """
        parts = self._open_parts()
        scope = make_scope(tenant_id, agent_id, conversation_id, collection_id, user_id, permissions)
        key = parts.keys.entry(data_type, resource_id, scope)
        return await parts.writer.delete((key,), told=True) > 0

    async def invalidate(
        self,
        tenant_id: str | Scope,
        data_type: str | None = None,
        resource_id: str | None = None,
        *,
        agent_id: str | None = None,
        conversation_id: str | None = None,
        collection_id: str | None = None,
        user_id: str | None = None,
        permissions: Iterable[str] | None = None,
        document_ids: Iterable[DocumentId] = (),
        tags: Iterable[str] = (),
    ) -> int:
        """Makes everything that matches a miss, wherever it is.

        Args:
            tenant_id: The tenant, or a scope.
            data_type: Only this type; ``None``: every type.
            resource_id: Only this resource, at every scope; ``None`` or ``"*"``: every one. Never a pattern.
            agent_id: Only entries of the agent.
            conversation_id: Only entries of the conversation.
            collection_id: Only entries of the collection.
            user_id: Only entries of the user.
            permissions: Only entries under exactly this set of permissions.
            document_ids: Also everything that was made from these documents. Given alone (with tags or without), only that.
            tags: Also everything that carries these tags.

        Returns:
            A number greater than 0 if the server confirmed; 0 if it did not.

        Raises:
            InvalidKeyError: The tenant is a data type's name and the data type is none: the arguments stand in the order
                of `get`. A tenant that is called like a type is passed as a :class:`Scope`.

        Cost: 1 round trip a node, for any number of entries.
        If Redis fails: as for :meth:`delete`.
        """
        parts = self._open_parts()
        check_order(tenant_id, data_type, self._policies, "invalidate(tenant_id, data_type, resource_id)")
        scope = make_scope(tenant_id, agent_id, conversation_id, collection_id, user_id, permissions)
        return int(await parts.writer.invalidate(scope, data_type, resource_id, name_tags(tags, document_ids)))

    async def invalidate_known(
        self, tenant_id: str | Scope, *, document_ids: Iterable[DocumentId] = (), tags: Iterable[str] = ()
    ) -> int:
        """Works like :meth:`invalidate` with documents and tags, and says whether anything was tied to them.

        Args:
            tenant_id: The tenant, or a scope.
            document_ids: Everything that was made from these documents.
            tags: Everything that carries these tags.

        Returns:
            Of how many of them anything is known that depends on them. 0: nothing that may still be alive was ever
            stored as depending on any, or the server did not confirm.

        Cost: 1 round trip a node.
        If Redis fails: as for :meth:`delete`.
        """
        names, scope = name_tags(tags, document_ids), make_scope(tenant_id)
        # Without names, the writer would take the whole scope to be meant.
        return (await self._open_parts().writer.invalidate(scope, None, None, names)).known if names else 0
