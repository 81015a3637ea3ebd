"""The only code that changes the tiers at a caller's request: set, delete, invalidate, and writes to the source."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from alacena.engine.base.closing import wait_shared
from alacena.engine.base.errors import ArgumentError, BackendError, CacheClosedError, EncodeError, InvalidKeyError, show
from alacena.engine.base.events import Invalidated
from alacena.engine.base.lineage import list_dependencies
from alacena.engine.base.miss_reasons import INVALIDATED
from alacena.engine.base.remote_tier import Ended
from alacena.engine.coherence.store_changes import StoreChanges
from alacena.engine.loading.load import reads_under_way
from alacena.engine.writing.invalidation_gatherer import InvalidationGatherer
from alacena.engine.writing.overtaken_sets import OvertakenSets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

    from alacena.engine.base.keys import EntryKey
    from alacena.engine.base.policy import Policy
    from alacena.engine.base.remote_tier import Beginning, NewEntry, Refusal
    from alacena.engine.base.scope import Scope
    from alacena.engine.base.ttl import TtlOrUnset
    from alacena.engine.loading.single_flight import SingleFlight
    from alacena.engine.reading.filler import Filler
    from alacena.engine.reading.reading_parts import ReadingParts
    from alacena.engine.reading.tiered_lookup import TieredLookup

_PORTION = 200
"""Entries of a batch that are worked on in one turn of the loop: more would hold it up."""

_SENT_PORTIONS = 2
"""Portions that are on their way to a server together: they have a deadline, which others must not use up."""

_NO_VALUE = "None cannot be stored, it is how a miss looks: store another value, or delete the entry"

EVERY_RESOURCE = "*"
"""The id that stands for "the whole type" in a call of ``invalidate``."""


class Writer:
    """Changes the tiers.

    Args:
        common: Keys, the remote tier, events, counts, the clock.
        tiers: Notes failures.
        fills: Makes values ready for the tiers.
        flights: Owns removals, so that a caller that leaves does not stop them.
        calls: The calls under way that store in portions; the table of generations tells them of each end.
    """

    def __init__(
        self, common: ReadingParts, tiers: TieredLookup, fills: Filler, flights: SingleFlight, calls: list[StoreChanges]
    ) -> None:
        self._keys = common.keys
        self._remote = common.remote
        self._events = common.events
        self._counts = common.counts
        self._environment = environment = common.environment
        self._tiers = tiers
        self._filler = fills
        self._flights = flights
        self._calls = calls
        self._batch: InvalidationGatherer | None = None
        self._overtaken_sets = OvertakenSets(environment)

    async def set(
        self,
        keys: Sequence[EntryKey],
        values: Sequence[Any],
        depends: Sequence[tuple[str, ...]],
        policy: Policy,
        ttl: TtlOrUnset,
    ) -> int:
        """Stores values that the caller vouches for, each with its tags. See :meth:`alacena.engine.api.cache.Cache.set`.

        Returns:
            How many were stored.

        Raises:
            EncodeError: A value holds something that cannot be stored.
            ValueError: A value is ``None``, or ``ttl`` is not greater than 0.
        """
        with self._note_changes(keys) as changes:
            new_entries = await self._make_entries(keys, values, depends, policy, ttl)
            late: list[EntryKey] = []
            # 1. This task reads a document. 2. Another task invalidates it. 3. This task sets what it has made from it.
            # The tier would take step 3: the generations that it knows by then all stand.
            if self._overtaken_sets.has_ended:
                late = [key for key, made in zip(keys, new_entries, strict=True) if self._is_overtaken(key, made)]
            if late:
                await self._drop_refused([(key, "generation") for key in late])
                entries = {key.entry for key in late}
                pairs = [pair for pair in zip(keys, new_entries, strict=True) if pair[0].entry not in entries]
                keys, new_entries = [key for key, _ in pairs], [new_entry for _, new_entry in pairs]
            return await self._store(keys, new_entries, None, changes)

    async def set_one(self, key: EntryKey, value: Any, tags: tuple[str, ...], policy: Policy, ttl: TtlOrUnset) -> bool:
        """Stores one value as :meth:`set` does, and returns whether it was stored.

        A way of its own: as a batch of one, a value takes more than twice as long.
        """
        if value is None:
            raise ArgumentError(_NO_VALUE)
        if self._calls:
            self._tell_calls((key,))
        try:
            new_entry = self._filler.new_entry(value, policy, ttl, list_dependencies(key, value, tags))
        except EncodeError:
            await self.delete((key,))
            raise
        if (reads := reads_under_way()) is not None:
            reads.note(key.ident, new_entry.tags)
        if self._overtaken_sets.has_ended and self._is_overtaken(key, new_entry):
            await self._drop_refused([(key, "generation")])
            return False
        began = self._environment.now()
        try:
            fate = await self._remote.store(key, new_entry)
        except BackendError as error:
            # Nothing is removed here: the tier owes that, as for each store that no server confirmed.
            self._tiers.report_failure("set", key, error)
            return False
        self._counts.store.observe(self._environment.now() - began)
        if fate:
            await self._drop_refused([(key, fate)])
        return not fate

    def _is_overtaken(self, key: EntryKey, new_entry: NewEntry) -> bool:
        overtaken = self._overtaken_sets.has_overtaken
        return overtaken(key.endings) or bool(
            new_entry.tags and overtaken([key.tag_name(tag) for tag in new_entry.tags])
        )

    async def set_read(
        self,
        keys: Sequence[EntryKey],
        values: Sequence[Any],
        depends: Sequence[tuple[str, ...]],
        policy: Policy,
        ttl: TtlOrUnset,
        beginnings: Sequence[Beginning] | None,
    ) -> int:
        """Stores the values of a :class:`~alacena.engine.writing.source_reading.Reading`, if nothing ended since it began.

        ``beginnings`` is ``None`` if the ground of the reading is not known: then nothing is stored.

        Returns:
            How many were stored.

        Raises:
            EncodeError: As for :meth:`set`.
            ValueError: As for :meth:`set`.
        """
        with self._note_changes(keys) as changes:
            new_entries = await self._make_entries(keys, values, depends, policy, ttl)
            if beginnings is None:
                await self._drop_refused([(key, "backend") for key in keys])
                return 0
            return await self._store(keys, new_entries, beginnings, changes)

    @contextmanager
    def _note_changes(self, keys: Sequence[EntryKey]) -> Iterator[StoreChanges]:
        """Notes what changes while entries are stored in portions, and tells the calls before this one that it stores them."""
        self._tell_calls(keys)
        changes = StoreChanges()
        self._calls.append(changes)
        try:
            yield changes
        finally:
            self._calls.remove(changes)

    def _tell_calls(self, keys: Iterable[EntryKey]) -> None:
        """Tells the calls that are under way that a later one stores or removes entries: they must not undo that."""
        if self._calls:
            entries = [key.entry for key in keys]
            for call in self._calls:
                call.entries.update(entries)

    async def _drop_refused(self, refusals: Sequence[tuple[EntryKey, Refusal]]) -> None:
        """Counts refusals, and removes the older values: the caller knows of newer ones, which are not stored."""
        for key, reason in refusals:
            self._counts.count_refusal(key, reason)
            self._counts.reasons.note(key.ident, INVALIDATED)
        if refusals:
            await self.delete([key for key, _ in refusals])

    async def _store(
        self,
        keys: Sequence[EntryKey],
        new_entries: Sequence[NewEntry],
        beginnings: Sequence[Beginning | None] | None,
        changes: StoreChanges,
    ) -> int:
        """Stores entries, a portion at a time, and returns how many were stored."""
        stored = 0
        sent: deque[asyncio.Task[int]] = deque()
        try:
            for at in range(0, len(keys), _PORTION):
                if at and self._remote.is_here:
                    await asyncio.sleep(0)
                some = slice(at, at + _PORTION)
                begun = None if beginnings is None else beginnings[some]
                if self._remote.is_here or len(keys) <= _PORTION:
                    stored += await self._store_unchanged(keys[some], new_entries[some], begun, changes)
                    continue
                if len(sent) == _SENT_PORTIONS:
                    stored += await sent.popleft()
                portion = self._store_unchanged(keys[some], new_entries[some], begun, changes)
                sent.append(asyncio.create_task(portion))
            while sent:
                stored += await sent.popleft()
        finally:  # a caller that is cancelled takes along what has not left
            for task in sent:
                task.cancel()
        return stored

    async def _store_unchanged(
        self,
        keys: Sequence[EntryKey],
        new_entries: Sequence[NewEntry],
        begun: Sequence[Beginning | None] | None,
        changes: StoreChanges,
    ) -> int:
        """Stores those of a portion that nothing has overtaken since the call began, and returns how many count as stored."""
        if not changes:
            return await self._store_portion(keys, new_entries, begun)
        # As if all had been stored when the call began: what was stored or removed since came after it.
        left = [index for index, key in enumerate(keys) if key.entry not in changes.entries]
        stored = len(keys) - len(left)
        # 1. A call stores its first portion. 2. Another task, or a push, ends what the second one rests on.
        # 3. Stored under what stands by then, old values would be taken for new ones.
        ended = {index for index in left if changes.has_ended(_names_of(keys[index], new_entries[index]))}
        left = [index for index in left if index not in ended]
        if left:
            own = None if begun is None else [begun[index] for index in left]
            some = [keys[index] for index in left], [new_entries[index] for index in left]
            stored += await self._store_portion(*some, own)
        # Last: while a removal is awaited, more may end.
        await self._drop_refused([(keys[index], "generation") for index in ended])
        return stored

    async def _store_portion(
        self, keys: Sequence[EntryKey], new_entries: Sequence[NewEntry], begun: Sequence[Beginning | None] | None
    ) -> int:
        """Stores entries that leave together, and returns how many were stored."""
        began = self._environment.now()
        fates = await self._remote.store_many(keys, new_entries, begun)
        self._counts.count_store(fates, self._environment.now() - began)
        if not any(fates):
            return len(keys)
        stored = 0
        refusals: list[tuple[EntryKey, Refusal]] = []
        for key, fate in zip(keys, fates, strict=True):
            if not fate:
                stored += 1
            elif isinstance(fate, BackendError):
                self._tiers.report_failure("set", key, fate)
            else:
                refusals.append((key, fate))
        await self._drop_refused(refusals)
        return stored

    async def begin(self, scope: Scope, data_types: Iterable[str], tags: Sequence[str]) -> tuple[Beginning, ...] | None:
        """Notes the ground of a reading, for each bucket of the tenant; ``None`` if the remote tier failed."""
        buckets, wide = self._keys.groundwork(scope, data_types, tags)
        try:
            return await self._remote.begin(buckets, wide)
        except BackendError as error:
            self._tiers.report_failure("reading", self._keys.entry("any", "any", scope), error)
            return None

    async def _make_entries(
        self,
        keys: Sequence[EntryKey],
        values: Sequence[Any],
        depends: Sequence[tuple[str, ...]],
        policy: Policy,
        ttl: TtlOrUnset,
    ) -> list[NewEntry]:
        """Makes values ready for the tiers: encoded now, so that a bad value is refused before anything is sent.

        If one cannot be stored, the former entry is outdated all the same, and is removed.
        """
        if any(value is None for value in values):
            raise ArgumentError(_NO_VALUE)
        new_entries: list[NewEntry] = []
        try:
            for at in range(0, len(keys), _PORTION):
                if at:
                    await asyncio.sleep(0)
                some = slice(at, at + _PORTION)
                tags = map(list_dependencies, keys[some], values[some], depends[some])
                new_entries += self._filler.new_entries(values[some], tags, policy, ttl)
        except EncodeError:
            await self.delete(keys)
            raise
        # A loader that looks, finds nothing, makes the value and stores it by hand holds it as if it had read it.
        if (reads := reads_under_way()) is not None:
            for key, new_entry in zip(keys, new_entries, strict=True):
                reads.note(key.ident, new_entry.tags)
        return new_entries

    async def delete(self, keys: Sequence[EntryKey], *, told: bool = False) -> int:
        """Removes entries. See :meth:`alacena.engine.api.cache.Cache.delete`.

        ``told`` says whether readings that are under way hear of it. They do if the caller deletes; not if a value was
        refused, or each reading that is refused would be the reason to refuse the next one.
        """
        self._tell_calls(keys)
        try:
            return await self._remote.delete(keys, told=told)
        except BackendError as error:
            self._tiers.report_failure("delete", keys[0], error)
            return 0

    async def invalidate(
        self,
        scope: Scope,
        data_type: str | None,
        resource_id: str | None,
        tags: Iterable[str],
    ) -> Ended:
        """Ends the entries of a scope, a type, a resource or tags. See :meth:`alacena.engine.api.cache.Cache.invalidate`."""
        groups: list[tuple[str, ...]] = [
            names for tag in tags for names in self._keys.tag_generations(scope.tenant_id, tag)
        ]
        entries: list[EntryKey] = []
        if resource_id is not None and resource_id != EVERY_RESOURCE:
            named, entries = self._resource(scope, data_type, resource_id)
            groups += named
        # Tags alone name what is meant: the whole tenant or scope is ended only if nothing narrower was named.
        elif data_type is not None or not groups:
            groups += self._keys.scope_generations(scope, data_type)
        return await self.end(scope, data_type, groups, entries)

    async def end(
        self,
        scope: Scope,
        data_type: str | None,
        groups: Sequence[Sequence[str]],
        entries: Sequence[EntryKey],
        *,
        by: asyncio.Task[Any] | None = None,
    ) -> Ended:
        """Ends generations and removes entries, in one round trip a node.

        All that is ended in one turn of the loop leaves together, each name once: an ingestion that invalidates a
        document for each of its chunks costs one command.

        ``by`` is the task for which that is done, if it is not the one that runs: it knows of it.
        """
        self._tell_calls(entries)
        batch = self._batch
        # Before anything is awaited: only tasks that are there now can have read before this call.
        self._overtaken_sets.note_end((group[0] for group in groups if len(group) > 1), anew=batch is None, by=by)
        if batch is None:
            batch = self._batch = InvalidationGatherer()
            batch.add(groups, entries)
            batch.sent = self._flights.own(self._send(batch))
        else:
            batch.add(groups, entries)
        assert batch.sent is not None
        # A caller that leaves must not stop the removal: others of the same turn wait for it.
        try:
            ended = await wait_shared(batch.sent, _say_closed)
        except CacheClosedError as error:
            ended, batch.error = None, BackendError(str(error))
        if ended is None:
            example = entries[0] if entries else self._keys.entry(data_type or "any", "any", scope)
            self._tiers.report_failure("invalidate", example, batch.error or BackendError())
            return Ended(0)
        if self._events:
            what = ", ".join(name for group in groups for name in group)
            self._events.emit(Invalidated(scope.tenant_id, data_type, what, int(ended)))
        named: set[str | bytes] = {*(group[0] for group in groups), *(key.entry for key in entries)}
        # The server has confirmed, so it is more than 0, even if there was nothing to end.
        return Ended(max(ended, 1), ended.names & named)

    async def _send(self, batch: InvalidationGatherer) -> Ended | None:
        # What is ended from now on opens a batch of its own: added to this one, it would be confirmed and never sent.
        self._batch = None
        groups, entries = list(batch.groups), list(batch.entries.values())
        began = self._environment.now()
        try:
            ended = await self._remote.invalidate(groups, entries)
            if len({group[1] for group in groups if len(group) > 1}) > 1:
                # Buckets hear of it one after the other: an entry made in one that had heard, from an entry of one that
                # had not, would outlive this.
                await self._remote.invalidate(groups, ())
        except BackendError as error:
            batch.error = error
            return None
        self._counts.invalidate.observe(self._environment.now() - began)
        return ended

    @asynccontextmanager
    async def write(
        self, scope: Scope, resources: Sequence[tuple[str, str]], tags: Sequence[str], hold_s: float
    ) -> AsyncIterator[None]:
        """Holds entries around a source transaction. See :meth:`alacena.engine.api.cache.Cache.write`."""
        entries = [self._keys.entry(data_type, resource_id, scope) for data_type, resource_id in resources]
        generations = [self._keys.resource_generation(t, r, scope) for t, r in resources]
        groups = [names for tag in tags for names in self._keys.tag_generations(scope.tenant_id, tag)]
        # With the journals: a load names the resources that it was made from when it is done.
        groups += [names for t, r in resources for names in self._keys.resource_generations(t, r, scope)]
        self._tell_calls(entries)
        granted: list[bytes] = []
        try:
            # The old values end now, not when the block does: a process that dies inside leaves nothing of them.
            if groups:
                ending = self.end(scope, None, groups, ())
                await asyncio.gather(self._hold(entries, generations, hold_s, granted), ending)
            yield
        finally:
            # The end runs in a task of the cache's: unless told whose block this is, it bars that task's next `set`.
            after = self._after_write(scope, groups, entries, granted, asyncio.current_task())
            with suppress(CacheClosedError):  # As if the server were away: the hold outlives this process.
                await wait_shared(self._flights.own(after), _say_closed)

    async def _hold(
        self, entries: Sequence[EntryKey], generations: Sequence[str], hold_s: float, granted: list[bytes]
    ) -> None:
        """Fills ``granted`` in the step of the grant: a block that is cancelled in that step is returned nothing."""
        try:
            granted.extend([await self._remote.hold(entries, generations, hold_s)] if entries else ())
        except BackendError as error:
            self._tiers.report_failure("write", entries[0], error)

    async def _after_write(
        self,
        scope: Scope,
        groups: Sequence[Sequence[str]],
        entries: Sequence[EntryKey],
        granted: Sequence[bytes],
        by: asyncio.Task[Any] | None,
    ) -> None:
        await self.end(scope, None, groups, entries, by=by)
        try:
            # Last: if this process dies before this line, readers bypass the entries until the hold expires.
            for token in granted:
                await self._remote.unhold(entries, token)
        except BackendError as error:
            self._tiers.report_failure("write", entries[0], error)

    def _resource(
        self, scope: Scope, data_type: str | None, resource_id: str
    ) -> tuple[Sequence[tuple[str, ...]], list[EntryKey]]:
        if data_type is None:
            raise InvalidKeyError(
                f"invalidate(resource_id={show(resource_id)}) names no data_type: pass data_type=..., or leave resource_id "
                "out to invalidate the tenant"
            )
        entry = self._keys.entry(data_type, resource_id, scope)
        return self._keys.resource_generations(data_type, entry.resource_id, scope), [entry]


def _names_of(key: EntryKey, new_entry: NewEntry) -> list[str]:
    """Returns the names of all generations that an entry rests on, and of those that end it by its own name."""
    return [key.generations[0], *key.endings, *map(key.tag_name, new_entry.tags)]


def _say_closed() -> CacheClosedError:
    return CacheClosedError("the cache was closed before the server confirmed it")
