"""The verbs that are blocks (`write`, `reading`, `claim`): they turn arguments into keys, and decide nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from alacena.engine.base.arguments import finite_seconds
from alacena.engine.base.keys import collapse, name_tags
from alacena.engine.base.policy import check_policy
from alacena.engine.base.scope import Scope, check_pairs, make_scope
from alacena.engine.base.ttl import UNSET, TtlOrUnset, check_ttl
from alacena.engine.loading.load import Request
from alacena.engine.reading.claim import Claim
from alacena.engine.writing.source_reading import Reading

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from alacena.engine.api.assembly import Parts
    from alacena.engine.base.keys import DocumentId
    from alacena.engine.base.policy import Policy
    from alacena.engine.base.settings import Settings


CLAIM_LIFE_S: Final = 60.0
"""After how many seconds a claim of :meth:`BlockVerbs.begin_claim` ends by itself: longer than most calls of a model."""


class BlockVerbs(ABC):
    """The verbs of a cache that are put around code."""

    settings: Settings

    @abstractmethod
    def policy(self, data_type: str) -> Policy:
        """Returns the policy by which a data type is kept and loaded."""

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
        """Returns a block for a transaction of the source: readers bypass the entries until it is over.

        ::

            async with cache.write("acme", ("document", "d1"), document_ids=["d1"]):
                async with connection.transaction():
                    ...

        The resources are invalidated when the block begins and once more when it ends. A process that dies between its
        commit and the end of the block leaves a hold that expires after ``hold_s`` (left out: the setting), and nothing of
        the resources that was read before the commit; but for a :meth:`reading` that began inside the block, read before
        the commit, and stores after the hold has expired: no one says then that the transaction was committed. A hold
        that lasts as long as the longest transaction and the longest reading together leaves no room for that.

        Args:
            tenant_id: The tenant, or a scope.
            resources: ``(data_type, resource_id)`` of the entries that the transaction changes; invalidated at every scope.
            document_ids: Documents that it changes: values made from them are invalidated too. It is not held: an entry that is
                made from them while the block runs stays if the process dies inside.
            hold_s: Seconds; must be above the longest time the transaction may take.

        Raises:
            InvalidKeyError: A resource is no pair of data type and id.

        Cost: 1 round trip before the block and 2 after it.
        """
        parts = self._open_parts()
        check_pairs(resources, "write(tenant_id, (data_type, resource_id), ...)")
        held_s = self.settings.hold_s if hold_s is None else finite_seconds(hold_s, "hold_s")
        tags = name_tags((), document_ids)
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
        """Returns a block for code that reads the source, works on the rows, and stores the outcome.

        ::

            async with cache.reading("acme", document_ids=["d1"]) as reading:
                chunks = split(await fetch("d1"))
                await reading.set_many("chunk", chunks)

        A value that is invalidated after the block began is not stored by it, however long the work takes: it was read before.
        That holds for all that covers an entry or its dependencies: its own id, a :meth:`write` block around it, its
        type, its scope, its documents and tags; and for an entry that is deleted. An entry that others have only stored
        anew meanwhile is replaced. Of a :meth:`write` block that began before the reading, the reading notices the hold
        while it lasts, and the block's end. If the process dies inside the block, there is no end: after the hold has
        expired, the reading stores the rows of before the commit, and they stay until they expire or are invalidated.

        Args:
            tenant_id: The tenant, or a scope: all that the reading stores lies there.
            document_ids: Documents that are read: all that the reading stores depends on them. What a value itself names
                as its ``document_id`` is added to them.
            tags: Other names, likewise.
            data_types: Types that the reading stores: naming them spares each ``set`` a round trip.

        Cost: 1 round trip before the block.
        If Redis fails: the block runs; its values are not stored, and ``set`` returns ``False``.
        """
        parts, scope = self._open_parts(), make_scope(tenant_id)
        reading = Reading(scope, name_tags(tags, document_ids), parts.keys, parts.writer, self.policy)
        await reading.begin(data_types)
        yield reading

    @asynccontextmanager
    async def claim(
        self,
        data_type: str,
        resource_id: str,
        tenant_id: str | Scope,
        *,
        ttl: TtlOrUnset = UNSET,
        tags: Iterable[str] = (),
        document_ids: Iterable[DocumentId] = (),
        policy: Policy | None = None,
        use_memory: bool = True,
        search_hierarchy: bool = True,
    ) -> AsyncIterator[Claim]:
        """Returns a block for code that looks a value up, and makes and stores it if there is none.

        ::

            async with cache.claim("answer", "q1", "acme") as claim:
                if not claim.found:
                    await claim.store(await model(question))

        It is a load whose loader is the block: while it runs, other claims and loads of the entry wait for what it
        stores, here and in other processes, and the block's reads from the cache are noted. A block that ends without
        having stored, however it ends, lets the next one in line have the claim: its error is no other caller's.

        A value is stored under a lease: a value that was invalidated since the claim began is not stored. An expired entry is
        answered with if the policy serves it stale and it is being renewed by another load of this process;
        otherwise it is the block's to renew, and ``claim.previous`` is the expired value.

        Args:
            data_type: Its type.
            resource_id: Its id within the type.
            tenant_id: Its tenant, or its whole scope.
            ttl: Seconds that the value stays fresh; left out: the type's.
            tags: Tags of the value, as far as they are known before it is made.
            document_ids: Documents it depends on, likewise.
            policy: In place of the type's. After its ``hard_timeout_s`` the claim ends: the block goes on, and its
                ``store`` returns ``False``.
            use_memory: Whether memory may answer and keep a copy.
            search_hierarchy: Whether an entry of a more general scope may answer.

        Raises:
            CircularLoadError: The block or load that claims is itself waited for by a load of this entry.
            LoadTimeoutError: The tenant's limit of loads had no place in time.
            Exception: The error of a load of this process that was waited for, as :meth:`load` raises it.

        Cost: 0 round trips if memory answers, 1 if Redis does, 2 on a miss, before the block.
        Cancellation: gives the lease back; others wait on.
        If Redis fails: the block makes the value; ``store`` returns ``False``.
        """
        claim = self._claim(
            data_type, resource_id, tenant_id, ttl, name_tags(tags, document_ids), policy, use_memory, search_hierarchy
        )
        # Outside of the `try`: a claim that could not begin has given itself up.
        await claim.begin()
        try:
            with claim.inside():
                yield claim
        finally:
            await claim.close()

    async def begin_claim(
        self,
        data_type: str,
        resource_id: str,
        tenant_id: str | Scope,
        *,
        ttl: TtlOrUnset = UNSET,
        tags: Iterable[str] = (),
        document_ids: Iterable[DocumentId] = (),
        policy: Policy | None = None,
        use_memory: bool = True,
        search_hierarchy: bool = True,
        life_s: float = CLAIM_LIFE_S,
    ) -> Claim:
        """Begins a :meth:`claim`, for code that looks up in one call and stores in another.

        ::

            claim = await cache.begin_claim("answer", "q1", "acme")
            ...
            await claim.store(value)  # or, if there is none: await claim.close()

        The two calls may come from different tasks; so reads between them are not noted (say ``depends_on``), and
        a wait for the claim's own entry between them is not seen as a circle: it ends with the claim.

        Args:
            data_type: As for :meth:`claim`.
            resource_id: As for :meth:`claim`.
            tenant_id: As for :meth:`claim`.
            ttl: As for :meth:`claim`.
            tags: As for :meth:`claim`.
            document_ids: As for :meth:`claim`.
            policy: As for :meth:`claim`.
            use_memory: As for :meth:`claim`.
            search_hierarchy: As for :meth:`claim`.
            life_s: Seconds after which a claim that was neither stored nor closed ends by itself, which is logged; the
                type's ``hard_timeout_s``, if that is less.

        Raises:
            ValueError: ``life_s`` is not greater than 0.

        Cost: As for :meth:`claim`.
        Cancellation: As for :meth:`claim`.
        If Redis fails: As for :meth:`claim`.
        """
        claim = self._claim(
            data_type, resource_id, tenant_id, ttl, name_tags(tags, document_ids), policy, use_memory, search_hierarchy
        )
        await claim.begin(life_s)
        return claim

    def _claim(
        self,
        data_type: str,
        resource_id: str,
        tenant_id: str | Scope,
        ttl: TtlOrUnset,
        tags: tuple[str, ...],
        policy: Policy | None,
        use_memory: bool,
        search_hierarchy: bool,
    ) -> Claim:
        parts = self._open_parts()
        scope = make_scope(tenant_id)
        keys = parts.keys.entries(data_type, resource_id, scope)
        request = Request(
            keys=keys if search_hierarchy else keys[:1],
            loader=_no_loader,
            policy=self.policy(data_type) if policy is None else check_policy(policy),
            ttl=check_ttl(ttl),
            tags=collapse(tags),
            use_memory=use_memory,
        )
        return Claim(request, parts.reader, parts.flights, parts.environment)


async def _no_loader(_: object) -> Any:
    raise AssertionError("a claim is loaded by itself")
