"""How the second shelf is asked: once for all who want to know, and not at all while it does not answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from alacena.engine.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from alacena.engine.breaker import Breaker
    from alacena.engine.keys import EntryKey
    from alacena.engine.policy import Policy
    from alacena.engine.shelf import Counts, Found, Shelf


class Asking:
    """Asks the second shelf for one entry.

    Args:
        shelf: The second shelf.
        in_memory: Looks at memory again, where its answer may be by then.
        breaker: Keeps readers away from a server that does not answer in time.
        counts: What is counted.
        degraded: Told of a failure, which the reader goes on without.
    """

    def __init__(
        self,
        shelf: Shelf,
        in_memory: Callable[[Sequence[EntryKey]], Found | None],
        breaker: Breaker,
        counts: Counts,
        degraded: Callable[[str, EntryKey, BackendError], None],
    ) -> None:
        self._shelf = shelf
        self._in_memory = in_memory
        self._breaker = breaker
        self._counts = counts
        self._degraded = degraded
        self._looking: dict[bytes, list[asyncio.Future[bool]]] = {}

    async def ask(self, keys: Sequence[EntryKey], policy: Policy, *, keep: bool) -> Found | None:
        """Ask the second shelf. Who asks for a key that is being asked for waits and then looks into memory.

        A follower never takes the leader's value: it may have been invalidated between the answer and the follower.
        """
        entry = keys[0].entry
        while keep and (followers := self._looking.get(entry)) is not None:
            turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            followers.append(turn)
            if await turn:
                return self._in_memory(keys)
        if self._breaker.failures and not self._breaker.admits():
            return None
        return await (self._ask_for_all(entry, keys, policy) if keep else self._ask_alone(keys, policy))

    async def _ask_for_all(self, entry: bytes, keys: Sequence[EntryKey], policy: Policy) -> Found | None:
        """Ask the second shelf while others wait for memory to have the answer."""
        breaker = self._breaker
        followers = self._looking.setdefault(entry, [])
        answered = False
        try:
            found = await self._shelf.find(keys, policy, keep=True)
            if breaker.failures:
                breaker.succeeded()
            answered = True
        except BackendError as error:
            breaker.failed()
            self._degraded("get", keys[0], error)
            answered = True
            return None
        except asyncio.CancelledError:
            breaker.abandoned()
            raise
        finally:
            if self._looking.get(entry) is followers:
                del self._looking[entry]
            for turn in followers:
                if not turn.done():
                    turn.set_result(answered)
        if found is not None and found.tier == "redis":
            self._counts.redis_hits += 1
        return found

    async def _ask_alone(self, keys: Sequence[EntryKey], policy: Policy) -> Found | None:
        """Ask the second shelf for an answer that memory does not keep: nobody can wait for it in our place."""
        try:
            found = await self._shelf.find(keys, policy, keep=False)
        except BackendError as error:
            self._breaker.failed()
            self._degraded("get", keys[0], error)
            return None
        except asyncio.CancelledError:
            self._breaker.abandoned()
            raise
        if self._breaker.failures:
            self._breaker.succeeded()
        if found is not None and found.tier == "redis":
            self._counts.redis_hits += 1
        return found
