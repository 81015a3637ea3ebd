"""Removals: sent, owed if they are not confirmed, and sent again until they are."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, cast

from alacena.engine.base.errors import BackendError, BackendUnavailableError, CacheClosedError, ServerReplyError
from alacena.engine.base.keys import escape
from alacena.engine.base.remote_tier import Ended
from alacena.engine.remote.redis.command_safety import Remedy, is_forbidden, remedy
from alacena.engine.remote.redis.journal import Removal, read_ended
from alacena.engine.remote.redis.owed_removals import OwedRemovals

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from alacena.engine.base.environment import Environment
    from alacena.engine.base.keys import EntryKey
    from alacena.engine.base.settings import Settings
    from alacena.engine.coherence.generation_table import GenerationTable
    from alacena.engine.loading.single_flight import SingleFlight
    from alacena.engine.remote.redis.connection_log import ConnectionLog
    from alacena.engine.remote.redis.node import Node
    from alacena.engine.remote.redis.topology import Topology
    from alacena.engine.remote.redis.wire import Command, Connection, Reply

T = TypeVar("T")

_Ask: TypeAlias = "Callable[[bytes, Command, Callable[[list[Reply]], None]], Awaitable[Any]]"

_RETRY_S = 0.05
_LONGEST_RETRY_S = 0.25
"""Reads of what is owed go to the source: a server that takes removals again is asked soon."""
_SCANNED_AT_ONCE = 1_000


class Servers(Protocol):
    """The nodes of a topology, as far as removals use them."""

    topology: Topology

    def group(self, key: bytes) -> int:
        """Returns the group whose keys may be asked for in one exchange."""
        ...

    def all(self) -> list[Node]:
        """Returns every node that is part of the topology now."""
        ...

    def all_known(self) -> Iterable[Node]:
        """Returns every node that was ever asked for."""
        ...

    def shortest_way(self, node: Node) -> Callable[..., Awaitable[Any]]:
        """Returns the function that asks a node for one entry."""
        ...

    def refresh(self) -> None:
        """Takes over the nodes' common word."""
        ...


