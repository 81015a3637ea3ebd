"""Runs a load: waits for a lease or another process's fill, calls the source, answers the callers, stores."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from alacena.engine.base.errors import (
    BackendError,
    CircularLoadError,
    LoadCancelledError,
    LoadTimeoutError,
    OneShotValueError,
    UnsharableValueError,
)
from alacena.engine.base.events import LoadFailed, LoadFinished
from alacena.engine.base.remote_tier import NOT_FOUND, Found, Held, Lease, LeaseRequest
from alacena.engine.loading.load import LoadContext, SourceCall
from alacena.engine.loading.load_limiter import LoadLimiter
from alacena.engine.loading.load_timers import HardTimeouts, Renewals
from alacena.engine.loading.single_flight import ClaimLeftError, ended, is_ended, is_order, watch_hurry
from alacena.engine.loading.source_backoff import told_pause
from alacena.engine.reading.fill_gatherer import FillGatherer
from alacena.engine.reading.filler import Fill

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from alacena.engine.base.keys import EntryKey
    from alacena.engine.base.policy import Policy
    from alacena.engine.base.remote_tier import Permit, RemoteTier
    from alacena.engine.loading.load import Loader, Request
    from alacena.engine.loading.single_flight import Flight, SingleFlight
    from alacena.engine.loading.source_backoff import SourceBackoff
    from alacena.engine.reading.common_parts import CommonParts
    from alacena.engine.reading.filler import Filler
    from alacena.engine.reading.tiered_lookup import TieredLookup

_log = logging.getLogger("alacena")


class LoadRunner:
    """Gets permissions, calls loaders, brings what they return to where it belongs.

    Args:
        common: The remote tier, which gives leases; counts, the clock, and the settings of waits and limits.
        tiers: Where to look whether somebody else has loaded meanwhile.
        flights: The loads under way.
        fills: Says what becomes of a value.
        source_backoff: Sources that failed.

    Attributes:
        renewals: Prolongs the leases of the loads under way.
    """

    def __init__(
        self,
        common: CommonParts,
        tiers: TieredLookup,
        flights: SingleFlight,
        fills: Filler,
        source_backoff: SourceBackoff,
    ) -> None:
        self._tiers = tiers
        self._remote = common.remote
        self._flights = flights
        self._filler = fills
        self._source_backoff = source_backoff
        self._counts = common.counts
        self._environment = common.environment
        self._settings = settings = common.settings
        self._events = common.events
        self._said: set[str] = set()
        self._limiter = LoadLimiter(settings.max_loads_per_tenant)
        self._timeouts = HardTimeouts()
        self._gatherer = FillGatherer(fills, flights.own)
        self.renewals = Renewals(common.remote, settings.lease_s / 3)

    async def run(self, flight: Flight, request: Request, stale: Found | None) -> None:
        """Runs one load to its end. However it ends, the callers are told and no lease is left.

        Args:
            flight: The flight, run by this task.
            request: What to load.
            stale: The entry that is there already: the loader's ``previous``; nobody else's.
        """
        try:
            await self._run(flight, request, stale)
        except BaseException as error:
            task = asyncio.current_task()
            assert task is not None
            reason = ended(task, error, f"{request.key.data_type} {request.key.resource_id!r}")
            if request.claimed and not is_ended(task, error):
                # The others did not ask for what this block was about to do: its end says nothing of their sources.
                reason = error if isinstance(error, ClaimLeftError) else ClaimLeftError(reason)
            # Over, its callers have their value or have left: neither is a failure for which to leave the source alone.
            elif not flight.is_over:
                self.note_failure(request.key, reason)
                if not is_ended(task, error):
                    self.leave_alone(request.key, request.policy, flight, error, stands_in=stale is not None)
            flight.fail(reason)
            if is_order(task, error):
                raise
        finally:
            self.give_back(flight)

    async def _run(self, flight: Flight, request: Request, stale: Found | None) -> None:
        previous_tags = () if stale is None else stale.tags
        permit = None if request.alone else await self.acquire(flight, request, also=previous_tags)
        if isinstance(permit, Found):
            self._filler.resolve(flight, self._filler.found(permit), request.policy)
            return
        key, policy = request.key, request.policy
        lease = permit if isinstance(permit, Lease) else None
        context = LoadContext(key, request.tags)
        context.join_while(lambda: self._flights.get(key.entry) is flight)
        loader = request.loader
        if stale is not None:
            loader = _hand_over(loader, stale, lease, flight)
        carriers = (flight,)
        is_renewed = lease is not None and not self._remote.is_here
        if is_renewed:
            self.renewals.begin(carriers)
        try:
            value, load_s = await self.call_source((key,), policy, carriers, loader, context, request.loader)
            if context.slips or not context.stored:
                self.note(key, context)
            # Before `evaluate`, which would say "lease": the first reason stays, and "backend" may be the true one.
            if lease is None:
                context.refuse(flight.unleased)
            self.note_success(key)
            replaces = stale is not None or request.renew or request.insist
            new_entry, lookup = self._filler.evaluate(request, context, value, load_s, lease, replaces=replaces)
            # Alone, a fill is sent in this step. Several leave together in the next, before the callers wake up.
            gathered = self._gatherer.open(key.journal) if len(self._flights) > 1 and not self._remote.is_here else None
            self._filler.resolve(flight, lookup, policy, new_entry)
        finally:
            if is_renewed:
                self.renewals.end(carriers)
        # The callers have their answer, but may not store it after an invalidation:
        # 1. This load reads the row. 2. It is invalidated, which ends a generation that the lease rests on.
        # 3. The fill arrives. The tier compares the lease with the generations of now in one step, and refuses.
        # Here the lease is no longer the flight's: from now on `fill` gives it back, and `run` must not do it too.
        flight.lease = None
        replaces = replaces and not isinstance(permit, Held)  # else it is for the holder to replace
        fill = Fill(key, lease, new_entry, replaces)
        if gathered is not None and gathered.takes(fill):
            flight.stored = await gathered.add(fill)
        else:
            flight.stored = await self._filler.fill(fill)

    async def acquire(
        self, flight: Flight, request: Request, held: Held | None = None, *, also: Sequence[str] = ()
    ) -> Lease | Found | Held | None:
        """Gets a lease, or the entry that somebody else filled meanwhile; else the load is not stored.

        Args:
            flight: The flight.
            request: What it loads.
            held: The answer of :meth:`ask_many`, if it was asked already.
            also: Tags that the value may depend on besides those of the request.

        Returns:
            :class:`Held` if somebody else had the lease for too long, ``None`` if the remote tier failed.
        """
        began = flight.began_at if held is None else self._environment.now()
        wanted = ((flight, request),)
        while True:
            permit = held or (await self.ask_many(wanted, also=also))[0]
            held = None
            if isinstance(permit, BackendError):
                flight.unleased = "backend"
                return None
            if not isinstance(permit, Held):
                return permit
            with self._flights.follow(flight, request.key.entry) as holders:
                try:
                    # The releases go out before the next request, on one connection: the server frees the lease first.
                    if self._clear_the_way(holders):
                        continue
                    # A load that another load waits for may be part of a circle through another process, where nobody
                    # sees all of it: then each side loads for itself, and finds out that it asks for what it is loading.
                    awaited = flight.is_awaited
                    patience_s = self._settings.lease_wait_s
                    if awaited:
                        patience_s = min(patience_s, self._settings.lease_s)
                    left_s = began + patience_s - self._environment.now()
                    if left_s <= 0 or not self._remote.is_up:
                        return permit
                    found = await self._wait_for_change(flight, request, permit, left_s)
                finally:
                    permit.change.cancel()
            if found is not None:
                return found

    async def ask_many(
        self, wanted: Sequence[tuple[Flight, Request]], *, also: Sequence[str] = ()
    ) -> list[Permit | BackendError]:
        """Asks for several leases once, by one call; what Redis failed with stands in the place of an answer.

        A lease rests on the tags of its request, and on others ``also``. One that comes when nobody waits for it any more
        is given back: what is read from the source without waiting for it may be older.
        """
        ask = _Ask(self._flights, self._remote)
        answered = False
        try:
            answers = await self._tiers.lease_many([ask.about(flight, request, also) for flight, request in wanted])
            answered = True
            return answers
        finally:
            ask.end(answered=answered)

    def give_back(self, flight: Flight) -> None:
        """Gives back the lease that a flight still has."""
        # Taken off first: a follower may give it back as useless, and `run` comes here once more at its end.
        lease, flight.lease = flight.lease, None
        if lease is not None:
            self._remote.release(lease)

    def call_source(
        self,
        keys: Sequence[EntryKey],
        policy: Policy,
        carriers: Sequence[Flight],
        loader: Loader,
        context: LoadContext,
        source: object = None,
    ) -> Awaitable[tuple[Any, float]]:
        """Calls a source within the type's hard timeout, in a place of the tenant's limit.

        Args:
            keys: What is loaded.
            policy: The type's policy.
            carriers: The flights that wait for it.
            loader: Is given the context.
            context: Takes what it says of its value.
            source: What messages name, if the loader is a wrapper of it.

        Returns:
            What it returned, and the seconds that it took.

        Raises:
            LoadTimeoutError: The hard timeout passed.
            Exception: The loader's own, as they are.
        """
        # The timeout goes around the line for a place: a caller's wait ends in time, however long that line is.
        call = self._call_source(keys, carriers, loader, context)
        if self._limiter.is_limited:
            call = self._limiter.run(call, keys[0].tenant_id, carriers)
        if policy.hard_timeout_s is None:
            return call
        return self._timeouts.within(policy.hard_timeout_s, call, keys, source or loader)

    async def _call_source(
        self,
        keys: Sequence[EntryKey],
        carriers: Sequence[Flight],
        loader: Loader,
        context: LoadContext,
    ) -> tuple[Any, float]:
        began = self._environment.now()
        for flight in carriers:
            self._flights.mark_started(flight, began)
        self._counts.loads += 1
        with SourceCall(self._flights, keys, carriers, context):
            value = await loader(context)
        took_s = self._environment.now() - began
        key = keys[0]
        self._counts.count_load(key, took_s)
        if self._events:
            self._events.emit(LoadFinished(key.tenant_id, key.data_type, key.resource_id, len(keys), took_s))
        return value, took_s

    def note_failure(self, key: EntryKey, error: BaseException) -> None:
        """Counts a load that failed, and tells of it."""
        self._counts.count_failure(key)
        if self._events:
            self._events.emit(LoadFailed(key.tenant_id, key.data_type, key.resource_id, type(error).__name__))

    def note_success(self, key: EntryKey) -> None:
        """Notes that the source of an entry answered."""
        self._source_backoff.record_success(key.entry)

    def leave_alone(
        self, key: EntryKey, policy: Policy, flight: Flight, error: BaseException, *, stands_in: bool
    ) -> None:
        """Notes that a source failed, and for how long it is not to be asked again.

        Args:
            key: The entry.
            policy: How long, if the source does not say it.
            flight: The load that failed.
            error: What it failed with: if the source says for how long, or the policy does, it is raised meanwhile
                for readers that nothing expired stands in for.
            stands_in: Whether there is an expired entry.
        """
        told_s = flight.retry_after_s
        if told_s is None:
            try:
                told_s = told_pause(error, self._environment)
            except Exception:  # noqa: BLE001 - an attribute of somebody else's exception, and its callers wait for it
                told_s = None
        repeated = error if isinstance(error, Exception) and not isinstance(error, _NOT_THE_SOURCES) else None
        if told_s is None and policy.retry_after_s is None:
            repeated = None
        if repeated is None and not stands_in:
            return
        # Taken down now: `stands` is called when the flight has given its lease back.
        lease, endings = flight.lease, self._flights.endings

        def stands() -> bool:
            return self._flights.endings == endings if lease is None else lease.stands

        self._source_backoff.record_failure(key.entry, policy, told_s, repeated, stands)

    def note(self, key: EntryKey, context: LoadContext) -> None:
        """Tells of what a source said wrongly about its value, which its callers get all the same."""
        if context.refusal == "reader" and f"reader {key.data_type}" not in self._said and len(self._said) < _MOST_SAID:
            self._said.add(f"reader {key.data_type}")
            _log.warning(
                "%s %r is loaded by each who asks, and not stored: its source asks who the user is, or reads what only some "
                "may see, and its entry is for everybody in the tenant: load it with user_id=... or permissions=... "
                "Later ones of this type are not logged",
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

    async def _wait_for_change(self, flight: Flight, request: Request, held: Held, left_s: float) -> Found | None:
        """Returns what somebody else has filled meanwhile; ``None`` if the lease is to be asked for again.

        If pushes are sure to come, nothing is sent until one does, or the lease is over, or another load begins to
        wait for this one, which then waits for less long.
        """
        if request.insist:
            # Another load began before this one was asked for: it must not store what it brings.
            await self._take_over(request.key)
            return None
        # The holder may die, and then no push comes:
        # 1. Another process has the lease, and ends without filling or giving it back.
        # 2. `for_s` later the server forgets the lease. Asking again at that moment gets it, so nobody waits longer.
        # If pushes may be lost, the entry may also be filled without our hearing of it: then we look now and then.
        poll_s = self._settings.lease_poll_s * (0.5 + self._environment.random())
        timeout_s = min(left_s, held.for_s if held.is_told else poll_s)
        with watch_hurry((flight,)) as hurry:
            await asyncio.wait((held.change, hurry), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        may_be_filled = held.change.result() if held.change.done() else not held.is_told
        if not may_be_filled:
            return None
        found = await self._tiers.find((request.key,), request.policy, keep=request.keep, loads=True)
        if found is None or found.fresh_for_s <= 0:
            return None
        # 1. The entry is found here. 2. It is invalidated. 3. Somebody asks for it before this flight lands.
        # Without a lease, and before its source is asked, a flight takes anybody: step 3 would get the old entry.
        self._flights.close(request.key.entry)
        return found

    def _clear_the_way(self, holders: Sequence[Flight]) -> bool:
        """Gives back leases of this cache, if what their flights carry can be stored no more."""
        useless = [holder for holder in holders if holder.lease is not None and not holder.lease.stands]
        for holder in useless:
            self.give_back(holder)
        return bool(useless)

    async def _take_over(self, key: EntryKey) -> None:
        try:
            await self._remote.delete((key,))
        except BackendError as error:
            self._tiers.report_failure("refresh", key, error)


_MOST_SAID: Final = 1_000

_NOT_THE_SOURCES: Final = (
    CircularLoadError,
    LoadCancelledError,
    LoadTimeoutError,
    OneShotValueError,
    UnsharableValueError,
)
"""What the source did not say: another load may do better at once."""


def _hand_over(loader: Loader, stale: Found | None, lease: Lease | None, flight: Flight) -> Loader:
    """Returns a loader that is handed the value that is there at the moment at which it is called."""

    def load(context: LoadContext) -> Awaitable[Any]:
        _offer(context, stale, lease, flight)
        return loader(context)

    return load


class _Ask:
    """One question for leases: what to do with each answer in the step in which it comes.

    Args:
        flights: Closes the flights of what somebody else has filled.
        remote: Takes leases back that nobody waits for.
    """

    __slots__ = ("_flights", "_held", "_is_over", "_remote")

    def __init__(self, flights: SingleFlight, remote: RemoteTier) -> None:
        self._flights = flights
        self._remote = remote
        self._held: list[Held] = []
        self._is_over = False

    def about(self, flight: Flight, request: Request, also: Sequence[str]) -> LeaseRequest:
        """Returns the part of the question that is about one entry."""
        tags = tuple(dict.fromkeys((*request.tags, *also))) if also else request.tags

        def settle(permit: Permit) -> None:
            if isinstance(permit, Lease):
                # 1. The request for a lease is on its way. 2. The caller is cancelled, or Redis has had its time, or the
                # batch has failed. 3. The lease comes all the same: held by nobody, it would keep others waiting until
                # it ends, in memory for ever.
                if self._is_over or flight.is_over:
                    self._remote.release(permit)
                else:
                    flight.lease = permit
            elif isinstance(permit, Found):
                self._flights.close(request.key.entry)
            elif self._is_over:
                permit.change.cancel()
            else:
                self._held.append(permit)

        return LeaseRequest(request.key, tags, settle, request.renew or request.insist)

    def end(self, *, answered: bool) -> None:
        """Ends the wait. If there was no answer, nobody waits for the changes of what others hold."""
        self._is_over = True
        if not answered:
            for held in self._held:
                held.change.cancel()


def _offer(context: LoadContext, stale: Found | None, lease: Lease | None, flight: Flight) -> None:
    """Hands the loader the value that is there, as it may be stored again: none that has ended since it was found.

    With a lease, it is what was there when the lease was given. The flight is barred once the entry is removed.
    """
    previous = stale if stale is None or lease is None else lease.previous
    if previous is not None and previous.value is not NOT_FOUND and previous.stands and flight.joinable:
        context.previous, context.previous_tags = previous.value, previous.tags
