"""Waiting until a node has its writes on disk: callers that wait at the same time are answered together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from alacena.engine.base.errors import BackendError, CacheClosedError, ServerReplyError
from alacena.engine.remote.redis.link_hooks import Hooks

if TYPE_CHECKING:
    from collections.abc import Callable

    from alacena.engine.remote.redis.link import Link
    from alacena.engine.remote.redis.topology import Topology
    from alacena.engine.remote.redis.wire import Command, Reply

_MARK_MS = 60_000
_EVERYSEC_S = 1.05
"""After so long a server with ``appendfsync everysec`` has begun an fsync of what it had written, or is due to."""
_MOMENT_S = 0.05
"""Long enough for a turn of the server's loop, in which it begins the fsync that is due."""


class Fsyncs:
    """Asks whether writes are on disk, on a connection apart, because the question holds up all commands behind it.

    ``WAITAOF`` alone does not say so: servers of several versions (Redis 7.4, Valkey 9.1) answer it before the fsync
    if nothing is written for a moment. If the server does not sync each write, we therefore wait until an fsync of
    earlier writes is due, give it a moment to begin, and hear that none is under way any more and none has failed;
    all in one exchange, so that a server which was restarted in between has not answered.

    A caller that comes while a question is open cannot be answered by it; all such callers share the next one.

    Args:
        spare: Makes connections to the servers; used when the first question is asked.
        timeout_s: The longest that connecting may take.
    """

    def __init__(self, spare: Callable[[Hooks[Link]], Topology], timeout_s: float) -> None:
        self._spare = spare
        self._timeout_s = timeout_s
        self._topology: Topology | None = None
        self._open: dict[tuple[Link, int], asyncio.Task[bool]] = {}
        self._next: dict[tuple[Link, int], asyncio.Task[bool]] = {}
        self._closed = False

    async def wait(self, key: str, replicas: int, timeout_s: float) -> bool:
        """See :meth:`alacena.engine.remote.backend.Store.wait_aof`."""
        if self._closed:
            raise CacheClosedError
        try:
            async with asyncio.timeout(timeout_s):
                topology = await self._connect()
                place = (topology.link_for(key), replicas)
                question = self._next.get(place)
                if question is None:
                    asking = self._ask(topology, place, key, timeout_s)
                    question = self._next[place] = asyncio.get_running_loop().create_task(asking)
                return await asyncio.shield(question)
        except (TimeoutError, BackendError):
            return False

    async def close(self) -> None:
        """Ends the connection; callers that still wait are told."""
        self._closed = True
        if self._topology is not None:
            await self._topology.close()
        await asyncio.gather(*self._open.values(), *self._next.values(), return_exceptions=True)

    async def _connect(self) -> Topology:
        if self._topology is None:
            self._topology = self._spare(Hooks())
        await self._topology.open(timeout_s=self._timeout_s)
        return self._topology

    async def _ask(self, topology: Topology, place: tuple[Link, int], key: str, timeout_s: float) -> bool:
        """Puts one question, after the one that is open."""
        # A question that is open cannot answer for what was written after it was put, so a newcomer's waits for its
        # end.
        if place in self._open:
            await asyncio.wait((self._open[place],))
        self._open[place] = self._next.pop(place)
        answer: bool | None = False
        try:
            async with asyncio.timeout(timeout_s):
                while answer is False:
                    answer = await self._exchange(topology, key, place[1], timeout_s)
        except (TimeoutError, BackendError, CacheClosedError):
            return False
        finally:
            del self._open[place]
        return bool(answer)

    async def _exchange(self, topology: Topology, key: str, replicas: int, timeout_s: float) -> bool | None:
        """Returns whether all that came before is on disk; ``None``: it cannot be said of this server."""

        async def ask(*commands: Command) -> list[Reply]:
            replies: list[Reply] = await topology.exchange(key, commands, settle=list, timeout_s=timeout_s + 1.0)
            return replies

        look: Command = ("INFO", "persistence")
        policy, facts, known = await ask(("CONFIG", "GET", "appendfsync"), look, ("WAITAOF", 0, 0, 1))
        if isinstance(known, ServerReplyError) or not _keeps_a_file(facts) or _says(policy, b"no"):
            return None
        mark: Command = ("SET", f"{key}:fsync", "1", "PX", _MARK_MS)
        wait: Command = ("WAITAOF", 1, replicas, round(timeout_s * 1000))
        if _says(policy, b"always"):
            return _is_confirmed(await ask(mark, wait), replicas) or None
        pause, moment = (("BLPOP", f"{key}:never", seconds) for seconds in (_EVERYSEC_S, _MOMENT_S))
        # 1. The mark is written. ``WAITAOF`` alone may answer before its fsync, if nothing is written for a moment.
        # 2. So an fsync that is due after the mark is waited for, and given a moment to begin.
        # 3. The look before and the look after must both find none under way and none failed: only then is the mark on disk.
        marked, paused, before, _, waited, after = await ask(mark, pause, look, moment, wait, look)
        if isinstance(paused, ServerReplyError) or not _is_confirmed([marked, waited], replicas):
            return None
        return _at_rest(before) and _at_rest(after)


def _says(policy: Reply, word: bytes) -> bool:
    """Returns whether that is how the server syncs. One that does not tell us is taken to sync each second."""
    if isinstance(policy, dict):
        return policy.get(b"appendfsync") == word
    return isinstance(policy, list) and word in policy


def _keeps_a_file(info: Reply) -> bool:
    return not isinstance(info, ServerReplyError) and b"aof_enabled:1" in info


def _at_rest(info: Reply) -> bool:
    """Returns whether no fsync of the file is waited for, and none has failed."""
    if not _keeps_a_file(info):
        return False
    return {b"aof_pending_bio_fsync:0", b"aof_last_write_status:ok"} <= set(bytes(info).split(b"\r\n"))


def _is_confirmed(replies: list[Reply], replicas: int) -> bool:
    """Returns whether the mark was written, and earlier writes are on disk."""
    if any(isinstance(reply, ServerReplyError) for reply in replies):
        return False
    own, others = replies[1]
    return bool(own >= 1 and others >= replicas)
