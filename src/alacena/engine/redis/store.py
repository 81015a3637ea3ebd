"""The coordination port on Redis: commands and scripts over the shared connection, bells over one of their own."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from alacena.engine.errors import BackendError, ServerReplyError, UnsafeServerError
from alacena.engine.redis.hooks import Hooks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from alacena.engine.redis.link import Link
    from alacena.engine.redis.nodes import Nodes
    from alacena.engine.redis.topology import Topology
    from alacena.engine.redis.wire import Connection
    from alacena.engine.store import Argument, Reply, Script


class _Bell:
    """A channel's ring, remembered until somebody waits for it."""

    def __init__(self) -> None:
        self.rung = asyncio.Event()

    async def wait(self, timeout_s: float) -> bool:
        """See :meth:`alacena.engine.store.Bell.wait`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.rung.wait()
        except TimeoutError:
            return False
        self.rung.clear()
        return True


class RedisStore:
    """Coordination verbs on the server: what it did not confirm is raised.

    Args:
        nodes: The servers.
        timeout_s: The longest that a verb waits for its reply.
        spare: Makes other connections to the same servers, with hooks of their own, for bells and for commands that block.
    """

    def __init__(self, nodes: Nodes, timeout_s: float, spare: Callable[[Hooks], Topology]) -> None:
        self._nodes = nodes
        self._timeout_s = timeout_s
        self._spare = spare
        self._bells: dict[bytes, set[_Bell]] = {}
        self._ringer: Topology | None = None
        self._blocker: Topology | None = None

    async def call(self, *command: Argument, timeout_s: float | None = None) -> Reply:
        """See :meth:`alacena.engine.store.Store.call`."""
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
        """See :meth:`alacena.engine.store.Store.script`."""
        return await self._nodes.topology.script(
            script.sha, script.source, keys, args, timeout_s=timeout_s or self._timeout_s, repeatable=script.idempotent
        )

    @asynccontextmanager
    async def listen(self, channel: str) -> AsyncIterator[_Bell]:
        """See :meth:`alacena.engine.store.Store.listen`. Cost: 1 round trip for the first listener of a channel."""
        bell, name = _Bell(), channel.encode()
        listeners = self._bells.setdefault(name, set())
        listeners.add(bell)
        try:
            if len(listeners) == 1:
                await self._subscribe(name)
            yield bell
        finally:
            listeners.discard(bell)
            if not listeners and self._bells.get(name) is listeners:
                del self._bells[name]
                self._unsubscribe(name)

    async def require_safe(self) -> None:
        """See :meth:`alacena.engine.store.Store.require_safe`. Cost: none, the heartbeat knows."""
        for node in self._nodes.all():
            if node.maxmemory_policy.startswith("allkeys"):
                raise UnsafeServerError(
                    f"{node.server} at {node.link.address} has maxmemory-policy {node.maxmemory_policy}: it may evict "
                    "queues, locks, counters and the ledger. Set maxmemory-policy noeviction, or give coordination a "
                    "server of its own"
                )

    async def wait_aof(self, key: str, *, replicas: int = 0, timeout_s: float = 1.0) -> bool:
        """See :meth:`alacena.engine.store.Store.wait_aof`. Cost: 2 round trips and an fsync, on a connection apart."""
        if self._blocker is None:
            self._blocker = self._spare(Hooks())
            await self._blocker.open(timeout_s=self._timeout_s)
        mark = f"{key}:fsync"
        commands = (("SET", mark, "1", "PX", 60_000), ("WAITAOF", 1, replicas, round(timeout_s * 1000)))
        try:
            reply = await self._blocker.exchange(
                key, commands, settle=lambda replies: replies[1], timeout_s=timeout_s * 2
            )
        except BackendError:
            return False
        return not isinstance(reply, ServerReplyError) and reply[0] >= 1 and reply[1] >= replicas

    async def close(self) -> None:
        """End the connections apart."""
        for apart in (self._ringer, self._blocker):
            if apart is not None:
                await apart.close()

    async def _subscribe(self, name: bytes) -> None:
        if self._ringer is None:
            self._ringer = self._spare(Hooks(prepare=self._subscribe_all, on_push=self._pushed))
            await self._ringer.open(timeout_s=self._timeout_s)
        self._say("SUBSCRIBE", name)

    def _unsubscribe(self, name: bytes) -> None:
        if self._ringer is not None:
            self._say("UNSUBSCRIBE", name)

    def _say(self, verb: str, name: bytes) -> None:
        """Tell the ringer's connection; the server answers with a push. While it is down, nothing needs to be said."""
        connection = self._ringer.links()[0].connection if self._ringer is not None else None
        if connection is not None:
            connection.tell(verb, name)

    async def _subscribe_all(self, _: Link, connection: Connection) -> None:
        for name in self._bells:
            connection.tell("SUBSCRIBE", name)
            self._ring(name)

    def _pushed(self, _: Link, push: list[Any]) -> None:
        if push[0] == b"message":
            self._ring(push[1])

    def _ring(self, name: bytes) -> None:
        for bell in self._bells.get(name, ()):
            bell.rung.set()


def _bytes(key: Argument) -> bytes:
    return key if isinstance(key, bytes) else str(key).encode("utf-8", "surrogatepass")
