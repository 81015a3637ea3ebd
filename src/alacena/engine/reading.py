"""What was read from the source from one moment on, on its way into the cache."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from alacena.engine.keys import named
from alacena.engine.ttl import UNSET, TtlOrUnset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from alacena.engine.keys import Keys
    from alacena.engine.policy import Policy
    from alacena.engine.scope import Scope
    from alacena.engine.shelf import Beginning, Parcel
    from alacena.engine.writer import Writer


class Reading:
    """Stores what a reading of the source brings, unless it was invalidated since the reading began.

    Made by :meth:`alacena.engine.cache.Cache.reading`.

    Args:
        scope: Whose it is.
        tags: What all of it depends on.
        began: What it rests on, by bucket; ``None`` if the second shelf did not say: then nothing is stored.
        keys: Renders keys.
        writer: Stores.
        policy_of: How a type wants to be kept.
        documents_of: Finds further documents that a value depends on.
    """

    def __init__(
        self,
        scope: Scope,
        tags: tuple[str, ...],
        began: tuple[Beginning, ...] | None,
        *,
        keys: Keys,
        writer: Writer,
        policy_of: Callable[[str], Policy],
        documents_of: Callable[[Any], Iterable[str]],
    ) -> None:
        self._scope = scope
        self._tags = tags
        self._began = began
        self._keys = keys
        self._writer = writer
        self._policy_of = policy_of
        self._documents_of = documents_of

    async def set(
        self,
        data_type: str,
        resource_id: str,
        value: Any,
        *,
        ttl: TtlOrUnset = UNSET,
        tags: Iterable[str] = (),
        document_ids: Iterable[str] = (),
    ) -> bool:
        """Store a value that was read since the reading began.

        Args:
            data_type: Its type.
            resource_id: Its id within the type.
            value: Anything the codec knows, except ``None``.
            ttl: As for :meth:`alacena.engine.cache.Cache.set`.
            tags: What it depends on besides the reading's own tags and documents.
            document_ids: Documents, likewise.

        Returns:
            Whether it was stored; ``False`` if its tenant, its scope or anything it depends on was invalidated since the
            reading began, while a source transaction holds the entry, or if Redis failed.

        Raises:
            EncodeError: The value holds something that cannot be stored; the message names where.
            ValueError: ``ttl`` is not greater than 0, or the value is ``None``.

        Cost: 1 round trip; one more for a type, scope or tag that the reading did not name.
        If Redis fails: ``False``.
        """
        values = {resource_id: value}
        return await self.set_many(data_type, values, ttl=ttl, tags=tags, document_ids=document_ids) == 1

    async def set_many(
        self,
        data_type: str,
        values: Mapping[str, Any],
        *,
        ttl: TtlOrUnset = UNSET,
        tags: Iterable[str] = (),
        document_ids: Iterable[str] = (),
    ) -> int:
        """Store many values by id, as :meth:`set` does each; all are encoded before the first is sent.

        Args:
            data_type: Their type.
            values: The values by id.
            ttl: As for :meth:`set`.
            tags: What all of them depend on besides the reading's own tags and documents.
            document_ids: Documents, likewise.

        Returns:
            How many were stored.

        Raises:
            EncodeError: As for :meth:`set`.
            ValueError: As for :meth:`set`.

        Cost: 1 round trip a node, the commands written together.
        If Redis fails: 0.
        """
        policy, tags = self._policy_of(data_type), (*self._tags, *named(tags, document_ids))

        def parcel(value: Any) -> Parcel:
            return self._writer.parcel(value, policy, ttl, (*tags, *named((), self._documents_of(value))))

        keys = [self._keys.entry(data_type, resource_id, self._scope) for resource_id in values]
        parcels = await self._writer.storable(lambda: [parcel(value) for value in values.values()], keys)
        beginnings = [self._beginning(data_type, resource_id) for resource_id in values]
        stores = map(self._writer.store_read, keys, parcels, beginnings)
        return sum(await asyncio.gather(*stores))

    def _beginning(self, data_type: str, resource_id: str) -> Beginning | None:
        if self._began is None:
            return None
        return self._began[self._keys.bucket(self._scope.tenant_id, data_type, resource_id)]
