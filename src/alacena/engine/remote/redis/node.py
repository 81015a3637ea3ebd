"""One server: its history, its clock, and the instant until which memory may be served on its word.

Everything rests on one connection. ``CLIENT TRACKING ON`` makes the server tell it of every change to a key that it
read; the wire applies these pushes and the answers in byte order. An answer to a heartbeat therefore proves that every
push sent before it has been applied, so memory may be served until ``H`` after the heartbeat was *sent*. When the
connection is lost or in doubt, memory goes off first.

``NOLOOP`` is not used: with it a server also keeps silent about keys that it evicts, or forgets to track, while it runs a
command of ours. Without it, our own write comes back as exactly one push right behind its reply, provided that the key
was tracked when it was written; our scripts read each key before they write it, so that this is certain, and
:meth:`Node.expect` takes these pushes out of the stream.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from alacena.engine.base.errors import BackendError, BackendUnavailableError, ServerReplyError
from alacena.engine.base.keys import escape
from alacena.engine.remote.redis.command_safety import Remedy, remedy
from alacena.engine.remote.redis.server_facts import ServerFacts, facts

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence

    from alacena.engine.base.environment import Environment
    from alacena.engine.base.generation import Generation
    from alacena.engine.base.settings import Settings
    from alacena.engine.coherence.generation_table import GenerationTable
    from alacena.engine.remote.backend import Argument, Reply, Script
    from alacena.engine.remote.redis.link import Link
    from alacena.engine.remote.redis.topology import Topology
    from alacena.engine.remote.redis.wire.command import Command
    from alacena.engine.remote.redis.wire.connection import Connection

T = TypeVar("T")

_NEVER = float("-inf")
_CANARY_MS = 600_000
_UNKNOWN_HISTORY = bytes(8)
"""Stands for the history of a server that hides it: a failover is not noticed then, and ``guarantee()`` says so."""


class NodeTable(Protocol):
    """The nodes of one topology, as far as a node uses them."""

    def refresh(self) -> None:
        """Takes over the nodes' common word."""
        ...

    def at(self, link: Link) -> Node:
        """Returns the node behind a link."""
        ...


