"""Topologies: the server that has each key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from alacena.engine.remote.redis.cluster import Cluster
from alacena.engine.remote.redis.link import Link
from alacena.engine.remote.redis.sentinel import Sentinel
from alacena.engine.remote.redis.standalone import Standalone
from alacena.engine.remote.redis.wire.handshake import open_socket

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from alacena.engine.base.environment import Environment
    from alacena.engine.remote.redis.endpoint import Endpoint
    from alacena.engine.remote.redis.link_hooks import Hooks, LinkSettings
    from alacena.engine.remote.redis.slot_map import Key
    from alacena.engine.remote.redis.wire import Argument, Command, Reply
    from alacena.engine.remote.redis.wire.handshake import Opener

T = TypeVar("T")


class Topology(Protocol):
    """The servers behind an endpoint, seen by key."""

    async def open(self, *, timeout_s: float) -> None:
        """Connects; return when every server that is needed can be asked.

        Raises:
            BackendUnavailableError: Not in time. Connecting goes on until `close`.
        """
        ...

    async def close(self) -> None:
        """Disconnects; return when everything that was started has ended."""
        ...

    def links(self) -> Sequence[Link]:
        """Returns the links of the moment."""
        ...

    def link_for(self, key: Key) -> Link:
        """Returns the link to the server that has the key.

        Raises:
            BackendUnavailableError: No server is known for it.
        """
        ...

    def tag_at(self, link: Link) -> str | None:
        """Returns a hash tag whose keys are at the link's server; ``None`` while it has no slot of the cluster."""
        ...

    def exchange(
        self,
        key: Key,
        commands: Sequence[Command],
        *,
        settle: Callable[[list[Reply]], T] | None = None,
        timeout_s: float,
        answered: Callable[[Link], None] | None = None,
    ) -> Awaitable[T]:
        """Runs `Connection.exchange` at the server that has the key, following it if it has moved.

        All keys of an exchange are in one slot. ``answered`` is told whose answer ``settle`` is about to be given, where
        that may be another server than the one that was asked first.

        Cost: one round trip; one more for each redirection.
        """
        ...

    def fetch(self, key: bytes, settle: Callable[[Reply], T], timeout_s: float) -> Awaitable[T]:
        """Sends ``GET`` by the shortest way, at the server that has the key; ``settle`` is given the one answer.

        Cost: one round trip; one more for each redirection.
        """
        ...

    async def call(self, key: Key, *command: Argument, timeout_s: float, repeatable: bool | None = None) -> Any:
        """Runs `Link.call` at the server that has the key, following it if it has moved."""
        ...

    def script(
        self,
        sha: str,
        source: str | bytes,
        keys: Sequence[Key],
        args: Sequence[Argument] = (),
        *,
        settle: Callable[[Reply], T] | None = None,
        timeout_s: float,
        repeatable: bool = False,
        answered: Callable[[Link], None] | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Runs `Link.script` at the server that has the first key, following it if it has moved."""
        ...


def connect_to(
    endpoint: Endpoint,
    *,
    environment: Environment,
    hooks: Hooks[Link] | None = None,
    settings: LinkSettings | None = None,
    on_slots_moved: Callable[[frozenset[int]], None] | None = None,
    opener: Opener = open_socket,
) -> Topology:
    """Returns the topology that the endpoint describes, not open yet.

    Args:
        endpoint: Where the servers are.
        environment: Time and chance.
        hooks: Callbacks around every link's connections.
        settings: Times and bounds of every link.
        on_slots_moved: In a cluster, told at once of slots that have another owner from now on.
        opener: Opens transports; a simulation brings its own.
    """
    if endpoint.kind == "sentinel":
        return Sentinel(endpoint, environment=environment, hooks=hooks, settings=settings, opener=opener)
    if endpoint.kind == "cluster":
        return Cluster(
            endpoint,
            environment=environment,
            hooks=hooks,
            settings=settings,
            on_slots_moved=on_slots_moved,
            opener=opener,
        )
    link = Link(
        endpoint.address, endpoint.access, environment=environment, hooks=hooks, settings=settings, opener=opener
    )
    return Standalone(link)
