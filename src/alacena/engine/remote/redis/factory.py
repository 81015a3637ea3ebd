"""From a URL to a tier and a store that serve."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import quote

from alacena.engine.base.errors import BackendUnavailableError
from alacena.engine.base.server_url import EMBEDDED
from alacena.engine.remote.redis.embedded import EmbeddedServer
from alacena.engine.remote.redis.endpoint import Endpoint
from alacena.engine.remote.redis.hooks import Hooks, LinkSettings
from alacena.engine.remote.redis.nodes import Nodes
from alacena.engine.remote.redis.redis_backend import RedisBackend
from alacena.engine.remote.redis.redis_tier import RedisTier
from alacena.engine.remote.redis.topology import Topology, connect_to
from alacena.engine.remote.redis.wire.supervisor import Pace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alacena.engine.base.counts import Counts
    from alacena.engine.base.credentials import CredentialProvider
    from alacena.engine.base.environment import Environment
    from alacena.engine.base.events import Events
    from alacena.engine.base.health import Health
    from alacena.engine.base.keys import Keys
    from alacena.engine.base.settings import Settings
    from alacena.engine.codec import Codec
    from alacena.engine.coherence.generation_table import GenerationTable
    from alacena.engine.coherence.value_store import ValueStore
    from alacena.engine.loading.single_flight import SingleFlight

_log = logging.getLogger("alacena")


async def open_redis(
    *,
    keys: Keys,
    coherence: GenerationTable,
    copies: ValueStore,
    codec: Codec,
    flights: SingleFlight,
    environment: Environment,
    events: Events,
    counts: Counts,
    settings: Settings,
    closers: list[Callable[[], Awaitable[None]]],
    health: Health,
    credentials: CredentialProvider | None = None,
) -> tuple[RedisTier, RedisBackend, str]:
    """Connect to the server that the settings name, and say how to take it apart again.

    Returns:
        The tier, the store, and the URL under which other processes reach the same server.
    """
    endpoint, url = await _endpoint(settings, credentials, closers)
    nodes = Nodes(coherence, flights, environment, settings, events, health)

    def connected(hooks: Hooks, beat_s: float) -> Topology:
        pace = Pace(connect_timeout_s=settings.redis_connect_timeout_s, beat_s=beat_s)
        return connect_to(
            endpoint,
            environment=environment,
            hooks=hooks,
            settings=LinkSettings(pace=pace, role="master"),
            on_slots_moved=nodes.moved,
        )

    hooks = Hooks(
        prepare=nodes.prepare,
        on_up=nodes.up,
        on_down=nodes.down,
        on_failed=nodes.failed,
        on_push=nodes.pushed,
        on_error=nodes.refused,
        beat=nodes.beat,
    )
    topology = connected(hooks, settings.staleness_bound_s / 4)
    nodes.attach(topology, by_slot=endpoint.kind == "cluster")
    store = RedisBackend(nodes, settings.redis_timeout_s, lambda spare: connected(spare, 5.0))
    closers += [topology.close, store.close]
    await _first_connection(topology, settings.redis_connect_timeout_s)
    remote = RedisTier(
        nodes=nodes,
        keys=keys,
        coherence=coherence,
        copies=copies,
        codec=codec,
        environment=environment,
        events=events,
        counts=counts,
        settings=settings,
    )
    return remote, store, url


async def _endpoint(
    settings: Settings, credentials: CredentialProvider | None, closers: list[Callable[[], Awaitable[None]]]
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
    """Wait for the first connection. A server that is away, or that refuses us for a moment, is no error.

    Reads go to the source until it is back.

    Raises:
        ServerReplyError: It refuses us for good: wrong password, wrong database.
    """
    try:
        await topology.open(timeout_s=timeout_s)
    except BackendUnavailableError as error:
        _log.warning("starting without the remote tier, reads go to the source until it is there: %s", error)
