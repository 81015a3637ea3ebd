"""Runs loads of one entry or many: waits for leases or others' fills, calls the source, answers the callers, stores."""

from __future__ import annotations

import asyncio
import inspect
import logging
from functools import partial
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from alacena.engine.base.errors import (
    CircularLoadError,
    LoadCancelledError,
    LoadTimeoutError,
    OneShotValueError,
    UnsharableValueError,
)
from alacena.engine.base.events import LoadFailed, LoadFinished
from alacena.engine.base.remote_tier import NOT_FOUND, Found, Held, Lease
from alacena.engine.loading.load import LoadContext, SourceCall
from alacena.engine.loading.load_limiter import LoadLimiter
from alacena.engine.loading.load_timers import HardTimeouts, Renewals
from alacena.engine.loading.one_shot import refuse_generator_function
from alacena.engine.loading.single_flight import ClaimLeftError, describe_end, is_ended, is_order
from alacena.engine.loading.source_backoff import read_pause
from alacena.engine.reading.batch_alignment import MOST_AT_ONCE, align
from alacena.engine.reading.fill_gatherer import FillGatherer
from alacena.engine.reading.filler import Fill
from alacena.engine.reading.lease_acquirer import EntryLoad, LeaseAcquirer
from alacena.engine.reading.load_futures import cancel_all, error_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Sequence

    from alacena.engine.base.keys import EntryKey
    from alacena.engine.loading.load import Loader, Request
    from alacena.engine.loading.single_flight import Flight, SingleFlight
    from alacena.engine.loading.source_backoff import SourceBackoff
    from alacena.engine.reading.batch_alignment import BatchLoader
    from alacena.engine.reading.filler import Filler
    from alacena.engine.reading.reading_parts import ReadingParts
    from alacena.engine.reading.tiered_lookup import TieredLookup

_log = logging.getLogger("alacena")


