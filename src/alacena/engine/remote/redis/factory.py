"""Connects to the servers of a URL, sets their heartbeat, and returns the tier and the backend that use them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from alacena.engine.base.errors import BackendUnavailableError
from alacena.engine.base.server_url import EMBEDDED
from alacena.engine.remote.backend import read_scripts
from alacena.engine.remote.redis.embedded import EmbeddedServer
from alacena.engine.remote.redis.endpoint import Endpoint
from alacena.engine.remote.redis.link_hooks import Hooks, LinkSettings
from alacena.engine.remote.redis.nodes import Nodes
from alacena.engine.remote.redis.redis_backend import RedisBackend
from alacena.engine.remote.redis.redis_tier import RedisTier
from alacena.engine.remote.redis.topology import Topology, connect_to
from alacena.engine.remote.redis.wire.supervisor import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import TypeAlias

    from alacena.engine.base.credentials import CredentialProvider
    from alacena.engine.base.settings import Settings
    from alacena.engine.remote.redis.link import Link
    from alacena.engine.remote.tier_parts import TierParts

    Closer: TypeAlias = Callable[[], Coroutine[Any, Any, Any]]

_log = logging.getLogger("alacena")


async def open_redis(
    parts: TierParts, credentials: CredentialProvider | None, closers: list[Closer]
) -> tuple[RedisTier, RedisBackend, str]:
    """Connects to the server that the settings name, and says how to take it apart again.

    Args:
        parts: The parts of the cache.
        credentials: Gives user and password at each connect.
        closers: End the cache; those of the connections are put there.

    Returns:
        The tier, the store, and the URL under which other processes reach the same server.
    """
    settings, environment = parts.settings, parts.environment
    read_scripts()
    endpoint, url = await _endpoint(settings, credentials, closers)
    nodes = Nodes(parts.coherence, parts.flights, environment, settings, parts.events, parts.health)

    def connect(hooks: Hooks[Link], beat_s: float) -> Topology:
        pace = Pace(connect_timeout_s=settings.redis_connect_timeout_s, beat_s=beat_s)
        return connect_to(
            endpoint,
            environment=environment,
            hooks=hooks,
            settings=LinkSettings(pace=pace, role="master", has_all=endpoint.kind == "standalone"),
            on_slots_moved=nodes.on_slots_moved,
        )

    hooks = Hooks(
        prepare=nodes.prepare,
        on_up=nodes.up,
        on_down=nodes.down,
        on_failed=nodes.on_failed,
        on_push=nodes.on_push,
        on_error=nodes.on_error,
        beat=nodes.beat,
    )
    topology = connect(hooks, settings.staleness_bound_s / 4)
    nodes.attach(topology, by_slot=endpoint.kind == "cluster")
    store = RedisBackend(nodes, settings.redis_timeout_s, lambda spare: connect(spare, 5.0))
    closers += [topology.close, store.close]
    await _first_connection(topology, settings.redis_connect_timeout_s)
    return RedisTier(nodes, parts), store, url


async def _endpoint(
    settings: Settings, credentials: CredentialProvider | None, closers: list[Closer]
) -> tuple[Endpoint, str]:
    url = settings.redis_url or ""
    if url == EMBEDDED:
        server = EmbeddedServer()
        closers.append(server.close)
        # A folder for temporary files may hold any character, and a URL gives some of them a meaning of its own.
        url = f"unix://{quote((await server.start()).address.path or '')}"
        credentials = None  # A private server, which nobody else reaches, asks for none.
    return Endpoint.parse(url, provider=credentials, client_name=settings.client_name), url


async def _first_connection(topology: Topology, timeout_s: float) -> None:
    """Waits for the first connection. A server that is away, or that refuses us for a moment, is no error.

    Reads go to the source until it is back.

    Raises:
        ServerReplyError: It refuses us for good: wrong password, wrong database.
    """
    try:
        await topology.open(timeout_s=timeout_s)
    except BackendUnavailableError as error:
        _log.warning("starting without the remote tier, reads go to the source until it is there: %s", error)
