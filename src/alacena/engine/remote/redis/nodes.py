"""The servers of one cache: the owner of each key, until when memory may be served, and their common word."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from alacena.engine.base.errors import (
    BackendError,
    BackendUnavailableError,
    ServerReplyError,
    UnsafeServerError,
)
from alacena.engine.base.events import MemorySwitched
from alacena.engine.base.health import Health
from alacena.engine.remote.redis.connection_log import ConnectionLog
from alacena.engine.remote.redis.guarantees import REMEDY, promises, unsafe
from alacena.engine.remote.redis.node import Node
from alacena.engine.remote.redis.removal_sender import RemovalSender
from alacena.engine.remote.redis.slot_map import slot_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from alacena.engine.base.environment import Environment
    from alacena.engine.base.events import Events
    from alacena.engine.base.keys import EntryKey
    from alacena.engine.base.remote_tier import Ended
    from alacena.engine.base.settings import Settings
    from alacena.engine.coherence.generation_table import GenerationTable
    from alacena.engine.loading.single_flight import SingleFlight
    from alacena.engine.remote.redis.endpoint import Address
    from alacena.engine.remote.redis.journal import Removal
    from alacena.engine.remote.redis.link import Link
    from alacena.engine.remote.redis.topology import Topology
    from alacena.engine.remote.redis.wire import Connection

_NEVER = float("-inf")


class Nodes:
    """The nodes of a topology, and the removals that they still owe.

    Args:
        coherence: The generations, and the entries under them.
        flights: Owns the work of making up for removals that failed.
        environment: Time and chance.
        settings: Bounds and budgets.
        events: Told when memory is switched on or off.
        health: Where faults of the connection are reported.

    Attributes:
        topology: The servers; from :meth:`attach` on.
        by_slot: Whether the keys of a command must share a slot.
        owed: The removals that no server has confirmed; these entries must not be read.
        only: The node that holds every key, once it was asked for; ``None`` in a cluster.
    """

    def __init__(
        self,
        coherence: GenerationTable,
        flights: SingleFlight,
        environment: Environment,
        settings: Settings,
        events: Events,
        health: Health | None = None,
    ) -> None:
        self._coherence = coherence
        self._flights = flights
        self._environment = environment
        self._settings = settings
        self._events = events
        self._serves = False
        self.topology: Topology
        self.by_slot = False
        self._nodes: dict[Link, Node] = {}
        self.only: Node | None = None
        self._connection_log = ConnectionLog(health or Health(), events)
        self._removals = RemovalSender(self, coherence, flights, environment, settings, self._connection_log)
        self.owed = self._removals.owed

    def attach(self, topology: Topology, *, by_slot: bool) -> None:
        """Says where the servers are, and whether a command's keys must share a slot; before anything else is asked."""
        self.topology = topology
        self.by_slot = by_slot

    @property
    def is_up(self) -> bool:
        """Whether any node is connected."""
        return any(node.is_up for node in self._nodes.values())

    def all(self) -> list[Node]:
        """Returns every node that is part of the topology now."""
        return [self.at(link) for link in self.topology.links()]

    def of(self, key: bytes) -> Node:
        """Returns the node that holds a key."""
        node = self.only
        if node is None:
            node = self.at(self.topology.link_for(key))
            if not self.by_slot:
                self.only = node  # each look asks: two calls less on every hit
        return node

    def at(self, link: Link) -> Node:
        """Returns the node behind a link."""
        node = self._nodes.get(link)
        if node is None:
            node = self._nodes[link] = Node(
                link,
                self.topology,
                self._coherence,
                self._environment,
                self._settings,
                self,
            )
            # A node that is met while something is owed must not be asked past the bar.
            self._removals.guard(node)
        return node

    def shortest_way(self, node: Node) -> Callable[..., Awaitable[Any]]:
        """Returns the function that asks a node for one entry: its connection's own, if no slot of it can move away."""
        connection = None if self.by_slot else node.link.connection
        return self.topology.fetch if connection is None else connection.fetch

    def group_keys(self, keys: Sequence[bytes]) -> list[tuple[Node, list[int]]]:
        """Returns indexes of the keys, by the keys that may be asked in one command."""
        groups: dict[Any, tuple[Node, list[int]]] = {}
        for index, key in enumerate(keys):
            mark = self.group(key)
            if mark not in groups:
                groups[mark] = (self.of(key), [])
            groups[mark][1].append(index)
        return list(groups.values())

    def on_slots_moved(self, _: frozenset[int]) -> None:
        """Drops entries that were filled through a slot's old owner: its connection tells of no changes any more.

        Nor does a push that is expected there say anything about the writer, should the slot come back.
        """
        for node in self._nodes.values():
            node.forget_expectations()
        self._coherence.forget_all()
        self.refresh()

    async def prepare(self, link: Link, connection: Connection) -> None:
        """Prepares a new connection: sends it the removals that are owed, as far as it takes them, then makes it fit to serve.

        A removal that is not taken stays owed, and bars its entries on this connection too.
        """
        # Owed removals first: nobody else has this connection yet, so that removals are the first that the server hears.
        await self._removals.pay_over(connection)
        await self.at(link).prepare(connection)
        self._note_facts(link)

    def up(self, link: Link, _: Connection) -> None:
        """Notes that a connection serves from now on."""
        # The shortest way is the new connection's own: what was bound is the last one's, which is closed.
        self._removals.guard(self.at(link))
        self._connection_log.report_connected(str(link.address))

    def on_failed(self, link: Link | None, address: Address | None, error: BaseException) -> None:
        """Notes that an attempt to connect has failed."""
        if link is not None:
            self.at(link).on_failed(error)
        self._connection_log.report_unreached(str(address or "the server"), error)

    def on_error(self, link: Link, error: ServerReplyError) -> None:
        """Notes that a server answered with an error."""
        self.at(link).on_error(error)

    def on_subscription(self, refusal: ServerReplyError | None) -> None:
        """Notes that a subscription was refused, or is granted again. It is asked for on a connection apart."""
        for node in self.all():
            node.facts.read_subscription(refusal)
            self._note_facts(node.link)

    async def beat(self, link: Link, connection: Connection) -> None:
        """Sends one heartbeat."""
        await self.at(link).beat(connection)
        self._note_facts(link)

    def on_push(self, link: Link, push: list[Any]) -> None:
        """Applies one push."""
        # `at` is asked only for a link that is new: pushes come by the thousand.
        (self._nodes.get(link) or self.at(link)).on_push(push)

    def down(self, link: Link, error: BackendError) -> None:
        """Notes that a connection was lost."""
        self.at(link).down(error)
        # The lost connection's own way must not be taken any more: the topology's tells callers that it is away.
        self._removals.guard(self.at(link))
        if not link.is_closed:
            self._connection_log.report_lost(str(link.address), error)

    async def remove(
        self,
        removals: Sequence[Removal],
        generations: Sequence[Sequence[str]],
        keys: Sequence[EntryKey],
        *,
        settled: Callable[[], None],
    ) -> Ended:
        """Sends removals; unconfirmed ones are owed. See :meth:`.RemovalSender.send`."""
        return await self._removals.send(removals, generations, keys, settled=settled)

    def owe(
        self, generations: Sequence[Sequence[str]], keys: Sequence[EntryKey], error: BackendError | None = None
    ) -> None:
        """Owes removals: they are tried until a server confirms them, and their entries are not read before.

        For a caller that changed the source and could not make the server forget its entry: a removal that failed, a value
        that could not be stored in the place of an older one, a hold that could not be set. Memory forgets at once.
        Owing the same again costs nothing.

        Args:
            generations: Names of generations that must end, in groups, as ``invalidate`` takes them.
            keys: Entries that must go, with their leases.
            error: Why; shown to operators.
        """
        self._removals.owe(generations, keys, error)

    def guarantee(self) -> Mapping[str, Any]:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.guarantee`."""
        return promises(self.all(), self._settings, len(self.owed))

    async def require_safe(self) -> None:
        """See :meth:`alacena.engine.remote.backend.Store.require_safe`. Cost: none, the heartbeat knows."""
        nodes = self.all()
        if not any(node.is_up for node in nodes):
            await asyncio.gather(*(self._first_attempt(node.link) for node in nodes))
            nodes = self.all()
        if not any(node.is_up for node in nodes):
            why = "; ".join(sorted({node.doubt for node in nodes})) or "no server of the cluster is known yet"
            raise BackendUnavailableError(f"nothing was sent: {why}")
        for node in nodes:
            # Only servers that are up: the policy of one that is away was forgotten with its connection, and would
            # count as unsafe.
            if node.is_up and (why := unsafe(node, self._settings)):
                raise UnsafeServerError(
                    f"{node.facts.server} at {node.link.address}: {why}, so it may evict queues, locks, counters, "
                    f"limits and the ledger. {REMEDY}"
                )

    async def _first_attempt(self, link: Link) -> None:
        if not link.tried:
            await link.wait_up(timeout_s=self._settings.redis_timeout_s)

    def _note_facts(self, link: Link) -> None:
        node = self.at(link)
        self._connection_log.rights(str(link.address), node.facts.missing)
        self._connection_log.doubt(str(link.address), "" if node.facts.missing else node.doubt)
        self._removals.choose_verb(has_unlink="UNLINK" not in node.facts.missing)

    def all_known(self) -> Iterable[Node]:
        """Returns every node that was ever asked for."""
        return self._nodes.values()

    def refresh(self) -> None:
        """Says until when memory may be served, by the nodes' word."""
        nodes = self.all()
        # Memory has one instant for all of its entries: the server that vouches least decides.
        until = min((node.serving_until for node in nodes), default=_NEVER)
        self._coherence.memory.serving_until = until
        serves = until > _NEVER
        if serves != self._serves:
            self._serves = serves
            reason = "; ".join(sorted({node.doubt for node in nodes if node.doubt}))
            self._events.emit(MemorySwitched(on=serves, reason=reason or "pushes arrive and the heartbeat is answered"))

    def group(self, key: bytes) -> int:
        """Returns the group whose keys may be asked for in one exchange."""
        return slot_of(key) if self.by_slot else 0
