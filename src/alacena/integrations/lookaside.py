"""Look-up and store of interfaces that do not tie the two: the beginning that a look-up notes is the store's."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from alacena.engine import UNSET, Cache, Reading, Scope, TtlOrUnset

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from alacena.integrations.bridge import Access

_MOST_NOTED: Final = 256

_Key: TypeAlias = "tuple[LookAside, Scope, str]"


@dataclass(frozen=True, slots=True)
class _Notes:
    """What the misses of one task rest on. Never changed: a task that branches off has the notes of its beginning."""

    readings: Mapping[_Key, Reading] = field(default_factory=dict)
    is_partial: bool = False

    def adding(self, keys: Iterable[_Key], reading: Reading) -> _Notes:
        """These notes and those of one more look-up; the oldest go if they are too many."""
        noted = dict.fromkeys(keys, reading)
        readings = {**{key: old for key, old in self.readings.items() if key not in noted}, **noted}
        surplus = max(0, len(readings) - _MOST_NOTED)
        return _Notes(dict(list(readings.items())[surplus:]), self.is_partial or surplus > 0)

    def without(self, key: _Key) -> _Notes:
        """These notes but one."""
        return _Notes({other: reading for other, reading in self.readings.items() if other != key}, self.is_partial)


_NOTHING: Final = _Notes()
_NOTES: Final[ContextVar[_Notes]] = ContextVar("alacena.lookaside", default=_NOTHING)


class LookAside:
    """Looks entries up, and stores later what the caller made of the misses.

    A miss notes when it was. What the same task stores under the same id counts as read at that moment: if anything that
    it rests on was invalidated since, it is not stored. A value that nobody looked up before is stored as the caller's
    own word.

    Args:
        access: How the cache is reached.
        data_type: The type of the entries.
    """

    def __init__(self, access: Access, data_type: str) -> None:
        self._access = access
        self._data_type = data_type

    async def look(self, ids: Sequence[str], scope: Scope) -> dict[str, Any]:
        """Return the values that are there, by id. Cost: 1 round trip a node; one more if something is missing."""
        found, reading = await self._access.call(lambda cache: self._look(cache, ids, scope))
        self._note(ids, scope, found, reading)
        return found

    def look_now(self, ids: Sequence[str], scope: Scope, name: str) -> dict[str, Any]:
        """As `look`, from sync code; ``name`` is what the caller called."""
        found, reading = self._access.call_now(lambda cache: self._look(cache, ids, scope), name)
        self._note(ids, scope, found, reading)
        return found

    async def store(self, resource_id: str, value: Any, scope: Scope, **options: Any) -> bool:
        """Store one value; ``ttl`` and ``tags`` as for `Cache.set`. Return whether it was stored."""
        reading, may_store = self._beginning(resource_id, scope)
        if not may_store:
            return False
        return await self._access.call(lambda cache: self._store(cache, reading, resource_id, value, scope, **options))

    def store_now(self, resource_id: str, value: Any, scope: Scope, name: str, **options: Any) -> bool:
        """As `store`, from sync code; ``name`` is what the caller called."""
        reading, may_store = self._beginning(resource_id, scope)
        if not may_store:
            return False
        return self._access.call_now(
            lambda cache: self._store(cache, reading, resource_id, value, scope, **options), name
        )

    async def _look(self, cache: Cache, ids: Sequence[str], scope: Scope) -> tuple[dict[str, Any], Reading | None]:
        found = await cache.get_many(self._data_type, ids, scope)
        if len(found) == len(set(ids)):
            return found, None
        async with cache.reading(scope, data_types=(self._data_type,)) as reading:
            return found, reading

    async def _store(
        self,
        cache: Cache,
        reading: Reading | None,
        resource_id: str,
        value: Any,
        scope: Scope,
        *,
        ttl: TtlOrUnset = UNSET,
        tags: Iterable[str] = (),
    ) -> bool:
        if reading is not None:
            return await reading.set(self._data_type, resource_id, value, ttl=ttl, tags=tags)
        return await cache.set(self._data_type, resource_id, value, scope, ttl=ttl, tags=tags)

    def _note(self, ids: Sequence[str], scope: Scope, found: Mapping[str, Any], reading: Reading | None) -> None:
        if reading is not None:
            _NOTES.set(_NOTES.get().adding(((self, scope, one) for one in ids if one not in found), reading))

    def _beginning(self, resource_id: str, scope: Scope) -> tuple[Reading | None, bool]:
        """What the look-up of an id noted, and whether a store may go on: not if its note may have been given up."""
        notes, key = _NOTES.get(), (self, scope, resource_id)
        reading = notes.readings.get(key)
        if reading is not None:
            _NOTES.set(notes.without(key))
        return reading, reading is not None or not notes.is_partial
