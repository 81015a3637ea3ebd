"""py-key-value: a store for FastMCP and others that speak its protocol, apart for each tenant."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from alacena.integrations.ambient_scope import reader_scope
from alacena.integrations.bridge import Access, Bridge
from alacena.integrations.get_then_set import GetThenSet
from alacena.integrations.requirement import require_extra

with require_extra("alacena.integrations.key_value", "key-value", ("py-key-value-aio", "0.5", "0.6")):
    from key_value.aio.errors import DeserializationError, StoreConnectionError
    from key_value.aio.stores.base import BaseStore, ManagedEntry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from alacena.engine import Cache


class CachedStore(BaseStore):
    """A py-key-value store of values that may be forgotten, such as the answers that FastMCP keeps of its tools.

    Tenant and user are the ambient ones, beside the caller's own keys. Times to live are exact: the entry
    says itself when it ends. A cache evicts, so it is no place for sessions that cannot be made again.

    Args:
        cache: An open cache, or a started `Bridge` for code of other loops; ``None``: the process-wide cache.
        default_collection: The collection of calls that name none.
        data_type: The type that its entries have.
        fills: Whether a ``get`` that finds nothing is followed by the ``put`` of a new value, as FastMCP's response
            cache does. Then equal gets at one time wait for the first one's put, so that it is made once, and a put
            after a get that began before an invalidation is not kept, without an error. Leave it out if a miss is an answer.
    """

    def __init__(
        self,
        cache: Cache | Bridge | None = None,
        *,
        default_collection: str | None = None,
        data_type: str = "key_value",
        fills: bool = False,
    ) -> None:
        self._access = Access(cache)
        self._data_type = data_type
        self._steps = GetThenSet(self._access, data_type) if fills else None
        super().__init__(default_collection=default_collection, stable_api=True)

    async def _get_managed_entry(self, *, collection: str, key: str) -> ManagedEntry | None:
        return (await self._get_managed_entries(collection=collection, keys=[key]))[0]

    async def _get_managed_entries(self, *, collection: str, keys: Sequence[str]) -> list[ManagedEntry | None]:
        if not keys:
            return []
        names, scope = [_name(collection, key) for key in keys], reader_scope()
        if self._steps is not None:
            found = await self._steps.look(names, scope)
        else:
            found = await self._access.call(lambda cache: cache.get_many(self._data_type, names, scope))
        return [self._read(found.get(name)) for name in names]

    async def _put_managed_entry(self, *, collection: str, key: str, managed_entry: ManagedEntry) -> None:
        entries: Any = {"collection": collection, "keys": [key], "managed_entries": [managed_entry]}
        await self._put_managed_entries(**entries, ttl=managed_entry.ttl)

    async def _put_managed_entries(
        self,
        *,
        collection: str,
        keys: Sequence[str],
        managed_entries: Sequence[ManagedEntry],
        ttl: float | None,
        created_at: datetime | None = None,  # noqa: ARG002 - the protocol's signature
        expires_at: datetime | None = None,  # noqa: ARG002
    ) -> None:
        values = {
            _name(collection, key): self._serialization_adapter.dump_json(entry=entry, key=key, collection=collection)
            for key, entry in zip(keys, managed_entries, strict=True)
        }
        if not values or (ttl is not None and ttl <= 0):
            return
        scope = reader_scope()
        if self._steps is not None:
            lives = await self._access.call(lambda cache: _lengthen(cache, ttl))
            await self._steps.store_many(values, scope, ttl=lives)
            return

        async def verb(cache: Cache) -> int:
            return await cache.set_many(self._data_type, values, scope, ttl=await _lengthen(cache, ttl))

        if await self._access.call(verb) < len(values):
            raise StoreConnectionError(message="the cache did not store it: the server is away, or it was invalidated")

    async def _delete_managed_entry(self, *, key: str, collection: str) -> bool:
        scope, name = reader_scope(), _name(collection, key)
        if self._steps is not None:
            self._steps.forget(name, scope)
        return await self._access.call(lambda cache: cache.delete(self._data_type, name, scope))

    def _read(self, stored: str | None) -> ManagedEntry | None:
        if stored is None:
            return None
        try:
            return self._serialization_adapter.load_json(json_str=stored)
        except (DeserializationError, TypeError, ValueError):  # of a version that writes them otherwise
            return None


async def _lengthen(cache: Cache, ttl: float | None) -> float | None:
    """Returns a time to live that is still ``ttl`` after the random part was taken off: the entry ends by itself."""
    return None if ttl is None else ttl / (1.0 - cache.settings.ttl_jitter_ratio)


def _name(collection: str, key: str) -> str:
    return json.dumps([collection, key])
