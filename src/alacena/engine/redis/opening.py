"""From a URL to a shelf that serves."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from alacena.engine.errors import BackendUnavailableError, ServerReplyError
from alacena.engine.redis.endpoint import Endpoint
from alacena.engine.redis.hooks import Hooks, LinkSettings
from alacena.engine.redis.link import Link
from alacena.engine.redis.nodes import Nodes
from alacena.engine.redis.tier import RedisShelf
from alacena.engine.redis.wire.supervisor import Pace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alacena.engine.codec import Codec
    from alacena.engine.coherence import Coherence
    from alacena.engine.copies import Copies
    from alacena.engine.environment import Environment
    from alacena.engine.events import Events
    from alacena.engine.flight import Flights
    from alacena.engine.settings import Settings
    from alacena.engine.shelf import Counts

_log = logging.getLogger("alacena")


class _Single:
    def __init__(self, link: Link) -> None:
        self._link = link

    def link_for(self, key: bytes) -> Link:
        return self._link

    def slot(self, key: bytes) -> int:
        return 0

    def links(self) -> tuple[Link, ...]:
        return (self._link,)


async def _first_connection(link: Link, timeout_s: float) -> None:
    """Wait for the first connection. A server that is away is no error: reads go to the source until it is back."""
    try:
        await link.open(timeout_s=timeout_s)
    except BackendUnavailableError as error:
        if isinstance(link.last_error, ServerReplyError):
            raise link.last_error from error
        _log.warning("starting without the second shelf: %s", error)


async def open_shelf(
    *,
    coherence: Coherence,
    copies: Copies,
    codec: Codec,
    flights: Flights,
    environment: Environment,
    events: Events,
    counts: Counts,
    settings: Settings,
    closers: list[Callable[[], Awaitable[None]]],
) -> RedisShelf:
    """Connect to the server that the settings name."""
    assert settings.redis_url is not None
    url = settings.redis_url
    nodes = Nodes(coherence, flights, environment, settings)
    hooks = Hooks(prepare=nodes.prepare, on_down=nodes.down, on_push=nodes.pushed, beat=nodes.beat)
    pace = Pace(connect_timeout_s=settings.redis_connect_timeout_s, beat_s=settings.staleness_bound_s / 4)
    endpoint = Endpoint.parse(url, client_name=settings.client_name)
    link = Link(endpoint.address, endpoint.access, environment=environment, hooks=hooks, settings=LinkSettings(pace=pace, role="master"))
    nodes.attach(_Single(link))
    closers.append(link.close)
    await _first_connection(link, settings.redis_connect_timeout_s)
    return RedisShelf(
        nodes=nodes, coherence=coherence, copies=copies, codec=codec,
        environment=environment, events=events, counts=counts, settings=settings,
    )  # fmt: skip
