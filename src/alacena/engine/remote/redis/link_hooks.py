"""Callbacks and counters of a link."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from alacena.engine.remote.redis.wire import WireLimits
from alacena.engine.remote.redis.wire.retry_backoff import RetryBackoff
from alacena.engine.remote.redis.wire.supervisor import Pace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alacena.engine.base.errors import BackendError, ServerReplyError
    from alacena.engine.remote.redis.endpoint import Address
    from alacena.engine.remote.redis.wire import Connection


L = TypeVar("L")
"""The link that the callbacks are given."""


async def _prepare_nothing(link: object, connection: Connection) -> None:
    """Prepares nothing."""


def _ignore(link: object, *_: object) -> None:
    """Ignores the event."""


async def _ping(link: Any, connection: Connection) -> None:
    await connection.call("PING", timeout_s=link.settings.beat_timeout_s)


@dataclass(slots=True, kw_only=True)
class Hooks(Generic[L]):
    """Callbacks around a link's connections. All but two run inside the loop's callbacks: they must be short.

    Attributes:
        prepare: Awaited on a new connection before it is declared up; if it raises, the connection is given up.
        on_up: The connection serves from now on.
        on_down: It does not any more. Called synchronously, before any waiter is told and before anything else happens.
        on_failed: An attempt to connect, or to learn where to, has failed; it is made again. Given the link, if there is
            one already, the address, if it is known, and the reason.
        on_push: A push came, in byte order with the answers around it; also while ``prepare`` runs.
        on_error: The server answered with an error; its caller was told already.
        beat: Awaited every ``beat_s`` on the living connection; if it raises, the connection is given up.
    """

    prepare: Callable[[L, Connection], Awaitable[None]] = _prepare_nothing
    on_up: Callable[[L, Connection], None] = _ignore
    on_down: Callable[[L, BackendError], None] = _ignore
    on_failed: Callable[[L | None, Address | None, BaseException], None] = _ignore
    on_push: Callable[[L, list[Any]], None] = _ignore
    on_error: Callable[[L, ServerReplyError], None] = _ignore
    beat: Callable[[L, Connection], Awaitable[None]] = _ping


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSettings:
    """Times and bounds of a link.

    Attributes:
        pace: When to connect, and how often the heart beats.
        beat_timeout_s: For the answer to the default heartbeat.
        role: The role that the server must have (``"master"``); ``None`` takes any.
        has_all: Whether the server must have every key: one node of several is refused.
        retry: Pauses between repeats of a command.
        limits: Of each connection.
    """

    pace: Pace = field(default_factory=Pace)
    beat_timeout_s: float = 2.0
    role: str | None = None
    has_all: bool = False
    retry: RetryBackoff = field(default_factory=lambda: RetryBackoff(base_s=0.005, cap_s=0.25))
    limits: WireLimits = field(default_factory=WireLimits)


@dataclass(slots=True)
class LinkCounters:
    """Counters of a link since it was started."""

    connected: int = 0
    connect_failures: int = 0
    lost: int = 0
    refused_while_down: int = 0
    retries: int = 0
    redirections: int = 0
