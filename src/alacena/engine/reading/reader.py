"""The only code that decides where to look: memory, then the remote tier, then the source."""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import suppress
from operator import methodcaller
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from alacena.engine.base.errors import UnsharableValueError
from alacena.engine.base.events import LookupFinished
from alacena.engine.base.lineage import UNDER_WAY
from alacena.engine.base.remote_tier import NOT_FOUND, Found, Lookup
from alacena.engine.loading.load import reads_under_way
from alacena.engine.loading.single_flight import ClaimLeftError
from alacena.engine.reading.load_futures import consume
from alacena.engine.reading.read_decision import (
    RENEWING,
    STALE,
    ReadDecision,
    decide,
    may_stand_in,
    patience_s,
    stand_in,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Coroutine, Iterable, Sequence
    from typing import TypeAlias

    from alacena.engine.base.keys import EntryKey
    from alacena.engine.base.policy import Policy
    from alacena.engine.loading.load import Request
    from alacena.engine.loading.single_flight import Flight, SingleFlight
    from alacena.engine.loading.source_backoff import SourceBackoff
    from alacena.engine.reading.filler import Filler
    from alacena.engine.reading.load_runner import LoadRunner
    from alacena.engine.reading.reading_parts import ReadingParts
    from alacena.engine.reading.tiered_lookup import TieredLookup

    Wanted: TypeAlias = tuple[Request, Found | None]
    Start: TypeAlias = Callable[[Sequence[Wanted]], Sequence[Flight]]
    Find: TypeAlias = Callable[[Sequence[EntryKey], Policy, bool], Coroutine[Any, Any, Found | None]]

_log = logging.getLogger("alacena")


class Reader:
    """Looks, waits for loads, and says which entry may be served meanwhile.

    Args:
        common: Names, events, counts, time and chance.
        tiers: Where to look.
        flights: The loads under way.
        runner: Runs them.
        fills: Makes answers.
        source_backoff: Sources that are left alone.

    Attributes:
        find: Looks at the tiers and nowhere else, for an entry that is fresh. Arguments as for
            :meth:`alacena.engine.reading.tiered_lookup.TieredLookup.find`.
    """

    def __init__(
        self,
        common: ReadingParts,
        tiers: TieredLookup,
        flights: SingleFlight,
        runner: LoadRunner,
        fills: Filler,
        source_backoff: SourceBackoff,
    ) -> None:
        self._tiers = tiers
        self._flights = flights
        self._runner = runner
        self._filler = fills
        self._source_backoff = source_backoff
        self._events = common.events
        self._counts = common.counts
        self._environment = common.environment
        self._is_observed = bool(common.events)
        # No coroutine stands in between: one more would be paid on every hit on the server.
        self.find: Find = self._find_and_report if common.events else tiers.find

    async def _find_and_report(self, keys: Sequence[EntryKey], policy: Policy, keep: bool) -> Found | None:
        started = self._environment.now()
        found = await self._tiers.find(keys, policy, keep)
        self.report(((keys[0], _NOTHING if found is None else self._filler.answer_with(found)),), started)
        return found

    async def look(self, keys: tuple[EntryKey, ...], policy: Policy, *, use_memory: bool) -> Lookup[Any]:
        """Works like :meth:`find`, and returns all that is known about the answer."""
        started = self._environment.now()
        found = await self._tiers.find(keys, policy, keep=use_memory and policy.use_memory)
        return self._finish(keys[0], _NOTHING if found is None else self._filler.answer_with(found), started)

    async def load(self, request: Request) -> Lookup[Any]:
        """Looks at the tiers, then asks the source; callers that ask for one entry at a time share one load.

        Raises:
            LoadTimeoutError: The source did not answer within the type's hard timeout and nothing stale may be served.
            CircularLoadError: The load that asks is itself waited for by a load of this entry.
            OneShotValueError: The source returned a value that can be read only once.
            Exception: The loader's own exceptions, as they are.

        Cost: 0 round trips if memory answers, 1 if Redis does, 2 and the source on a miss; the fill is not waited for.
        Cancellation: leaves the load to the other callers; the last to leave cancels it.
        If Redis fails: the source answers, and the value is not stored.
        """
        started, key = self._environment.now(), request.key
        found = await self._tiers.find(request.keys, request.policy, keep=request.keep, loads=True)
        answer, renews = self.settle(key, found, request.policy)
        if answer is None:
            self.admit(key, request.policy)
            answers = await self.wait_for_loads(((request, found),), self._runner.start)
            answer = answers[key.entry]
        elif renews and found is not None:
            self._refresh_behind(request, found)
        return self._finish(key, answer, started)

    async def claim(
        self, request: Request, called: asyncio.Future[None]
    ) -> Lookup[Any] | tuple[Flight, asyncio.Future[Lookup[Any]]]:
        """Looks at the tiers, waits for the load of the entry, or starts one whose loader is the caller's claim.

        An expired entry is the answer if its policy serves it stale and another caller renews it already, or its source has
        just failed. Otherwise the caller is to renew it.

        Args:
            request: The entry to load; its loader waits for the claim's value.
            called: Is done once the loader was called.

        Returns:
            The answer; or the flight whose loader was called, and its outcome to wait for.

        Raises:
            CircularLoadError: The load that asks is itself waited for by a load of this entry.
            LoadTimeoutError: The tenant's limit had no place within the type's hard timeout.
            Exception: The error of another's load that was waited for, as it is.

        Cancellation: as for :meth:`load`.
        """
        started, key = self._environment.now(), request.key
        found = await self._tiers.find(request.keys, request.policy, keep=request.keep, loads=True)
        decision = self._decide(key, found, request.policy)
        if decision is ReadDecision.SERVE_STALE_AND_RENEW and self._flights.get(key.entry) is None:
            decision = ReadDecision.WAIT  # the caller is the one to renew it
        if found is not None and decision is not ReadDecision.WAIT:
            return self._finish(key, self._answer(found, decision), started)
        self._counts.count_miss(key, found)
        self.admit(key, request.policy)
        while (flight := self.find_flight(request)) is not None:
            answers, again = await self._wait(((request, found),), (flight,))
            if not again:
                lookup = answers[key.entry]
                self._counts.count_loaded_read(key, lookup, waited=True)
                return self._finish(key, lookup, started)
            request = again[0][0]
        (flight,) = self._runner.start([(request, found)])
        outcome = await _outcome_or_call(flight, called)
        if called.done():
            return flight, outcome
        self._counts.count_loaded_read(key, outcome.result(), waited=False)
        return self._finish(key, outcome.result(), started)

    async def refresh(self, request: Request) -> Lookup[Any]:
        """Asks the source even on a hit or during a load, and stores its answer."""
        started = self._environment.now()
        self._flights.check(request.key)
        # 1. A load has read the row. 2. The row changes. 3. This caller asks for what the source says now.
        # Closed, the flight of step 1 is joined by nobody from here on.
        self._flights.close(request.key.entry)
        insisting = replace(request, insist=True)
        (flight,) = self._runner.start([(insisting, None)])
        lookup = await flight.join()
        self._counts.count_loaded_read(request.key, lookup, waited=False)
        return self._finish(request.key, lookup, started)

    async def find_time_left(self, key: EntryKey, policy: Policy) -> float:
        """Seconds that an entry stays fresh: -1 for ever, -2 absent."""
        # `loads` although nothing is loaded: so the look is not counted as a read.
        found = await self._tiers.find((key,), policy, keep=False, loads=True)
        if found is None or found.fresh_for_s <= 0 or found.value is NOT_FOUND:
            return -2
        return -1 if math.isinf(found.fresh_for_s) else found.fresh_for_s

    def stale(self, found: Found) -> Lookup[Any]:
        """Returns an expired entry as an answer."""
        self._counts.count_stale(found.key)
        if found.value is NOT_FOUND:
            return Lookup(None, "none", found.tier, found=False, tags=found.tags)
        return Lookup(found.value, "stale", found.tier, tags=found.tags)

    def report(self, outcomes: Iterable[tuple[EntryKey, Lookup[Any]]], started: float) -> float:
        """Emits the events of reads that have ended. Returns how long they took, in seconds."""
        latency_s = self._environment.now() - started
        if self._is_observed:
            for key, lookup in outcomes:
                self._events.emit(
                    LookupFinished(key.tenant_id, key.data_type, key.resource_id, lookup.source, lookup.tier, latency_s)
                )
        return latency_s

    def _finish(self, key: EntryKey, lookup: Lookup[Any], started: float) -> Lookup[Any]:
        # By the most specific key that was asked for: whatever ends the entry that answered ends one of its generations.
        if UNDER_WAY and (reads := reads_under_way()) is not None:
            reads.note(key.ident, lookup.tags)
        latency_s = self.report(((key, lookup),), started) if self._is_observed else self._environment.now() - started
        return lookup.within(latency_s)

    def settle(self, key: EntryKey, found: Found | None, policy: Policy) -> tuple[Lookup[Any] | None, bool]:
        """Returns the answer of a read that may load, and whether a load behind it renews the entry; counts the read.

        Without an answer, it joins the load of the entry, or starts it, and waits.
        """
        decision = ReadDecision.WAIT if found is None else self._decide(key, found, policy)
        if found is None or decision is ReadDecision.WAIT:
            self._counts.count_miss(key, found)
            return None, False
        return self._answer(found, decision), decision in RENEWING

    def _decide(self, key: EntryKey, found: Found | None, policy: Policy) -> ReadDecision:
        """Returns the step of a read with the entry found, by the rule in `decision`."""
        if found is None:
            return ReadDecision.WAIT
        has_failed = self._source_backoff.is_active(key.entry)
        return decide(found, policy, has_failed=has_failed, random=self._environment.random)

    def admit(self, key: EntryKey, policy: Policy) -> None:
        """Lets a read wait for the load of an entry.

        Raises:
            CircularLoadError: It would wait for itself.
            Exception: The last failure of the source, if it is left alone.
        """
        self._flights.check(key)
        self._source_backoff.repeat(key.entry, policy)

    def _answer(self, found: Found, decision: ReadDecision) -> Lookup[Any]:
        """Returns an entry that is served as an answer, and counts it."""
        if decision in STALE:
            self._counts.count_miss(found.key, found)
            return self.stale(found)
        self._counts.count_hit(found)
        return self._filler.answer_with(found)

    async def wait_for_loads(self, wanted: Sequence[Wanted], start: Start) -> dict[bytes, Lookup[Any]]:
        """Returns the outcome of the load of each entry, which is joined or started, however many there are.

        Args:
            wanted: The entries asked for, each with the entry that is there.
            start: Starts the loads of those without a load. What a load does without a waiting caller any more
                is for it to say: a flight with a task of its own ends with the last caller, one of a batch goes on.
        """
        answers: dict[bytes, Lookup[Any]] = {}
        while wanted:
            flights, joined = self._join_or_start(wanted, start)
            landed, again = await self._wait(wanted, flights)
            for (request, _), flight in zip(wanted, flights, strict=True):
                if (lookup := landed.get(request.key.entry)) is not None:
                    self._counts.count_loaded_read(request.key, lookup, waited=flight in joined)
            answers = landed if not answers else answers | landed
            wanted = again
        return answers

    def _join_or_start(self, wanted: Sequence[Wanted], start: Start) -> tuple[Sequence[Flight], Container[Flight]]:
        """Returns the load of each entry, and those among them that were under way; the others are started.

        No await comes between the look and the start: two callers would both find no flight, and load twice.
        """
        flights: list[Flight | None] = []
        lonely: list[Wanted] = []
        for one in wanted:
            flight = self.find_flight(one[0])
            flights.append(flight)
            if flight is None:
                lonely.append(one)
        started = start(lonely) if lonely else ()
        if len(started) == len(wanted):
            return started, ()
        left = iter(started)
        return [flight or next(left) for flight in flights], {flight for flight in flights if flight is not None}

    async def _wait(
        self, wanted: Sequence[Wanted], flights: Sequence[Flight]
    ) -> tuple[dict[bytes, Lookup[Any]], Sequence[Wanted]]:
        """Waits for loads as long as the policy says, or lets expired entries stand in for those that fail or take too long.

        Returns:
            The outcomes, and the requests to ask again: a claim was left without a value, or another caller has the
            value and it cannot be copied.
        """
        # Two callers share a load, and the one that began it is cancelled:
        # 1. The first caller starts the flight and joins it; the second joins it.
        # 2. The first is cancelled. Its own future is cancelled, not the load's task: the second still waits for that.
        # 3. The last future that is cancelled cancels the task. `asyncio.wait` cancels nothing, hence the `cancel` below.
        outcomes = list(map(_JOIN, flights))
        try:
            answers: dict[bytes, Lookup[Any]] = {}
            # One entry without a stand-in must be waited for anyway, so a soft timeout would spare this caller nothing.
            if len(wanted) > 1 or may_stand_in(wanted[0][1], wanted[0][0].policy):
                answers = await self._wait_or_stand_in(wanted, flights, outcomes)
            again: Sequence[Wanted] = ()
            for (request, stale), outcome in zip(wanted, outcomes, strict=True):
                if request.key.entry in answers:
                    continue
                try:
                    answers[request.key.entry] = outcome.result() if outcome.done() else await outcome
                except _ASK_AGAIN as error:
                    again = [*again, (self._repeat(request, error), stale)]
        except asyncio.CancelledError:
            for outcome in outcomes:
                outcome.cancel()
            raise
        finally:
            if len(outcomes) > 1 or not outcomes[0].done():
                _let_go(outcomes)
        return answers, again

    def _repeat(self, request: Request, error: Exception) -> Request:
        """Returns the request to ask again after a load that ended without saying anything of the source."""
        if isinstance(error, ClaimLeftError):
            # 1. Several callers wait for a claim, whose block ends without a value.
            # 2. All of them wake. The first starts a load of its own; the others find that flight, and join it.
            # 3. That load may by now wait for the load that asks here: joined unchecked, both would wait for ever.
            self._flights.check(request.key)
            return request
        # Nobody shares a load that is alone. If its own loader raises this, asking again would never end.
        if request.alone:
            raise error
        return replace(request, alone=True)

    async def _wait_or_stand_in(
        self, wanted: Sequence[Wanted], flights: Sequence[Flight], outcomes: Sequence[asyncio.Future[Lookup[Any]]]
    ) -> dict[bytes, Lookup[Any]]:
        """Waits for loads, and returns the expired entries that stand in for those that fail or take too long."""
        policy = wanted[0][0].policy
        if all(may_stand_in(stale, policy) for _, stale in wanted):
            await asyncio.wait(outcomes, timeout=patience_s(flights, policy, self._environment.now()))
        else:
            for outcome in outcomes:
                if not outcome.done():
                    with suppress(Exception):  # whatever one brings, the others are waited for; it is told below
                        await outcome
        return {} if all(map(is_well, outcomes)) else await self._stand_ins(wanted, outcomes)

    async def _stand_ins(
        self, wanted: Sequence[Wanted], outcomes: Sequence[asyncio.Future[Lookup[Any]]]
    ) -> dict[bytes, Lookup[Any]]:
        """Returns entries that stand in for loads that failed or take too long.

        They are looked up once more at that moment: they may have been invalidated, or renewed, meanwhile.
        """
        # Whether a load has failed is told before the wait: one that was slow may end in the meantime, and well.
        failed = [
            (request, outcome, outcome.done())
            for (request, stale), outcome in zip(wanted, outcomes, strict=True)
            if may_stand_in(stale, request.policy) and _has_failed(outcome)
        ]
        answers: dict[bytes, Lookup[Any]] = {}
        found = await self._tiers.find_all_again([request for request, *_ in failed])
        for (request, outcome, has_failed), hit in zip(failed, found, strict=True):
            if is_well(outcome):
                continue
            decision = stand_in(hit, request.policy, has_failed=has_failed)
            if hit is not None and decision is ReadDecision.SERVE:
                answers[request.key.entry] = self._filler.answer_with(hit)
            elif hit is not None and decision is ReadDecision.SERVE_STALE:
                if has_failed and not any(answer.source == "stale" for answer in answers.values()):
                    _log.warning(
                        "serving %s/%s stale: its source failed: %r",
                        hit.key.data_type, hit.key.resource_id, outcome.exception(),
                    )  # fmt: skip
                answers[request.key.entry] = self.stale(hit)
        return answers

    def find_flight(self, request: Request) -> Flight | None:
        """Returns the load under way that a request joins, if there is one."""
        flight = None if request.alone else self._flights.get(request.key.entry, exact=not request.use_memory)
        if flight is not None:
            self._counts.shared_loads += 1
        return flight

    def _refresh_behind(self, request: Request, found: Found) -> None:
        """Renews an entry that is being answered with; the loader gets a copy of its own."""
        entry = request.key.entry
        if self._flights.get(entry) is None:
            renewing = replace(request, renew=True)
            previous = self._filler.private(found, request.policy)
            (flight,) = self._runner.start([(renewing, previous)])
            # It joins for nobody: so a caller who joins later and is cancelled is not the last, and ends nothing.
            flight.join(behind=True).add_done_callback(consume)


_NOTHING: Final[Lookup[Any]] = Lookup(None, "none", found=False)


_JOIN: Final = methodcaller("join")

_ASK_AGAIN: Final = (ClaimLeftError, UnsharableValueError)
"""How loads end that say nothing of the source."""


def _let_go(outcomes: Sequence[asyncio.Future[Any]]) -> None:
    """Leaves outcomes that are not waited for any more."""
    for outcome in outcomes:
        # Not cancelled: the last caller to leave would end the load, which is to go on behind the stand-in.
        if not outcome.done():
            outcome.add_done_callback(consume)
        elif len(outcomes) > 1:  # of several that failed, only the first is raised
            consume(outcome)


def _has_failed(outcome: asyncio.Future[Any]) -> bool:
    """Returns whether a load has failed, or takes too long."""
    return not outcome.done() or (outcome.exception() is not None and not isinstance(outcome.exception(), _ASK_AGAIN))


async def _outcome_or_call(flight: Flight, called: asyncio.Future[None]) -> asyncio.Future[Lookup[Any]]:
    """Waits until a claim's own flight has called its loader, or ended without; returns the outcome to wait for."""
    outcome = flight.join()
    try:
        await asyncio.wait((outcome, called), return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        outcome.cancel()
        raise
    if not called.done() and isinstance(error := outcome.exception(), ClaimLeftError):
        raise error.reason or error
    return outcome


def is_well(outcome: asyncio.Future[Any]) -> bool:
    """Returns whether there is a value."""
    return outcome.done() and outcome.exception() is None
