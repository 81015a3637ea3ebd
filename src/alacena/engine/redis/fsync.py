"""Waiting until a node has its writes on disk: whoever waits at the same time is answered together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from alacena.engine.errors import BackendError, CacheClosedError, ServerReplyError
from alacena.engine.redis.hooks import Hooks

if TYPE_CHECKING:
    from collections.abc import Callable

    from alacena.engine.redis.link import Link
    from alacena.engine.redis.topology import Topology
    from alacena.engine.redis.wire import Reply

_MARK_MS = 60_000


class Fsyncs:
    """Asks ``WAITAOF`` on a connection apart, because it holds up everybody behind it.

    It is answered with the next fsync, which is up to a second away. Who comes while a question is open cannot be
    answered by it; all of them share the next one.

    Args:
        spare: Makes connections to the servers; used when the first question is asked.
        timeout_s: The longest that connecting may take.
    """

    def __init__(self, spare: Callable[[Hooks], Topology], timeout_s: float) -> None:
        self._spare = spare
        self._timeout_s = timeout_s
        self._topology: Topology | None = None
        self._open: dict[tuple[Link, int], asyncio.Task[bool]] = {}
        self._next: dict[tuple[Link, int], asyncio.Task[bool]] = {}
        self._closed = False

    async def wait(self, key: str, replicas: int, timeout_s: float) -> bool:
        """See :meth:`alacena.engine.store.Store.wait_aof`."""
        if self._closed:
            raise CacheClosedError(CacheClosedError.__doc__)
        try:
            async with asyncio.timeout(timeout_s):
                topology = await self._connected()
                place = (topology.link_for(key), replicas)
                question = self._next.get(place)
                if question is None:
                    asking = self._ask(topology, place, key, timeout_s)
                    question = self._next[place] = asyncio.get_running_loop().create_task(asking)
                return await asyncio.shield(question)
        except (TimeoutError, BackendError):
            return False

    async def close(self) -> None:
        """End the connection; whoever waits still is told."""
        self._closed = True
        if self._topology is not None:
            await self._topology.close()
        await asyncio.gather(*self._open.values(), *self._next.values(), return_exceptions=True)

    async def _connected(self) -> Topology:
        if self._topology is None:
            self._topology = self._spare(Hooks())
        await self._topology.open(timeout_s=self._timeout_s)
        return self._topology

    async def _ask(self, topology: Topology, place: tuple[Link, int], key: str, timeout_s: float) -> bool:
        """Put one question, after the one that is open."""
        if place in self._open:
            await asyncio.wait((self._open[place],))
        self._open[place] = self._next.pop(place)
        commands = (("SET", f"{key}:fsync", "1", "PX", _MARK_MS), ("WAITAOF", 1, place[1], round(timeout_s * 1000)))
        try:
            return await topology.exchange(
                key, commands, settle=lambda replies: _confirmed(replies, place[1]), timeout_s=timeout_s + 1.0
            )
        except BackendError:
            return False
        finally:
            del self._open[place]


def _confirmed(replies: list[Reply], replicas: int) -> bool:
    """Whether the mark was written, and what came before it is on disk."""
    if any(isinstance(reply, ServerReplyError) for reply in replies):
        return False
    own, others = replies[1]
    return bool(own >= 1 and others >= replicas)
