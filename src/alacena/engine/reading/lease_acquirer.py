"""Permits to load: a lease for each entry, or the entry or load of another holder."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from alacena.engine.base.errors import BackendError
from alacena.engine.base.remote_tier import Found, Held, Lease, LeaseRequest
from alacena.engine.loading.single_flight import watch_hurry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alacena.engine.base.keys import EntryKey
    from alacena.engine.base.remote_tier import Permit
    from alacena.engine.loading.load import Request
    from alacena.engine.loading.single_flight import Flight, SingleFlight
    from alacena.engine.reading.reading_parts import ReadingParts
    from alacena.engine.reading.tiered_lookup import TieredLookup


class EntryLoad(msgspec.Struct, eq=False, gc=False):
    """One entry of a load.

    Attributes:
        request: The entry asked for.
        flight: Its callers; it holds the lease.
        stale: The entry that is there already.
        tags: The tags that its lease rests on.
        permit: The remote tier's last answer; ``None``: it failed, or was not asked.
        is_asking: Whether an answer is waited for.
    """

    request: Request
    flight: Flight
    stale: Found | None
    tags: tuple[str, ...]
    permit: Permit | None = None
    is_asking: bool = False


class LeaseAcquirer:
    """Asks for leases, waits for those that others hold, and gives back those that are not used.

    Args:
        common: The remote tier, which gives leases; the clock, and the settings of waits.
        tiers: Where to look whether another caller has loaded meanwhile.
        flights: The loads under way.
    """

    def __init__(self, common: ReadingParts, tiers: TieredLookup, flights: SingleFlight) -> None:
        self._tiers = tiers
        self._remote = common.remote
        self._flights = flights
        self._environment = common.environment
        self._settings = common.settings

    async def ask(self, loads: Sequence[EntryLoad]) -> None:
        """Asks for the leases of all entries that are to be stored, by one call, and notes the answers as their permits.

        A lease that comes without a waiting caller any more is given back: a value read from the source without waiting
        for it may be older.

        If Redis fails: there is no permit; the entry is loaded and not stored.
        """
        asking: list[EntryLoad] = []
        asked: list[LeaseRequest] = []
        for one in loads:
            request = one.request
            if request.alone:
                continue
            one.permit, one.is_asking = None, True
            asking.append(one)
            asked.append(
                LeaseRequest(request.key, one.tags, partial(self._settle, one), request.renew or request.insist)
            )
        if not asked:
            return
        try:
            answers = await self._tiers.lease_many(asked)
        finally:
            for one in asking:
                one.is_asking = False
        for one, answer in zip(asking, answers, strict=True):
            if isinstance(answer, BackendError):
                one.flight.unleased = "backend"

    def _settle(self, one: EntryLoad, permit: Permit) -> None:
        """Notes the answer for one entry, in the step in which it comes."""
        if isinstance(permit, Lease):
            # 1. The request for a lease is on its way. 2. The caller is cancelled, or Redis has had its time, or its batch
            # has failed. 3. The lease comes all the same: held by nobody, it would keep others waiting until it ends.
            if one.is_asking and not one.flight.is_over:
                one.flight.lease = permit
            else:
                self._remote.release(permit)
        elif isinstance(permit, Found):
            self._flights.close(one.request.key.entry)
        elif not one.is_asking:
            permit.change.cancel()
        if one.is_asking:
            one.permit = permit

    async def wait(self, one: EntryLoad) -> None:
        """Waits while another holder has the lease of an entry, and notes the outcome.

        The permit is a lease then, or the entry that was filled meanwhile; still :class:`Held` if that took too long,
        ``None`` if the remote tier failed. In both cases, the entry is loaded and not stored.
        """
        flight = one.flight
        while isinstance(held := one.permit, Held):
            with self._flights.follow(flight, one.request.key.entry) as holders:
                try:
                    # The releases go out before the next request, on one connection: the server frees the lease first.
                    if not self._clear_the_way(holders):
                        # A load that another load waits for may be part of a circle through another process, where nobody
                        # sees all of it: then each side loads for itself, and finds out that it asks for what it is loading.
                        awaited = flight.is_awaited
                        patience_s = self._settings.lease_wait_s
                        if awaited:
                            patience_s = min(patience_s, self._settings.lease_s)
                        left_s = flight.began_at + patience_s - self._environment.now()
                        if left_s <= 0 or not self._remote.is_up:
                            return
                        found = await self._wait_for_change(one, held, left_s)
                        if found is not None:
                            one.permit = found
                            return
                finally:
                    held.change.cancel()
            await self.ask((one,))

    def give_back(self, one: EntryLoad) -> None:
        """Gives back what the load of an entry still has: its lease, or its wait for another holder's."""
        if one.flight.lease is not None:
            self._release(one.flight, one.flight.lease)
        if isinstance(one.permit, Held):
            one.permit.change.cancel()

    def _release(self, flight: Flight, lease: Lease) -> None:
        # Taken off first: a follower may give it back as useless, and its own load comes here once more at its end.
        flight.lease = None
        self._remote.release(lease)

    async def _wait_for_change(self, one: EntryLoad, held: Held, left_s: float) -> Found | None:
        """Returns the entry that another caller has filled meanwhile; ``None`` if the lease is to be asked for again.

        If pushes are sure to come, nothing is sent until one does, or the lease is over, or another load begins to
        wait for this one, which then waits for less long.
        """
        request = one.request
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
        with watch_hurry((one.flight,)) as hurry:
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
        """Gives back leases of this cache, if the values of their flights can be stored no more."""
        useless = [(holder, lease) for holder in holders if (lease := holder.lease) is not None and not lease.stands]
        for holder, lease in useless:
            self._release(holder, lease)
        return bool(useless)

    async def _take_over(self, key: EntryKey) -> None:
        try:
            await self._remote.delete((key,))
        except BackendError as error:
            self._tiers.report_failure("refresh", key, error)
