"""A simulated Redis 7 or Valkey: one node, single-threaded, reached over the simulated network."""

from __future__ import annotations

import contextvars
import copy
import hashlib
import random
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from alacena.engine.base.errors import ServerReplyError
from tests.simulator import connection_commands
from tests.simulator.admission import ServerKeyspace, check_allowed, check_form
from tests.simulator.cache_twins import library_scripts
from tests.simulator.connection_commands import CONNECTION_COMMANDS, NOTHING
from tests.simulator.eviction import Evictor, Policy
from tests.simulator.session import Session
from tests.simulator.tracking import TrackingTable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from alacena.engine.remote.local.keyspace import Keyspace
    from tests.simulator.network import Address, Listener
    from tests.simulator.replication import Replication
    from tests.simulator.runner import Simulation

Twin: TypeAlias = "Callable[[Keyspace, list[bytes], list[bytes]], Any]"
"""What a script does, in Python: gets the keyspace, ``KEYS`` and ``ARGV``."""
Snapshot: TypeAlias = "dict[bytes, tuple[Any, int | None]]"
"""Keys with their values and deadlines."""

EXPIRY_CYCLE_S = 0.1
"""The longest time that an expired key stays until the server finds it by itself."""


class SimServer:
    """One server node; it is a `SimProcess` of its own, so it can be paused, killed and restarted.

    Args:
        simulation: What it belongs to.
        address: Where it listens; port 0 picks a free one.
        name: Its process's name.
        scripts: Lua sources, each with its Python twin: what ``EVAL``, ``EVALSHA`` and ``SCRIPT LOAD`` can run.
            Left out: the library's own.
        password: What ``AUTH`` wants; ``None`` if nothing.
        policy: ``maxmemory-policy``.
        maxmemory_bytes: ``maxmemory``, compared with keys and values as `eviction` weighs them; 0 for no limit.
        tracking_table_max_keys: ``tracking-table-max-keys``.

    Attributes:
        process: The server's process: ``server.process.pause_for(2)`` makes it slow.
        keyspace: The data; looking at it is free of side effects on tracking, changing it is not.
        replid: ``master_replid``, which changes with every promotion and restart.
        role: ``"master"`` or ``"slave"``.
        refusing: An error that every command gets meanwhile, such as ``"LOADING ..."``; ``None`` normally.
        refusing_writes: An error that every write gets meanwhile, such as ``"MISCONF ..."``; ``None`` normally.
        tracks: Whether ``CLIENT TRACKING`` works: it does, it is ``"refused"``, or its pushes are ``"swallowed"`` on
            their way.
        commands: How many commands were executed, by name.
    """

    def __init__(
        self,
        simulation: Simulation,
        address: Address = ("redis", 6379),
        *,
        name: str = "server",
        scripts: Mapping[str, Twin] | None = None,
        password: str | None = None,
        policy: Policy = "noeviction",
        maxmemory_bytes: int = 0,
        tracking_table_max_keys: int = 1_000_000,
    ) -> None:
        self.simulation = simulation
        self.process = simulation.process(name)
        self.chance = random.Random(f"server/{simulation.seed}/{name}")
        self.password = password
        self.role: Literal["master", "slave"] = "master"
        self.refusing: str | None = None
        self.refusing_writes: str | None = None
        self.tracks: Literal["works", "refused", "swallowed"] = "works"
        self.commands: dict[str, int] = {}
        self.sessions: dict[Session, None] = {}
        self.loaded: dict[str, Twin] = {}
        self.replications: list[Replication] = []
        self.offset = 0
        self._known = {
            script_sha(source): twin for source, twin in (library_scripts() if scripts is None else scripts).items()
        }
        self._ids = 0
        self._current: Session | None = None
        self._executing = False
        self._flushing = False
        self._versions: dict[bytes, int] = {}
        self._saved: Snapshot = {}
        self.keyspace = ServerKeyspace(
            self.process.environment.wall, on_touch=self._touched, on_read=self._was_read, on_publish=self._publish
        )
        self.evictor = Evictor(self.keyspace, self.chance, policy, maxmemory_bytes)
        self.tracking = TrackingTable(self.chance, tracking_table_max_keys)
        self.replid = self.new_replid()
        self.listener = self.listen(address)

    @property
    def address(self) -> Address:
        """Where the server listens."""
        return self.listener.address

    def new_replid(self) -> str:
        """A fresh replication id."""
        return self.chance.randbytes(20).hex()

    def listen(self, address: Address) -> Listener:
        """Accept connections at ``address``, as a promoted server that takes over a name does."""
        context = contextvars.copy_context()
        context.run(connection_commands.enter_process, self.process)
        self.listener = context.run(self.simulation.network.listen, self.open_session, address)
        return self.listener

    # Sessions

    def open_session(self) -> Session:
        """A session for a new connection (or, without one, to be fed by hand with ``data_received`` and ``take``)."""
        self._ids += 1
        return Session(self, self._ids)

    def enter(self, session: Session) -> None:
        """A session's connection is open."""
        self.sessions[session] = None

    def leave(self, session: Session) -> None:
        """A session's connection is gone."""
        self.sessions.pop(session, None)
        self.tracking.forget(session)

    def flush(self) -> None:
        """Let every session write what it has to say."""
        for session in list(self.sessions):
            session.flush()

    def kill_clients(self) -> None:
        """Close every connection, as ``CLIENT KILL`` does."""
        for session in list(self.sessions):
            self.leave(session)
            session.disconnect(hard=True)

    # Execution

    def execute(self, session: Session, words: list[bytes]) -> None:
        """Run one command and queue its reply, then the pushes that go behind it."""
        name = words[0].decode(errors="replace").upper()
        self.commands[name] = self.commands.get(name, 0) + 1
        if self.simulation.trace.detailed:
            self.simulation.trace.note("command", f"{self.process.name}<{session.id}", repr(words))
        self._current = session
        try:
            reply = self._admit(session, words)
        except ServerReplyError as error:
            reply = error
        if reply is not NOTHING:
            session.reply(reply)
        self.tracking.flush_pending(session)
        self._current = None

    def _admit(self, session: Session, words: list[bytes]) -> Any:
        name = words[0].upper()
        if not session.authenticated and name not in {b"AUTH", b"HELLO", b"QUIT", b"RESET"}:
            raise ServerReplyError("NOAUTH Authentication required.")
        if self.refusing is not None and name not in {b"AUTH", b"HELLO", b"CLIENT"}:
            raise ServerReplyError(self.refusing)
        roomy = self.evictor.make_room()
        self.tracking.enforce_limit(session)
        try:
            check_form(words)
            check_allowed(words, replica=self.role == "slave", roomy=roomy, refusal=self.refusing_writes)
        except ServerReplyError:
            session.broken = session.queue is not None
            raise
        if session.queue is not None and name not in {b"EXEC", b"DISCARD", b"MULTI", b"WATCH", b"RESET", b"QUIT"}:
            session.queue.append(words)
            return connection_commands.QUEUED
        return self.call(session, words)

    def call(self, session: Session, words: list[bytes]) -> Any:
        """Run one command now: at top level, or within ``EXEC``."""
        handler = CONNECTION_COMMANDS.get(words[0].upper())
        was_executing, self._executing = self._executing, True
        try:
            if handler is not None:
                return handler(self, session, words[1:])
            return self.keyspace.execute(words)
        finally:
            self._executing = was_executing

    def run_script(self, sha: str, keys: list[bytes], arguments: list[bytes]) -> Any:
        """Run the twin of a script that was loaded.

        Raises:
            ServerReplyError: ``NOSCRIPT``.
        """
        twin = self.loaded.get(sha)
        if twin is None:
            raise ServerReplyError("NOSCRIPT No matching script.")
        return twin(self.keyspace, keys, arguments)

    def load_script(self, source: bytes) -> str:
        """Make a script known to ``EVALSHA``.

        Raises:
            ServerReplyError: The simulated server was not given a twin of it.
        """
        sha = script_sha(source.decode())
        if sha not in self._known:
            raise ServerReplyError("ERR this simulated server has no twin of that script: pass SimServer(scripts=...)")
        self.loaded[sha] = self._known[sha]
        return sha

    def version_of(self, key: bytes) -> int:
        """How often a key was changed; what ``WATCH`` compares."""
        return self._versions.get(key, 0)

    # What the keyspace tells

    def _was_read(self, key: bytes) -> None:
        self.evictor.used(key)
        session = self._current
        if session is not None and session.tracking:
            self.tracking.remember(key, session)

    def _touched(self, key: bytes) -> None:
        self._versions[key] = self._versions.get(key, 0) + 1
        self.evictor.changed(key)
        self._plan_expiry(key)
        if not self._flushing:
            self.tracking.invalidate(key, self._current, executing=self._executing)
            self._replicate(key)

    def _publish(self, channel: bytes, message: bytes) -> int:
        listeners = [session for session in self.sessions if channel in session.channels]
        for session in listeners:
            session.push(connection_commands.published(channel, message))
        return len(listeners)

    def _plan_expiry(self, key: bytes) -> None:
        deadline_ms = self.keyspace.deadline_ms(key)
        if deadline_ms is None:
            return
        loop, wall = self.simulation.loop, self.process.environment.wall
        delay_s = max(0.0, deadline_ms / 1000 - wall()) + EXPIRY_CYCLE_S * self.chance.random() + 0.001
        context = contextvars.Context()
        context.run(connection_commands.enter_process, self.process)
        loop.call_later(delay_s, self._sweep, context=context)

    def _sweep(self) -> None:
        if self.role == "master" and self.keyspace.sweep():
            self.flush()

    def _replicate(self, key: bytes) -> None:
        self.offset += 1
        for replication in self.replications:
            replication.send(key)

    # What an operator, or fate, does

    def flush_everything(self) -> None:
        """``FLUSHALL``."""
        self._flushing = True
        try:
            for key in list(self.keyspace.names()):
                self.keyspace.delete(key)
        finally:
            self._flushing = False
        self.tracking.invalidate_all(list(self.sessions), self._current)
        for replication in self.replications:
            replication.send(None)
        if self._current is None:
            self.flush()

    def evict(self, key: bytes) -> bool:
        """Evict one key, as another client's need for room does; True if it was there."""
        was_there = self.keyspace.evict(key)
        self.flush()
        return was_there

    def snapshot(self) -> Snapshot:
        """A copy of all data."""
        space = self.keyspace
        return {key: (copy.deepcopy(space.peek(key)), space.deadline_ms(key)) for key in list(space.names())}

    def save(self) -> None:
        """Remember the data for a `restart` that finds them as they are now."""
        self._saved = self.snapshot()

    def restart(self, data: Literal["kept", "saved", "lost"] = "kept") -> None:
        """Crash and come back: connections, tracking, scripts and the replication id are new.

        Args:
            data: What it finds: everything (``"kept"``), what `save` remembered, or nothing.
        """
        self.simulation.trace.note("fault", self.process.name, f"restarted, data {data}")
        kept = self.snapshot()
        self._drop_connections()
        self.load({} if data == "lost" else self._saved if data == "saved" else kept)
        self.loaded.clear()
        self.replid = self.new_replid()

    def load(self, data: Snapshot) -> None:
        """Replace all data."""
        self._flushing = True
        try:
            for key in list(self.keyspace.names()):
                self.keyspace.delete(key)
            for key, (value, deadline_ms) in data.items():
                self.keyspace.put(key, copy.deepcopy(value), deadline_ms)
        finally:
            self._flushing = False

    def stop(self) -> None:
        """Die for good: connections are reset, the address refuses."""
        self.simulation.trace.note("fault", self.process.name, "stopped")
        self.listener.close()
        self._drop_connections()
        self.process.kill()

    def _drop_connections(self) -> None:
        """Reset every connection, those too that a paused server has not accepted yet."""
        self.kill_clients()
        for link in list(self.simulation.network.links):
            if link.listener is self.listener:
                link.reset()


def script_sha(source: str) -> str:
    """The name by which ``EVALSHA`` knows a script."""
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
