"""The coordination port on Redis: commands and scripts over the shared connection, bells and fsyncs over others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alacena.engine.base.errors import CacheClosedError
from alacena.engine.remote.redis.fsync import Fsyncs
from alacena.engine.remote.redis.notifier import Notifier

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from alacena.engine.remote.backend import Argument, Notification, Reply, Script
    from alacena.engine.remote.redis.link import Link
    from alacena.engine.remote.redis.link_hooks import Hooks
    from alacena.engine.remote.redis.nodes import Nodes
    from alacena.engine.remote.redis.topology import Topology


class RedisBackend:
    """Coordination verbs on the server: an unconfirmed one raises.

    Args:
        nodes: The servers.
        timeout_s: The longest that a verb waits for its reply.
        spare: Makes other connections to the same servers, with hooks of their own, for bells and fsyncs.
    """

    def __init__(self, nodes: Nodes, timeout_s: float, spare: Callable[[Hooks[Link]], Topology]) -> None:
        self._nodes = nodes
        self._timeout_s = timeout_s
        self._bells = Notifier(spare, timeout_s, nodes.on_subscription)
        self._fsyncs = Fsyncs(spare, timeout_s)
        self._closed = False

    async def call(self, *command: Argument, timeout_s: float | None = None) -> Reply:
        """See :meth:`alacena.engine.remote.backend.Backend.call`."""
        key = _bytes(command[1]) if len(command) > 1 else b""
        return await self._nodes.topology.call(key, *command, timeout_s=timeout_s or self._timeout_s)

    async def script(
        self,
        script: Script,
        keys: Sequence[str | bytes],
        args: Sequence[Argument],
        *,
        timeout_s: float | None = None,
    ) -> Reply:
        """See :meth:`alacena.engine.remote.backend.Backend.script`."""
        return await self._nodes.topology.script(
            script.sha, script.source, keys, args, timeout_s=timeout_s or self._timeout_s, repeatable=script.idempotent
        )

    def listen(self, channel: str) -> AbstractAsyncContextManager[Notification]:
        """See :meth:`alacena.engine.remote.backend.Backend.listen`. Cost: 1 round trip for the first listener of a channel."""
        return self._bells.listen(channel.encode())

    async def require_safe(self) -> None:
        """See :meth:`alacena.engine.remote.backend.Backend.require_safe`. Cost: none, each heartbeat asks."""
        if (
            self._closed
        ):  # Who waited is woken by the end, and asks again: it is to hear of that, and of no lost server.
            raise CacheClosedError
        await self._nodes.require_safe()

    async def wait_aof(self, key: str, *, replicas: int = 0, timeout_s: float = 5.0) -> bool:
        """See :meth:`alacena.engine.remote.backend.Backend.wait_aof`.

        Cost: 2 round trips, shared by all callers of the time, and with ``appendfsync everysec`` 1.1 to 2.2 s, because
        ``WAITAOF`` is not believed alone (see :mod:`alacena.engine.remote.redis.fsync`); with ``always`` no more than that.
        Needs Valkey, or Redis 7.2 or newer, and the rights to ``WAITAOF``, ``INFO`` and ``BLPOP``. If ``CONFIG GET`` is
        refused, the server is taken to sync each second.
        """
        return await self._fsyncs.wait(key, replicas, timeout_s)

    async def close(self) -> None:
        """Ends the connections apart."""
        self._closed = True
        await self._bells.close()
        await self._fsyncs.close()


def _bytes(key: Argument) -> bytes:
    return key if isinstance(key, bytes) else str(key).encode("utf-8", "surrogatepass")
