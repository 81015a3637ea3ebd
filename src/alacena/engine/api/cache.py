"""The composition root: builds the parts, opens and closes them, and turns arguments into keys. No logic of its own."""

from __future__ import annotations

import asyncio
import os
from threading import get_ident
from typing import TYPE_CHECKING, Any, Self

from alacena.engine.api.assembly import Parts, assemble
from alacena.engine.api.blocks import BlockVerbs
from alacena.engine.api.coordination_verbs import CoordinationVerbs
from alacena.engine.api.inspection import InspectionVerbs
from alacena.engine.api.loop_guard import LoopGuard, peek_no_entry, peek_nothing, refuse
from alacena.engine.api.many import ManyVerbs
from alacena.engine.api.tenant import Tenant
from alacena.engine.base.closing import Closing, finish
from alacena.engine.base.credentials import check_credentials
from alacena.engine.base.environment import SystemEnvironment
from alacena.engine.base.errors import CacheClosedError, InvalidKeyError, WrongLoopError
from alacena.engine.base.events import Events
from alacena.engine.base.keys import collapse, ident_of, named
from alacena.engine.base.policy import Policy
from alacena.engine.base.remote_tier import MISSING
from alacena.engine.base.scope import Scope, check_order, identifier, make_scope
from alacena.engine.base.settings import Settings
from alacena.engine.base.ttl import UNSET, TtlOrUnset, checked
from alacena.engine.loading.load import Request, adapt, in_source
from alacena.engine.reading.reader import consume

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping

    from alacena.engine.api.coordination import Coordination
    from alacena.engine.base.credentials import CredentialProvider
    from alacena.engine.base.environment import Environment
    from alacena.engine.base.events import Observer
    from alacena.engine.base.keys import DocumentId, EntryKey, Ident
    from alacena.engine.base.remote_tier import Lookup
    from alacena.engine.codec import Keyring
    from alacena.engine.memory import MemoryEntry
    from alacena.ledger.ledger import Authority

_NO_PARTS = (None,) * 5
"""A call that names nothing below the tenant."""

_NO_NAMES: tuple[str, ...] = ()
"""What is left out of a call, as the default of its signature."""


