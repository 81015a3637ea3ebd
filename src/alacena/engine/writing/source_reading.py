"""Values that were read from the source from one moment on, on their way into the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alacena.engine.base.arguments import check_values
from alacena.engine.base.lineage import tags_of_each
from alacena.engine.base.scope import identifier, several
from alacena.engine.base.ttl import UNSET, TtlOrUnset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from alacena.engine.base.keys import DocumentId, Keys
    from alacena.engine.base.lineage import DocumentsById
    from alacena.engine.base.policy import Policy
    from alacena.engine.base.remote_tier import Beginning
    from alacena.engine.base.scope import Scope
    from alacena.engine.writing.writer import Writer


class Reading:
    """Stores the values of a reading of the source, unless it was invalidated since the reading began.

    Made by :meth:`alacena.engine.api.cache.Cache.reading`.

    Args:
        scope: The scope of the values.
        tags: Tags on which all of them depend.
        keys: Renders keys.
        writer: Stores.
        policy_of: Returns the policy of a type.

    Attributes:
        check: Is called with each value before anything is stored, and raises to refuse it.
    """

    def __init__(
        self,
        scope: Scope,
        tags: tuple[str, ...],
        keys: Keys,
        writer: Writer,
        policy_of: Callable[[str], Policy],
    ) -> None:
        self._scope = scope
        self._tags = tags
        self._keys = keys
        self._writer = writer
        self._policy_of = policy_of
        self._began: tuple[Beginning, ...] | None = None
        self.check: Callable[[Any], object] | None = None

    async def begin(self, data_types: Iterable[str]) -> None:
        """Notes the ground of the reading, with the types that are named.

        Cost: 1 round trip.
        """
        types = [identifier("data_type", one) for one in several(data_types)]
        self._began = await self._writer.begin(self._scope, types, self._tags)

    async def set(
        self,
        data_type: str,
        resource_id: str,
        value: Any,
        *,
        ttl: TtlOrUnset = UNSET,
        tags: Iterable[str] = (),
        document_ids: Iterable[DocumentId] = (),
    ) -> bool:
        """Stores a value that was read since the reading began.

        Args:
            data_type: Its type.
            resource_id: Its id within the type.
            value: Anything the codec knows, except ``None``.
            ttl: As for :meth:`alacena.engine.api.cache.Cache.set`.
            tags: Its tags besides the reading's own tags and documents.
            document_ids: Documents, likewise.

        Returns:
            Whether it was stored; ``False`` if the entry, its resource, type, scope or tenant or anything it depends on
            was invalidated since the reading began, or the entry was deleted; while a source transaction holds the
            entry; or if Redis failed, or has ended more since then than it can name.

        Raises:
            EncodeError: The value holds something that cannot be stored; the message names where.
            ValueError: ``ttl`` is not greater than 0, or the value is ``None``.

        Cost: 1 round trip; one more for a type, scope or tag that the reading did not name.
        If Redis fails: ``False``.
        """
        values = {identifier("resource_id", resource_id): value}
        return await self.set_many(data_type, values, ttl=ttl, tags=tags, document_ids=document_ids) == 1

    async def set_many(
        self,
        data_type: str,
        values: Mapping[str, Any],
        *,
        ttl: TtlOrUnset = UNSET,
        tags: Iterable[str] = (),
        document_ids: Iterable[DocumentId] | DocumentsById = (),
    ) -> int:
        """Stores many values by id, as :meth:`set` does each; all are encoded before the first is sent.

        Args:
            data_type: Their type.
            values: The values by id.
            ttl: As for :meth:`set`.
            tags: Tags of all of them besides the reading's own tags and documents.
            document_ids: Documents, likewise; or, by id, those of each.

        Returns:
            How many were stored.

        Raises:
            EncodeError: As for :meth:`set`.
            ValueError: As for :meth:`set`; or documents are named for an id that has no value.

        Cost: 1 round trip a node for each 400 entries, 100 of them in one command.
        If Redis fails: 0.
        """
        check_values(values)
        if self.check is not None:
            for value in values.values():
                self.check(value)
        tenant_id, bucket = self._scope.tenant_id, self._keys.bucket
        beginnings = None
        if self._began is not None:
            beginnings = [self._began[bucket(tenant_id, data_type, resource_id)] for resource_id in values]
        return await self._writer.set_read(
            [self._keys.entry(data_type, resource_id, self._scope) for resource_id in values],
            list(values.values()),
            [(*self._tags, *own) for own in tags_of_each(values, tags, document_ids)],
            self._policy_of(data_type),
            ttl,
            beginnings,
        )
