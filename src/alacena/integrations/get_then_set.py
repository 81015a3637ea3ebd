"""Look-up and store of interfaces that do not tie the two: a miss claims its entry, and the store uses the claim."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager
from contextvars import Context, ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary, finalize

from alacena.common.context import get_current_tenant_id
from alacena.common.context.context import ON_LEAVE
from alacena.engine import UNSET, Cache, Claim, LoadTimeoutError, Reading, Scope, TtlOrUnset

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence

    from alacena.integrations.bridge import Access

_MOST_NOTED: Final = 256
_LIFE_S: Final = 600.0  # as long as a client of a model waits; the type's own limit is less, unless it says otherwise

_Key: TypeAlias = "tuple[GetThenSet, Scope, str]"


class _Miss:
    """A miss, for the store that may follow: a claim of the entry, or the moment from which the value counts.

    It is held by nothing but the contexts that may still store with it. So a claim is closed when the last of them is
    gone: the model failed, or the answer was none to keep, and the waiting callers must not wait for it. It is closed too when
    the task that missed is over: other code may keep that task, and with it its context, as `asyncio.gather` does. Sync code
    has no task, and the context of its thread stays: there it is closed when the block of the tenant is left.
    """

    def __init__(self, given: Claim | Reading) -> None:
        self.claim: Claim | None = None
        self.reading: Reading | None = None
        self.is_taken = False  # for a store: the end of the task that missed no longer ends it
        self.is_of_sync_code = False
        if isinstance(given, Reading):
            self.reading = given
            return
        self.claim = given
        self._give_up = finalize(self, _close_behind, asyncio.get_running_loop(), given)
        # When the interpreter ends, no loop is left on which a claim could be closed.
        self._give_up.atexit = False

    @property
    def is_open(self) -> bool:
        """Whether others may be waiting for the value of the code that holds it."""
        return self.claim is not None and self.claim.is_open and not self.is_taken

    def give_up(self) -> None:
        """Closes the claim, unless it was taken for a store."""
        if not self.is_taken:
            self.end()

    def end(self) -> None:
        """Closes the claim if nothing was stored with it: a store that failed must not be waited for."""
        if self.claim is not None:
            self._give_up()

    async def store(self, data_type: str, resource_id: str, value: Any, **options: Any) -> bool:
        """Stores the value, unless its ground was invalidated since the miss."""
        if self.reading is not None:
            return await self.reading.set(data_type, resource_id, value, **options)
        assert self.claim is not None
        if not self.claim.is_open:  # it ended by itself, or a task that branched off has used it
            return False
        return await self.claim.store(value, **options)


@dataclass(frozen=True, slots=True)
class _Notes:
    """The misses of one task. Never changed: a task that branches off has the notes of its beginning."""

    misses: Mapping[_Key, _Miss] = field(default_factory=dict)
    is_partial: bool = False

    def add(self, misses: Mapping[_Key, _Miss]) -> _Notes:
        """Returns these notes and those of one more look-up; the oldest go if they are too many."""
        noted = {**{key: old for key, old in self.misses.items() if key not in misses}, **misses}
        surplus = max(0, len(noted) - max(_MOST_NOTED, len(misses)))
        return _Notes(dict(list(noted.items())[surplus:]), self.is_partial or surplus > 0)

    def without(self, *keys: _Key) -> _Notes:
        """Returns these notes but some."""
        return _Notes({other: miss for other, miss in self.misses.items() if other not in keys}, self.is_partial)


_NOTHING: Final = _Notes()
_NOTES: Final[ContextVar[_Notes]] = ContextVar("alacena.get_then_set", default=_NOTHING)
_CLOSING: Final[set[asyncio.Task[None]]] = set()
_OF_TASKS: Final[WeakKeyDictionary[asyncio.Task[Any], WeakSet[_Miss]]] = WeakKeyDictionary()


class GetThenSet:
    """Looks entries up, and stores later the caller's values of the misses.

    A miss claims its entry: others that look it up meanwhile, here and in other processes, wait for the stored value, and
    a value that was invalidated since the miss is not stored. A claim ends when it is used, when the task that missed ends
    without having stored, or for sync code the block of its tenant, when it looks again, and after the type's
    ``hard_timeout_s``.

    A caller that holds a claim from an earlier look-up does not wait for another, as two could wait for each other. Nor
    does sync code on the thread of an event loop, which may be the one that the other runs on. Such a miss notes when it was, and
    a value that was invalidated since then is not stored either. A value without an earlier look-up is stored as the caller's
    own word.

    Args:
        access: How the cache is reached.
        data_type: The type of the entries.
    """

    def __init__(self, access: Access, data_type: str) -> None:
        self._access = access
        self._data_type = data_type
        self._noted: WeakValueDictionary[tuple[Scope, str], _Miss] = WeakValueDictionary()
        # A reading keeps nobody waiting, so it may outlive the context that noted it: the store may come later.
        self._readings: deque[_Miss] = deque(maxlen=_MOST_NOTED)

    async def look(self, ids: Sequence[str], scope: Scope, *, document_ids: Iterable[str] = ()) -> dict[str, Any]:
        """Returns the values that are there, by id.

        Args:
            ids: The ids.
            scope: Their scope.
            document_ids: Documents that the missing values will be made from.

        Cost: 1 round trip for one id, found or not; for several, 1 round trip a node, and one more for each miss.
        """
        if any(self.holds(one, scope) for one in ids):
            await asyncio.sleep(0)  # a task that was begun to store it comes first
        own = self._own(ids, scope)
        may_wait = not self._holds_others(own)
        misses: dict[str, _Miss] = {}
        try:
            return await self._access.call(
                lambda cache: self._look(cache, ids, scope, own, misses, document_ids, may_wait=may_wait)
            )
        finally:
            # After an error or a cancellation too: only claims that are noted end with this task.
            self._note(scope, misses)

    def look_now(
        self, ids: Sequence[str], scope: Scope, name: str, *, document_ids: Iterable[str] = ()
    ) -> dict[str, Any]:
        """As `look`, from sync code; ``name`` is the caller's verb."""
        own = self._own(ids, scope)
        may_wait = not _is_on_a_loop() and not self._holds_others(own)
        misses: dict[str, _Miss] = {}
        try:
            return self._access.call_now(
                lambda cache: self._look(cache, ids, scope, own, misses, document_ids, may_wait=may_wait), name
            )
        finally:
            self._note(scope, misses)

    async def peek(self, ids: Sequence[str], scope: Scope) -> dict[str, Any]:
        """Returns the values that are there, and does not wait: a miss only notes when it was.

        For a look-up in another task than the store, which may end long before it.

        Cost: 1 round trip a node, and one more if something is missing.
        """
        held, misses = self._find_held(ids, scope), dict[str, _Miss]()
        try:
            return await self._access.call(lambda cache: self._peek(cache, ids, scope, held, misses))
        finally:
            self._note(scope, misses)

    def peek_now(self, ids: Sequence[str], scope: Scope, name: str) -> dict[str, Any]:
        """As `peek`, from sync code; ``name`` is the caller's verb."""
        held, misses = self._find_held(ids, scope), dict[str, _Miss]()
        try:
            return self._access.call_now(lambda cache: self._peek(cache, ids, scope, held, misses), name)
        finally:
            self._note(scope, misses)

    def adopt(self, resource_id: str, scope: Scope) -> bool:
        """Takes over the note of a look-up, for code that stores outside of the context in which it looked.

        Returns:
            Whether there is one. Without it nothing tells the invalidations since the look-up.
        """
        miss = self._noted.get((scope, resource_id))
        if miss is None or miss.is_taken:
            return False
        _NOTES.set(_NOTES.get().add({(self, scope, resource_id): miss}))
        return True

    async def store(self, resource_id: str, value: Any, scope: Scope, **options: Any) -> bool:
        """Stores one value; ``ttl``, ``tags`` and ``document_ids`` as for `Cache.set`. Returns whether it was stored."""
        miss, may_store = self._take(resource_id, scope)
        if not may_store:
            return False
        with _end_after(miss):
            return await self._access.call(lambda cache: self._store(cache, miss, resource_id, value, scope, **options))

    def store_now(self, resource_id: str, value: Any, scope: Scope, name: str, **options: Any) -> bool:
        """As `store`, from sync code; ``name`` is the caller's verb."""
        miss, may_store = self._take(resource_id, scope)
        if not may_store:
            return False
        with _end_after(miss):
            return self._access.call_now(
                lambda cache: self._store(cache, miss, resource_id, value, scope, **options), name
            )

    async def store_many(self, values: Mapping[str, Any], scope: Scope, *, ttl: TtlOrUnset = UNSET) -> int:
        """Stores several values by id. Returns how many were stored.

        Cost: 1 round trip for each that was looked up before, all at one time, and 1 a node for the others together.
        """
        taken = self._take_many(values, scope)
        with _end_after(*taken.values()):
            return await self._access.call(lambda cache: self._store_many(cache, taken, values, scope, ttl))

    def store_many_now(self, values: Mapping[str, Any], scope: Scope, name: str, *, ttl: TtlOrUnset = UNSET) -> int:
        """As `store_many`, from sync code; ``name`` is the caller's verb."""
        taken = self._take_many(values, scope)
        with _end_after(*taken.values()):
            return self._access.call_now(lambda cache: self._store_many(cache, taken, values, scope, ttl), name)

    def holds(self, resource_id: str, scope: Scope) -> bool:
        """Returns whether the code that runs here has looked this up and not stored it yet."""
        miss = _NOTES.get().misses.get((self, scope, resource_id))
        return miss is not None and not miss.is_taken

    def forget(self, resource_id: str, scope: Scope) -> None:
        """Gives up the note of a look-up: the caller has ended the entry itself, or has nothing that can be stored."""
        notes, key = _NOTES.get(), (self, scope, resource_id)
        miss = notes.misses.get(key)
        if miss is not None:
            _NOTES.set(notes.without(key))
            miss.give_up()

    async def _look(
        self,
        cache: Cache,
        ids: Sequence[str],
        scope: Scope,
        own: Sequence[_Miss],
        misses: dict[str, _Miss],
        document_ids: Iterable[str],
        *,
        may_wait: bool,
    ) -> dict[str, Any]:
        # It asks again, so it has not stored: a claim of its own would let it wait for itself.
        for miss in own:
            if miss.claim is not None:
                await miss.claim.close()
        documents = tuple(document_ids)
        found = await cache.get_many(self._data_type, ids, scope) if len(ids) > 1 or not may_wait else {}
        # In their order: two that claim the same ones never wait for each other.
        for one in sorted(set(ids) - set(found)):
            if not may_wait or (misses and cache.settings.max_loads_per_tenant is not None):
                break  # a claim takes a place of the tenant's limit: the next one could wait for our own
            try:
                claim = await cache.begin_claim(
                    self._data_type, one, scope, document_ids=documents, search_hierarchy=False, life_s=_LIFE_S
                )
            except LoadTimeoutError:  # the tenant's limit of loads has no place
                break
            if not claim.found:
                misses[one] = _Miss(claim)
            elif claim.value is not None:
                found[one] = claim.value
        await self._read(cache, set(ids) - set(found) - set(misses), scope, misses, documents)
        return found

    async def _peek(
        self, cache: Cache, ids: Sequence[str], scope: Scope, held: set[str], misses: dict[str, _Miss]
    ) -> dict[str, Any]:
        found = await cache.get_many(self._data_type, ids, scope)
        # Of two look-ups of this code the earlier one counts: what it stores may have been made after the first.
        await self._read(cache, set(ids) - set(found) - held, scope, misses)
        return found

    async def _read(
        self, cache: Cache, ids: set[str], scope: Scope, misses: dict[str, _Miss], documents: Sequence[str] = ()
    ) -> None:
        if ids:
            async with cache.reading(scope, document_ids=documents, data_types=(self._data_type,)) as reading:
                misses.update({one: _Miss(reading) for one in ids})

    async def _store(
        self,
        cache: Cache,
        miss: _Miss | None,
        resource_id: str,
        value: Any,
        scope: Scope,
        **options: Any,
    ) -> bool:
        if miss is not None:
            return await miss.store(self._data_type, resource_id, value, **options)
        return await cache.set(self._data_type, resource_id, value, scope, **options)

    async def _store_many(
        self,
        cache: Cache,
        taken: Mapping[str, _Miss | None],
        values: Mapping[str, Any],
        scope: Scope,
        ttl: TtlOrUnset,
    ) -> int:
        own_word = {one: values[one] for one, miss in taken.items() if miss is None}
        stores: list[Awaitable[int]] = [
            miss.store(self._data_type, one, values[one], ttl=ttl) for one, miss in taken.items() if miss is not None
        ]
        if own_word:
            stores.append(cache.set_many(self._data_type, own_word, scope, ttl=ttl))
        return sum(await asyncio.gather(*stores))

    def _note(self, scope: Scope, misses: dict[str, _Miss]) -> None:
        if misses:
            _NOTES.set(_NOTES.get().add({(self, scope, one): miss for one, miss in misses.items()}))
            _watch_task(misses.values())
            self._offer(scope, misses)
            for miss in misses.values():
                miss.is_of_sync_code = not _is_on_a_loop()
            misses.clear()  # futures keep what a bridge was called with until the garbage is collected

    def _offer(self, scope: Scope, misses: Mapping[str, _Miss]) -> None:
        """Lets `adopt` find the misses; of several of one entry the earliest, which is right for each of them."""
        self._readings.extend(miss for miss in misses.values() if miss.reading is not None)
        for one, miss in misses.items():
            earlier = self._noted.get((scope, one))
            if earlier is None or earlier.is_taken or not (earlier.is_open or earlier.reading is not None):
                self._noted[scope, one] = miss

    @staticmethod
    def _holds_others(own: Sequence[_Miss]) -> bool:
        return any(miss.is_open for miss in _NOTES.get().misses.values() if miss not in own)

    def _find_held(self, ids: Sequence[str], scope: Scope) -> set[str]:
        return {one for one in ids if self.holds(one, scope)}

    def _own(self, ids: Sequence[str], scope: Scope) -> list[_Miss]:
        """Returns the misses of these ids that this code holds already: it asks again, so it has not stored."""
        misses = _NOTES.get().misses
        return [miss for one in ids if (miss := misses.get((self, scope, one))) is not None and miss.is_open]

    def _take(self, resource_id: str, scope: Scope) -> tuple[_Miss | None, bool]:
        """Takes the note of an id's look-up. Returns also whether a store may go on: not if the note may have been lost."""
        notes, key = _NOTES.get(), (self, scope, resource_id)
        miss = notes.misses.get(key)
        if miss is not None:
            _NOTES.set(notes.without(key))
            miss.is_taken = True
        return miss, miss is not None or not notes.is_partial

    def _take_many(self, ids: Iterable[str], scope: Scope) -> dict[str, _Miss | None]:
        """Takes the notes of several ids; ``None`` for one that was not looked up. One without a sure note is left out."""
        taken = {one: self._take(one, scope) for one in ids}
        return {one: miss for one, (miss, may_store) in taken.items() if may_store}


