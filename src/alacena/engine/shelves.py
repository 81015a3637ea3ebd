"""The two shelves as one: memory first, then the second shelf, if the breaker allows."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING

from alacena.engine.breaker import Breaker
from alacena.engine.errors import BackendError, BackendUnavailableError
from alacena.engine.events import BackendFailed
from alacena.engine.shelf import ABSENT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import TypeVar

    from alacena.engine.copies import Copies
    from alacena.engine.environment import Environment
    from alacena.engine.events import Events
    from alacena.engine.keys import EntryKey
    from alacena.engine.memory import Memory
    from alacena.engine.policy import Policy
    from alacena.engine.shelf import Counts, Found, Lease, Shelf

    T = TypeVar("T")


_AT_ONCE_S = 0.005


class _Word(Enum):
    """What those who waited for somebody else's look are told of it."""

    NOTHING = "nothing is there"
    KEPT = "memory has it"
    ASK = "ask yourself"
    LEFT = "whoever asked has left"


class _LeftAloneError(BackendUnavailableError):
    """The breaker is open: nothing was asked, so nothing failed."""


class Shelves:
    """Looks for entries.

    Args:
        memory: The first shelf.
        copies: Hands its values out.
        shelf: The second shelf.
        events: Who is told of its failures.
        counts: What is counted.
        environment: Time and chance.
    """

    def __init__(
        self,
        *,
        memory: Memory,
        copies: Copies,
        shelf: Shelf,
        events: Events,
        counts: Counts,
        environment: Environment,
    ) -> None:
        self._memory = memory
        self._copies = copies
        self._shelf = shelf
        self._events = events
        self._counts = counts
        self._environment = environment
        self._breaker = Breaker(environment)
        self._looking: dict[bytes, list[asyncio.Future[_Word]]] = {}

    def in_memory(self, keys: Sequence[EntryKey], now: float | None = None) -> Found | None:
        """A fresh entry in memory; a more general one only where memory knows that the narrower ones are absent."""
        if now is None:
            now = self._environment.now()
        for key in keys:
            slot = self._memory.get(key.ident, now)
            if slot is None:
                return None
            if slot.value is not ABSENT:
                return self._copies.found(key, slot)
        return None

    async def find(self, keys: Sequence[EntryKey], policy: Policy, *, keep: bool) -> Found | None:
        """Ask the second shelf. Who asks for a key that is being asked for waits, and then looks into memory.

        A follower never takes the leader's value: it may have been invalidated between the answer and the follower.

        If Redis fails: ``None``, and an event.
        """
        if not keep:
            return await self._ask(keys, policy, keep=False)
        entry = keys[0].entry
        while (followers := self._looking.get(entry)) is not None:
            turn: asyncio.Future[_Word] = asyncio.get_running_loop().create_future()
            followers.append(turn)
            word = await turn
            if word is _Word.NOTHING:
                return self.in_memory(keys)
            if word is not _Word.LEFT:
                return self._alive_in_memory(keys) or await self._ask(keys, policy, keep=keep)
        return await self._lead(keys, policy, keep=keep)

    async def find_again(self, keys: Sequence[EntryKey], policy: Policy, *, keep: bool) -> Found | None:
        """What is alive now, fresh or stale: what was found before may have been invalidated since."""
        found = self._alive_in_memory(keys) if keep else None
        return found if found is not None else await self.find(keys, policy, keep=keep)

    async def find_many(self, keys: Sequence[EntryKey], policy: Policy, *, keep: bool) -> list[Found | None]:
        """The same for many entries, each at its own key only, in memory and then at once on the second shelf."""
        now = self._environment.now()
        found = [self.in_memory((key,), now) if keep else None for key in keys]
        rest = [index for index, hit in enumerate(found) if hit is None]
        if rest:
            asked = [keys[index] for index in rest]
            try:
                hits = await self._guarded(lambda: self._shelf.find_many(asked, policy, keep=keep))
            except BackendError as error:
                self.degraded("get_many", asked[0], error)
                return found
            for index, hit in zip(rest, hits, strict=True):
                found[index] = hit
                self._counts.redis_hits += hit is not None and hit.tier == "redis"
        return found

    async def lease(
        self,
        key: EntryKey,
        tags: Sequence[str],
        settled: Callable[[Lease | Found | None], None],
        *,
        force: bool,
        among: int = 1,
    ) -> Lease | Found | None:
        """See :meth:`alacena.engine.shelf.Shelf.lease`.

        Raises:
            BackendError: Redis failed; it was told of. Or it had just failed: the read whose look has used its budget
                up goes on to the source.
        """
        try:
            if self._breaker.just_failed:
                raise _LeftAloneError("Redis has just failed")
            return await self._guarded(lambda: self._shelf.lease(key, tags, settled, force=force, among=among))
        except BackendError as error:
            self.degraded("lease", key, error)
            raise

    def degraded(self, verb: str, key: EntryKey, error: BackendError) -> None:
        """Note that Redis failed a cache verb, which goes on without it."""
        if isinstance(error, _LeftAloneError):
            return
        self._counts.backend_failures += 1
        if self._events:
            self._events.emit(BackendFailed(key.tenant_id, key.data_type, verb, str(error)))

    async def _lead(self, keys: Sequence[EntryKey], policy: Policy, *, keep: bool) -> Found | None:
        """Ask for oneself and for whoever comes meanwhile."""
        entry = keys[0].entry
        followers = self._looking.setdefault(entry, [])
        word = _Word.LEFT
        try:
            found = await self._ask(keys, policy, keep=keep)
            word = _Word.NOTHING if found is None else self._where(found)
        finally:
            if self._looking.get(entry) is followers:
                del self._looking[entry]
            for turn in followers:
                if not turn.done():
                    turn.set_result(word)
        return found

    def _where(self, found: Found) -> _Word:
        return _Word.KEPT if found.key.ident in self._memory.slots else _Word.ASK

    async def _ask(self, keys: Sequence[EntryKey], policy: Policy, *, keep: bool) -> Found | None:
        breaker = self._breaker
        if breaker.failures and not breaker.admits():
            return None
        began = self._environment.now()
        try:
            found = await self._shelf.find(keys, policy, keep=keep)
        except BackendError as error:
            self._failed(error, began)
            self.degraded("get", keys[0], error)
            return None
        except asyncio.CancelledError:
            breaker.abandoned()
            raise
        if breaker.failures:
            breaker.succeeded()
        self._counts.redis_hits += found is not None and found.tier == "redis"
        return found

    async def _guarded(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the second shelf something, if the breaker allows.

        Raises:
            BackendError: It failed, or the breaker is open.
        """
        if not self._breaker.admits():
            raise _LeftAloneError("Redis failed again and again: it is left alone for a moment")
        began = self._environment.now()
        settled = False
        try:
            answer = await ask()
            self._breaker.succeeded()
            settled = True
        except BackendError as error:
            self._failed(error, began)
            settled = True
            raise
        finally:
            if not settled:
                self._breaker.abandoned()
        return answer

    def _failed(self, error: BackendError, began: float) -> None:
        """Tell the breaker, unless it was known at once that nobody is there: that made nobody wait.

        Where it counted, reads would stay away for a while from a server that is back, or from those of a cluster that
        are well.
        """
        if isinstance(error, BackendUnavailableError) and self._environment.now() - began < _AT_ONCE_S:
            self._breaker.abandoned()
        else:
            self._breaker.failed()

    def _alive_in_memory(self, keys: Sequence[EntryKey]) -> Found | None:
        """A fresh entry in memory, else the first that is alive at all."""
        now = self._environment.now()
        for key in keys:
            slot = self._memory.get(key.ident, now) or self._memory.get_stale(key.ident, now)
            if slot is None:
                return None
            if slot.value is not ABSENT:
                return self._copies.found(key, slot)
        return None
