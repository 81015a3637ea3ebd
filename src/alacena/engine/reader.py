"""The only code that decides where to look: memory, then the second shelf, then the source."""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from alacena.engine.asking import Asking
from alacena.engine.breaker import Breaker
from alacena.engine.codec import is_immutable
from alacena.engine.errors import BackendError, CacheClosedError, EncodeError
from alacena.engine.events import BackendFailed, FillRefused, LookupFinished
from alacena.engine.loading import UNCHANGED, LoadContext, LoadLimiter, Renewal, Stopwatch, call_loader
from alacena.engine.shelf import ABSENT, MISSING, NOT_FOUND, Found, Lease, Lookup, Parcel
from alacena.engine.ttl import UNSET, TtlOrUnset, jittered, seconds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from alacena.engine.codec import Codec
    from alacena.engine.copies import Copies
    from alacena.engine.environment import Environment
    from alacena.engine.events import Events
    from alacena.engine.flight import Flight, Flights
    from alacena.engine.keys import EntryKey
    from alacena.engine.loading import Request
    from alacena.engine.memory import Memory
    from alacena.engine.policy import Policy
    from alacena.engine.settings import Settings
    from alacena.engine.shelf import Counts, Shelf

_log = logging.getLogger("alacena")


class Reader:
    """Looks, loads, waits and fills.

    Args:
        memory: The first shelf.
        copies: Hands its values out.
        shelf: The second shelf.
        flights: The loads under way.
        codec: Makes private copies for callers who share a load.
        events: Who is told.
        counts: What is counted beyond memory.
        environment: Time and chance.
        settings: Budgets and limits.
    """

    def __init__(
        self,
        *,
        memory: Memory,
        copies: Copies,
        shelf: Shelf,
        flights: Flights,
        codec: Codec,
        events: Events,
        counts: Counts,
        environment: Environment,
        settings: Settings,
    ) -> None:
        self._memory = memory
        self._copies = copies
        self._shelf = shelf
        self._flights = flights
        self._codec = codec
        self._events = events
        self._counts = counts
        self._observed = bool(events)
        self._environment = environment
        self._settings = settings
        self._asking = Asking(shelf, self.in_memory, Breaker(environment), counts, self.degraded)
        self._limiter = LoadLimiter(settings.max_loads_per_tenant)

    async def look(self, keys: tuple[EntryKey, ...], policy: Policy, *, use_memory: bool) -> Lookup[Any]:
        """Look at the shelves and nowhere else.

        Cost: 0 round trips where memory answers, else 1.
        If Redis fails: a miss and an event.
        """
        started = self._environment.now()
        found = self.in_memory(keys, started) if use_memory and policy.use_memory else None
        if found is None:
            found = await self._asking.ask(keys, policy, keep=use_memory and policy.use_memory)
        if found is None or found.fresh_for_s <= 0:
            self._counts.misses += 1
            return self._finished(keys[0], Lookup(None, "none", found=False), started)
        return self._finished(keys[0], self.answer(found), started)

    async def value(self, keys: tuple[EntryKey, ...], policy: Policy, default: Any, *, use_memory: bool) -> Any:
        """The value that :meth:`look` finds, or the default: the same look without its report."""
        keep = use_memory and policy.use_memory
        found = self.in_memory(keys) if keep else None
        if found is None:
            found = await self._asking.ask(keys, policy, keep=keep)
        if found is None or found.fresh_for_s <= 0:
            self._counts.misses += 1
            return default
        return default if found.value is NOT_FOUND else found.value

    @property
    def is_observed(self) -> bool:
        """Whether anybody is told of reads."""
        return self._observed

    async def load(self, request: Request) -> Lookup[Any]:
        """Look at the shelves, then ask the source; callers who ask for one entry at a time share one load.

        Raises:
            LoadTimeoutError: The source did not answer within the type's hard timeout and nothing stale may be served.
            Exception: The loader's own exceptions, as they are.

        Cost: 0 round trips where memory answers, 1 where Redis does, 2 and the source on a miss; the fill is not waited for.
        Cancellation: leaves the load to the other callers; the last to leave cancels it.
        If Redis fails: the source answers, and the value is not stored.
        """
        started = self._environment.now()
        found = self.in_memory(request.keys, started) if request.keep else None
        if found is None:
            found = await self._asking.ask(request.keys, request.policy, keep=request.keep)
        if found is not None and found.fresh_for_s > 0:
            if request.policy.early_refresh_beta and self._is_due(found, request.policy):
                self._refresh_behind(request, found)
            return self._finished(request.key, self.answer(found), started)
        self._counts.misses += 1
        if found is not None and -found.fresh_for_s < request.policy.stale_while_revalidate_s:
            self._refresh_behind(request, found)
            return self._finished(request.key, self._stale(found), started)
        return self._finished(request.key, await self._board(request, found), started)

    async def refresh(self, request: Request) -> Lookup[Any]:
        """Ask the source whatever the shelves hold, and store its answer."""
        started = self._environment.now()
        return self._finished(request.key, await self._board(replace(request, force=True), None), started)

    async def remaining(self, key: EntryKey, policy: Policy) -> float:
        """Seconds that an entry stays fresh: -1 for ever, -2 absent."""
        found = await self._asking.ask((key,), policy, keep=False)
        if found is None or found.fresh_for_s <= 0:
            return -2
        return -1 if math.isinf(found.fresh_for_s) else found.fresh_for_s

    def in_memory(self, keys: Sequence[EntryKey], now: float | None = None) -> Found | None:
        """A fresh entry in memory; a more general one only where memory knows that the narrower ones are absent."""
        if now is None:
            now = self._environment.now()
        for key in keys:
            slot = self._memory.get(key.ident, now)
            if slot is None:
                return None
            if slot.value is not ABSENT:
                value = self._copies.hand_out(slot)
                return Found(key, value, "memory", self._copies.fresh_for(slot), slot.cost)
        return None

    async def _board(self, request: Request, stale: Found | None) -> Lookup[Any]:
        """Join the load of the entry, or start it."""
        policy = request.policy
        # Who does not trust memory joins nobody: a load may have read the second shelf before this call.
        flight = self._flights.get(request.key.entry) if request.use_memory else None
        if flight is None:
            flight = self._flights.start(request.key.entry, lambda started: self._fly(started, request, stale))
        else:
            self._counts.shared_loads += 1
        if stale is None or -stale.fresh_for_s >= policy.stale_s:
            return await flight.wait()  # type: ignore[no-any-return]
        waiting = self._flights.own(flight.wait())
        try:
            done, _ = await asyncio.wait((waiting,), timeout=policy.soft_timeout_s)
        except asyncio.CancelledError:
            waiting.cancel()
            raise
        if not done:
            waiting.add_done_callback(_consume)
            return self._stale(stale)
        return self._or_stale(waiting, stale, policy)

    def _or_stale(self, load: asyncio.Task[Lookup[Any]], stale: Found, policy: Policy) -> Lookup[Any]:
        error = load.exception()
        if error is None or -stale.fresh_for_s >= policy.stale_if_error_s:
            return load.result()
        _log.warning("serving %s/%s stale: its source failed: %r", stale.key.data_type, stale.key.resource_id, error)
        return self._stale(stale)

    def _refresh_behind(self, request: Request, found: Found) -> None:
        if self._flights.get(request.key.entry) is None:
            forced = replace(request, force=True)
            flight = self._flights.start(request.key.entry, lambda started: self._fly(started, forced, found))
            self._flights.own(flight.wait()).add_done_callback(_consume)

    async def _fly(self, flight: Flight, request: Request, stale: Found | None) -> None:
        """Run one load to its end: permission, source, landing, fill."""
        lease: Lease | None = None
        try:
            permit = await self.permit(flight, request)
            if isinstance(permit, Found):
                flight.land(self.answer(permit))
                return
            lease = permit
            if lease is None:
                self._flights.began(flight, None)
            parcel, lookup = await self._from_source(request, lease, stale)
            self.land(flight, lookup, parcel)
            if lease is not None:
                permit, lease = lease, None
                await self.fill(permit, parcel, store=lookup.stored and parcel.fresh_for_s != 0)
        except asyncio.CancelledError:
            flight.crash(CacheClosedError("the cache was closed while this entry was being loaded"))
            raise
        except Exception as error:  # noqa: BLE001 - whatever the loader raised belongs to the callers, as it is
            self._counts.load_failures += 1
            flight.crash(error)
        finally:
            if lease is not None:
                self._shelf.release(lease)

    async def permit(self, flight: Flight, request: Request) -> Lease | Found | None:
        """Get a lease, or the entry that somebody else filled meanwhile; ``None``: load without storing."""
        deadline = self._environment.now() + self._settings.lease_wait_s
        while True:
            permit = await self.ask(flight, request)
            left = deadline - self._environment.now()
            if permit is not None or left <= 0 or not self._shelf.is_up:
                return permit
            poll_s = self._settings.lease_poll_s * (0.5 + self._environment.random())
            await self._shelf.changed(request.key, min(left, poll_s))
            found = await self._asking.ask((request.key,), request.policy, keep=request.keep)
            if found is not None and found.fresh_for_s > 0:
                self._flights.bar(request.key.entry)
                return found

    async def ask(self, flight: Flight, request: Request) -> Lease | Found | None:
        """Ask for a lease once. ``None``: somebody else holds it, or Redis failed."""

        def settled(permit: Lease | Found | None) -> None:
            if isinstance(permit, Lease):
                self._flights.began(flight, permit)
            elif permit is not None:
                self._flights.bar(request.key.entry)

        try:
            return await self._shelf.lease(request.key, request.tags, settled, force=request.force)
        except BackendError as error:
            self.degraded("lease", request.key, error)
            return None

    async def _from_source(
        self, request: Request, lease: Lease | None, stale: Found | None
    ) -> tuple[Parcel, Lookup[Any]]:
        previous = MISSING if stale is None or stale.value is NOT_FOUND else stale.value
        context = LoadContext(request.key, previous, request.tags)
        async with self.loading(request.key, (lease,)) as stopwatch:
            value = await call_loader(request.loader, context, request.policy)
        if value is UNCHANGED:
            value = None if previous is MISSING else previous
        return self.judged(request, context, value, stopwatch.elapsed_s, lease)

    @asynccontextmanager
    async def loading(self, key: EntryKey, leases: Sequence[Lease | None]) -> AsyncIterator[Stopwatch]:
        """Around a call of the source: a place in the tenant's limit, leases kept alive, the time taken."""
        renewal = Renewal(self._shelf, [lease for lease in leases if lease is not None], self._settings.lease_s / 3)
        try:
            async with self._limiter.place(key.tenant_id):
                stopwatch = Stopwatch(self._environment)
                self._counts.loads += 1
                yield stopwatch
                stopwatch.stop()
        finally:
            renewal.cancel()

    def judged(
        self, request: Request, context: LoadContext, value: Any, load_s: float, lease: Lease | None
    ) -> tuple[Parcel, Lookup[Any]]:
        """What a loaded value becomes: a parcel for the shelves and an answer for the callers."""
        parcel = self._parcel(request, context, value, load_s)
        stored = context.stored and lease is not None and lease.storable
        if parcel.value is NOT_FOUND:
            return parcel, Lookup(None, "none", origin=context.origin, found=False, stored=stored)
        return parcel, Lookup(parcel.value, "loader", origin=context.origin, stored=stored)

    def _parcel(self, request: Request, context: LoadContext, value: Any, load_s: float) -> Parcel:
        policy = request.policy
        if value is None:
            return Parcel(value=NOT_FOUND, fresh_for_s=policy.negative_ttl_s, tags=tuple(context.tags), policy=policy)
        ttl = context.ttl if context.ttl is not UNSET else request.ttl
        return Parcel(
            value=value,
            payload=self._payload(context, value),
            fresh_for_s=self.lifetime(policy, ttl),
            stale_for_s=policy.stale_s,
            tags=tuple(dict.fromkeys(context.tags)),
            load_s=max(load_s, context.usd),
            policy=policy if request.keep else policy.but(use_memory=False),
        )

    def lifetime(self, policy: Policy, ttl: TtlOrUnset) -> float | None:
        """Seconds that a value stays fresh: the time asked for or the type's own, less the jitter."""
        asked = policy.ttl_s if ttl is UNSET else seconds(ttl)
        ratio = self._settings.ttl_jitter_ratio if policy.jitter_ratio is None else policy.jitter_ratio
        return jittered(asked, ratio, self._environment.random())

    def _payload(self, context: LoadContext, value: Any) -> bytes | None:
        if is_immutable(value):
            return None
        try:
            return self._codec.encode(value)
        except EncodeError as error:
            context.skip()
            _log.warning("%s/%s is served but cannot be cached: %s", context.data_type, context.resource_id, error)
            self._events.emit(FillRefused(context.tenant_id, context.data_type, context.resource_id, "value"))
            return None

    def land(self, flight: Flight, lookup: Lookup[Any], parcel: Parcel, *, taken: bool = False) -> None:
        """Give the callers their answer, each a private copy where the value could be changed."""
        payload = parcel.payload
        if payload is None or parcel.policy.shared:
            flight.land(lookup)
        else:
            flight.land(lookup, lambda shared: replace(shared, value=self._codec.decode(payload)), taken=taken)

    async def fill(self, lease: Lease, parcel: Parcel, *, store: bool) -> None:
        """Redeem a lease, or give it back."""
        if not store:
            self._shelf.release(lease)
            return
        key = lease.key
        try:
            refusal = await self._shelf.fill(lease, parcel)
        except EncodeError as error:
            _log.warning("%s/%s is served but cannot be cached: %s", key.data_type, key.resource_id, error)
            refusal = "value"
        except BackendError as error:
            self.degraded("fill", key, error)
            refusal = "backend"
        if refusal:
            self._counts.refused(refusal)
            self._events.emit(FillRefused(key.tenant_id, key.data_type, key.resource_id, refusal))
        else:
            self._counts.fills += 1

    def _is_due(self, found: Found, policy: Policy) -> bool:
        """XFetch: renew with a probability that grows towards the expiry, the sooner the longer a load takes."""
        if not found.load_s or math.isinf(found.fresh_for_s):
            return False
        chance = max(self._environment.random(), 1e-12)
        return -found.load_s * policy.early_refresh_beta * math.log(chance) >= found.fresh_for_s

    def _stale(self, found: Found) -> Lookup[Any]:
        self._counts.stale_served += 1
        if found.value is NOT_FOUND:
            return Lookup(None, "none", found.tier, found=False)
        return Lookup(found.value, "stale", found.tier)

    def answer(self, found: Found) -> Lookup[Any]:
        """An entry as an answer."""
        if found.value is NOT_FOUND:
            return Lookup(None, "cache", found.tier, found=False)
        return Lookup(found.value, "cache", found.tier)

    def count_batch(self, hits: Sequence[Found | None]) -> None:
        """Count what a batch found and missed on the second shelf."""
        found = sum(hit is not None and hit.tier == "redis" for hit in hits)
        self._counts.redis_hits += found
        self._counts.misses += len(hits) - found

    def degraded(self, verb: str, key: EntryKey, error: BackendError) -> None:
        """Note that Redis failed a cache verb, which goes on without it."""
        self._counts.backend_failures += 1
        if self._events:
            self._events.emit(BackendFailed(key.tenant_id, key.data_type, verb, str(error)))

    def _finished(self, key: EntryKey, lookup: Lookup[Any], started: float) -> Lookup[Any]:
        latency_s = self._environment.now() - started
        if self._observed:
            self._events.emit(
                LookupFinished(key.tenant_id, key.data_type, key.resource_id, lookup.source, lookup.tier, latency_s)
            )
        return lookup.within(latency_s)


def _consume(task: asyncio.Task[Any]) -> None:
    """Take note of a background failure, so that asyncio does not report it as never retrieved."""
    if not task.cancelled() and task.exception() is not None:
        _log.info("a refresh behind a stale answer failed: %r", task.exception())
