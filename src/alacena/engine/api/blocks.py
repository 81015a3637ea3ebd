"""Blocks of a cache: around a transaction that changes the source, and around work on what was read from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from alacena.engine.base.keys import named
from alacena.engine.base.scope import check_pairs, make_scope
from alacena.engine.writing.reading import Reading

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from alacena.engine.api.assembly import Parts
    from alacena.engine.base.keys import DocumentId
    from alacena.engine.base.policy import Policy
    from alacena.engine.base.scope import Scope
    from alacena.engine.base.settings import Settings


class BlockVerbs(ABC):
    """The verbs of a cache that are put around code."""

    settings: Settings

    @abstractmethod
    def policy(self, data_type: str) -> Policy:
        """How a data type is kept and loaded."""

    @abstractmethod
    def _open_parts(self) -> Parts: ...

    @asynccontextmanager
    async def write(
        self,
        tenant_id: str | Scope,
        *resources: tuple[str, str],
        document_ids: Sequence[DocumentId] = (),
        hold_s: float | None = None,
    ) -> AsyncIterator[None]:
        """Put this around a transaction of the source: readers bypass the entries until it is over.

        ::

            async with cache.write("acme", ("document", "d1"), document_ids=["d1"]):
                async with connection.transaction():
                    ...

        What is named is invalidated when the block begins and once more when it ends. A process that dies between its
        commit and the end of the block leaves a hold that expires after ``hold_s`` (left out: the setting), and nothing of
        the resources that was read before the commit.

        Args:
            tenant_id: The tenant, or a scope.
            resources: ``(data_type, resource_id)`` of what the transaction changes; invalidated at every scope.
            document_ids: Documents that it changes: what was made from them is invalidated too. It is not held: what is
                made from them while the block runs stays if the process dies inside.
            hold_s: Seconds; must be above the longest time the transaction may take.

        Raises:
            InvalidKeyError: A resource is no pair of data type and id.

        Cost: 1 round trip before the block and 2 after it.
        """
        parts = self._open_parts()
        check_pairs(resources, "write(tenant_id, (data_type, resource_id), ...)")
        held_s = self.settings.hold_s if hold_s is None else hold_s
        tags = named((), document_ids)
        async with parts.writer.write(make_scope(tenant_id), resources, tags, held_s):
            yield

    @asynccontextmanager
    async def reading(
        self,
        tenant_id: str | Scope,
        *,
        document_ids: Iterable[DocumentId] = (),
        tags: Iterable[str] = (),
        data_types: Iterable[str] = (),
    ) -> AsyncIterator[Reading]:
        """Put this around code that reads the source, works on what it read, and stores the outcome.

        ::

            async with cache.reading("acme", document_ids=["d1"]) as reading:
                chunks = split(await fetch("d1"))
                await reading.set_many("chunk", chunks)

        What is invalidated after the block began is not stored by it, however long the work takes: it was read before.

        Args:
            tenant_id: The tenant, or a scope: all that the reading stores lies there.
            document_ids: Documents that are read: all that the reading stores depends on them. What a value itself names
                as its ``document_id`` is added to them.
            tags: Other names, likewise.
            data_types: Types that the reading stores, if it is to end with an invalidation of the whole type too.

        Cost: 1 round trip before the block.
        If Redis fails: the block runs; what it stores is not stored, and ``set`` returns ``False``.
        """
        parts, scope = self._open_parts(), make_scope(tenant_id)
        reading = Reading(scope, named(tags, document_ids), parts.keys, parts.writer, self.policy)
        await reading.begin(data_types)
        yield reading