class RemovalSender:
    """Sends removals to the nodes.

    Args:
        nodes: The servers.
        coherence: The memory of this process.
        flights: Owns the work of making up for removals that failed.
        environment: Time and chance.
        settings: Budgets and the namespace.
        connection_log: Tells operators.

    Attributes:
        owed: The owed removals, which bar reads.
    """

    def __init__(
        self,
        nodes: Servers,
        coherence: GenerationTable,
        flights: SingleFlight,
        environment: Environment,
        settings: Settings,
        connection_log: ConnectionLog,
    ) -> None:
        self._nodes = nodes
        self._coherence = coherence
        self._flights = flights
        self._environment = environment
        self._timeout_s = settings.redis_timeout_s
        self._namespace = escape(settings.namespace)
        self._connection_log = connection_log
        self._verb = "UNLINK"
        self._payment: asyncio.Task[None] | None = None
        self.owed = OwedRemovals(self._namespace)

    async def send(
        self,
        removals: Sequence[Removal],
        generations: Sequence[Sequence[str]],
        keys: Sequence[EntryKey],
        *,
        settled: Callable[[], None],
    ) -> Ended:
        """Sends removals, each to the node of its key; unconfirmed ones are owed.

        Args:
            removals: In the order in which a node must execute them.
            generations: The generations that they end, in groups of one bucket each.
            keys: The entries that they remove.
            settled: Called in the parser once the removals of a node are done.

        Returns:
            How many keys the counted ones removed, and which.

        Raises:
            BackendError: Not every node confirmed. It will be tried until one does, and owed entries are not read before.
        """
        groups: dict[int, list[Removal]] = {}
        for removal in removals:
            groups.setdefault(self._nodes.group(removal[0]), []).append(removal)

        def owe(mark: int, error: BackendError) -> None:
            group_of = self._nodes.group
            ended = [names for names in generations if group_of(names[0].encode()) == mark]
            self.owe(ended, [key for key in keys if group_of(key.entry) == mark], error)

        if len(groups) == 1:
            # In this very step: what is read after whatever led here must not be asked for before it is removed.
            ((mark, group),) = groups.items()
            there = await self._send(group, partial(owe, mark), settled)
            return Ended(len(there), there)
        sent = (self._send(group, partial(owe, mark), settled) for mark, group in groups.items())
        outcomes = await asyncio.gather(*sent, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        there = [name for some in cast("list[list[Any]]", outcomes) for name in some]
        return Ended(len(there), there)

    async def _send(
        self, group: Sequence[Removal], owe: Callable[[BackendError], None], settled: Callable[[], None]
    ) -> list[Any]:
        """Sends commands that may be asked together."""

        def settle(replies: list[Reply]) -> list[Any]:
            settled()
            for reply in replies:
                if isinstance(reply, ServerReplyError):
                    # The first refusal counts for the whole group: what stands behind it may have been executed, but is
                    # owed all the same, because a removal that runs twice does no harm and one that never runs is a
                    # stale read.
                    self._switch_command(reply)
                    owe(reply)  # In the parser: what the server answers next may be the old value.
                    raise reply
            counted = [(command, reply) for (_, command, counts), reply in zip(group, replies, strict=True) if counts]
            return [name for command, reply in counted for name in read_ended(command, reply)]

        commands = [(self._verb, *command[1:]) if command[0] == "UNLINK" else command for _, command, _ in group]
        try:
            return await self._nodes.topology.exchange(group[0][0], commands, settle=settle, timeout_s=self._timeout_s)
        except BackendError as error:
            if not isinstance(error, ServerReplyError):
                owe(error)
            raise

    # What is owed

    def owe(
        self, generations: Iterable[Sequence[str]], keys: Iterable[EntryKey], error: BackendError | None = None
    ) -> None:
        """See :meth:`alacena.engine.remote.redis.nodes.Nodes.owe`."""
        idle = not self.owed
        # Memory first, then the bar:
        # 1. A removal was refused. The entry is still on the server.
        # 2. A read here would find it there, alive by every nonce that the server has.
        # 3. So what is owed is not read, by anybody in this process, until it is confirmed. A journal needs no bar: it
        #    only refuses fills.
        for name in (name for group in generations for name in group):
            self._coherence.end(name)
            if not name.endswith("}:j"):
                self._bar(name)
        for key in keys:
            self._bar(key.entry.decode())
            self._coherence.drop(key.entry, key.ident)
            # A read that is under way was sent before: it cannot be told alive without its generations.
            for generation in self._coherence.generations(key.generations[:2]):
                self._coherence.learn(generation, None)
        if not self.owed:
            return
        if idle:
            self._coherence.barred = self.owed
            self._connection_log.report_owing(str(error) if error else "a newer value could not be stored")
            self._guard_all()
        if self._payment is None or self._payment.done():
            self._payment = self._flights.own(self._make_up())

    def guard(self, node: Node) -> None:
        """Lets a node's shortest way look at the owed removals, while there are any."""
        node.fetch = self._fetch if self.owed else self._nodes.shortest_way(node)

    async def pay_over(self, connection: Connection) -> None:
        """Sends the owed removals that a new connection takes; the rest stays owed.

        Raises:
            BackendError: The connection gives no answer.
        """

        async def ask(_: bytes, command: Command, settle: Callable[[list[Reply]], None]) -> None:
            await connection.exchange((command,), settle=settle, timeout_s=self._timeout_s)

        for bucket, names in self.owed.by_bucket():
            try:
                await self._pay(ask, bucket, names)
            except ServerReplyError as refusal:
                if remedy(refusal.code) is not Remedy.REDIRECT:
                    return

    def choose_verb(self, *, has_unlink: bool) -> None:
        """Removes by ``DEL`` where ``UNLINK`` is forbidden or was renamed away."""
        if not has_unlink:
            self._verb = "DEL"

    def _switch_command(self, refusal: ServerReplyError) -> None:
        """Switches to the other command: a server that takes no ``UNLINK`` may take ``DEL``, and the other way round."""
        if is_forbidden(refusal):
            self._verb = "DEL" if self._verb == "UNLINK" else "UNLINK"

    def _bar(self, name: str) -> None:
        """Owes one removal; if a wider one covers it from now on, the removals under that one are forgotten too."""
        covering = self.owed.add(name)
        if not covering:
            self._coherence.forget_all()
            self._nodes.refresh()
        elif covering != name:
            self._coherence.end(covering)

    def _guard_all(self) -> None:
        for node in self._nodes.all_known():
            self.guard(node)

    def _fetch(self, key: bytes, settle: Callable[[Reply], T], timeout_s: float) -> Awaitable[T]:
        """Runs ``Topology.fetch`` while something is owed: covered entries are not there."""
        if key not in self.owed:
            return self._nodes.topology.fetch(key, settle, timeout_s)
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        answer.set_result(settle(None))
        return answer

    async def _make_up(self) -> None:
        """Sends owed removals again and again until they are confirmed."""
        pause_s = _RETRY_S
        while self.owed:
            await asyncio.sleep(pause_s * (0.5 + self._environment.random()))
            pause_s = min(pause_s * 2, _LONGEST_RETRY_S)
            try:
                await self._pay_all()
                if self.owed.owes_everything:
                    await self._pay_everything()
            except CacheClosedError:  # There is no connection left, and nobody who could read what is barred.
                return

    async def _pay_all(self) -> None:
        """Tries to send the owed removals, each to its node; one that refuses or keeps silent is asked no more this time."""
        topology = self._nodes.topology

        async def ask(key: bytes, command: Command, settle: Callable[[list[Reply]], None]) -> None:
            await topology.exchange(key, (command,), settle=settle, timeout_s=self._timeout_s)

        failed = set()
        for bucket, names in self.owed.by_bucket():
            try:
                link = topology.link_for(next(iter(names)))
            except BackendUnavailableError:
                continue
            if link in failed:
                continue
            try:
                await self._pay(ask, bucket, names)
            except BackendError:
                failed.add(link)

    async def _pay(self, ask: _Ask, bucket: str, names: Mapping[str, int]) -> None:
        def settle(replies: list[Reply]) -> None:
            (reply,) = replies
            if isinstance(reply, ServerReplyError):
                self._switch_command(reply)
                raise reply
            # In the parser: settled in a task of its own, a removal that was added between reply and task would be
            # forgotten with it.
            self.owed.settle(bucket, names)
            self._forgive()

        await ask(next(iter(names)).encode(), self.owed.command(self._verb, bucket, names), settle)

    async def _pay_everything(self) -> None:
        """Ends every tenant generation of the namespace: more was owed than is remembered."""
        # The scan takes many round trips. A removal that is added meanwhile may be of a bucket that was scanned
        # already: only what was owed at this serial is settled in the end.
        serial = self.owed.serial
        match = ("MATCH", f"{self._namespace}:g:*:t", "COUNT", _SCANNED_AT_ONCE)
        for node in self._nodes.all():
            cursor: Any = b"0"
            is_done = False
            while not is_done:
                try:
                    cursor, found = await node.link.call("SCAN", cursor, *match, timeout_s=self._timeout_s)
                    for name in found:
                        await node.link.call(self._verb, name, timeout_s=self._timeout_s)
                except BackendError:
                    return
                is_done = cursor == b"0"
        self.owed.settle_everything(serial)
        self._forgive()

    def _forgive(self) -> None:
        """Reads entries again that are not owed any more."""
        if not self.owed:
            self._coherence.barred = None
            self._connection_log.report_paid()
            self._guard_all()
