"""The metadata that every document and chunk carries, whichever service wrote it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alacena.common.cache.tenancy import tenant_in_context
from alacena.common.context import Context, get_full_context
from alacena.common.context.vars import agree_on_tenant
from alacena.common.runtime import PROCESS
from alacena.engine.base.arguments import copy_mapping
from alacena.engine.base.errors import ArgumentError, MissingTenantError, show
from alacena.engine.base.scope import identifier

if TYPE_CHECKING:
    from collections.abc import Mapping


def standardize_llama_metadata(
    metadata: Mapping[str, Any] | None = None,
    tenant_id: str | None = None,
    document_id: str | None = None,
    chunk_id: str | int | None = None,
    collection_id: str | None = None,
    ctx: Any = None,
    *,
    agent_id: str | None = None,
    conversation_id: str | None = None,
) -> dict[str, Any]:
    """Returns a copy of the metadata of a LlamaIndex node with the fields that every service relies on.

    An argument outranks the metadata, the metadata outranks ``ctx`` (without one: the ambient ids). The tenant is
    different: metadata is data, often a stranger's, and never chooses it. Argument, ``ctx``, surroundings and metadata
    must agree; metadata alone counts only if none of the others names a tenant. Blank values count as absent; unknown
    fields stay. ``created_at`` becomes the present, in whole seconds since the epoch, if it is absent. Ids become text
    (ints, numpy's too, UUIDs and members of an `Enum`). A bare number as ``chunk_id`` gets its document's id in front
    (``"doc1_3"``), so that it names one chunk in the whole tenant. Doing it twice changes nothing.

    Args:
        metadata: The node's own; it is not changed.
        tenant_id: The tenant.
        document_id: The document.
        chunk_id: The chunk; it must have a document.
        collection_id: The collection.
        ctx: The context that the call works in.
        agent_id: The agent.
        conversation_id: The conversation.

    Raises:
        TenantMismatchError: Two tenants are named.
        ValueError: There is no tenant anywhere (`MissingTenantError`), a chunk has no document, or an id is neither text
            nor a number nor a UUID (`InvalidKeyError`).
    """
    standard = {} if metadata is None else copy_mapping(metadata, "metadata", "a document's fields")
    tenant = _agree_on_tenant(tenant_id, ctx, standard.get("tenant_id"))
    given = {
        "tenant_id": tenant,
        "document_id": document_id,
        "chunk_id": chunk_id,
        "collection_id": collection_id,
        "agent_id": agent_id,
        "conversation_id": conversation_id,
    }
    standard.update({name: value for name, value in given.items() if not _blank(value)})
    for name, value in _surroundings(ctx).items():
        if _blank(standard.get(name)) and not _blank(value):
            standard[name] = value
    if tenant is None:
        msg = "tenant_id es obligatorio en los metadatos: pass tenant_id=..., or a ctx that has one"
        raise MissingTenantError(msg)
    # After the surroundings, whose ids become text too, and before the chunk's name, made of the document's.
    standard.update({name: identifier(name, standard[name]) for name in given if not _blank(standard.get(name))})
    if not _blank(standard.get("chunk_id")):
        standard["chunk_id"] = _chunk_name(standard["chunk_id"], standard.get("document_id"))
    if standard.get("created_at") is None:
        standard["created_at"] = int(PROCESS.environment.wall())
    return standard


def standardize_langchain_metadata(
    metadata: Mapping[str, Any] | None = None,
    tenant_id: str | None = None,
    agent_id: str | None = None,
    conversation_id: str | None = None,
    collection_id: str | None = None,
    ctx: Any = None,
) -> dict[str, Any]:
    """As `standardize_llama_metadata`, for LangChain documents: marked with ``source_framework="langchain"``."""
    standard = standardize_llama_metadata(
        metadata,
        tenant_id,
        collection_id=collection_id,
        ctx=ctx,
        agent_id=agent_id,
        conversation_id=conversation_id,
    )
    standard["source_framework"] = "langchain"
    return standard


def _agree_on_tenant(tenant_id: object, ctx: Any, in_metadata: object) -> str | None:
    """Returns the tenant that the argument, the context, the surroundings and the metadata agree on."""
    named = {
        "the argument tenant_id": tenant_id,
        "the argument ctx": tenant_in_context(ctx),
        "the metadata's tenant_id": in_metadata,
    }
    return agree_on_tenant(*((source, value) for source, value in named.items() if not _blank(value)))


def _blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _surroundings(ctx: Any) -> dict[str, Any]:
    """Returns the ids that a context gives: its own, then the ambient ones. Contexts of another make by their attributes."""
    names = ("tenant_id", "collection_id", "agent_id", "conversation_id")
    if ctx is None:
        return dict(get_full_context())
    if isinstance(ctx, Context):
        return {**get_full_context(), **{name: own for name in names if (own := getattr(ctx, name)) is not None}}
    return {name: getattr(ctx, name, None) for name in names}


def _chunk_name(chunk_id: str, document_id: str | None) -> str:
    if document_id is None or _blank(document_id):
        msg = (
            f"chunk {show(chunk_id)} has no document: pass document_id=... (text, an int or a UUID) with every chunk_id"
        )
        raise ArgumentError(msg)
    return f"{document_id}_{chunk_id}" if chunk_id.removeprefix("-").isdecimal() else chunk_id