class Node:
    """One server, as the protocol sees it.

    Args:
        link: The supervised connection to it.
        topology: Finds the server that has a key, should it have moved.
        coherence: The generations, and the entries under them.
        environment: The clock.
        settings: The staleness bound and the namespace.
        table: The nodes of the topology, told when ``serving_until`` changed; ``None``: nothing is redirected.

    Attributes:
        link: The connection.
        fetch: Asks for one entry by the shortest way: ``Topology.fetch``, or one that bars owed entries.
        tracked: Whether pushes are sure to come; only then a nonce is good for more than the step that it came in.
        facts: The server's facts about itself, and which rights are missing.
        refuses_writes: Why the server takes no writes now; empty while it does.
        offset_ms: The server's clock, in milliseconds since the epoch, when ours shows 0.
    """

    def __init__(
        self,
        link: Link,
        topology: Topology,
        coherence: GenerationTable,
        environment: Environment,
        settings: Settings,
        table: NodeTable | None = None,
    ) -> None:
        self.link = link
        self.fetch = topology.fetch
        self._topology = topology
        self.replication_id = b""
        self.serving_until = _NEVER
        self.tracked = False
        self.doubt = "not connected yet"
        self.facts = ServerFacts()
        self.refuses_writes = ""
        self._coherence = coherence
        self._environment = environment
        self._bound_s = settings.staleness_bound_s
        self._timeout_s = settings.redis_timeout_s
        name = self._name = escape(settings.namespace)
        self._canary = f"{name}:canary:{environment.token(8).hex()}"
        self._canary_died = False
        self._refusal: ServerReplyError | None = None
        self._asks_for_tracking = True
        self._probes = True
        self._own: dict[bytes, int] = {}
        self.offset_ms = 0.0
        self._least_offset_ms: float | None = None
        self._table = table
        namespace = name.encode()
        self._entries = namespace + b":e:"
        self._leases = namespace + b":l:"
        self._generations = namespace + b":g:"
        self._canary_prefix = self._canary.encode()

    @property
    def is_up(self) -> bool:
        """Whether the link is connected."""
        return self.link.up

    def server_ms(self) -> float:
        """Returns milliseconds since the epoch on the server's clock, to within a round trip."""
        return self._environment.now() * 1000.0 + self.offset_ms

    def within_ms(self, seconds: float) -> int:
        """Returns a time on the server's clock, in ms since the epoch, that is at most so far ahead; 0 if it hides its clock.

        The server answered the heartbeat before the answer came: from that instant its clock is taken to have run.
        """
        if self._least_offset_ms is None:
            return 0
        return max(1, math.floor((self._environment.now() + seconds) * 1000.0 + self._least_offset_ms))

    def exchange(
        self, key: bytes, commands: Sequence[Command], *, settle: Callable[[Node, list[Reply]], T], timeout_s: float
    ) -> Awaitable[T]:
        """Sends commands about keys of one slot, written together; ``settle(node, replies)`` runs in the parser.

        The node that it is given is the one that answered: another than this one where the slot has moved. Its answers carry
         a history that this node does not vouch for: such entries are misses until it is asked itself.
        """
        answering = self

        def on_reply(link: Link) -> None:
            nonlocal answering
            answering = self._node_at(link)

        return self._topology.exchange(
            key, commands, settle=lambda replies: settle(answering, replies), timeout_s=timeout_s, answered=on_reply
        )

    def evaluate(
        self,
        script: Script,
        keys: Sequence[str | bytes],
        args: Sequence[Argument],
        settle: Callable[[Node, Reply], T],
        timeout_s: float,
    ) -> Coroutine[Any, Any, T]:
        """Runs a script; ``settle(node, reply)`` runs in the parser, with the node that answered.

        A server that forgot the script is given it again.
        """
        answering = self

        def on_reply(link: Link) -> None:
            nonlocal answering
            answering = self._node_at(link)

        def on_result(reply: Reply) -> T:
            if isinstance(reply, ServerReplyError):
                raise reply
            return settle(answering, reply)

        return self._topology.script(
            script.sha, script.source, keys, args,
            settle=on_result, timeout_s=timeout_s, repeatable=script.idempotent, answered=on_reply,
        )  # fmt: skip

    def _tell_table(self) -> None:
        if self._table is not None:
            self._table.refresh()

    def _node_at(self, link: Link) -> Node:
        return self if link is self.link or self._table is None else self._table.at(link)

    def tell(
        self,
        script: Script,
        keys: Sequence[str | bytes],
        args: Sequence[Argument],
        settle: Callable[[Reply], None] = lambda _: None,
    ) -> None:
        """Runs a script and does not wait for it: losing it costs time, never correctness.

        A server that forgot the script is given it again.
        """
        run: Command = ("EVALSHA", script.sha, len(keys), *keys, *args)
        load: Command = ("SCRIPT", "LOAD", script.source)

        def judge(replies: list[Reply]) -> None:
            reply = replies[-1]
            if len(replies) == 1 and isinstance(reply, ServerReplyError) and remedy(reply.code) is Remedy.LOAD_SCRIPT:
                self._send((load, run), judge)
            else:
                settle(reply)

        self._send((run,), judge)

    def _send(self, commands: Sequence[Command], settle: Callable[[list[Reply]], None]) -> None:
        try:
            sent = self.link.exchange(commands, settle=settle, timeout_s=self._timeout_s)
        except BackendError:
            return
        sent.add_done_callback(_forget)

    def expect(self, *keys: bytes) -> None:
        """Expects the pushes about writes of ours that were just answered: they are next, and say nothing new."""
        # A count, not a flag: two scripts of ours may write the key before the first push is parsed, and each write is
        # pushed. Only while tracked: no push comes otherwise, and the next one, another's, would be swallowed.
        if self.tracked:
            own = self._own
            for key in keys:
                own[key] = own.get(key, 0) + 1

    def expect_minted(self, generations: Sequence[Generation], nonces: Sequence[bytes | None], mint: bytes) -> None:
        """Expects the pushes about generations that a script of ours has just made: they say nothing new."""
        for generation, nonce in zip(generations, nonces, strict=False):
            if nonce == mint:
                self.expect(generation.name.encode())

    def learn(self, generations: Sequence[Generation], nonces: Sequence[bytes], mint: bytes) -> None:
        """Notes nonces that a script of ours has read, or made out of ``mint``."""
        for generation, nonce in zip(generations, nonces, strict=True):
            self._coherence.learn(generation, nonce)
        self.unlearn(generations)
        self.expect_minted(generations, nonces, mint)

    def unlearn(self, generations: Iterable[Generation]) -> None:
        """Keeps no nonce with an untold end: the last word of this server was good for one step."""
        # 1. Tracking is off; a reply says that the generation has nonce N.
        # 2. Another process ends it. Nobody tells us.
        # 3. With N still known, a later read compares an entry's stamp with N and takes a dead entry for alive.
        if not self.tracked:
            self._coherence.forget_untracked(generations)

    def forget_expectations(self) -> None:
        """Forgets expected pushes after slots have moved: they may come elsewhere, and the next one may be another writer's."""
        self._own.clear()

    async def prepare(self, connection: Connection) -> None:
        """Makes a fresh connection fit to serve: scripts, tracking, the first heartbeat.

        Cost: 2 round trips; 3 the first time.
        """
        # Expectations are of the old connection's pushes, which never come: kept, they would swallow real ones of this
        # one.
        self._own.clear()
        self._asks_for_tracking = self._probes = True
        introduction = self.facts.introduction()
        replies = await connection.exchange(introduction, settle=list, timeout_s=self._timeout_s)
        self.facts.read_introduction(replies)
        await self.beat(connection)
        if not self.tracked and self._refusal is None:
            await self.beat(connection)  # The first one may have had to lay the canary.

    def on_error(self, error: ServerReplyError) -> None:
        """Notes a refusal: a right that was taken away is looked for with the next heartbeat."""
        if error.code == "NOPERM":
            self._probes = True

    def beat(self, connection: Connection) -> asyncio.Future[None]:
        """Asks for the server's history, time and policy; the answer extends the right to serve from memory.

        It also changes a key that it read a moment before. The push about that must come before the rest of the answer:
        the proof, each time anew, that pushes reach this connection. ``PEXPIRE`` changes it on a full server too.
        Tracking that was refused, for a moment or for good, is asked for again each time.
        """
        sent_at = self._environment.now()
        tag = self._topology.tag_at(self.link)
        canary = f"{self._canary}:{{{tag}}}"
        # 1. `EXISTS` makes the server track the canary, and `PEXPIRE` changes it.
        # 2. The push about that stands before the replies that follow, of `INFO` and `TIME`.
        # 3. `settle` runs at the last reply: if no push was parsed by then, something swallows them.
        self._canary_died = False
        asks_for_tracking = self._asks_for_tracking
        commands: list[Command] = [("CLIENT", "TRACKING", "ON")] if asks_for_tracking else []
        commands += [("EXISTS", canary), ("PEXPIRE", canary, _CANARY_MS), ("INFO", "replication"), ("TIME",)]
        asked = len(commands)
        commands += self.facts.questions()
        probed = len(commands)
        if tag is not None and (self._probes or self.facts.missing):
            commands += self.facts.probes(self._name, tag)

        def settle(replies: list[Reply]) -> None:
            # Every push on a write of ours has come by now: one that is still expected is another server's, or nobody's.
            self._own.clear()
            if asks_for_tracking:
                self._read_tracking(replies[0])
            self.facts.read(replies[asked:probed])
            if len(replies) > probed:
                self._probes = False
                self.facts.read_probes(replies[probed:])
            _, changed, info, time = replies[asked - 4 : asked]
            self.refuses_writes = str(changed) if isinstance(changed, ServerReplyError) else ""
            if self._check_history(connection, sent_at, info, time):
                self._judge(*self._verdict(connection, None if tag is None else canary, changed, sent_at))

        return connection.exchange(commands, settle=settle, timeout_s=self._timeout_s)

    def _read_tracking(self, reply: Reply) -> None:
        self._refusal = reply if isinstance(reply, ServerReplyError) else None
        self._asks_for_tracking = self._refusal is not None
        self.facts.read_tracking(reply)

    def on_push(self, push: list[Any]) -> None:
        """Applies one push of the server, in byte order."""
        if push[0] != b"invalidate":
            return
        if push[1] is None:
            # A null push: the server flushed its table of what we track. Every push that it owed us is in this one.
            self._coherence.forget_all()
            # `forget_all` has switched memory off. The server goes on telling of what is read from now on, so it may
            # serve again.
            self._serve(self.serving_until)
            return
        own = self._own
        for key in push[1]:
            count = own.pop(key, 0) if own else 0
            if not count:
                self._apply(key)
            elif count > 1:
                own[key] = count - 1

    def _apply(self, key: bytes) -> None:
        """Applies that a key was changed or removed, and not by what was just sent from here."""
        if key.startswith(self._entries):
            self._coherence.drop(key)
        elif key.startswith(self._generations):
            self._coherence.end(key.decode())
        elif key.startswith(self._leases):
            self._coherence.wake_waiters(self._entries + key[len(self._leases) :])
        # A prefix: in a cluster, the hash tag at the canary's end changes with the slots.
        elif key.startswith(self._canary_prefix):
            self._canary_died = True

    def down(self, error: BackendError) -> None:
        """Switches memory off, before anything else happens: the connection is gone."""
        self.doubt = f"not connected: {error}"
        self.tracked = False
        self.serving_until = _NEVER
        self._own.clear()
        self.facts.forget()
        self._coherence.forget_all()
        self._tell_table()

    def on_failed(self, error: BaseException) -> None:
        """Notes why another attempt to connect has failed, rather than how the last connection ended."""
        self.doubt = f"not connected: {str(error) or type(error).__name__}"

    def _check_history(self, connection: Connection, sent_at: float, info: Reply, time: Reply) -> bool:
        """Takes note of the server's history and time; whether it is fit to be our server."""
        if isinstance(info, ServerReplyError) or isinstance(time, ServerReplyError):
            self.replication_id = _UNKNOWN_HISTORY
            # Our wall stands in for the server's clock, so that entries expire. Commands get no latest time by it: the
            # two may be far apart, and every store might be refused as late.
            self.offset_ms = (self._environment.wall() - self._environment.now()) * 1000.0
            self._least_offset_ms = None
            self._judge(
                f"the server hides its history or its time: {info if isinstance(info, ServerReplyError) else time}"
            )
            return False
        said = facts(info)
        if said.get("role") != "master":
            connection.close(BackendUnavailableError(f"this server is a {said.get('role')} now, not the master"))
            return False
        # Half of it: an entry's header and a lease's token have eight bytes for the history.
        history = bytes.fromhex(said.get("master_replid", "")[:16])
        # Another history may lack writes that this process saw, and invalidations with them:
        # 1. The old master takes an invalidation and dies before it is replicated.
        # 2. The new master still has the entry, and the generation's old nonce.
        # 3. Only the history tells: what was known of the old one must not vouch for entries of the new one.
        if self.replication_id and history != self.replication_id:
            self._coherence.forget_all()
        self.replication_id = history
        self._read_clock(int(time[0]) * 1000.0 + int(time[1]) / 1000.0, sent_at)
        return True

    def _read_clock(self, server_ms: float, sent_at: float) -> None:
        """Reads the server's clock: it stood at ``server_ms`` at some instant between ``sent_at`` and now."""
        # 1. The heartbeat leaves at `sent_at`; the server reads its clock; the reply is parsed now.
        # 2. So that clock is ahead of ours by `offset_ms` at most and by `least_ms` at least.
        # 3. Entries are judged by the most. A command's latest time goes by the least: it is given up early, never
        #    executed late.
        self.offset_ms = server_ms - sent_at * 1000.0
        least_ms = server_ms - self._environment.now() * 1000.0
        known_ms = self._least_offset_ms
        # A bound that fits is kept: it is of a quicker reply, and closer. If it does not fit, that clock was set.
        if known_ms is None or not least_ms <= known_ms <= self.offset_ms:
            self._least_offset_ms = least_ms

    def _verdict(self, connection: Connection, canary: str | None, changed: Reply, sent_at: float) -> tuple[str, float]:
        """Returns the reason against serving from memory, if any, and the instant until which it may be served."""
        if self._refusal is not None:
            return f"the server refused tracking: {self._refusal}", _NEVER
        if self.refuses_writes:
            return f"the server refuses writes, so that pushes cannot be proven: {self.refuses_writes}", _NEVER
        if canary is None:
            return "the server has no slot of the cluster yet", _NEVER
        if changed == 0:
            laid = connection.call("SET", canary, "1", "PX", _CANARY_MS, timeout_s=self._timeout_s)
            laid.add_done_callback(_forget)
            return "the canary has to be laid first", _NEVER
        if not self._canary_died:
            return "no push came for the canary: something between here and the server swallows them", _NEVER
        # From the sending on: the server replied at some instant after it, and tells of what it changed later behind
        # the reply.
        return "", sent_at + self._bound_s

    def _judge(self, doubt: str, until: float = _NEVER) -> None:
        """Switches memory on until the instant given, or off if there is a doubt.

        Entries that came into memory while there was a doubt were filled without the proof that pushes arrive: they go. And if
        a doubt begins, the known generations go: their ends may be untold.
        """
        # True at a change in either direction, as `tracked` is still what it was. `forget_all` switches memory off:
        # `_serve` is last.
        if bool(doubt) == self.tracked:
            self._coherence.forget_all()
        self.doubt = doubt
        self.tracked = not doubt
        self._serve(until)

    def _serve(self, until: float) -> None:
        self.serving_until = until
        self._tell_table()


def _forget(sent: asyncio.Future[Any]) -> None:
    if not sent.cancelled():
        sent.exception()