class LoadRunner:
    """Gets permits, calls loaders, brings their values to where they belong. The load of one entry is a batch of one.

    Args:
        common: The remote tier; counts, the clock, and the settings of waits and limits.
        tiers: Where to look whether another caller has loaded meanwhile.
        flights: The loads under way.
        fills: Says the fate of a value.
        source_backoff: Sources that failed.
    """

    def __init__(
        self,
        common: ReadingParts,
        tiers: TieredLookup,
        flights: SingleFlight,
        fills: Filler,
        source_backoff: SourceBackoff,
    ) -> None:
        self._leases = LeaseAcquirer(common, tiers, flights)
        self._flights = flights
        self._filler = fills
        self._source_backoff = source_backoff
        self._counts = common.counts
        self._environment = common.environment
        self._events = common.events
        self._is_observed = bool(common.events)
        self._said: set[str] = set()
        self._limiter = LoadLimiter(common.settings.max_loads_per_tenant)
        self._timeouts = HardTimeouts()
        self._gatherer = FillGatherer(fills, flights.own)
        self._is_here = common.remote.is_here
        self._renewals = Renewals(common.remote, common.settings.lease_s / 3)

    def start(self, wanted: Sequence[tuple[Request, Found | None]], loader: BatchLoader | None = None) -> list[Flight]:
        """Starts one load of some entries; a later caller joins the flight of each.

        Args:
            wanted: The requests, each with the entry that is there already.
            loader: Asks the source for all of them; such a load goes on if its callers leave. ``None``: it is one entry,
                whose request names the loader. That gets the entry that is there as ``previous``, and the load ends with
                its last caller.
        """
        return self.launch(self.register(wanted, loader), loader)

    def register(self, wanted: Sequence[tuple[Request, Found | None]], loader: BatchLoader | None) -> list[EntryLoad]:
        """Returns some entries ready to be loaded, whose flights callers join from now on: it must be launched.

        The arguments are as for :meth:`start`.
        """
        loads: list[EntryLoad] = []
        for request, stale in wanted:
            entry, tags = request.key.entry, request.tags
            if stale is not None and loader is None:  # its loader may say that the previous value is still right
                tags = tuple(dict.fromkeys((*tags, *stale.tags)))
            flight = self._flights.solo(entry) if request.alone else self._flights.register(entry)
            loads.append(EntryLoad(request, flight, stale, tags))
        return loads

    def launch(self, loads: Sequence[EntryLoad], loader: BatchLoader | None) -> list[Flight]:
        """Runs the load of entries that are registered in a task. Returns their flights."""
        flights = list(map(_FLIGHT_OF, loads))
        if flights:
            task = self._flights.start(flights, self._run(loads, loader))
            if loader is None:
                flights[0].task = task
        return flights

    async def _run(self, loads: Sequence[EntryLoad], loader: BatchLoader | None) -> None:
        """Runs a load to its end. However it ends, the callers are told and no lease is left."""
        try:
            if len(loads) <= MOST_AT_ONCE:
                await self._leases.ask(loads)
            else:
                for at in range(0, len(loads), MOST_AT_ONCE):
                    await self._leases.ask(loads[at : at + MOST_AT_ONCE])
                await asyncio.sleep(0)
            mine, theirs = self._sort(loads)
            if theirs:
                await self._wait_and_call(loads, mine, theirs, loader)
            elif mine:
                await self._call(mine, loader)
        except BaseException as error:
            task = asyncio.current_task()
            assert task is not None
            self._fail(loads, error)
            if is_order(task, error):
                raise
        finally:
            for one in loads:
                if one.flight.lease is not None or isinstance(one.permit, Held):
                    self._leases.give_back(one)

    async def _wait_and_call(
        self,
        loads: Sequence[EntryLoad],
        mine: Sequence[EntryLoad],
        theirs: Sequence[EntryLoad],
        loader: BatchLoader | None,
    ) -> None:
        """Waits for the entries that others load, and loads the rest, and those that do not come."""
        if len(loads) == 1:
            await self._leases.wait(loads[0])
            mine, left = self._sort(loads)
            if mine or left:
                await self._call(mine or left, loader)
        elif not mine:
            await self._await_others(theirs, loader)
        else:
            # At the same time: the loader may ask for one of those that others load, and must not wait for its own end.
            call = self._flights.own(self._call(mine, loader))
            others = self._flights.own(self._await_others(theirs, loader))
            try:
                await call  # what it loads is paid for, whatever becomes of the others
                await others
            finally:
                cancel_all((call, others))

    def _sort(self, loads: Sequence[EntryLoad]) -> tuple[Sequence[EntryLoad], Sequence[EntryLoad]]:
        """Hands out the entries that other loads have brought. Returns those to be loaded here, and those that others load."""
        mine: list[EntryLoad] = []
        theirs: list[EntryLoad] = []
        for one in loads:
            permit = one.permit
            if isinstance(permit, Found):
                self._filler.resolve(one.flight, self._filler.answer_with(permit), one.request.policy)
            else:
                (theirs if isinstance(permit, Held) else mine).append(one)
        # The lists live as long as the load, and the collector walks through all that lives.
        return loads if len(mine) == len(loads) else mine, theirs or ()

    async def _await_others(self, loads: Sequence[EntryLoad], loader: BatchLoader | None) -> None:
        """Entries that other processes are loading: take each as it comes, and load those that do not come."""
        waits: dict[asyncio.Future[Any], EntryLoad] = {self._flights.own(self._leases.wait(one)): one for one in loads}
        calls: dict[asyncio.Future[Any], Sequence[EntryLoad]] = {}
        failure: BaseException | None = None
        try:
            while waits or calls:
                done, _ = await asyncio.wait((*waits, *calls), return_when=asyncio.FIRST_COMPLETED)
                ready = done & waits.keys()
                for wait in ready:
                    wait.result()
                mine, theirs = self._sort([waits.pop(wait) for wait in ready])
                left = [*mine, *theirs]
                for call in done & calls.keys():
                    called, error = calls.pop(call), error_of(call)
                    if error is not None:
                        # It is told now and not when all is over: the call of another part may wait for one of these.
                        self._fail((*called, *left, *waits.values()), error)
                        cancel_all(waits)
                        waits, left, failure = {}, [], failure or error
                if left:
                    # Not after the call before: its loader may ask for one of these, or wait for somebody who does.
                    calls[self._flights.own(self._call(left, loader))] = left
            if failure is not None:
                raise failure
        finally:
            cancel_all((*waits, *calls))

    async def _call(self, loads: Sequence[EntryLoad], loader: BatchLoader | None) -> None:
        """Calls the source for entries that no other load will bring, and lands its answer.

        The source is called within the type's hard timeout, in a place of the tenant's limit.
        """
        first = loads[0].request
        keys, flights = tuple(map(_KEY_OF, loads)), tuple(map(_FLIGHT_OF, loads))
        source: object = loader
        if loader is None:
            source, ask = first.loader, first.loader if loads[0].stale is None else _hand_over(loads[0])
            may_join = partial(self._flights.carries, first.key.entry, flights[0])
            context = LoadContext(first.key, first.tags, may_join=may_join)
        else:
            ask, context = partial(_ask_for_all, loader, [key.resource_id for key in keys]), LoadContext(first.key)
        call = self._ask(keys, flights, ask, context)
        # The timeout goes around the line for a place: a caller's wait ends in time, however long that line is.
        if self._limiter.is_limited:
            call = self._limiter.run(call, first.key.tenant_id, flights)
        if not self._is_here:
            # From now on, and not while another's lease was waited for: a renewal too early would wake those who wait.
            self._renewals.begin(flights)
        try:
            with self._timeouts.limit(first.policy.hard_timeout_s, keys, source):
                value, load_s = await call
        finally:
            if not self._is_here:
                self._renewals.end(flights)
        if loader is None:
            await self._land(loads, (value,), (context,), load_s)
            return
        share, tags = 1 / len(loads), (*context.tags, *context.reads.tags())
        contexts = (context.part(one.request.key, (*one.request.tags, *tags), share) for one in loads)
        await self._land(loads, value, contexts, load_s * share)

    async def _ask(
        self, keys: Sequence[EntryKey], carriers: Sequence[Flight], loader: Loader, context: LoadContext
    ) -> tuple[Any, float]:
        """Asks a source.

        Args:
            keys: The entries to load.
            carriers: The flights that wait for it.
            loader: Is given the context.
            context: Takes its words about its value.

        Returns:
            Its result, and the seconds that it took.
        """
        began = self._environment.now()
        for flight in carriers:
            self._flights.mark_started(flight, began)
        self._counts.loads += 1
        with SourceCall(self._flights, keys, carriers, context):
            value = await loader(context)
        took_s = self._environment.now() - began
        key = keys[0]
        if context.slips or not context.stored:
            self._note(key, context)
        self._counts.count_load(key, took_s)
        if self._is_observed:
            self._events.emit(LoadFinished(key.tenant_id, key.data_type, key.resource_id, len(keys), took_s))
        return value, took_s

    async def _land(
        self, loads: Sequence[EntryLoad], values: Sequence[Any], contexts: Iterable[LoadContext], load_s: float
    ) -> None:
        """Answers the callers, and then stores the values."""
        if len(loads) > _PORTION:
            await self._land_in_portions(loads, values, contexts, load_s)
            return
        fills: list[Fill] = []
        gathered = storing = None
        # Several fills leave together in the next step, before the callers wake up: what these ask the server for next
        # comes to it behind the fills. One alone is sent in this step.
        if self._is_here:
            pass
        elif len(loads) > 1:
            # In a task of its own: cancelled before its first step, it would store nothing and give no lease back.
            storing = self._flights.own(self._filler.fill_many(fills))
        elif len(self._flights) > 1:
            gathered = self._gatherer.open(loads[0].request.key.journal)
        for one, value, context in zip(loads, values, contexts, strict=True):
            fills.append(self._deliver(one, value, context, load_s))
        # The callers have their answers, which may not be stored after an invalidation:
        # 1. This load reads the row. 2. It is invalidated, which ends a generation that the lease rests on.
        # 3. The fill arrives. The tier compares the lease with the generations of now in one step, and refuses.
        if storing is not None:
            # Not `await storing`, which would pass a cancellation of this task on to it.
            await asyncio.wait([storing])
        elif gathered is not None and gathered.takes(fills[0]):
            loads[0].flight.stored = await gathered.add(fills[0])
        else:
            for one, is_stored in zip(loads, await self._filler.fill_many(fills), strict=True):
                one.flight.stored = is_stored

    async def _land_in_portions(
        self, loads: Sequence[EntryLoad], values: Sequence[Any], contexts: Iterable[LoadContext], load_s: float
    ) -> None:
        """Answers the callers of many entries, some in each turn of the loop, and then stores the values.

        The callers wake up first: what follows the first portion of the fills leaves behind them in any case. Without a
        server each portion is stored in the step in which its callers are answered.
        """
        fills: list[Fill] = []
        landing = zip(loads, values, contexts, strict=True)
        try:
            for at in range(0, len(loads), _PORTION):
                if at or len(loads) > MOST_AT_ONCE:
                    await asyncio.sleep(0)
                fills += [self._deliver(*each, load_s) for each in islice(landing, _PORTION)]
                if self._is_here:
                    await self._filler.fill_many(fills)
                    fills = []
            await asyncio.sleep(0)
            while fills:
                storing = self._flights.own(self._filler.fill_many(fills[:MOST_AT_ONCE]))
                fills = fills[MOST_AT_ONCE:]
                await asyncio.wait([storing])
        except BaseException:
            self._filler.give_up(fills)
            raise

    def _deliver(self, one: EntryLoad, value: Any, context: LoadContext, load_s: float) -> Fill:
        """Answers the callers of one entry, and returns its fill.

        A value that cannot be handed out fails its own entry alone.
        """
        request, flight, permit = one.request, one.flight, one.permit
        lease = permit if isinstance(permit, Lease) else None
        # Before `evaluate`, which would say "lease": the first reason stays, and "backend" may be the true one.
        if lease is None:
            context.refuse(flight.unleased)
        self._source_backoff.record_success(request.key.entry)
        replaces = one.stale is not None or request.renew or request.insist
        try:
            new_entry, lookup = self._filler.evaluate(request, context, value, load_s, lease, replaces=replaces)
            self._filler.resolve(flight, lookup, request.policy, new_entry)
        except Exception as error:  # noqa: BLE001 - one value's fault must not take the others with it
            self._fail((one,), error)
            return Fill(request.key, None, None, replaces=False)
        # From now on the fill gives the lease back, and the end of the load must not do it too.
        flight.lease = None
        # An entry that somebody else has the lease of is for the holder to replace.
        return Fill(request.key, lease, new_entry, replaces and not isinstance(permit, Held))

    def _fail(self, loads: Iterable[EntryLoad], error: BaseException) -> None:
        """Fails the entries that are not there yet, for all callers that wait for them."""
        task = asyncio.current_task()
        assert task is not None
        # Over, its callers have their value or have left: neither is a failure for which to leave the source alone.
        failed = [one for one in loads if not one.flight.is_over]
        if not failed:
            return
        key, is_told_to_end = failed[0].request.key, is_ended(task, error)
        what = f"{key.data_type} {key.resource_id!r}"
        reason = describe_end(
            task, error, what if len(failed) == 1 else f"a batch of {len(failed)} {key.data_type!r} entries"
        )
        is_claimed = failed[0].request.claimed and not is_told_to_end
        if is_claimed:
            # The others did not ask for what this block was about to do: its end says nothing of their sources.
            reason = error if isinstance(error, ClaimLeftError) else ClaimLeftError(reason)
        else:
            self._counts.count_failure(key)
            if self._events:
                self._events.emit(LoadFailed(key.tenant_id, key.data_type, key.resource_id, type(reason).__name__))
        for one in failed:
            if not (is_claimed or is_told_to_end):
                self._leave_alone(one, error)
            one.flight.fail(reason)
            self._leases.give_back(one)

    def _leave_alone(self, one: EntryLoad, error: BaseException) -> None:
        """Notes that a source failed, and for how long it is not to be asked again.

        Its error is raised meanwhile for readers that nothing expired stands in for, if the source or the policy says for
        how long.
        """
        policy, flight = one.request.policy, one.flight
        told_s = flight.retry_after_s
        if told_s is None:
            try:
                told_s = read_pause(error, self._environment)
            except Exception:  # noqa: BLE001 - an attribute of somebody else's exception, and its callers wait for it
                told_s = None
        repeated = error if isinstance(error, Exception) and not isinstance(error, _NOT_THE_SOURCES) else None
        if told_s is None and policy.retry_after_s is None:
            repeated = None
        if repeated is None and one.stale is None:
            return
        # Taken down now: `stands` is called when the flight has given its lease back.
        lease, endings = flight.lease, self._flights.endings

        def stands() -> bool:
            return self._flights.endings == endings if lease is None else lease.stands

        self._source_backoff.record_failure(one.request.key.entry, policy, told_s, repeated, stands)

    def _note(self, key: EntryKey, context: LoadContext) -> None:
        """Tells of a source's wrong words about its value, which its callers get all the same."""
        if context.refusal == "reader" and f"reader {key.data_type}" not in self._said and len(self._said) < _MOST_SAID:
            self._said.add(f"reader {key.data_type}")
            _log.warning(
                "%s %r is loaded by each who asks, and not stored: its source asks who the user is, or reads what is one "
                "reader's, and others are served its entry too: load it with that user_id=... or permissions=... Later ones "
                "of this type are not logged",
                key.data_type, key.resource_id,
            )  # fmt: skip
        for slip in context.slips:
            self._counts.slips += 1
            if key.data_type not in self._said and len(self._said) < _MOST_SAID:
                self._said.add(key.data_type)
                _log.warning(
                    "%s %r: its source gave instructions that are ignored: %s. Later ones of this type are not logged",
                    key.data_type, key.resource_id, slip,
                )  # fmt: skip


