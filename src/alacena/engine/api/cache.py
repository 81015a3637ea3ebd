"""A cache: its parts are built here, opened and closed. Its verbs are in the modules beside this one."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Self

from alacena.engine.api.assembly import Parts, assemble
from alacena.engine.api.entry_verbs import NO_PARTS
from alacena.engine.api.memory_hit_guard import MemoryHitGuard, peek_no_entry, peek_nothing
from alacena.engine.api.part_checks import check_parts
from alacena.engine.api.tenant import Tenant
from alacena.engine.api.verbs import Verbs
from alacena.engine.base.ambient_tenant import outside
from alacena.engine.base.arguments import wait_seconds
from alacena.engine.base.closing import Closing, finish, refuse_opening, wait_shared
from alacena.engine.base.environment import SystemEnvironment
from alacena.engine.base.errors import CacheClosedError, InvalidKeyError, WrongLoopError
from alacena.engine.base.events import Events
from alacena.engine.base.policy import Policy
from alacena.engine.base.scope import Scope, identifier, make_scope
from alacena.engine.base.settings import Settings
from alacena.engine.loading.load import in_source
from alacena.engine.reading.load_futures import consume

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from alacena.engine.api.coordination import Coordination
    from alacena.engine.base.credentials import CredentialProvider
    from alacena.engine.base.environment import Environment
    from alacena.engine.base.events import Observer
    from alacena.engine.codec import Keyring
    from alacena.ledger.ledger import Authority


class Cache(Verbs):
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

    Raises:
        SettingsError: A part is of another kind; the message names each, and its remedy.

    Attributes:
        settings: How it is set up.
        environment: Time and chance.
        peek: ``peek(ident)`` gives a fresh value in memory, or ``MISSING``; see :class:`EntryVerbs`.
        peek_entry: The same look, for a caller that has read the clock already.
    """

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
        self._policies, observers = check_parts(
            settings=settings,
            policies=policies,
            observers=observers,
            credentials=credentials,
            environment=environment,
            authority=authority,
            keyring=keyring,
        )
        self.settings = settings or Settings()
        self.environment: Environment = environment or SystemEnvironment()
        self._events = Events(observers, self.environment.now)
        self._default_policy = Policy(ttl=self.settings.ttl_default_s)
        self._authority = authority
        self._keyring = keyring
        self._credentials = credentials
        self._parts: Parts | None = None
        self._opening: asyncio.Task[None] | None = None
        self._closing: Closing[Parts] = Closing()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0
        self._guard = MemoryHitGuard()
        # An early refresh is decided on the long way, and a type that memory does not keep is asked of the server.
        self._unpeeked = frozenset(
            kind for kind, policy in self._policies.items() if policy.early_refresh_beta or not policy.use_memory
        )
        self.peek, self.peek_entry = peek_nothing, peek_no_entry

    async def open(self) -> Self:
        """Connects. A server that is away is no error: reads go to the source until it is back.

        Opening twice is no error.

        Raises:
            CacheClosedError: It was closed before it was open.
            ServerReplyError: The server refuses us (wrong password, wrong database).
            SettingsError: The URL is wrong, or an extra that it needs is not installed.
            WrongLoopError: It is open on another event loop.
        """
        if self._parts is None:
            loop = asyncio.get_running_loop()
            # An opening on a loop that has ended will never be done.
            if self._opening is None or self._opening.get_loop() is not loop:
                self._opening = outside(loop.create_task, self._open())
                self._opening.add_done_callback(consume)
            # Several callers may open at once: one that is cancelled must not end the opening of the others.
            await wait_shared(self._opening, refuse_opening)
        self._open_parts()
        return self

    async def _open(self) -> None:
        try:
            self._loop, self._pid = asyncio.get_running_loop(), os.getpid()
            self._parts = await assemble(
                self.settings, self.environment, self._events, self._authority, self._keyring, self._credentials
            )
            copies = self._parts.copies
            self.peek, self.peek_entry = copies.peeker(), copies.entry_peeker()
            if not self._events:  # a read that somebody is told of has more to do than to peek
                await self._guard.open()
        finally:
            # After a failure, too: the next caller must try anew.
            self._opening = None

    async def close(self, *, timeout_s: float = 5.0) -> None:
        """Finishes the work under way, then disconnects. Closing twice is no error, and closing at once is one closing.

        It ends in time: work that is not done in ``timeout_s`` is cancelled, and connections are cut. The
        log names the parts that it leaves behind nevertheless. It waits for the blocks of :meth:`claim`; a claim of
        :meth:`begin_claim` ends at once. Usage of tokens that no server has counted is in the spill file, or logged.
        A cache of an event loop that has ended, or of a parent process, is let go of as it is.

        Args:
            timeout_s: How long the work under way may take; cancelling it and disconnecting take moments more.

        Raises:
            WrongLoopError: It was opened on another event loop that has not ended.

        Cancellation: the closing goes on without the caller, as bounded as it was; closing again waits for it.
        """
        here, timeout_s = asyncio.get_running_loop(), wait_seconds(timeout_s, "timeout_s")
        if self._opening is not None and self._opening.get_loop() is here:
            await finish((self._opening,), timeout_s)
        if self._parts is not None and self._loop is not here and self._pid == os.getpid():
            assert self._loop is not None
            if not self._loop.is_closed():
                raise WrongLoopError
        # First nothing is served any more, then the parts end: a read that came between would ask what has ended.
        parts, self._parts = self._parts, None
        self.peek, self.peek_entry = peek_nothing, peek_no_entry
        self._guard.close()
        # A forked child has the sockets of its parent: taking the parts apart would send on them.
        if parts is not None and self._pid == os.getpid():
            if self._loop is here:
                self._closing.begin(parts, parts.close(timeout_s))
            else:
                # The loop has ended, and with it all tasks and sockets: nothing is left that could be awaited.
                parts.let_go()
        await self._closing.wait()

    async def __aenter__(self) -> Self:
        is_entered = False
        try:
            await self.open()
            is_entered = True
        finally:
            # Nobody leaves a block that was not entered, and an opening whose caller was cancelled goes on: it would be
            # open for nobody, to the end of the loop.
            if not is_entered:
                await self.close(timeout_s=0.0)
        return self

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
            user_id: The user that may see the entries.
            permissions: The set of permissions the entries are made under.

        Raises:
            MissingTenantError: The tenant is blank.
            InvalidKeyError: Another part is blank or not text, or stands beside a whole scope.
        """
        within = (agent_id, conversation_id, collection_id, user_id, permissions)
        if isinstance(tenant_id, Scope) and within != NO_PARTS:
            raise InvalidKeyError("a Scope is whole: name the agent, conversation or user inside it, not beside it")
        return Tenant(self, make_scope(tenant_id, *within))

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
            raise CacheClosedError
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            raise WrongLoopError("no event loop runs here: use the cache inside the coroutines of its loop") from None
        if self._loop is not here:
            raise WrongLoopError
        return parts
