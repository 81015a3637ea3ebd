"""A dict that never stands still to grow, however large it becomes."""

from __future__ import annotations

from collections.abc import ItemsView, KeysView, ValuesView
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")

FIRST: Final = 1 << 15
"""Entries that the dict itself holds: growing beyond that takes a plain dict several milliseconds, and 34 at a million."""

SHARDS: Final = 256
# One empty dict 256 times, so that `in` need not ask whether there are shards. It is never written to.
_NO_SHARDS: Final[list[dict[Any, Any]]] = [{}] * SHARDS

_length: Final[Any] = dict.__len__
_set: Final[Any] = dict.__setitem__
_set_default: Final[Any] = dict.setdefault

_SMALL_BYTES: Final = 1 << 15
_SPARSE_BYTES: Final = 2048
"""A dict that takes more than that for each entry is rebuilt; one that has just grown takes a tenth of it."""


class ShardedDict(dict[K, V]):
    """A dict whose newest 32,768 entries are its own, and whose others are in shards by hash.

    A plain dict moves all that it holds when it grows, and so it does now and then while entries come and go. Here each
    part is small, and so is each move. An entry of the dict itself is found as in any dict, at the same price; one in
    a shard is found by ``__missing__``, at the price of a call.

    No value may be ``None``: ``table[key]`` is ``None`` if there is nothing, which takes less than an error.
    ``popitem``, ``copy``, ``|`` and ``==`` know nothing of the shards: they are not to be used.

    Attributes:
        overflow: The number of entries in shards.
    """

    __slots__ = ("_looked_at", "_shards", "overflow")

    def __init__(self) -> None:
        self.overflow = 0
        self._shards: list[dict[K, V]] = _NO_SHARDS
        self._looked_at = 0

    def __missing__(self, key: K) -> V | None:
        # Not the low bits of the hash: a dict places its keys by these, and all keys of a shard would share them.
        return self._shards[hash(key) >> 16 & 255].get(key) if self.overflow else None

    def __contains__(self, key: object) -> bool:
        return dict.__contains__(self, key) or key in self._shards[hash(key) >> 16 & 255]

    def __len__(self) -> int:
        return dict.__len__(self) + self.overflow

    def __setitem__(self, key: K, value: V) -> None:
        if not self.overflow and _length(self) < FIRST:
            _set(self, key, value)
        elif self.setdefault(key, value) is not value:
            if dict.__contains__(self, key):
                dict.__setitem__(self, key, value)
            else:
                self._shards[hash(key) >> 16 & 255][key] = value

    def __delitem__(self, key: K) -> None:
        if not self.overflow or dict.__contains__(self, key):
            dict.__delitem__(self, key)
            return
        del self._shards[hash(key) >> 16 & 255][key]
        self.overflow -= 1
        if not self.overflow:
            self._shards = _NO_SHARDS

    @overload
    def get(self, key: K, default: None = None, /) -> V | None: ...
    @overload
    def get(self, key: K, default: V, /) -> V: ...
    @overload
    def get(self, key: K, default: D, /) -> V | D: ...
    def get(self, key: K, default: Any = None, /) -> Any:
        """Returns the value under a key, or the default."""
        value = self[key]
        return default if value is None else value

    def setdefault(self, key: K, value: V) -> V:
        """Returns the value under a key, and puts one there if there is none."""
        if not self.overflow and _length(self) < FIRST:
            held: V = _set_default(self, key, value)
            return held
        # A shard is asked first, even if the dict has room again: the key may have come while it was full.
        if self.overflow:
            known = self._shards[hash(key) >> 16 & 255].get(key)
            if known is not None:
                return known
        if _length(self) >= FIRST and not dict.__contains__(self, key):
            self._move_oldest()
        return dict.setdefault(self, key, value)

    def _move_oldest(self) -> None:
        # The newest stay: the collector has not seen their keys yet, and would walk through every shard that has such a
        # key. It goes through the shards in no order of memory, which takes long.
        if self._shards is _NO_SHARDS:
            self._shards = [{} for _ in range(SHARDS)]
        oldest = list(islice(dict.items(self), max(1, FIRST // 64)))
        for key, value in oldest:
            dict.__delitem__(self, key)
            self._shards[hash(key) >> 16 & 255][key] = value
        self.overflow += len(oldest)

    @overload
    def pop(self, key: K, /) -> V: ...
    @overload
    def pop(self, key: K, default: D, /) -> V | D: ...
    def pop(self, key: K, /, *default: Any) -> Any:
        """Removes the value under a key, and returns it."""
        value = self[key]
        if value is None and default:
            return default[0]
        del self[key]
        return value

    def __iter__(self) -> Iterator[K]:
        return chain(dict.__iter__(self), *self._shards) if self.overflow else dict.__iter__(self)

    def keys(self) -> KeysView[K]:  # type: ignore[override]
        """Returns the keys."""
        return KeysView(self)

    def values(self) -> ValuesView[V]:  # type: ignore[override]
        """Returns the values."""
        return _Values(self)

    def items(self) -> ItemsView[K, V]:  # type: ignore[override]
        """Returns the keys and values."""
        return ItemsView(self)

    def add_all(self, new: dict[K, V]) -> None:
        """Enters values under keys that are not there yet."""
        if not self.overflow and _length(self) + len(new) <= FIRST:
            dict.update(self, new)
            return
        for key, value in new.items():
            self[key] = value

    def has_any(self, keys: Collection[K]) -> bool:
        """Returns whether there is a value under one of the keys."""
        if not dict.keys(self).isdisjoint(keys):
            return True
        return self.overflow > 0 and any(self[key] is not None for key in keys)

    def parts(self) -> Iterator[ValuesView[V]]:
        """Yields the values of the dict itself, and those of each shard."""
        yield dict.values(self)
        if self.overflow:
            for shard in self._shards:
                yield shard.values()

    def clear(self) -> None:
        """Removes everything."""
        self.empty()

    def empty(self) -> list[dict[K, V]]:
        """Removes everything at once, and returns the shards, for the caller to let go of one by one.

        Cost: some 20 ns for each entry of the dict itself.
        """
        dict.clear(self)
        shards, self._shards = self._shards, _NO_SHARDS
        self.overflow = 0
        return [] if shards is _NO_SHARDS else shards

    def compact(self) -> None:
        """Gives memory back that one of the dicts took for more entries than it has now. A dict does not shrink by itself.

        It looks at one shard a call, in turn.
        """
        if _is_sparse(dict.__sizeof__(self), dict.__len__(self)):
            left = list(dict.items(self))
            dict.clear(self)
            dict.update(self, left)
        elif self.overflow:
            self._looked_at = at = (self._looked_at + 1) % SHARDS
            shard = self._shards[at]
            if _is_sparse(shard.__sizeof__(), len(shard)):
                self._shards[at] = dict(shard)


class _Values(ValuesView[V]):
    _mapping: ShardedDict[Any, V]

    # By parts: the iterator of `ValuesView` looks each key up again.
    def __iter__(self) -> Iterator[V]:
        return chain.from_iterable(self._mapping.parts())


def _is_sparse(size: int, entries: int) -> bool:
    return size > max(_SMALL_BYTES, _SPARSE_BYTES * entries)
