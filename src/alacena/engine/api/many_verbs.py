"""The verbs of a cache for many entries of one type at once."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from alacena.engine.base.arguments import check_callable, check_values
from alacena.engine.base.keys import collapse, name_tags
from alacena.engine.base.lineage import tags_of_each
from alacena.engine.base.remote_tier import MISSING
from alacena.engine.base.scope import make_scope
from alacena.engine.base.ttl import UNSET, TtlOrUnset, check_ttl
from alacena.engine.reading.batch_alignment import MOST_AT_ONCE, as_asked, distinct
from alacena.engine.reading.batch_reader import Batch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from alacena.engine.api.assembly import Parts
    from alacena.engine.base.keys import DocumentId, EntryKey
    from alacena.engine.base.lineage import DocumentsById
    from alacena.engine.base.policy import Policy
    from alacena.engine.base.scope import Scope
    from alacena.engine.reading.batch_alignment import BatchLoader


class ManyVerbs(ABC):
    """The verbs of a cache that take many ids."""

    @abstractmethod
    def policy(self, data_type: str) -> Policy:
        """Returns the policy by which a data type is kept and loaded."""

    @abstractmethod
    def _open_parts(self) -> Parts: ...

    async def get_many(
        self, data_type: str, resource_ids: Iterable[str], tenant_id: str | Scope, *, use_memory: bool = True
    ) -> dict[str, Any]:
        """Returns the values of many entries, by id; misses are left out.

        Cost: at most 1 round trip a node for each 1,000 ids.
        """
        return await self._look(data_type, resource_ids, tenant_id, use_memory=use_memory, is_last=True)

    async def peek_many(self, data_type: str, resource_ids: Iterable[str], tenant_id: str | Scope) -> dict[str, Any]:
        """Returns the values of many entries, by id, for a caller that loads the others next and counts a miss there.

        Cost: at most 1 round trip a node for each 1,000 ids.
        """
        return await self._look(data_type, resource_ids, tenant_id, use_memory=True, is_last=False)

    async def _look(
        self, data_type: str, resource_ids: Iterable[str], tenant_id: str | Scope, *, use_memory: bool, is_last: bool
    ) -> dict[str, Any]:
        parts = self._open_parts()
        scope, ids, policy = make_scope(tenant_id), distinct(resource_ids), self.policy(data_type)
        found: dict[str, Any] = {}
        for at in range(0, len(ids) or 1, MOST_AT_ONCE):  # once even for no ids: their type is checked there
            if at:
                await asyncio.sleep(0)
            some = ids[at : at + MOST_AT_ONCE]
            keys = parts.keys.many(data_type, some, scope)
            values = await parts.batches.look(keys, policy, use_memory=use_memory, is_last=is_last)
            found |= {i: value for i, value in zip(some, values, strict=True) if value is not MISSING}
        return found

    async def load_many(
        self,
        data_type: str,
        resource_ids: Iterable[str],
        tenant_id: str | Scope,
        loader: BatchLoader,
        *,
        ttl: TtlOrUnset = UNSET,
        tags: Iterable[str] = (),
        document_ids: Iterable[DocumentId] = (),
        use_memory: bool = True,
    ) -> dict[str, Any]:
        """Returns the values of many entries, by id, with one loader call for all that the tiers do not have.

        Args:
            data_type: Their type.
            resource_ids: Their ids; repeated ones are loaded once.
            tenant_id: Their tenant, or scope.
            loader: ``async def loader(ids) -> mapping by id``, or a sequence in the order of the ids; ``None`` (or no
                entry in the mapping) for ids that the source does not have. One that is not async is accepted. It is given
                the ids as they were passed here, and its mapping's are compared with them as text.
            ttl: As for :meth:`Cache.set`.
            tags: Tags of all of them.
            document_ids: Documents that all of them depend on.
            use_memory: Whether memory may answer and keep copies.

        Returns:
            The values; an id that the source does not have is left out. Each is private to the caller, as for :meth:`Cache.get`.

        Raises:
            LoadTimeoutError: The type's hard timeout passed, and not every missing entry has a stale one to stand in.
            ValueError: The loader returned something whose values cannot be told apart, or named other ids in place of
                some that it was asked for.
            Exception: The loader's own, as they are. Values loaded before are stored.

        Cost: 1 round trip a node for each 1,000 ids; one more for each 1,000 misses, and one loader call for all. Most of a
            large batch is stored behind the answer: until then a look finds nothing, and a load waits for the value in
            place of asking the source again.
        Cancellation: the load is finished and stored: it is paid for.
        """
        parts, ttl = self._open_parts(), check_ttl(ttl)
        check_callable(loader, "loader", "async def loader(ids)")
        scope, ids = make_scope(tenant_id), distinct(resource_ids)
        keys: list[EntryKey] = []
        for at in range(0, len(ids) or 1, MOST_AT_ONCE):  # once even for no ids: their type is checked there
            if at:
                await asyncio.sleep(0)
            keys += parts.keys.many(data_type, ids[at : at + MOST_AT_ONCE], scope)
        batch = Batch(
            keys=keys,
            loader=as_asked(loader, ids),
            policy=self.policy(data_type),
            ttl=ttl,
            tags=collapse(name_tags(tags, document_ids)),
            use_memory=use_memory,
        )
        values = await parts.batches.load(batch)
        return {i: value for i, value in zip(ids, values, strict=True) if value is not MISSING}

    async def set_many(
        self,
        data_type: str,
        values: Mapping[str, Any],
        tenant_id: str | Scope,
        *,
        ttl: TtlOrUnset = UNSET,
        tags: Iterable[str] = (),
        document_ids: Iterable[DocumentId] | DocumentsById = (),
    ) -> int:
        """Stores many values, as :meth:`Cache.set` does each; all are encoded before the first is sent.

        Args:
            data_type: Their type.
            values: The values by id.
            tenant_id: Their tenant, or scope.
            ttl: As for :meth:`Cache.set`.
            tags: Tags of all of them.
            document_ids: Documents that all of them depend on; or, by id, those of each.

        Returns:
            How many were stored.

        Raises:
            EncodeError: As for :meth:`Cache.set`.
            ValueError: As for :meth:`Cache.set`; or documents are named for an id that has no value.

        Cost: 1 round trip a node for each 400 entries, 100 of them in one command; one more as for :meth:`set`.
        """
        parts = self._open_parts()
        check_values(values)
        scope, given = make_scope(tenant_id), tags_of_each(values, tags, document_ids)
        keys = parts.keys.many(data_type, list(values), scope)
        return await parts.writer.set(keys, list(values.values()), given, self.policy(data_type), ttl)
