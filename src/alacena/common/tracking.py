"""Token usage, counted once for each idempotency key, and the metrics that go with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from alacena.common import runtime
from alacena.common.cache.metrics import METRICS, track_cache_metrics, track_chunk_cache_metrics
from alacena.common.cache.tenancy import tenant_of
from alacena.common.context.vars import get_current_agent_id, get_current_conversation_id
from alacena.common.core.constants import (
    OPERATION_AGENT_CHAT,
    OPERATION_AGENT_FLOW,
    OPERATION_AGENT_MULTI,
    OPERATION_AGENT_RAG,
    OPERATION_AGENT_TOOL,
    OPERATION_BATCH,
    OPERATION_CHAT,
    OPERATION_CLASSIFICATION,
    OPERATION_EMBEDDING,
    OPERATION_EXTRACTION,
    OPERATION_GENERATION,
    OPERATION_INTERNAL,
    OPERATION_QUERY,
    OPERATION_SUMMARIZE,
    OPERATION_VECTOR_SEARCH,
    TOKEN_TYPE_EMBEDDING,
    TOKEN_TYPE_FINE_TUNING,
    TOKEN_TYPE_LLM,
    TOKEN_TYPE_TOKENIZATION,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNKNOWN_MODEL: Final = "unknown"

__all__ = [
    "METRICS",
    "OPERATION_AGENT_CHAT",
    "OPERATION_AGENT_FLOW",
    "OPERATION_AGENT_MULTI",
    "OPERATION_AGENT_RAG",
    "OPERATION_AGENT_TOOL",
    "OPERATION_BATCH",
    "OPERATION_CHAT",
    "OPERATION_CLASSIFICATION",
    "OPERATION_EMBEDDING",
    "OPERATION_EXTRACTION",
    "OPERATION_GENERATION",
    "OPERATION_INTERNAL",
    "OPERATION_QUERY",
    "OPERATION_SUMMARIZE",
    "OPERATION_VECTOR_SEARCH",
    "TOKEN_TYPE_EMBEDDING",
    "TOKEN_TYPE_FINE_TUNING",
    "TOKEN_TYPE_LLM",
    "TOKEN_TYPE_TOKENIZATION",
    "estimate_prompt_tokens",
    "track_cache_metrics",
    "track_chunk_cache_metrics",
    "track_embedding_usage",
    "track_query",
    "track_token_usage",
]


async def track_token_usage(
    tenant_id: str | None = None,
    tokens: int = 0,
    model: str | None = None,
    agent_id: str | None = None,
    conversation_id: str | None = None,
    collection_id: str | None = None,
    token_type: str = TOKEN_TYPE_LLM,
    operation: str = OPERATION_QUERY,
    metadata: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
) -> bool:
    """Count a use of tokens.

    Args:
        tenant_id: Who pays; left out: the ambient tenant.
        tokens: How many; 0 counts nothing and does not use up the key.
        model: The model that used them; left out: ``"unknown"``.
        agent_id: The agent that used them; left out: the ambient one.
        conversation_id: The conversation in which it did; left out: the ambient one.
        collection_id: The collection it was for.
        token_type: ``"llm"``, ``"embedding"`` or another word.
        operation: ``"query"``, ``"embedding"`` or another word.
        metadata: Anything else worth keeping; it cannot replace the arguments.
        idempotency_key: Names one call of a provider, the same on every retry of it: a repeated key counts once.
            Without one, every call counts. No key is ever made up from the time.

    Returns:
        ``True``: the tokens are accounted for, by this call or by an earlier one with the same key.

    Raises:
        MissingTenantError: No tenant is given and none is ambient.
        ValueError: ``tokens`` is negative or not an integer.
        IdempotencyConflictError: The key was used with other figures.
        BackendError: Redis failed: they are not accounted for, or it is not known; try again with the same key.

    Cost: 1 round trip.
    Atomicity: key and counts in one step: concurrent repeats count once.
    """
    tenant = tenant_of(tenant_id)
    cache = await runtime.opened()
    return await cache.ledger.record(
        tenant,
        tokens,
        model=_UNKNOWN_MODEL if model is None else model,
        token_type=token_type,
        operation=operation,
        agent_id=get_current_agent_id() if agent_id is None else agent_id,
        conversation_id=get_current_conversation_id() if conversation_id is None else conversation_id,
        collection_id=collection_id,
        metadata=dict(metadata) if metadata else None,
        idempotency_key=idempotency_key,
    )


async def track_embedding_usage(
    tenant_id: str | None,
    tokens: int,
    model: str | None = None,
    *,
    agent_id: str | None = None,
    conversation_id: str | None = None,
    collection_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
) -> bool:
    """Count tokens that were spent on embeddings. As `track_token_usage`."""
    return await track_token_usage(
        tenant_id,
        tokens,
        model,
        agent_id,
        conversation_id,
        collection_id,
        TOKEN_TYPE_EMBEDDING,
        OPERATION_EMBEDDING,
        metadata,
        idempotency_key,
    )


async def track_query(
    tenant_id: str | None,
    operation_type: str = OPERATION_QUERY,
    model: str | None = None,
    tokens_in: int = 0,
    tokens_out: int = 0,
    agent_id: str | None = None,
    conversation_id: str | None = None,
    *,
    idempotency_key: str | None = None,
) -> bool:
    """Count the tokens of one question and its answer, together. As `track_token_usage`."""
    return await track_token_usage(
        tenant_id,
        tokens_in + tokens_out,
        model,
        agent_id,
        conversation_id,
        None,
        TOKEN_TYPE_LLM,
        operation_type,
        {"tokens_in": tokens_in, "tokens_out": tokens_out},
        idempotency_key,
    )


async def estimate_prompt_tokens(text: str, model: str = "gpt-3.5-turbo") -> int:  # noqa: ARG001 - callers pass it
    """About how many tokens a text is, for budgets: no tokenizer is asked.

    Args:
        text: The text.
        model: Accepted; the estimate is the same for all.

    Returns:
        The mean of four characters a token and three words for four tokens; 0 for an empty text, else at least 1.
    """
    if not text:
        return 0
    return max(1, round((len(text) / 4 + len(text.split()) * 4 / 3) / 2))
