"""The only code that changes what the shelves hold at a caller's word: set, delete, invalidate, and writes to the source."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from alacena.engine.errors import BackendError, InvalidKeyError
from alacena.engine.events import Invalidated
from alacena.engine.lineage import made_from
from alacena.engine.loading import reads_under_way
from alacena.engine.shelf import Ended

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from alacena.engine.events import Events
    from alacena.engine.fills import Fills
    from alacena.engine.flight import Flights
    from alacena.engine.keys import EntryKey, Keys
    from alacena.engine.policy import Policy
    from alacena.engine.scope import Scope
    from alacena.engine.shelf import Counts, Parcel, Shelf
    from alacena.engine.shelves import Shelves
    from alacena.engine.ttl import TtlOrUnset

EVERY_RESOURCE = "*"
"""What ``invalidate`` takes in place of an id for "the whole type"."""


class Burst:
    """What is invalidated in one turn of the loop.

    Attributes:
        groups: Generations to end, by bucket.
        entries: Entries to remove.
        sent: Their removal: what there was, or ``None`` where it was not confirmed.
        error: Why it was not.
    """

    def __init__(self) -> None:
        self.groups: dict[tuple[str, ...], None] = {}
        self.entries: dict[bytes, EntryKey] = {}
        self.sent: asyncio.Task[Ended | None] | None = None
        self.error: BackendError | None = None

    def add(self, groups: Iterable[Sequence[str]], entries: Iterable[EntryKey]) -> None:
        """Take some more; what is there already stays there once."""
        self.groups.update((tuple(group), None) for group in groups)
        self.entries.update((key.entry, key) for key in entries)


class Writer:
    """Changes the shelves.

    Args:
        keys: Renders keys.
        shelf: The second shelf, which looks after memory too.
        shelves: Notes failures.
        fills: Makes values ready for the shelves.
        flights: Owns removals, so that a caller who leaves does not stop them.
        events: Who is told.
        counts: What is counted.
    """

    def __init__(
        self,
        *,
        keys: Keys,
        shelf: Shelf,
        shelves: Shelves,
        fills: Fills,
        flights: Flights,
        events: Events,
        counts: Counts,
    ) -> None:
        self._keys = keys
        self._shelf = shelf
        self._shelves = shelves
        self._fills = fills
        self._flights = flights
        self._burst: Burst | None = None
        self._events = events
        self._counts = counts

    async def store(self, key: EntryKey, parcel: Parcel) -> bool:
        """Store what the caller vouches for. See :meth:`alacena.engine.cache.Cache.set`."""
        # A source that looks, finds nothing, makes it and stores it by hand has it in hand as if it had read it.
        if (reads := reads_under_way()) is not None:
            reads.note(key.ident, parcel.tags)
        try:
            refusal = await self._shelf.store(key, parcel)
        except BackendError as error:
            self._shelves.degraded("set", key, error)
            return False
        if refusal:
            self._counts.refused(refusal)
        return not refusal

    def parcel(self, key: EntryKey, value: Any, policy: Policy, ttl: TtlOrUnset, tags: tuple[str, ...]) -> Parcel:
        """A value made ready for the shelves: encoded now, so that a bad value is refused before anything is sent.

        Raises:
            EncodeError: It holds something that cannot be stored.
            ValueError: It is ``None``, or ``ttl`` is not greater than 0.
        """
        if value is None:
            raise ValueError("None cannot be stored, it is how a miss looks: store another value, or delete the entry")
        return self._fills.parcel(value, policy, ttl, made_from(key, value, tags))

    async def delete(self, keys: Sequence[EntryKey]) -> int:
        """Remove entries. See :meth:`alacena.engine.cache.Cache.delete`."""
        try:
            return await self._shelf.delete(keys)
        except BackendError as error:
            self._shelves.degraded("delete", keys[0], error)
            return 0

    async def invalidate(
        self,
        scope: Scope,
        data_type: str | None,
        resource_id: str | None,
        tags: Iterable[str],
    ) -> Ended:
        """End what a scope, a type, a resource or tags stand for. See :meth:`alacena.engine.cache.Cache.invalidate`."""
        groups: list[tuple[str, ...]] = [
            names for tag in tags for names in self._keys.tag_generations(scope.tenant_id, tag)
        ]
        entries: list[EntryKey] = []
        if resource_id is not None and resource_id != EVERY_RESOURCE:
            named, entries = self._resource(scope, data_type, resource_id)
            groups += named
        elif data_type is not None or not groups:
            groups += self._keys.scope_generations(scope, data_type)
        return await self.end(scope, data_type, groups, entries)

    async def end(
        self, scope: Scope, data_type: str | None, groups: Sequence[Sequence[str]], entries: Sequence[EntryKey]
    ) -> Ended:
        """End generations and remove entries, in one round trip a node.

        Whatever is ended in one turn of the loop leaves together, each name once: an ingestion that invalidates a
        document for each of its chunks costs one command.
        """
        burst = self._burst
        if burst is None:
            burst = self._burst = Burst()
            burst.add(groups, entries)
            burst.sent = self._flights.own(self._send(burst))
        else:
            burst.add(groups, entries)
        assert burst.sent is not None
        ended = await asyncio.shield(burst.sent)
        if ended is None:
            witness = entries[0] if entries else self._keys.entry(data_type or "any", "any", scope)
            self._shelves.degraded("invalidate", witness, burst.error or BackendError())
            return Ended(0)
        if self._events:
            what = ", ".join(name for group in groups for name in group)
            self._events.emit(Invalidated(scope.tenant_id, data_type, what, int(ended)))
        named: set[str | bytes] = {*(group[0] for group in groups), *(key.entry for key in entries)}
        return Ended(max(ended, 1), ended.names & named)

    async def _send(self, burst: Burst) -> Ended | None:
        self._burst = None
        groups, entries = list(burst.groups), list(burst.entries.values())
        try:
            ended = await self._shelf.invalidate(groups, entries)
            if len({group[1] for group in groups if len(group) > 1}) > 1:
                # Buckets hear of it one after the other: what was made in one that had heard, from an entry of one that
                # had not, would outlive this.
                await self._shelf.invalidate(groups, ())
        except BackendError as error:
            burst.error = error
            return None
        else:
            return ended

    @asynccontextmanager
    async def write(
        self, scope: Scope, resources: Sequence[tuple[str, str]], tags: Sequence[str], hold_s: float
    ) -> AsyncIterator[None]:
        """Hold entries around a source transaction. See :meth:`alacena.engine.cache.Cache.write`."""
        entries = [self._keys.entry(data_type, resource_id, scope) for data_type, resource_id in resources]
        token: bytes | None = None
        try:
            token = await self._shelf.hold(entries, hold_s) if entries else None
        except BackendError as error:
            self._shelves.degraded("write", entries[0], error)
        try:
            yield
        finally:
            await asyncio.shield(self._flights.own(self._after_write(scope, resources, entries, tags, token)))

    async def _after_write(
        self,
        scope: Scope,
        resources: Sequence[tuple[str, str]],
        entries: Sequence[EntryKey],
        tags: Sequence[str],
        token: bytes | None,
    ) -> None:
        groups: list[tuple[str, ...]] = [
            names for tag in tags for names in self._keys.tag_generations(scope.tenant_id, tag)
        ]
        groups += [names for t, r in resources for names in self._keys.resource_generations(t, r, scope)]
        await self.end(scope, None, groups, entries)
        if token is None:
            return
        try:
            await self._shelf.unhold(entries, token)
        except BackendError as error:
            self._shelves.degraded("write", entries[0], error)

    def _resource(
        self, scope: Scope, data_type: str | None, resource_id: str
    ) -> tuple[Sequence[tuple[str, ...]], list[EntryKey]]:
        if data_type is None:
            raise InvalidKeyError(
                f"invalidate(resource_id={resource_id!r}) names no data_type: pass data_type=..., or leave resource_id "
                "out to invalidate the tenant"
            )
        entry = self._keys.entry(data_type, resource_id, scope)
        return self._keys.resource_generations(data_type, entry.resource_id, scope), [entry]
