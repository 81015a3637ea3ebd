"""The only code that decides where to look: memory, then the remote tier, then the source."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from alacena.engine.base.errors import UnsharableValueError
from alacena.engine.base.events import LookupFinished
from alacena.engine.base.remote_tier import NOT_FOUND, Found, Lookup
from alacena.engine.loading.load import reads_under_way
from alacena.engine.loading.single_flight import ClaimLeftError
from alacena.engine.reading.decision import RENEWING, STALE, ReadDecision, decide, may_stand_in, patience_s, stand_in

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence
    from typing import TypeAlias

    from alacena.engine.base.keys import EntryKey
    from alacena.engine.base.policy import Policy
    from alacena.engine.loading.load import Request
    from alacena.engine.loading.single_flight import Flight, SingleFlight
    from alacena.engine.loading.source_backoff import SourceBackoff
    from alacena.engine.reading.common_parts import CommonParts
    from alacena.engine.reading.filler import Filler
    from alacena.engine.reading.load_runner import LoadRunner
    from alacena.engine.reading.tiered_lookup import TieredLookup

    Find: TypeAlias = Callable[[Sequence[EntryKey], Policy, bool], Coroutine[Any, Any, Found | None]]

_log = logging.getLogger("alacena")


class Reader:
    """Looks, waits for loads, and says what may be served meanwhile.

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
        common: CommonParts,
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
        # Nobody's coroutine is in between: one more would be paid on every hit on the server.
        self.find: Find = self._find_and_report if common.events else tiers.find

    async def _find_and_report(self, keys: Sequence[EntryKey], policy: Policy, keep: bool) -> Found | None:
        started = self._environment.now()
        found = await self._tiers.find(keys, policy, keep)
        self.report(((keys[0], _NOTHING if found is None else self._filler.found(found)),), started)
        return found

    async def look(self, keys: tuple[EntryKey, ...], policy: Policy, *, use_memory: bool) -> Lookup[Any]:
        """Does what :meth:`find` does, and returns all that is known about the answer."""
        started = self._environment.now()
        found = await self._tiers.find(keys, policy, keep=use_memory and policy.use_memory)
        return self._finish(keys[0], _NOTHING if found is None else self._filler.found(found), started)

    async def load(self, request: Request) -> Lookup[Any]:
        """Looks at the tiers, then asks the source; callers who ask for one entry at a time share one load.

        Raises:
            LoadTimeoutError: The source did not answer within the type's hard timeout and nothing stale may be served.
            CircularLoadError: The load that asks is itself waited for by a load of this entry.
            OneShotValueError: The source returned what can be read only once.
            Exception: The loader's own exceptions, as they are.

        Cost: 0 round trips if memory answers, 1 if Redis does, 2 and the source on a miss; the fill is not waited for.
        Cancellation: leaves the load to the other callers; the last to leave cancels it.
        If Redis fails: the source answers, and the value is not stored.
        """
        started, key = self._environment.now(), request.key
        found = await self._tiers.find(request.keys, request.policy, keep=request.keep, loads=True)
        decision = self.decide(key, found, request.policy)
        if found is None or decision is ReadDecision.WAIT:
            self._counts.count_miss(key, found)
            self.admit(key, request.policy)
            return self._finish(key, await self._join(request, found), started)
        if decision in RENEWING:
            self._refresh_behind(request, found)
        return self._finish(key, self.answer(found, decision), started)

    async def claim(
        self, request: Request, called: asyncio.Future[None]
    ) -> Lookup[Any] | tuple[Flight, asyncio.Future[Lookup[Any]]]:
        """Looks at the tiers, waits for the load of the entry, or starts one whose loader is the caller's claim.

        An expired entry is the answer if its policy serves it stale and somebody renews it already, or its source has
        just failed. If nobody does, the caller is to renew it.

        Args:
            request: What to load; its loader waits for the claim's value.
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
        decision = self.decide(key, found, request.policy)
        if decision is ReadDecision.SERVE_STALE_AND_RENEW and self._flights.get(key.entry) is None:
            decision = ReadDecision.WAIT  # the caller is the one to renew it
        if found is not None and decision is not ReadDecision.WAIT:
            return self._finish(key, self.answer(found, decision), started)
        self._counts.count_miss(key, found)
        self.admit(key, request.policy)
        while (flight := self.find_flight(request)) is not None:
            try:
                lookup = await self._wait_for(request, found, flight)
                self._counts.count_loaded_read(key, lookup, waited=True)
                return self._finish(key, lookup, started)
            except ClaimLeftError:
                self._flights.check(key)
            except UnsharableValueError:
                request = replace(request, alone=True)
        flight = self._start(request, found)
        outcome = await _outcome_or_call(flight, called)
        if called.done():
            return flight, outcome
        self._counts.count_loaded_read(key, outcome.result(), waited=False)
        return self._finish(key, outcome.result(), started)

    async def refresh(self, request: Request) -> Lookup[Any]:
        """Asks the source whatever the tiers hold and whoever is loading, and stores its answer."""
        started = self._environment.now()
        self._flights.check(request.key)
        # 1. A load has read the row. 2. The row changes. 3. This caller asks for what the source says now.
        # Closed, the flight of step 1 is joined by nobody from here on.
        self._flights.close(request.key.entry)
        insisting = replace(request, insist=True)
        flight = self._flights.start(request.key.entry, lambda started: self._runner.run(started, insisting, None))
        lookup = await flight.join()
        self._counts.count_loaded_read(request.key, lookup, waited=False)
        return self._finish(request.key, lookup, started)

    async def find_time_left(self, key: EntryKey, policy: Policy) -> float:
        """Seconds that an entry stays fresh: -1 for ever, -2 absent."""
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
        if self._events:
            for key, lookup in outcomes:
                self._events.emit(
                    LookupFinished(key.tenant_id, key.data_type, key.resource_id, lookup.source, lookup.tier, latency_s)
                )
        return latency_s

    def _finish(self, key: EntryKey, lookup: Lookup[Any], started: float) -> Lookup[Any]:
        # By the most specific key that was asked for: whatever ends the entry that answered ends one of its generations.
        if (reads := reads_under_way()) is not None:
            reads.note(key.ident, lookup.tags)
        return lookup.within(self.report(((key, lookup),), started))

    def decide(self, key: EntryKey, found: Found | None, policy: Policy) -> ReadDecision:
        """Returns what a read does with what it found, by the rule in `decision`."""
        has_failed = found is not None and self._source_backoff.is_active(key.entry)
        return decide(found, policy, has_failed=has_failed, random=self._environment.random)

    def admit(self, key: EntryKey, policy: Policy) -> None:
        """Lets a read wait for the load of an entry.

        Raises:
            CircularLoadError: It would wait for itself.
            Exception: What the source has just failed with, if it is left alone.
        """
        self._flights.check(key)
        self._source_backoff.repeat(key.entry, policy)

    def answer(self, found: Found, decision: ReadDecision) -> Lookup[Any]:
        """Returns an entry that is served as an answer, and counts it."""
        if decision in STALE:
            self._counts.count_miss(found.key, found)
            return self.stale(found)
        self._counts.count_hit(found)
        return self._filler.found(found)

    async def _join(self, request: Request, stale: Found | None) -> Lookup[Any]:
        """Joins the load of the entry, or starts it; again as long as it is a claim that is left without a value."""
        while True:
            joined = self.find_flight(request)
            flight = joined or self._start(request, stale)
            try:
                lookup = await self._wait_for(request, stale, flight)
            except ClaimLeftError:
                # 1. Several callers wait for a claim, whose block ends without a value.
                # 2. All of them wake. The first starts a load of its own; the others find that flight, and join it.
                # 3. That load may by now wait for the load that asks here: joined unchecked, both would wait for ever.
                self._flights.check(request.key)
            except UnsharableValueError:
                if request.alone:
                    raise
                request = replace(request, alone=True)
            else:
                self._counts.count_loaded_read(request.key, lookup, waited=joined is not None)
                return lookup

    def find_flight(self, request: Request) -> Flight | None:
        """Returns the load under way that a request joins, if there is one."""
        flight = None if request.alone else self._flights.get(request.key.entry, exact=not request.use_memory)
        if flight is not None:
            self._counts.shared_loads += 1
        return flight

    def _start(self, request: Request, stale: Found | None) -> Flight:
        return self._flights.start(
            request.key.entry, lambda started: self._runner.run(started, request, stale), alone=request.alone
        )

    async def _wait_for(self, request: Request, stale: Found | None, flight: Flight) -> Lookup[Any]:
        """Waits for a load as long as the policy says, or lets an expired entry stand in for it."""
        if not may_stand_in(stale, request.policy):
            return await flight.join()  # type: ignore[no-any-return]
        # Two callers share a load, and the one that began it is cancelled:
        # 1. The first caller starts the flight and joins it; the second joins it.
        # 2. The first is cancelled. Its own future is cancelled, not the load's task: the second still waits for that.
        # 3. The last future that is cancelled cancels the task. `asyncio.wait` cancels nothing, hence the `cancel` below.
        outcome = flight.join()
        outcome.add_done_callback(consume)
        try:
            return await self._wait_or_serve_stale(request, outcome, self.patience_s((flight,), request.policy))
        except asyncio.CancelledError:
            outcome.cancel()
            raise

    def patience_s(self, flights: Iterable[Flight], policy: Policy) -> float | None:
        """Seconds to wait for loads that expired entries may stand in for; ``None``: without limit."""
        return patience_s(flights, policy, self._environment.now())

    async def _wait_or_serve_stale(
        self, request: Request, outcome: asyncio.Future[Lookup[Any]], patience_s: float | None
    ) -> Lookup[Any]:
        """Waits for a load that a stale entry may stand in for, if the load takes too long or fails.

        The entry is looked up once more at that moment: it may have been invalidated, or renewed, meanwhile.
        """
        policy = request.policy
        await asyncio.wait((outcome,), timeout=patience_s)
        error = outcome.exception() if outcome.done() else None
        if outcome.done() and (error is None or isinstance(error, UnsharableValueError | ClaimLeftError)):
            return outcome.result()
        found = await self._tiers.find_again(request.keys, policy, keep=request.keep)
        decision = stand_in(found, policy, has_failed=error is not None)
        if found is None or decision is ReadDecision.WAIT:
            return await outcome
        if decision is ReadDecision.SERVE:
            return self._filler.found(found)
        if error is not None:
            _log.warning(
                "serving %s/%s stale: its source failed: %r", found.key.data_type, found.key.resource_id, error
            )
        return self.stale(found)

    def _refresh_behind(self, request: Request, found: Found) -> None:
        """Renews an entry that is being answered with; the loader gets a copy of its own."""
        entry = request.key.entry
        if self._flights.get(entry) is None:
            renewing = replace(request, renew=True)
            previous = self._filler.private(found, request.policy)
            flight = self._flights.start(entry, lambda started: self._runner.run(started, renewing, previous))
            flight.join(behind=True).add_done_callback(consume)


_NOTHING: Final[Lookup[Any]] = Lookup(None, "none", found=False)


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


def consume(work: asyncio.Future[Any]) -> None:
    """Takes note of a failure that nobody may be waiting for, so that asyncio does not report it as never retrieved."""
    if not work.cancelled() and work.exception() is not None:
        _log.info("a load that a caller may have waited for failed: %r", work.exception())


def cancel_all(works: Iterable[asyncio.Future[Any]]) -> None:
    """Cancels works whose outcomes are not waited for."""
    for work in works:
        work.cancel()
        work.add_done_callback(consume)


def error_of(work: asyncio.Future[Any]) -> BaseException | None:
    """Returns how a call that is done has failed. One that its own loader cancelled counts, too."""
    return asyncio.CancelledError() if work.cancelled() else work.exception()


def is_well(outcome: asyncio.Future[Any]) -> bool:
    """Returns whether there is a value."""
    return outcome.done() and outcome.exception() is None