@contextmanager
def _end_after(*misses: _Miss | None) -> Iterator[None]:
    try:
        yield
    finally:
        for miss in misses:
            if miss is not None:
                miss.end()


def _is_on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _leave_block() -> None:
    """Gives up the look-ups of sync code for a tenant for whom it no longer works, and has not stored."""
    notes = _NOTES.get()
    if not notes.misses or _is_on_a_loop():
        return
    tenant_id = get_current_tenant_id()
    left = {key: miss for key, miss in notes.misses.items() if miss.is_of_sync_code and key[1].tenant_id != tenant_id}
    if left:
        _NOTES.set(notes.without(*left))
        for miss in left.values():
            miss.give_up()


ON_LEAVE.append(_leave_block)


def _watch_task(misses: Iterable[_Miss]) -> None:
    """Lets the claims of the task that runs here end with it."""
    task = asyncio.current_task() if _is_on_a_loop() else None
    claims = [miss for miss in misses if miss.claim is not None]
    if task is None or not claims:
        return
    mine = _OF_TASKS.get(task)
    if mine is None:
        mine = _OF_TASKS[task] = WeakSet()
        # In a context of its own: the task's, with its notes, would be held for as long as the task runs.
        task.add_done_callback(partial(_give_up_all, mine), context=Context())
    mine.update(claims)


def _give_up_all(misses: WeakSet[_Miss], _: asyncio.Task[Any]) -> None:
    for miss in tuple(misses):
        miss.give_up()


def _close_behind(loop: asyncio.AbstractEventLoop, claim: Claim) -> None:
    """Closes a claim that cannot be used any more; from whichever thread lets go of it."""
    if claim.is_open and not loop.is_closed():
        loop.call_soon_threadsafe(_begin_close, loop, claim)


def _begin_close(loop: asyncio.AbstractEventLoop, claim: Claim) -> None:
    task = loop.create_task(claim.close())
    _CLOSING.add(task)
    task.add_done_callback(_CLOSING.discard)
