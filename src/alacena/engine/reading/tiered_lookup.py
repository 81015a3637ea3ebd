"""The two tiers as one: memory first, then the remote tier, if the breaker allows."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from alacena.engine.base.errors import BackendError, BackendUnavailableError
from alacena.engine.base.events import BackendFailed
from alacena.engine.base.lineage import UNDER_WAY
from alacena.engine.base.remote_tier import ABSENT, Found, Unsettled
from alacena.engine.loading.load import reads_under_way
from alacena.engine.reading.breaker import Breaker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import TypeVar

    from alacena.engine.base.keys import EntryKey
    from alacena.engine.base.policy import Policy
    from alacena.engine.base.remote_tier import LeaseRequest, Permit
    from alacena.engine.coherence.value_store import ValueStore
    from alacena.engine.loading.load import Request
    from alacena.engine.memory import MemoryTier
    from alacena.engine.reading.reading_parts import ReadingParts

    T = TypeVar("T")


_AT_ONCE_S = 0.005

_get: Final[Any] = dict.get


class _Word(Enum):
    """The outcome of a look, for the callers that waited for it."""

    NOTHING = "nothing is there"
    KEPT = "memory has it"
    ASK = "ask yourself"
    LEFT = "whoever asked has left"


class _Look:
    """One look that is under way, and that other callers wait for.

    Attributes:
        candidates: How many keys it asks for: more is what a follower may want that looks at more general scopes.
        followers: Its waiting callers.
    """

    __slots__ = ("candidates", "followers")

    def __init__(self, candidates: int) -> None:
        self.candidates = candidates
        self.followers: list[asyncio.Future[_Word]] = []


class _LeftAloneError(BackendUnavailableError):
    """The breaker is open: nothing was asked, so nothing failed."""


class TieredLookup:
    """Looks for entries.

    Args:
        common: The remote tier, names, events, counts and the clock.
        memory: The memory tier.
        copies: Hands its values out.
    """

    def __init__(self, common: ReadingParts, memory: MemoryTier, copies: ValueStore) -> None:
        self._memory = memory
        self._entries = memory.entries
        self._values = copies
        self._remote = common.remote
        self._keys = common.keys
        self._events = common.events
        self._counts = common.counts
        self._environment = common.environment
        self._now = common.environment.now
        self._observe = common.counts.redis_read.observe
        self._breaker = Breaker(common.environment)
        # How many keys each look asks for, until another caller waits for it: most looks have none.
        self._looking: dict[bytes, int | _Look] = {}

    def in_memory(self, keys: Sequence[EntryKey], now: float | None = None) -> Found | None:
        """Returns a fresh entry in memory; a more general one only if memory knows that the narrower ones are absent."""
        if now is None:
            now = self._environment.now()
        for key in keys:
            entry = self._memory.get(key.ident, now)
            if entry is None:
                return None
            if entry.value is not ABSENT:
                return self._values.hand_out_as_found(key, entry)
        return None

    async def find(  # noqa: C901 - one step of the most used way: a call costs more than what it would tidy up
        self, keys: Sequence[EntryKey], policy: Policy, keep: bool, loads: bool = False, leads: bool = True
    ) -> Found | None:
        """Looks into memory, if copies are kept there, and then asks the remote tier.

        A caller of a key that is being asked for waits, and then looks into memory.

        Args:
            keys: The candidates, most specific first.
            policy: How the type wants it.
            keep: Whether memory may answer and keep a copy.
            loads: Whether the caller goes on to load: then an expired entry is found too, and the read is counted there.
            leads: Whether callers that come meanwhile wait for this one.

        Cost: 0 round trips if memory answers, else 1.
        If Redis fails: ``None``, and an event.
        """
        # All in one coroutine: each more, and each call, would be paid on every hit on the server.
        began = self._now()
        # One by one: from four on, the interpreter makes a tuple of them.
        found, is_looking, is_answered = None, False, False
        if keep:
            # By `dict`, because for a key that is missing the table's own `get` takes five times as long.
            if _get(self._entries, keys[0].ident) is not None or self._entries.overflow:
                found = self.in_memory(keys, began)
            if found is None and leads:
                if keys[0].entry in self._looking:
                    return await self._follow(keys, policy, loads=loads)
                self._looking[keys[0].entry] = len(keys)
                is_looking = True
        if found is None:
            breaker = self._breaker
            answers = breaker.answers
            try:
                if breaker.failures and not breaker.admits():
                    self._counts.note_unreached(keys)
                else:
                    answer = await self._remote.find(keys, policy, keep)
                    if type(answer) is Unsettled:
                        # The entry is asked for again, too: since the first answer it may have been deleted.
                        answer = await self._remote.find(keys, policy, keep, answer.unknown)
                    if type(answer) is Found:  # what the server does not know either has ended
                        found = answer
                        if found.tier == "redis":
                            self._counts.redis_hits += 1
                    if breaker.failures:
                        breaker.record_success()
                    else:
                        breaker.answers += 1
                    self._observe(self._now() - began)
                is_answered = True
            except BackendError as error:
                self._note_failure(error, began, answers)
                self.report_failure("get", keys[0], error)
                self._counts.note_unreached(keys)
                is_answered = True
            except BaseException:
                # Cancelled, or called on another loop. A probe that did not report would keep everybody away for ever.
                breaker.record_leaving(began)
                raise
            finally:
                if is_looking and type(look := self._looking.pop(keys[0].entry)) is _Look:
                    self._tell(look.followers, found, is_answered=is_answered)
        if loads:
            return found
        if found is None or found.fresh_for_s <= 0 or UNDER_WAY:
            return self._count(keys[0], found)
        self._counts.count_hit(found)
        return found

    async def _follow(self, keys: Sequence[EntryKey], policy: Policy, *, loads: bool) -> Found | None:
        """Waits for another caller's look, and then looks into memory.

        A follower never takes the leader's value: it may have been invalidated between the answer and the follower.
        """
        found: Found | None = None
        leads = True
        while found is None and leads and (look := self._looking.get(keys[0].entry)) is not None:
            turn: asyncio.Future[_Word] = asyncio.get_running_loop().create_future()
            if isinstance(look, int):
                look = self._looking[keys[0].entry] = _Look(look)
            look.followers.append(turn)
            # 1. The leader's answer arrives. 2. A push invalidates the entry. 3. The follower's turn of the loop comes.
            # Memory has heard of step 2, the leader's answer has not: hence the look into memory.
            word = await turn
            if word is _Word.NOTHING and len(keys) <= look.candidates:
                found = self.in_memory(keys)
                return found if loads else self._count(keys[0], found)
            if word is _Word.KEPT or word is _Word.ASK:
                # Memory may not keep this value: if each follower led in turn, ten would make ten round trips in a row.
                found, leads = self._alive_in_memory(keys), False
        if found is None:
            return await self.find(keys, policy, keep=True, loads=loads, leads=leads)
        return found if loads else self._count(keys[0], found)

    def _tell(self, followers: Sequence[asyncio.Future[_Word]], found: Found | None, *, is_answered: bool) -> None:
        """Tells the callers that wait for a look that it has ended."""
        # A leader that is cancelled tells its followers `LEFT`: one of them leads then, with a look of its own.
        word = _Word.NOTHING if is_answered else _Word.LEFT
        if found is not None:
            word = _Word.KEPT if found.key.ident in self._memory.entries else _Word.ASK
        for turn in followers:
            if not turn.done():
                turn.set_result(word)

    def _count(self, key: EntryKey, found: Found | None) -> Found | None:
        """Counts a read that ends here, and returns its answer: an entry that is fresh."""
        if UNDER_WAY and (reads := reads_under_way()) is not None:
            reads.note(key.ident, () if found is None else found.tags)
        if found is None or found.fresh_for_s <= 0:
            self._counts.count_unanswered(key, found)
            return None
        self._counts.count_hit(found)
        return found

    async def find_all_again(self, requests: Sequence[Request]) -> list[Found | None]:
        """Returns the entries that are alive now, fresh or stale: those found before may have been invalidated since.

        Args:
            requests: The entries asked for, all of one type; several each at their own key only.
        """
        if len(requests) != 1:
            keys = [request.key for request in requests]
            return await self.find_many(keys, requests[0].policy, keep=False) if keys else []
        (one,) = requests
        found = self._alive_in_memory(one.keys) if one.keep else None
        return [found if found is not None else await self.find(one.keys, one.policy, keep=one.keep, loads=True)]

    async def find_many(self, keys: Sequence[EntryKey], policy: Policy, *, keep: bool) -> list[Found | None]:
        """Finds many entries, each at its own key only, in memory and then at once on the remote tier."""
        found: list[Found | None] = self._all_in_memory(keys) if keep else [None] * len(keys)
        rest = [index for index, hit in enumerate(found) if hit is None]
        if rest:
            asked = [keys[index] for index in rest]
            began = self._environment.now()
            try:
                hits = await self._call_remote(lambda: self._remote.find_many(asked, policy, keep=keep))
            except BackendError as error:
                self.report_failure("get_many", asked[0], error)
                self._counts.note_unreached(asked)
                return found
            self._counts.redis_read.observe(self._environment.now() - began)
            for index, hit in zip(rest, hits, strict=True):
                found[index] = hit
            self._counts.redis_hits += sum(hit is not None and hit.tier == "redis" for hit in hits)
        return found

    def _all_in_memory(self, keys: Sequence[EntryKey]) -> list[Found | None]:
        """Returns the result of :meth:`in_memory` for each of the keys."""
        get, hand_out, load_s_of, now = (
            self._memory.get,
            self._values.hand_out,
            self._values.load_s,
            self._environment.now(),
        )
        found: list[Found | None] = []
        for key in keys:
            entry = get(key.ident, now)
            if entry is None or entry.value is ABSENT:
                found.append(None)
            else:
                found.append(
                    Found(key, hand_out(entry), "memory", entry.fresh_until - now, load_s_of(entry), entry.generations)
                )
        return found

    async def lease_many(self, asked: Sequence[LeaseRequest]) -> Sequence[Permit | BackendError]:
        """See :meth:`alacena.engine.base.remote_tier.RemoteTier.lease_many`.

        The failures of Redis are reported here. If it had just failed, the reads whose look has used up their budget go
        on to the source.
        """
        breaker = self._breaker
        # `admits` comes last: it may make this call the probe, and a probe must report, or nobody is admitted again.
        if breaker.failures and (breaker.just_failed or not breaker.admits()):
            return [_LeftAloneError("Redis has just failed")] * len(asked)
        began, before = self._environment.now(), breaker.answers
        answers: Sequence[Permit | BackendError] = ()
        try:
            answers = await self._remote.lease_many(asked)
        finally:
            if not answers:
                breaker.record_leaving(began)
        errors = [answer for answer in answers if isinstance(answer, BackendError)]
        # In a cluster one node may fail while the others answer: that is no reason to stay away from all of them.
        if errors and len(errors) == len(answers):
            self._note_failure(errors[0], began, before)
        else:
            breaker.record_success()
        if errors:
            for one, answer in zip(asked, answers, strict=True):
                if isinstance(answer, BackendError):
                    self.report_failure("lease", one.key, answer)
        return answers

    def report_failure(self, verb: str, key: EntryKey, error: BackendError) -> None:
        """Notes that Redis failed a cache verb, which goes on without it."""
        if isinstance(error, _LeftAloneError):
            return
        self._counts.backend_failures += 1
        if self._events:
            self._events.emit(BackendFailed(key.tenant_id, key.data_type, verb, str(error)))

    async def _call_remote(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Asks the remote tier something, if the breaker allows.

        Raises:
            BackendError: It failed, or the breaker is open.
        """
        if not self._breaker.admits():
            raise _LeftAloneError("Redis failed again and again: it is left alone for a moment")
        began, answers = self._environment.now(), self._breaker.answers
        settled = False
        try:
            answer = await ask()
            self._breaker.record_success()
            settled = True
        except BackendError as error:
            self._note_failure(error, began, answers)
            settled = True
            raise
        finally:
            if not settled:
                self._breaker.record_leaving(began)
        return answer

    def _note_failure(self, error: BackendError, began: float, answers: int) -> None:
        """Tells the breaker, unless the server was known to be away: then no caller had to wait.

        If it counted, reads would stay away for a while from a server that is back, or from those of a cluster that
        are well.
        """
        if isinstance(error, BackendUnavailableError) and self._environment.now() - began < _AT_ONCE_S:
            self._breaker.record_leaving(began)
        else:
            self._breaker.record_failure(answers, began)

    def _alive_in_memory(self, keys: Sequence[EntryKey]) -> Found | None:
        """Returns a fresh entry in memory, else the first that is alive at all."""
        now = self._environment.now()
        for key in keys:
            entry = self._memory.get(key.ident, now) or self._memory.get_stale(key.ident, now)
            if entry is None:
                return None
            if entry.value is not ABSENT:
                return self._values.hand_out_as_found(key, entry)
        return None
