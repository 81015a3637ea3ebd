"""One endpoint, kept connected."""

from __future__ import annotations

import asyncio
import os
import re
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from alacena.engine.base.errors import BackendUnavailableError, CacheClosedError, ServerReplyError, WrongLoopError
from alacena.engine.remote.redis.command_safety import Remedy, is_lasting, remedy
from alacena.engine.remote.redis.link_hooks import Hooks, LinkCounters, LinkSettings
from alacena.engine.remote.redis.retrying import RetryBudget, persist
from alacena.engine.remote.redis.wire import Connection
from alacena.engine.remote.redis.wire.handshake import Greeting, Opener, greet, open_socket
from alacena.engine.remote.redis.wire.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from alacena.engine.base.environment import Environment
    from alacena.engine.base.errors import BackendError
    from alacena.engine.remote.redis.endpoint import Address, ServerAccess
    from alacena.engine.remote.redis.wire import Argument, Command, Reply

T = TypeVar("T")


class Link:
    """A connection that comes back: it connects, reconnects with full jitter, and never gives up.

    While it is down, commands fail at once with ``BackendUnavailableError``; only during the very first
    attempt to connect may callers wait, up to their own timeout.

    Args:
        address: The server's place, or a function that finds it out before each attempt.
        access: User, password, database, TLS.
        environment: Time and chance.
        hooks: Called around the connections.
        settings: Times and bounds.
        opener: Opens the transport; a simulation brings its own.
    """

    def __init__(
        self,
        address: Address | Callable[[], Awaitable[Address]],
        access: ServerAccess,
        *,
        environment: Environment,
        hooks: Hooks[Link] | None = None,
        settings: LinkSettings | None = None,
        opener: Opener = open_socket,
    ) -> None:
        self.settings = settings or LinkSettings()
        self.hooks = hooks or Hooks()
        self.counters = LinkCounters()
        self.budget = RetryBudget()
        self.environment = environment
        self.greeting = Greeting()
        self.address: Address | None = None if callable(address) else address
        self.last_error: BaseException | None = None
        self._find = address if callable(address) else None
        self._access = access
        self._opener = opener
        self._connection: Connection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = os.getpid()
        self._change: asyncio.Future[None] | None = None
        self._supervisor = Supervisor(self.settings.pace, environment, self._dial, self._rise, self._fail, self._beat)
        self._closed = False

    def __repr__(self) -> str:
        return f"<Link {self.address or 'to an address not known yet'} {'up' if self.up else 'down'}>"

    # Asking

    @property
    def up(self) -> bool:
        """Whether a prepared connection stands."""
        return self._connection is not None

    @property
    def is_closed(self) -> bool:
        """Whether it was closed here: a connection that ends then is no loss."""
        return self._closed

    @property
    def connection(self) -> Connection | None:
        """The connection that stands, if one does."""
        return self._connection

    @property
    def tried(self) -> bool:
        """Whether the first attempt to connect is over."""
        return self._supervisor.first_attempt_is_over

    def exchange(
        self, commands: Sequence[Command], *, settle: Callable[[list[Reply]], T] | None = None, timeout_s: float
    ) -> asyncio.Future[T]:
        """Runs `Connection.exchange` on the connection of the moment, without any repeat.

        Raises:
            BackendUnavailableError: At once, while the link is down.
            WrongLoopError: The link was opened on another event loop, or before a fork.
        """
        # Without `_admit`: the connection looks at loop and process itself, once in each turn.
        if self._connection is not None:
            return self._connection.exchange(commands, settle=settle, timeout_s=timeout_s)
        loop = self._admit()
        if self._supervisor.first_attempt_is_over:
            self.counters.refused_while_down += 1
            raise self._unavailable()
        return loop.create_task(self._exchange_when_up(commands, settle, timeout_s))

    def fetch(self, key: bytes, settle: Callable[[Reply], T], timeout_s: float) -> asyncio.Future[T]:
        """Runs `Connection.fetch` on the connection of the moment, without any repeat. See `exchange`."""
        if self._connection is not None:
            return self._connection.fetch(key, settle, timeout_s)
        return self.exchange((("GET", key),), settle=lambda replies: settle(replies[0]), timeout_s=timeout_s)

    async def call(self, *command: Argument, timeout_s: float, repeatable: bool | None = None) -> Any:
        """Sends one command, repeated inside its deadline if that is safe; returns its answer.

        A command that the server did not execute (it is loading, a script blocks it, it was demoted) is asked again with full
        jitter. One that may have been executed is asked again only if a second execution does no harm.

        Args:
            command: Name and arguments.
            timeout_s: For all attempts together.
            repeatable: Whether a second execution does no harm; by default by `classify`.

        Cost: one round trip.
        If Redis fails: ``BackendUnavailableError``, ``OutcomeUnknownError``, or the server's own ``ServerReplyError``.
        """
        return await persist(self, command, timeout_s=timeout_s, repeatable=repeatable)

    def script(
        self,
        sha: str,
        source: str | bytes,
        keys: Sequence[str | bytes],
        args: Sequence[Argument] = (),
        *,
        settle: Callable[[Reply], T] | None = None,
        timeout_s: float,
        repeatable: bool = False,
        answered: Callable[[Link], None] | None = None,  # noqa: ARG002 - nobody else can answer
    ) -> Coroutine[Any, Any, Any]:
        """Runs a script by its hash; a server that has forgotten it is given the source along with the repeat.

        Args:
            sha: SHA-1 of the source, in hexadecimal.
            source: The Lua text.
            keys: ``KEYS`` of the script.
            args: ``ARGV`` of the script.
            settle: Given the answer (or the ``ServerReplyError``) inside the parser.
            timeout_s: For all attempts together.
            repeatable: Whether a second execution does no harm.
            answered: As for `Topology.script`: never called, because nobody else can answer.

        Cost: one round trip; two when the script had to be loaded.
        """
        run: Command = ("EVALSHA", sha, len(keys), *keys, *args)
        load: Command = ("SCRIPT", "LOAD", source)
        return persist(self, run, settle=settle, load=load, timeout_s=timeout_s, repeatable=repeatable)

    # Life

    def start(self) -> None:
        """Begins to connect, on the running loop."""
        if self._closed:
            raise CacheClosedError("this link was closed: make a new one")
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._process = os.getpid()
            self._change = self._loop.create_future()
            self._supervisor.start()

    async def open(self, *, timeout_s: float) -> None:
        """Starts, and waits until the connection stands.

        Raises:
            BackendUnavailableError: It does not stand yet; the link goes on trying.
            ServerReplyError: At once, where the server refuses us for good (wrong password, wrong database).
        """
        self.start()
        loop = self._admit()
        deadline = loop.time() + timeout_s
        while not self.up and not self._closed and (left_s := deadline - loop.time()) > 0:
            await self._wait_for_change(left_s)
            if isinstance(self.last_error, ServerReplyError) and is_lasting(self.last_error):
                raise self.last_error
        if not self.up:
            raise self._unavailable()

    async def wait_up(self, *, timeout_s: float) -> bool:
        """Waits until the connection stands, at most ``timeout_s``; whether it does."""
        loop = self._admit()
        deadline = loop.time() + timeout_s
        while self._connection is None and not self._closed and loop.time() < deadline:
            await self._wait_for_change(deadline - loop.time())
        return self._connection is not None

    def drop(self, reason: str) -> None:
        """Gives the present connection up; another is made."""
        if self._connection is not None:
            self._connection.close(BackendUnavailableError(reason))

    async def close(self) -> None:
        """Ends the connection and stops trying. Commands in flight fail.

        Raises:
            WrongLoopError: It was opened on another event loop, or before a fork.
        """
        if self._loop is None or self._closed:
            self._closed = True
            return
        self._admit()
        # Before the drop, because the hook asks `is_closed`: an end is not told as a loss.
        self._closed = True
        self.drop("the link was closed")
        await self._supervisor.stop()
        self._announce()

    # What the supervisor calls

    async def _dial(self) -> Connection:
        """Returns a connection that is greeted, checked and prepared, or an exception."""
        connection = Connection(limits=self.settings.limits)
        # Before the socket is open: the first heartbeat, sent while the connection is prepared, needs the canary's
        # push.
        connection.on_push = partial(self.hooks.on_push, self)
        try:
            if self._find is not None:
                self.address = await self._find()
            await self._opener(lambda: connection, cast("Address", self.address), self._access)
            self.greeting = await greet(connection, self._access, timeout_s=self.settings.pace.connect_timeout_s)
            self._check_role()
            await self._check_completeness(connection)
            await self.hooks.prepare(self, connection)
            # It may have been lost behind the last reply, when nobody was told of losses yet. From here to `_rise`
            # nothing is awaited.
            connection.check()
        except BaseException:
            connection.close(BackendUnavailableError("the connection could not be prepared"))
            raise
        return connection

    def _check_role(self) -> None:
        if self.settings.role not in (None, self.greeting.role):
            raise BackendUnavailableError(f"{self.address} is a {self.greeting.role}, not the {self.settings.role}")

    async def _check_completeness(self, connection: Connection) -> None:
        """Refuses one node of a cluster that has several: it would refuse most keys, each at its first use."""
        if not self.settings.has_all or self.greeting.mode != "cluster":
            return
        try:
            said = await connection.call("CLUSTER", "INFO", timeout_s=self.settings.pace.connect_timeout_s)
        except ServerReplyError:
            return  # It does not say: then each refusal speaks for itself.
        size = re.search(rb"cluster_size:(\d+)", said) if isinstance(said, bytes) else None
        if size is not None and int(size[1]) > 1:
            raise ServerReplyError(
                f"ERR the server is one node of a cluster of {int(size[1])}, and has a part of the keys: write "
                "redis+cluster:// in its URL, and rediss+cluster:// for TLS"
            )

    def _rise(self, connection: Connection) -> None:
        # Not earlier: a refusal or a loss during the preparation fails the attempt, and is told as that.
        connection.on_error = partial(self._refuse, connection)
        connection.on_lost = self._fall
        self._connection = connection
        self.counters.connected += 1
        self.last_error = None
        self.hooks.on_up(self, connection)
        self._announce()

    def _fall(self, error: BackendError) -> None:
        self._connection = None
        self.last_error = error
        self.counters.lost += 1
        try:
            self.hooks.on_down(self, error)
        finally:
            self._supervisor.note_loss()

    def _fail(self, error: BaseException) -> None:
        self.last_error = error
        self.counters.connect_failures += 1
        self.hooks.on_failed(self, self.address, error)
        self._announce()

    async def _beat(self, connection: Connection) -> None:
        await self.hooks.beat(self, connection)

    def _refuse(self, connection: Connection, error: ServerReplyError) -> None:
        self.hooks.on_error(self, error)
        if remedy(error.code) is Remedy.REDISCOVER:
            connection.close(BackendUnavailableError(f"{self.address} serves no writes any more: {error}"))

    # Inside

    async def _wait_for_change(self, timeout_s: float) -> None:
        """Waits until the link comes up, fails to, or is closed."""
        if self._change is not None:
            # Not `wait_for`: at its timeout it would cancel the future that all the others wait for.
            await asyncio.wait({self._change}, timeout=timeout_s)

    def _announce(self) -> None:
        """Wakes the callers that wait for a change."""
        change = self._change
        if change is not None and self._loop is not None:
            self._change = self._loop.create_future()
            change.set_result(None)

    def _admit(self) -> asyncio.AbstractEventLoop:
        if self._closed or self._loop is None:
            raise CacheClosedError("the link is not open: open() it first, and not after close()")
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is not self._loop or self._process != os.getpid():
            raise WrongLoopError("this link was opened on another event loop or before a fork: open one here")
        return self._loop

    def _unavailable(self) -> BackendUnavailableError:
        reason = self.last_error or "not in time"
        # An error of opening the socket names the address itself.
        where = "" if str(reason).startswith(f"{self.address} ") else f"{self.address or 'the server'} is "
        error = BackendUnavailableError(f"{where}not connected: {reason}")
        error.__cause__ = self.last_error
        return error

    async def _exchange_when_up(
        self, commands: Sequence[Command], settle: Callable[[list[Reply]], T] | None, timeout_s: float
    ) -> T:
        loop = self._admit()
        deadline = loop.time() + timeout_s
        await self._wait_for_change(timeout_s)
        if self._connection is None:
            raise self._unavailable()
        return await self._connection.exchange(commands, settle=settle, timeout_s=deadline - loop.time())
