"""The servers of one cache: who holds which key, until when memory may be served, and what they vouch for together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

from alacena.engine.errors import BackendError
from alacena.engine.events import MemorySwitched
from alacena.engine.redis.node import Node
from alacena.engine.redis.slots import slot_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from alacena.engine.coherence import Coherence
    from alacena.engine.environment import Environment
    from alacena.engine.events import Events
    from alacena.engine.flight import Flights
    from alacena.engine.redis.link import Link
    from alacena.engine.redis.topology import Topology
    from alacena.engine.redis.wire import Command, Connection, Reply
    from alacena.engine.settings import Settings

Removal: TypeAlias = "tuple[bytes, Command, bool]"
"""A key that says where to, a command that removes and may be repeated, and whether what it removes counts in the result."""

_NEVER = float("-inf")
_RETRY_S = 0.05
_LONGEST_RETRY_S = 2.0
_PAID_AT_ONCE = 500
"""Few enough to be answered in time: what was paid stays paid, however large the rest."""


class Nodes:
    """The nodes of a topology, and the removals that they still owe.

    Args:
        coherence: What dies when something is invalidated.
        flights: Owns the work of making up for removals that failed.
        environment: Time and chance.
        settings: Bounds and budgets.
        events: Told when memory is switched on or off.

    Attributes:
        topology: Where the servers are; from :meth:`attach` on.
    """

    def __init__(
        self, coherence: Coherence, flights: Flights, environment: Environment, settings: Settings, events: Events
    ) -> None:
        self._coherence = coherence
        self._flights = flights
        self._environment = environment
        self._settings = settings
        self._events = events
        self._serves = False
        self.topology: Topology
        self._by_slot = False
        self._nodes: dict[Link, Node] = {}
        self._owed: dict[Command, bytes] = {}

    def attach(self, topology: Topology, *, by_slot: bool) -> None:
        """Say where the servers are, and whether a command's keys must share a slot; before anything else is asked."""
        self.topology = topology
        self._by_slot = by_slot

    @property
    def is_up(self) -> bool:
        """Whether any node is connected."""
        return any(node.is_up for node in self._nodes.values())

    def all(self) -> list[Node]:
        """Every node that is part of the topology now."""
        return [self.at(link) for link in self.topology.links()]

    def of(self, key: bytes) -> Node:
        """The node that holds a key."""
        link = self.topology.link_for(key)
        node = self._nodes.get(link)
        return self.at(link) if node is None else node

    def at(self, link: Link) -> Node:
        """The node behind a link."""
        node = self._nodes.get(link)
        if node is None:
            node = self._nodes[link] = Node(
                link,
                self.topology,
                self._coherence,
                self._environment,
                self._settings,
                self._refresh,
            )
        return node

    def grouped(self, keys: Sequence[bytes]) -> list[tuple[Node, list[int]]]:
        """Indexes of the keys, by what may be asked in one command."""
        groups: dict[Any, tuple[Node, list[int]]] = {}
        for index, key in enumerate(keys):
            mark = self._group(key)
            if mark not in groups:
                groups[mark] = (self.of(key), [])
            groups[mark][1].append(index)
        return list(groups.values())

    def moved(self, _: frozenset[int]) -> None:
        """Slots have another owner: what was filled through the old one's connection is not told of changes any more."""
        self._coherence.lost()
        self._refresh()

    async def prepare(self, link: Link, connection: Connection) -> None:
        """A connection was made: pay what is owed, then make it fit to serve."""
        owed = tuple(self._owed)
        for at in range(0, len(owed), _PAID_AT_ONCE):
            commands = owed[at : at + _PAID_AT_ONCE]
            await connection.exchange(commands, settle=self._paid(commands), timeout_s=self._settings.redis_timeout_s)
        await self.at(link).prepare(connection)

    async def beat(self, link: Link, connection: Connection) -> None:
        """One heartbeat."""
        await self.at(link).beat(connection)

    def pushed(self, link: Link, push: list[Any]) -> None:
        """One push."""
        self.at(link).pushed(push)

    def down(self, link: Link, error: BackendError) -> None:
        """A connection was lost."""
        self.at(link).down(error)

    async def remove(self, removals: Sequence[Removal], *, settled: Callable[[], None]) -> int:
        """Send removals, each to the node of its key; what fails is owed and made up for.

        Args:
            removals: In the order in which a node must execute them.
            settled: Called in the parser once the removals of a node are done.

        Returns:
            How many keys the counted ones removed.

        Raises:
            BackendError: Not every node confirmed. It will be tried until one does, and before a new connection serves.
        """
        groups: dict[int, list[Removal]] = {}
        for removal in removals:
            groups.setdefault(self._group(removal[0]), []).append(removal)

        async def send(group: list[Removal]) -> int:
            def settle(replies: list[Reply]) -> int:
                settled()
                for reply in replies:
                    if isinstance(reply, BackendError):
                        raise reply
                return sum(reply for (_, _, counted), reply in zip(group, replies, strict=True) if counted)

            commands = [command for _, command, _ in group]
            try:
                return await self.topology.exchange(
                    group[0][0], commands, settle=settle, timeout_s=self._settings.redis_timeout_s
                )
            except BackendError:
                self._owe(group)
                raise

        return sum(await asyncio.gather(*(send(group) for group in groups.values())))

    def guarantee(self) -> Mapping[str, Any]:
        """See :meth:`alacena.engine.shelf.Shelf.guarantee`."""
        nodes = self.all()
        doubts = sorted({node.doubt for node in nodes if node.doubt})
        coherent = bool(nodes) and all(node.tracked for node in nodes)
        evicting = sorted({n.maxmemory_policy for n in nodes if n.maxmemory_policy.startswith("allkeys")})
        return {
            "mode": "redis",
            "server": ", ".join(sorted({node.server for node in nodes if node.server})) or None,
            "connected": self.is_up,
            "no_stale_fill": True,
            "memory": coherent,
            "staleness_bound_s": self._settings.staleness_bound_s if coherent else 0.0,
            "lost_state_fails_closed": all(any(node.replication_id) for node in nodes),
            "one_load": "all processes" if self.is_up else "per process",
            "coordination": f"refused: maxmemory-policy is {evicting[0]}" if evicting else "all processes",
            "removals_owed": len(self._owed),
            "why": "; ".join(doubts) or "tracking, canary and heartbeat are in order",
        }

    def _refresh(self) -> None:
        nodes = self.all()
        until = min((node.serving_until for node in nodes), default=_NEVER)
        self._coherence.memory.serving_until = until
        serves = until > _NEVER
        if serves != self._serves:
            self._serves = serves
            reason = "; ".join(sorted({node.doubt for node in nodes if node.doubt}))
            self._events.emit(MemorySwitched(on=serves, reason=reason or "pushes arrive and the heartbeat is answered"))

    def _group(self, key: bytes) -> int:
        return slot_of(key) if self._by_slot else 0

    def owe(self, removals: Sequence[Removal]) -> None:
        """Take removals over: each is tried until it is confirmed, and before a new connection serves."""
        self._owe(removals)

    def _owe(self, removals: Sequence[Removal]) -> None:
        idle = not self._owed
        for key, command, _ in removals:
            self._owed[command] = key
        if idle:
            self._flights.own(self._make_up())

    async def _make_up(self) -> None:
        """Send what is owed again and again until it is confirmed."""
        pause_s = _RETRY_S
        while self._owed:
            await asyncio.sleep(pause_s * (0.5 + self._environment.random()))
            pause_s = min(pause_s * 2, _LONGEST_RETRY_S)
            for command, route in tuple(self._owed.items()):
                try:
                    await self.topology.exchange(
                        route, (command,), settle=self._paid((command,)), timeout_s=self._settings.redis_timeout_s
                    )
                except BackendError:
                    break

    def _paid(self, commands: Sequence[Command]) -> Callable[[list[Reply]], None]:
        def settle(replies: list[Reply]) -> None:
            for command, reply in zip(commands, replies, strict=True):
                if not isinstance(reply, BackendError):
                    self._owed.pop(command, None)

        return settle