_KEY_OF: Final = attrgetter("request.key")
_FLIGHT_OF: Final = attrgetter("flight")

_MOST_SAID: Final = 1_000

_PORTION: Final = 250
"""Values that are delivered in one turn of the loop: to encode them takes microseconds each, and more of a large one."""

_NOT_THE_SOURCES: Final = (
    CircularLoadError,
    LoadCancelledError,
    LoadTimeoutError,
    OneShotValueError,
    UnsharableValueError,
)
"""What the source did not say: another load may do better at once."""


async def _ask_for_all(loader: BatchLoader, ids: Sequence[str], _: LoadContext) -> list[Any]:
    """Asks the source of many entries at once, in the form of a loader of one. Returns their values, in their order."""
    refuse_generator_function(loader)
    # A list of its own: a loader may sort or empty it, and the answer is compared with `ids`.
    answer = loader(list(ids))
    return align(ids, await answer if inspect.isawaitable(answer) else answer)


def _hand_over(one: EntryLoad) -> Loader:
    """Returns a loader that is handed the value that is there at the moment at which it is called."""
    lease = one.permit if isinstance(one.permit, Lease) else None

    def load(context: LoadContext) -> Awaitable[Any]:
        _offer(context, one.stale, lease, one.flight)
        return one.request.loader(context)

    return load


def _offer(context: LoadContext, stale: Found | None, lease: Lease | None, flight: Flight) -> None:
    """Hands the loader the value that is there, as it may be stored again: none that has ended since it was found.

    With a lease, it is the entry of the moment when the lease was given. The flight is barred once the entry is removed.
    """
    previous = stale if stale is None or lease is None else lease.previous
    if previous is not None and previous.value is not NOT_FOUND and previous.stands and flight.joinable:
        context.previous, context.previous_tags = previous.value, previous.tags
