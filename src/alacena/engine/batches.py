"""Many entries at once: one command a node, one loader call for all that is missing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from alacena.engine.errors import BackendError
from alacena.engine.loading import LoadContext, call_loader
from alacena.engine.shelf import Found, Lease, Lookup

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from alacena.engine.flight import Flight, Flights
    from alacena.engine.keys import EntryKey
    from alacena.engine.loading import Request
    from alacena.engine.policy import Policy
    from alacena.engine.reader import Reader
    from alacena.engine.shelf import Shelf

BatchLoader: TypeAlias = "Callable[[list[str]], Awaitable[Mapping[str, Any] | Sequence[Any]]]"
"""Gets many values from the source: a mapping by id, or a sequence in the order of the ids it was given."""


@dataclass(slots=True)
class _Place:
    """One missing entry of a batch that is being loaded here."""

    key: EntryKey
    flight: Flight
    lease: Lease | None = None


class Batches:
    """Reads and loads of many entries.

    Args:
        reader: Reads, lands and fills single entries.
        shelf: The second shelf.
        flights: The loads under way.
    """

    def __init__(self, reader: Reader, shelf: Shelf, flights: Flights) -> None:
        self._reader = reader
        self._shelf = shelf
        self._flights = flights

    async def look(self, keys: Sequence[EntryKey], policy: Policy, *, use_memory: bool) -> list[Lookup[Any] | None]:
        """What the shelves hold, in the order of the keys; ``None`` for a miss. Cost: at most 1 round trip a node."""
        found = await self._find(keys, policy, use_memory=use_memory)
        return [None if f is None or f.fresh_for_s <= 0 else self._reader.answer(f) for f in found]

    async def load(
        self, requests: Sequence[Request], loader: BatchLoader, policy: Policy, *, use_memory: bool
    ) -> list[Lookup[Any]]:
        """What the shelves hold, and one loader call for the rest; in the order of the requests.

        Cancellation: the load goes on and its values are stored: they are paid for.
        """
        unique = {request.key.entry: request for request in requests}
        found = await self._find([r.key for r in unique.values()], policy, use_memory=use_memory)
        answers: dict[bytes, Lookup[Any]] = {}
        waits: dict[bytes, asyncio.Task[Lookup[Any]]] = {}
        missing: list[Request] = []
        for (entry, request), hit in zip(unique.items(), found, strict=True):
            if hit is not None and hit.fresh_for_s > 0:
                answers[entry] = self._reader.answer(hit)
            elif use_memory and (flight := self._flights.get(entry)) is not None:
                waits[entry] = self._flights.own(flight.wait())
            else:
                missing.append(request)
        if missing:
            answers |= await asyncio.shield(self._flights.own(self._load_missing(missing, loader, policy)))
        for entry, wait in waits.items():
            answers[entry] = await wait
        return [answers[request.key.entry] for request in requests]

    async def _find(self, keys: Sequence[EntryKey], policy: Policy, *, use_memory: bool) -> list[Found | None]:
        keep = use_memory and policy.use_memory
        found = [self._reader.in_memory((key,)) if keep else None for key in keys]
        rest = [index for index, hit in enumerate(found) if hit is None]
        if rest:
            try:
                hits = await self._shelf.find_many([keys[index] for index in rest], policy, keep=keep)
            except BackendError as error:
                self._reader.degraded("get_many", keys[rest[0]], error)
                hits = [None] * len(rest)
            for index, hit in zip(rest, hits, strict=True):
                found[index] = hit
            self._reader.count_batch(hits)
        return found

    async def _load_missing(
        self, requests: Sequence[Request], loader: BatchLoader, policy: Policy
    ) -> dict[bytes, Lookup[Any]]:
        places = [_Place(request.key, self._flights.adopt(request.key.entry)) for request in requests]
        by_entry = {request.key.entry: request for request in requests}
        answers: dict[bytes, Lookup[Any]] = {}
        try:
            permits = await asyncio.gather(
                *(self._reader.ask(place.flight, by_entry[place.key.entry]) for place in places)
            )
            mine, theirs = [], []
            for place, permit in zip(places, permits, strict=True):
                if isinstance(permit, Found):
                    answers[place.key.entry] = self._settle(place, self._reader.answer(permit))
                elif isinstance(permit, Lease):
                    place.lease = permit
                    mine.append(place)
                else:
                    theirs.append(place)
            answers |= await self._call(mine, by_entry, loader, policy)
            answers |= await self._await_others(theirs, by_entry, loader, policy)
        except BaseException as error:
            for place in places:
                self._flights.give_up(place.key.entry, place.flight, error)
                if place.lease is not None:
                    self._shelf.release(place.lease)
            raise
        return answers

    async def _await_others(
        self, places: list[_Place], by_entry: Mapping[bytes, Request], loader: BatchLoader, policy: Policy
    ) -> dict[bytes, Lookup[Any]]:
        """Entries that another process is loading: wait for it, and load what it did not bring."""
        permits = await asyncio.gather(
            *(self._reader.permit(place.flight, by_entry[place.key.entry]) for place in places)
        )
        answers = {}
        left = []
        for place, permit in zip(places, permits, strict=True):
            if isinstance(permit, Found):
                answers[place.key.entry] = self._settle(place, self._reader.answer(permit))
            else:
                place.lease = permit
                left.append(place)
        return answers | await self._call(left, by_entry, loader, policy)

    async def _call(
        self, places: list[_Place], by_entry: Mapping[bytes, Request], loader: BatchLoader, policy: Policy
    ) -> dict[bytes, Lookup[Any]]:
        if not places:
            return {}
        ids = [place.key.resource_id for place in places]
        contexts = [LoadContext(place.key, tags=by_entry[place.key.entry].tags) for place in places]

        async def call(_: LoadContext) -> Any:
            return await loader(ids)

        for place in places:
            if place.lease is None:
                self._flights.began(place.flight, None)
        async with self._reader.loading(places[0].key, [place.lease for place in places]) as stopwatch:
            values = aligned(ids, await call_loader(call, contexts[0], policy))
        answers = {}
        fills = []
        for place, context, value in zip(places, contexts, values, strict=True):
            request = by_entry[place.key.entry]
            parcel, lookup = self._reader.judged(
                request, context, value, stopwatch.elapsed_s / len(places), place.lease
            )
            self._reader.land(place.flight, lookup, parcel, taken=True)
            self._flights.retire(place.key.entry, place.flight)
            answers[place.key.entry] = lookup
            if place.lease is not None:
                permit, place.lease = place.lease, None
                store = lookup.stored and parcel.fresh_for_s != 0
                fills.append(self._reader.fill(permit, parcel, store=store))
        await asyncio.gather(*fills)
        return answers

    def _settle(self, place: _Place, lookup: Lookup[Any]) -> Lookup[Any]:
        place.flight.land(lookup)
        self._flights.retire(place.key.entry, place.flight)
        return lookup


def aligned(ids: Sequence[str], values: Mapping[str, Any] | Sequence[Any] | Iterable[Any]) -> list[Any]:
    """A batch loader's answer in the order of the ids it was given; ``None`` for what the source does not have.

    Raises:
        ValueError: A sequence of another length: whose value is whose cannot be told.
    """
    if hasattr(values, "keys"):
        return [values.get(resource_id) for resource_id in ids]  # type: ignore[union-attr]
    listed = list(values)
    if len(listed) != len(ids):
        raise ValueError(
            f"the loader was asked for {len(ids)} values and returned {len(listed)}: return a mapping by id, or one "
            "value for each id in their order, None for what the source does not have"
        )
    return listed
