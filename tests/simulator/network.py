"""The network of a simulation: addresses, listeners, connections and what can go wrong with them."""

from __future__ import annotations

import asyncio
import contextvars
import random
from typing import TYPE_CHECKING, Any, Literal

from tests.simulator.link import Link, LinkProfile, Pipe
from tests.simulator.process import current_name
from tests.simulator.transport import SimTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulator.loop import SimLoop
    from tests.simulator.trace import Trace

Address = tuple[str, int] | str
"""``(host, port)``, or the path of a unix socket."""
Outage = Literal["refuse", "blackhole"]
"""How an address fails to connect: an immediate error, or silence until the caller gives up."""


class Listener(asyncio.AbstractServer):
    """A listening address; what ``loop.create_server`` returns in a simulation."""

    def __init__(self, network: SimNetwork, address: Address, factory: Callable[[], asyncio.BaseProtocol]) -> None:
        self.address = address
        self.factory = factory
        self.context = contextvars.copy_context()
        self.sockets: tuple[Any, ...] = ()
        self._network = network

    def is_serving(self) -> bool:
        """Whether connections are accepted."""
        return self._network.listener(self.address) is self

    def close(self) -> None:
        """Stop accepting; what is connected stays so."""
        self._network.unlisten(self)

    async def wait_closed(self) -> None:
        """Return at once: accepted connections are nobody's business here."""

    async def start_serving(self) -> None:
        """A listener serves from the start."""

    async def serve_forever(self) -> None:
        """Wait until cancelled, then stop accepting."""
        try:
            await self.get_loop().create_future()
        finally:
            self.close()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop of the simulation."""
        return self._network.loop


class SimNetwork:
    """Listeners and links. Everything random about them comes from the seed.

    Args:
        loop: The simulation's loop; its ``network`` is set to this one.
        seed: Names the sequence of delays and faults.
        trace: Where connections and faults are noted.
        profile: How both directions of every link behave, unless `set_profile` says otherwise for an address.
    """

    def __init__(self, loop: SimLoop, *, seed: int | str, trace: Trace, profile: LinkProfile | None = None) -> None:
        self.loop = loop
        self.links: list[Link] = []
        self._default = profile or LinkProfile()
        self._profiles: dict[Address, tuple[LinkProfile, LinkProfile]] = {}
        self._listeners: dict[Address, Listener] = {}
        self._outages: dict[Address, Outage] = {}
        self._chance = random.Random(f"network/{seed}")
        self._trace = trace
        self._next_port = 40_000
        loop.network = self

    def set_profile(self, address: Address, *, up: LinkProfile, down: LinkProfile) -> None:
        """Say how each direction of the links to ``address`` behaves; links that exist change too."""
        address = _canonical(address)
        self._profiles[address] = (up, down)
        for link in self.links_to(address):
            link.up.profile, link.down.profile = up, down

    def calm(self) -> None:
        """End all random faults: every link, existing and future, gets a fault-free profile. Scripted ones stay."""
        self._default = LinkProfile()
        self._profiles.clear()
        for link in self.links:
            link.up.profile = link.down.profile = self._default

    def links_to(self, address: Address) -> list[Link]:
        """The open links to an address."""
        address = _canonical(address)
        return [link for link in self.links if link.address == address]

    def links_of(self, process: str) -> list[Link]:
        """The open links that a process made."""
        return [link for link in self.links if link.client == process]

    def fail(self, address: Address, how: Outage = "refuse") -> None:
        """Make new connections to ``address`` fail until `restore`."""
        self._trace.note("fault", _text(address), f"connections: {how}")
        self._outages[_canonical(address)] = how

    def restore(self, address: Address) -> None:
        """Let connections to ``address`` succeed again."""
        self._trace.note("fault", _text(address), "restored")
        self._outages.pop(_canonical(address), None)

    # Listening

    def listen(self, factory: Callable[[], asyncio.BaseProtocol], address: Address) -> Listener:
        """Accept connections at ``address``; port 0 picks a free one."""
        address = _canonical(address)
        if isinstance(address, tuple) and address[1] == 0:
            self._next_port += 1
            address = (address[0], self._next_port)
        if address in self._listeners:
            raise OSError(98, f"address already in use: {_text(address)}")
        listener = self._listeners[address] = Listener(self, address, factory)
        return listener

    def unlisten(self, listener: Listener) -> None:
        """Stop accepting for this listener."""
        if self._listeners.get(listener.address) is listener:
            del self._listeners[listener.address]

    def listener(self, address: Address) -> Listener | None:
        """Who listens at ``address``."""
        return self._listeners.get(_canonical(address))

    # Connecting

    async def connect(
        self, factory: Callable[[], asyncio.BaseProtocol], address: Address
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Open a connection; takes one round trip, and fails as a system call would."""
        address = _canonical(address)
        up, down = self._profiles.get(address, (self._default, self._default))
        await asyncio.sleep(self._chance.uniform(*up.latency_s) + self._chance.uniform(*down.latency_s))
        if self._outages.get(address) == "blackhole":
            await self.loop.create_future()
        listener = self._listeners.get(address)
        if listener is None or address in self._outages:
            self._trace.note("refused", current_name(), _text(address))
            raise _refusal(address)
        link = self._open(address, listener, up, down)
        self._serve(listener, link)
        protocol = factory()
        transport = self._end(link, link.up, link.down, contextvars.copy_context())
        try:
            await transport.attach(protocol)
        except asyncio.CancelledError:
            transport.close()
            raise
        return transport, protocol

    def _open(self, address: Address, listener: Listener, up: LinkProfile, down: LinkProfile) -> Link:
        number = self.loop.next_number()
        name = f"{current_name()}#{number}>{_text(address)}"
        out = Pipe(self.loop, self._chance, self._trace, f"{name} up", up)
        back = Pipe(self.loop, self._chance, self._trace, f"{name} down", down)
        link = Link(number, current_name(), address, listener, out, back)
        self.links.append(link)
        self._trace.note("connect", name)
        return link

    def _serve(self, listener: Listener, link: Link) -> None:
        protocol = listener.context.run(listener.factory)
        self._end(link, link.down, link.up, listener.context.copy()).attach(protocol)

    def _end(self, link: Link, out: Pipe, incoming: Pipe, context: contextvars.Context) -> SimTransport:
        here, there = ("127.0.0.1", link.number), link.address
        extra = {"peername": there, "sockname": here} if out is link.up else {"peername": here, "sockname": there}
        transport = SimTransport(self.loop, link, out, incoming, context, extra)
        transport.on_lost = self._forget
        return transport

    def _forget(self, transport: SimTransport) -> None:
        link = transport.link
        if link.up.ended and link.down.ended and link in self.links:
            self.links.remove(link)


def _canonical(address: Address) -> Address:
    if isinstance(address, tuple) and address[0] == "localhost":
        return ("127.0.0.1", address[1])
    return address


def _text(address: Address) -> str:
    return address if isinstance(address, str) else f"{address[0]}:{address[1]}"


def _refusal(address: Address) -> OSError:
    if isinstance(address, str):
        return FileNotFoundError(2, f"No such file or directory: {address}")
    return ConnectionRefusedError(111, f"Connect call failed {address}")
