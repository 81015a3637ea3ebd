"""Values by key that may be forgotten: the common part of the key-value stores of frameworks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

from alacena.engine import TtlOrUnset, UsageError
from alacena.integrations.bridge import Access
from alacena.integrations.get_then_set import GetThenSet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from alacena.engine import Cache, Scope
    from alacena.integrations.bridge import Bridge

Key: TypeAlias = tuple[str, ...]
"""The parts of a key: a framework's collection, if it has such, and its key."""


class AdapterStore:
    """The values of one store of a framework, for the ambient tenant.

    Args:
        namespace: Keeps its keys apart from those of other stores.
        cache: An open cache, a started bridge, or ``None``: the process-wide cache.
        data_type: The type that its entries have.
        ttl: Seconds that a value lives; left out: the type's; ``None``: for ever.
        fills: Whether a look-up that finds nothing is followed by a store.
        scope: Returns the owner of the values.

    Raises:
        UsageError: The namespace is blank.
    """

    def __init__(
        self,
        namespace: str,
        cache: Cache | Bridge | None,
        *,
        data_type: str,
        ttl: TtlOrUnset,
        fills: bool,
        scope: Callable[[], Scope],
    ) -> None:
        if not isinstance(namespace, str) or not namespace.strip():
            raise UsageError(
                "namespace is blank, or no text: name what this store is for, so that its keys are its own"
            )
        self._namespace = namespace
        self._access = Access(cache)
        self._data_type = data_type
        self._ttl = ttl
        self._scope = scope
        self._steps = GetThenSet(self._access, data_type) if fills else None

    async def get(self, keys: Sequence[Key]) -> list[Any]:
        """Returns the values in the order of the keys, ``None`` for missing ones."""
        names, scope = self._names(keys), self._scope()
        if self._steps is not None:
            found = await self._steps.look(names, scope)
        else:
            found = await self._access.call(lambda cache: cache.get_many(self._data_type, names, scope))
        return [found.get(name) for name in names]

    def get_now(self, keys: Sequence[Key], name: str) -> list[Any]:
        """As `get`, from sync code; ``name`` is the caller's verb."""
        names, scope = self._names(keys), self._scope()
        if self._steps is not None:
            found = self._steps.look_now(names, scope, name)
        else:
            found = self._access.call_now(lambda cache: cache.get_many(self._data_type, names, scope), name)
        return [found.get(one) for one in names]

    async def set(self, values: Mapping[Key, Any]) -> None:
        """Stores values."""
        named, scope = {self._name(key): value for key, value in values.items()}, self._scope()
        if self._steps is not None:
            await self._steps.store_many(named, scope, ttl=self._ttl)
        else:
            await self._access.call(lambda cache: cache.set_many(self._data_type, named, scope, ttl=self._ttl))

    def set_now(self, values: Mapping[Key, Any], name: str) -> None:
        """As `set`, from sync code; ``name`` is the caller's verb."""
        named, scope = {self._name(key): value for key, value in values.items()}, self._scope()
        if self._steps is not None:
            self._steps.store_many_now(named, scope, name, ttl=self._ttl)
        else:
            self._access.call_now(lambda cache: cache.set_many(self._data_type, named, scope, ttl=self._ttl), name)

    async def delete(self, keys: Sequence[Key]) -> int:
        """Removes values; returns how many there were."""
        names, scope = self._forget(keys)
        return await self._access.call(lambda cache: self._delete(cache, names, scope))

    def delete_now(self, keys: Sequence[Key], name: str) -> int:
        """As `delete`, from sync code; ``name`` is the caller's verb."""
        names, scope = self._forget(keys)
        return self._access.call_now(lambda cache: self._delete(cache, names, scope), name)

    async def _delete(self, cache: Cache, names: Sequence[str], scope: Scope) -> int:
        return sum([await cache.delete(self._data_type, name, scope) for name in names])

    def _forget(self, keys: Sequence[Key]) -> tuple[list[str], Scope]:
        names, scope = self._names(keys), self._scope()
        if self._steps is not None:
            # Others may wait for what this code was to store. It deletes the key instead, so they are let go.
            for name in names:
                self._steps.forget(name, scope)
        return names, scope

    def _names(self, keys: Sequence[Key]) -> list[str]:
        return [self._name(key) for key in keys]

    def _name(self, key: Key) -> str:
        # As a JSON list: with any sign as a separator, parts that hold the sign could make one name of two keys.
        return json.dumps([self._namespace, *key])
