"""Ending the entries that depend on a change, in one word for the application's habits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from alacena.common import runtime
from alacena.common.cache.manager import CacheManager
from alacena.common.cache.metrics import METRICS
from alacena.common.cache.tenancy import check_data, scope_of, tenant_of
from alacena.constants import METRIC_CACHE_INVALIDATION_COORDINATED, METRIC_CHUNK_CACHE_INVALIDATION
from alacena.engine.base.arguments import copy_mapping, list_of
from alacena.engine.base.errors import ArgumentError, show
from alacena.engine.base.keys import collection_tag, document_tag, document_text
from alacena.engine.base.lineage import ANSWER_TYPES
from alacena.engine.base.scope import identifier

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping

    from alacena.common.context import Context
    from alacena.engine.base.keys import DocumentId

_RELATED = frozenset({"data_type", "resource_id", "agent_id", "conversation_id", "collection_id"})
"""The names that a dict of `invalidate_coordinated` may have."""


async def invalidate_resource_cache(
    data_type: str,
    resource_id: str,
    tenant_id: str | None = None,
    agent_id: str | None = None,
    conversation_id: str | None = None,
    collection_id: str | None = None,
) -> bool:
    """Ends one resource, at every scope or at the scopes given. Returns whether there could have been something."""
    return bool(
        await CacheManager.invalidate(tenant_id, data_type, resource_id, agent_id, conversation_id, collection_id)
    )


async def invalidate_coordinated(
    tenant_id: str | None,
    primary_data_type: str,
    primary_resource_id: str | None,
    related_invalidations: Iterable[Mapping[str, Any]] | None = None,
    agent_id: str | None = None,
    conversation_id: str | None = None,
    collection_id: str | None = None,
) -> dict[str, int]:
    """Ends a resource and others that go with it.

    Args:
        tenant_id: The tenant; ``None``: the ambient tenant.
        primary_data_type: The type that changed.
        primary_resource_id: Which; ``None`` or ``"*"``: all of the type.
        related_invalidations: Dicts with ``data_type`` and, optionally, ``resource_id`` (left out or ``"*"``: all of
            the type), ``agent_id``, ``conversation_id`` and ``collection_id``.
        agent_id: Only the agent's own entries. The same holds for the next two. Related ones have scopes of their own.
        conversation_id: Only the conversation's own entries.
        collection_id: Only the collection's own entries.

    Returns:
        The counts of `CacheManager.invalidate`, added up by data type.

    Cost: 1 round trip for each resource, all under way together.
    """
    scope = {"agent_id": agent_id, "conversation_id": conversation_id, "collection_id": collection_id}
    wanted: list[dict[str, Any]] = [{"data_type": primary_data_type, "resource_id": primary_resource_id, **scope}]
    related = [] if related_invalidations is None else list_of(related_invalidations, "related_invalidations", "dicts")
    wanted += map(_check_related, related)
    for one in wanted:
        _check_wanted(tenant_id, **one)
    counts = await asyncio.gather(*(_invalidate(tenant_id, **one) for one in wanted))
    METRICS.add(primary_data_type, METRIC_CACHE_INVALIDATION_COORDINATED, sum(counts))
    return _add_up(zip((str(one["data_type"]) for one in wanted), counts, strict=True))


async def invalidate_document_update(
    tenant_id: str | None,
    document_id: DocumentId | None = None,
    collection_id: str | None = None,
    *,
    metadata: Mapping[str, Any] | None = None,
    ctx: Context | None = None,
) -> dict[str, int]:
    """Ends all that an update of a document makes wrong.

    With ``document_id``: the document, at every scope, and every chunk, embedding and answer that was stored as made
    from it, or from an entry that was. With ``collection_id``: the entries stored for the collection as a whole (query
    results, retrievals, vector stores, semantic indexes), at every scope that includes it; and those stored for it,
    of any type but chunks and embeddings, that name no document: an answer that found nothing may find this one.

    Args:
        tenant_id: The tenant; ``None``: the tenant of ``ctx``, else the ambient one.
        document_id: The document; left out: ``metadata["document_id"]``.
        collection_id: Its collection; left out: ``metadata["collection_id"]``.
        metadata: The document's metadata.
        ctx: The context that the call works in.

    Returns:
        The entries ended, as `CacheManager.invalidate` counts, by data type. ``"dependents"`` says whether anything is
        known that was made from the document, ``"undocumented"`` whether anything that names none: with 0, nothing that
        may still be alive was ever tied to it.

    Raises:
        ValueError: Neither a document nor a collection is named.
        TenantMismatchError: Two tenants are named, in the arguments, the metadata or the surroundings.

    Cost: 1 round trip for each kind, all under way together.
    """
    known = {} if metadata is None else copy_mapping(metadata, "metadata", "the document's fields")
    tenant_id = tenant_of(tenant_id, ctx)
    # Metadata comes with a document, often a stranger's: it may confirm the tenant and never chooses it.
    check_data({"metadata": known}, tenant_id)
    document_id = _first_named(document_id, known.get("document_id"))
    collection_id = _first_named(collection_id, known.get("collection_id"))
    if document_id is None and collection_id is None:
        msg = "nothing names the document: pass document_id=..., collection_id=..., or metadata= with one of them"
        raise ArgumentError(msg)
    # Both before the first coroutine is made: an id that is none would leave it behind, never awaited.
    of_document = () if document_id is None else (document_tag(document_id),)
    of_collection = () if collection_id is None else (collection_tag(collection_id), collection_tag(None))
    work: dict[str, Any] = {}
    own = None
    if document_id is not None:
        work["document"] = CacheManager.invalidate(tenant_id, "document", document_text(document_id))
        own = _end_known_tags(tenant_id, of_document)
    if collection_id is not None:
        for data_type in ANSWER_TYPES:
            work[data_type] = CacheManager.invalidate(tenant_id, data_type, collection_id=collection_id)
        # The second tag is on answers that were stored for no collection: they may rest on this one as well.
        work["undocumented"] = _end_known_tags(tenant_id, of_collection)
    names = [*work] if own is None else [*work, "dependents"]
    return _add_up(zip(names, await _together(own, work.values()), strict=True))


async def invalidate_chunk_cache(
    tenant_id: str | None,
    chunk_id: str,
    collection_id: str | None = None,
    document_id: DocumentId | None = None,
    model_name: str | None = None,
    ctx: Context | None = None,
) -> dict[str, int]:
    """Ends a chunk and the embeddings stored under its id.

    Args:
        tenant_id: The tenant; ``None``: the tenant of ``ctx``, else the ambient one.
        chunk_id: The chunk.
        collection_id: Only the collection's own copies; left out: at every scope.
        document_id: With it, the answers made from the chunk's document end too.
        model_name: The model of an embedding that ends too, stored as ``"{model}:{chunk_id}"``.
        ctx: The context that the call works in.

    Returns:
        The counts of `CacheManager.invalidate`, added up by data type.
    """
    tenant_id = tenant_of(tenant_id, ctx)
    ids = [("chunk", chunk_id), ("embedding", chunk_id)]
    if model_name is not None:
        ids.append(("embedding", f"{identifier('model_name', model_name)}:{identifier('chunk_id', chunk_id)}"))
    tags = () if document_id is None else (document_tag(document_id),)
    work = [(kind, CacheManager.invalidate(tenant_id, kind, one, collection_id=collection_id)) for kind, one in ids]
    kinds = [kind for kind, _ in work]
    own = None
    if document_id is not None:
        own = _end_known_tags(tenant_id, tags)
        kinds.append("dependents")
    counts = await _together(own, [one for _, one in work])
    METRICS.add("chunk", METRIC_CHUNK_CACHE_INVALIDATION, sum(counts))
    return _add_up(zip(kinds, counts, strict=True))


async def _together(own: Coroutine[Any, Any, int] | None, others: Iterable[Coroutine[Any, Any, int]]) -> list[int]:
    """Returns the results of all, ``own`` last; that one runs in the caller's task, the others in tasks of their own.

    The engine tells the task that ended a document from the tasks that read it before.
    """
    rest = [asyncio.ensure_future(one) for one in others]
    try:
        ended = [] if own is None else [await own]
        return [*await asyncio.gather(*rest), *ended]
    finally:
        # If ours failed or the caller was cancelled, the others end before the caller goes on: one that came later could
        # open the cache anew that the caller has closed meanwhile.
        for one in rest:
            one.cancel()
        await asyncio.wait(rest)


async def _end_known_tags(tenant_id: str | None, tags: tuple[str, ...]) -> int:
    """Ends the entries with tags, and returns how many of the tags anything was stored under."""
    cache = await runtime.opened()
    return await cache.invalidate_known(tenant_of(tenant_id), tags=tags)


def _check_related(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the other things to be ended, checked.

    Raises:
        ArgumentError: It is no mapping of names that are known, or names no data type.
    """
    one = copy_mapping(given, "each of related_invalidations", "data_type, resource_id and ids of a scope")
    # CacheManager.invalidate takes a missing data type for all types: a dict that forgot it could end the whole tenant.
    if one.get("data_type") is None or not one.keys() <= _RELATED:
        raise ArgumentError(
            f"each of related_invalidations needs a data_type, and may have {', '.join(sorted(_RELATED))}, "
            f"not {show(sorted(one))}"
        )
    return one


def _check_wanted(tenant_id: str | None, data_type: str, resource_id: str | None = None, **scope: Any) -> None:
    """Refuses names that cannot be ended, before the first of several is: ``CacheManager.invalidate`` would refuse it alone."""
    identifier("data_type", data_type)
    scope_of(tenant_id, **scope)
    if resource_id is not None:
        identifier("resource_id", resource_id)


async def _invalidate(
    tenant_id: str | None,
    data_type: str,
    resource_id: str | None = None,
    agent_id: str | None = None,
    conversation_id: str | None = None,
    collection_id: str | None = None,
) -> int:
    return await CacheManager.invalidate(tenant_id, data_type, resource_id, agent_id, conversation_id, collection_id)


def _first_named(*given: Any) -> Any:
    """Returns the first id that is one: neither ``None`` nor blank text. The number 0 is an id."""
    return next((one for one in given if one is not None and not (isinstance(one, str) and not one.strip())), None)


def _add_up(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for name, count in counts:
        total[name] = total.get(name, 0) + count
    return total