class Cache(ManyVerbs, BlockVerbs, CoordinationVerbs, InspectionVerbs):
    """A multi-tenant cache: this process's memory, then Redis or Valkey, then the source.

    ::

        async with Cache(Settings(redis_url="redis://localhost")) as cache:
            acme = cache.tenant("acme")
            document = await acme.load("document", "d1", load_document)

    One cache belongs to one event loop and one process. :meth:`tenant` returns the verbs of one tenant. The same verbs
    are here for code that serves many: each takes the tenant, either by name or as a :class:`Scope`; ``agent_id``,
    ``conversation_id``, ``collection_id``, ``user_id`` and ``permissions`` make an entry of its own.

    Args:
        settings: How it is set up; ``None``: memory only, with the defaults.
        environment: Time and chance; ``None``: the machine's.
        observers: Receive every event.
        policies: How each data type wants to be kept and loaded, by its name.
        authority: Where the token ledger keeps usage for good, such as :class:`alacena.sources.ledger.PostgresAuthority`.
        keyring: Encrypts every value on the server, each tenant with a key of its own.
        credentials: Gives user and password at each connect, in place of those in the URL: for passwords and tokens that
            change. An object with ``async def get_credentials_async()``, which returns ``(password,)`` or
            ``(user, password)``, as those for redis-py do. If it fails, connecting is tried again.

    Attributes:
        settings: How it is set up.
        environment: Time and chance.
        peek: ``peek(ident)`` gives a fresh value in memory, or ``MISSING``; it is synchronous and asks nobody. ``ident``
            is ``(tenant_id, data_type, resource_id)``, for a scoped entry followed by agent, conversation and collection,
            for one that names a reader followed by user and permissions too, ``None`` if not given. Nothing is
            allocated for values that are immutable or shared.
        seek: ``await seek(data_type, resource_id, tenant_id, default)`` gives the fresh value that Redis has for the
            tenant's own entry, whatever memory has: what :meth:`get` does with ``use_memory=False``, in fewer steps.
        peek_entry: ``peek_entry(ident, environment.now())`` gives the slot that holds the value, or ``None``: for a caller
            that has read the clock already. ``slot.thaw``, if there is one, makes the reader's own copy.
    """

    peek: Callable[[Ident], Any]
    peek_entry: Callable[[Ident, float], MemoryEntry | None]
    seek: Callable[[str, str, str, Any], Coroutine[Any, Any, Any]]

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        environment: Environment | None = None,
        observers: Iterable[Observer] = (),
        policies: Mapping[str, Policy] | None = None,
        authority: Authority | None = None,
        keyring: Keyring | None = None,
        credentials: CredentialProvider | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.environment: Environment = environment or SystemEnvironment()
        self._events = Events(observers, self.environment.now)
        self._policies = dict(policies or {})
        self._default_policy = Policy(ttl=self.settings.ttl_default_s)
        self._authority = authority
        self._keyring = keyring
        self._credentials = check_credentials(credentials)
        self._parts: Parts | None = None
        self._opening: asyncio.Task[None] | None = None
        self._closing: Closing[Parts] = Closing()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0
        self._guard = LoopGuard()
        # An early refresh is decided on the long way, and a type that memory does not keep is asked of the server.
        self._unpeeked = frozenset(
            kind for kind, policy in self._policies.items() if policy.early_refresh_beta or not policy.use_memory
        )
        self.peek, self.peek_entry, self.seek = peek_nothing, peek_no_entry, refuse

    async def open(self) -> Self:
        """Connects. A server that is away is no error: reads go to the source until it is back.

        Opening twice is no error.

        Raises:
            ServerReplyError: The server refuses us (wrong password, wrong database).
            SettingsError: The URL is wrong, or an extra that it needs is not installed.
            WrongLoopError: It is open on another event loop.
        """
        if self._parts is None:
            loop = asyncio.get_running_loop()
            if self._opening is None or self._opening.get_loop() is not loop:
                self._opening = loop.create_task(self._open())
                self._opening.add_done_callback(consume)
            # Several callers may open at once: one that is cancelled must not end the opening of the others.
            await asyncio.shield(self._opening)
        self._open_parts()
        return self

    async def _open(self) -> None:
        try:
            self._loop, self._pid = asyncio.get_running_loop(), os.getpid()
            self._parts = await assemble(
                self.settings, self.environment, self._events, self._authority, self._keyring, self._credentials
            )
            copies = self._parts.copies
            self.peek, self.peek_entry, self.seek = (
                copies.peeker(),
                copies.entry_peeker(),
                self._parts.reader.seeker(self._policies),
            )
            if not self._events:  # a read that somebody is told of has more to do than to peek
                await self._guard.open()
        finally:
            self._opening = None

    async def close(self, *, timeout_s: float = 5.0) -> None:
        """Finishes the work under way, then disconnects. Closing twice is no error, and closing at once is one closing.

        It ends whatever hangs: work that is not done in ``timeout_s`` is cancelled, and connections are cut. The
        log says what it leaves behind nevertheless. It waits for the blocks of :meth:`claim`; what :meth:`begin_claim` began
        ends at once. Usage of tokens that no server has counted is in the spill file, or logged.
        A cache whose event loop has ended, or that was inherited by a fork, is let go of as it is.

        Args:
            timeout_s: How long the work under way may take; cancelling it and disconnecting take moments more.

        Raises:
            WrongLoopError: It was opened on another event loop that has not ended.

        Cancellation: the closing goes on without the caller, as bounded as it was; closing again waits for it.
        """
        here = asyncio.get_running_loop()
        if self._opening is not None and self._opening.get_loop() is here:
            await finish((self._opening,), timeout_s)
        if self._parts is not None and self._loop is not here and self._pid == os.getpid():
            assert self._loop is not None
            if not self._loop.is_closed():
                raise WrongLoopError(WrongLoopError.__doc__)
        # First nothing is served any more, then the parts end: a read that came between would ask what has ended.
        parts, self._parts = self._parts, None
        self.peek, self.peek_entry, self.seek = peek_nothing, peek_no_entry, refuse
        self._guard.close()
        if parts is not None and self._pid == os.getpid():
            if self._loop is here:
                self._closing.begin(parts, parts.close(timeout_s))
            else:
                # The loop has ended, and with it all tasks and sockets: nothing is left that could be awaited.
                parts.let_go()
        await self._closing.wait()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def is_open(self) -> bool:
        """Whether it was opened and not closed since."""
        return self._parts is not None

    def tenant(
        self,
        tenant_id: str | Scope,
        *,
        agent_id: str | None = None,
        conversation_id: str | None = None,
        collection_id: str | None = None,
        user_id: str | None = None,
        permissions: Iterable[str] | None = None,
    ) -> Tenant:
        """Returns a handle with every verb for one tenant, so that no call has to name it again. Nothing is sent.

        ::

            acme = cache.tenant("acme", agent_id="support")
            await acme.set("prompt", "p1", "Be kind.")
            async with acme.locks.acquire("reindex"):
                ...

        Args:
            tenant_id: The tenant, or a whole scope.
            agent_id: The agent, if its entries are meant. The same holds for the next four.
            conversation_id: The conversation.
            collection_id: The collection.
            user_id: The user who may see the entries.
            permissions: The set of permissions the entries are made under.

        Raises:
            MissingTenantError: The tenant is blank.
            InvalidKeyError: Another part is blank or not text, or stands beside a whole scope.
        """
        within = (agent_id, conversation_id, collection_id, user_id, permissions)
        if isinstance(tenant_id, Scope) and within != _NO_PARTS:
            raise InvalidKeyError("a Scope is whole: name the agent, conversation or user inside it, not beside it")
        return Tenant(self, make_scope(tenant_id, *within))

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
            user_id: The user who may see it.
            permissions: The set of permissions it was made under.
            use_memory: ``False``: ask Redis even if memory has it (staleness bound 0).
            search_hierarchy: Whether an entry of a more general scope may answer.
            default: What a miss returns.

        Returns:
            The value, private to the caller unless it is immutable or its type's policy shares it.

        Raises:
            MissingTenantError: No tenant.
            InvalidKeyError: A part of the key is blank or not text.

        Cost: 0 round trips if memory has it, else 1.
        If Redis fails: the default, within the read budget.
        """
        if use_memory and self._guard.thread == get_ident() and user_id is None and permissions is None:
            try:
                ident: Ident = (tenant_id, data_type, resource_id)
                if not (agent_id is None and conversation_id is None and collection_id is None):
                    ident = (*ident, agent_id, conversation_id, collection_id)
                value = MISSING if data_type in self._unpeeked else self.peek(ident)
            except TypeError:  # a part that cannot be looked up: what follows says which
                value = MISSING
            if value is not MISSING:
                return value
        parts = self._open_parts()
        policy = self._policies.get(data_type) or self.policy(data_type)
        within = (agent_id, conversation_id, collection_id, user_id, permissions)
        if type(tenant_id) is str and within == _NO_PARTS:
            if not (use_memory and policy.use_memory):
                return await self.seek(data_type, resource_id, tenant_id, default)
            keys: tuple[EntryKey, ...] = (parts.keys.plain(data_type, resource_id, tenant_id),)
        else:
            scope = make_scope(tenant_id, *within)
            if search_hierarchy:
                keys = parts.keys.entries(data_type, resource_id, scope)
            else:
                keys = (parts.keys.entry(data_type, resource_id, scope),)
        return await parts.reader.value(keys, policy, default, use_memory=use_memory)

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
        """Does what :meth:`get` and :meth:`load` do, and returns everything that is known about the answer.

        Args:
            data_type: Its type.
            resource_id: Its id within the type.
            tenant_id: Its tenant, or its whole scope.
            loader: Asks the source on a miss; ``None``: only look. See :meth:`load`.
            ttl: Seconds that what is loaded stays fresh; left out: the type's.
            tags: What the value depends on, if that is known before it is loaded.
            document_ids: Documents it depends on, likewise.
            policy: In place of the type's.
            use_memory: Whether memory may answer and keep a copy.
            search_hierarchy: Whether an entry of a more general scope may answer.

        Raises:
            ValueError: ``ttl`` is not greater than 0.
        """
        parts, ttl = self._open_parts(), checked(ttl)
        if type(tenant_id) is str:
            keys: tuple[EntryKey, ...] = (parts.keys.plain(data_type, resource_id, tenant_id),)
        else:
            keys = parts.keys.entries(data_type, resource_id, make_scope(tenant_id))
            keys = keys if search_hierarchy else keys[:1]
        policy = policy or self.policy(data_type)
        if loader is None:
            return await parts.reader.look(keys, policy, use_memory=use_memory)
        request = Request(
            keys=keys,
            loader=adapt(loader),
            policy=policy,
            ttl=ttl,
            tags=collapse(named(tags, document_ids)),
            use_memory=use_memory,
        )
        return await parts.reader.load(request)

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
            ttl: Seconds that what is loaded stays fresh; left out: the type's.
            tags: What the value depends on, if that is known before it is loaded.
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
        if ttl is not UNSET:
            ttl = checked(ttl)
        given = named(tags, document_ids) if tags is not _NO_NAMES or document_ids is not _NO_NAMES else ()
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
        lookup = await self.lookup(
            data_type,
            resource_id,
            tenant_id,
            loader,
            ttl=ttl,
            tags=given,
            policy=policy,
            use_memory=use_memory,
            search_hierarchy=search_hierarchy,
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
        """Asks the source whatever the tiers hold and whoever is loading, and stores its answer.

        The answer is one that the source gave after the call: a load that was under way is not joined, and loses to this
        one. If the source has nothing, the entry is gone.

        Args:
            data_type: Its type.
            resource_id: Its id within the type.
            tenant_id: Its tenant, or its whole scope.
            loader: As for :meth:`load`.
            ttl: As for :meth:`set`.
            tags: What the value depends on.
            document_ids: Documents it depends on.
        """
        parts = self._open_parts()
        request = Request(
            keys=(parts.keys.entry(data_type, resource_id, make_scope(tenant_id)),),
            loader=adapt(loader),
            policy=self.policy(data_type),
            ttl=checked(ttl),
            tags=collapse(named(tags, document_ids)),
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
            user_id: The user who may see it.
            permissions: The set of permissions it was made under.
            ttl: Seconds it stays fresh; left out: the type's; ``None``: for ever.
            tags: What it depends on.
            document_ids: Documents it depends on.
            use_memory: Whether this process keeps a copy.

        The value replaces an older one in any case: if it cannot be stored, the older one is removed.

        Returns:
            Whether it was stored; ``False`` while a source transaction holds the entry, if an invalidation overtook it,
            or if Redis failed. See :meth:`reading` for values whose making takes a while.

        Raises:
            EncodeError: The value holds something that cannot be stored; the message names where.
            ValueError: ``ttl`` is not greater than 0, or the value is ``None``.

        Cost: 1 round trip; one more for a scope or tag that this process has not met.
        If Redis fails: ``False``; the older value is gone from memory, and its removal is made up for as for :meth:`delete`.
        """
        parts = self._open_parts()
        within = (agent_id, conversation_id, collection_id, user_id, permissions)
        key = parts.keys.within(data_type, resource_id, tenant_id, within)
        policy = self.policy(data_type)
        if not use_memory:
            policy = policy.but(use_memory=False)
        return await parts.writer.set((key,), (value,), (named(tags, document_ids),), policy, ttl) > 0

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
            agent_id: Only what belongs to the agent.
            conversation_id: Only what belongs to the conversation.
            collection_id: Only what belongs to the collection.
            user_id: Only what belongs to the user.
            permissions: Only what was made under exactly this set of permissions.
            document_ids: Also everything that was made from these documents. Given alone (with tags or without), only that.
            tags: Also everything that carries these tags.

        Returns:
            A number greater than 0 if the server confirmed; 0 if it did not.

        Raises:
            InvalidKeyError: The tenant is a data type's name and the data type is none: the arguments stand in the order
                of `get`. A tenant that is called like a type is passed as a :class:`Scope`.

        Cost: 1 round trip a node, whatever the number of entries.
        If Redis fails: as for :meth:`delete`.
        """
        parts = self._open_parts()
        check_order(tenant_id, data_type, self._policies, "invalidate(tenant_id, data_type, resource_id)")
        scope = make_scope(tenant_id, agent_id, conversation_id, collection_id, user_id, permissions)
        return int(await parts.writer.invalidate(scope, data_type, resource_id, named(tags, document_ids)))

    async def invalidate_known(
        self, tenant_id: str | Scope, *, document_ids: Iterable[DocumentId] = (), tags: Iterable[str] = ()
    ) -> int:
        """Does what :meth:`invalidate` does with documents and tags, and says whether anything was tied to them.

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
        names, scope = named(tags, document_ids), make_scope(tenant_id)
        return (await self._open_parts().writer.invalidate(scope, None, None, names)).known if names else 0

    def policy(self, data_type: str) -> Policy:
        """Returns the policy by which a data type is kept and loaded."""
        if type(data_type) is not str:
            # A member of an Enum is hashed by its name, and would not be found by its text.
            data_type = identifier("data_type", data_type)
        return self._policies.get(data_type, self._default_policy)

    @property
    def _desk(self) -> Coordination:
        return self._open_parts().desk

    def _open_parts(self) -> Parts:
        parts = self._parts
        if parts is None and in_source():
            parts = self._closing.of  # The work that a closing waits for must be able to come to its end.
        if parts is None:
            raise CacheClosedError(CacheClosedError.__doc__)
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            raise WrongLoopError("no event loop runs here: use the cache inside the coroutines of its loop") from None
        if self._loop is not here:
            raise WrongLoopError(WrongLoopError.__doc__)
        return parts
