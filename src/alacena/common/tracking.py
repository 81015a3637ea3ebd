"""Token usage, counted once for each idempotency key, and the metrics that go with it."""

from __future__ import annotations

import logging
from operator import index
from typing import TYPE_CHECKING, Any, Final, SupportsIndex

from alacena.common import runtime
from alacena.common.cache.metrics import METRICS, track_cache_metrics, track_chunk_cache_metrics
from alacena.common.cache.tenancy import tenant_of
from alacena.common.context.vars import get_current_agent_id, get_current_conversation_id
from alacena.common.token_counts import read_parts
from alacena.constants import (
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
from alacena.engine import UNSET
from alacena.engine.base.errors import ArgumentError, show, text_of
from alacena.engine.loading.load import in_source
from alacena.ledger.usage import whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from alacena.engine.base.ttl import Unset

_UNKNOWN_MODEL: Final = "unknown"
_log = logging.getLogger("alacena")

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
    tokens: int | Unset = UNSET,
    model: str | None = None,
    agent_id: str | None = None,
    conversation_id: str | None = None,
    collection_id: str | None = None,
    token_type: str = TOKEN_TYPE_LLM,
    operation: str = OPERATION_QUERY,
    metadata: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
    *,
    parts: Any = None,
    cost: Decimal | float | str | None = None,
) -> bool:
    """Counts a use of tokens.

    Inside a source (a loader, an embedding provider) it never takes the answer down, which is paid for by then: what
    cannot be counted now waits in the spill file (``ledger_spill_path``), else in this process, and is counted once as
    soon as Redis takes writes again; what can never be counted is logged with its figures.

    Args:
        tenant_id: The tenant that pays; left out: the ambient tenant.
        tokens: The number of tokens; 0 counts nothing and does not use up the key. Left out: input and output of ``parts``.
        model: The model that used them; left out: ``"unknown"``.
        agent_id: The agent that used them; left out: the ambient one. The first record of a call decides it.
        conversation_id: The conversation in which it did; left out: the ambient one.
        collection_id: The collection it was for.
        token_type: ``"llm"`` or ``"embedding"`` for a whole call; another word, such as ``"prompt"``, for a part of
            one: parts share the call's key, and each counts once.
        operation: ``"query"``, ``"embedding"`` or another word.
        metadata: Anything else worth keeping; it cannot replace the arguments. A provider's usage object will do.
        idempotency_key: Names one call of a provider, the same on every retry of it: a repeated key counts once.
            Without one, every call counts. No key is ever made up from the time.
        parts: Tokens by kind, totalled apart: a dict with ``"input"``, ``"output"``, ``"cached"`` (of the
            input), ``"reasoning"`` (of the output), ``"cache_write"`` (of the input); or the usage object of OpenAI's,
            Anthropic's or Gemini's answer, as it is.
        cost: Money, counted exactly in millionths: ``Decimal("0.0024")``.

    Returns:
        ``True``: the tokens are accounted for, by this call or by an earlier one with the same key. ``False``, inside a
        source only: not yet, or not ever; see above.

    Raises:
        MissingTenantError: No tenant is given and none is ambient.
        ValueError: ``tokens`` is negative or not an integer. Outside of a source; so for the next two.
        IdempotencyConflictError: The key was used with other figures; it names both.
        BackendError: Redis failed: they are not accounted for, or it is not known; try again with the same key.

    Cost: 1 round trip.
    Atomicity: key and counts in one step: concurrent repeats count once.
    """
    try:
        tenant = tenant_of(tenant_id)
        cache = await runtime.opened()
        made = read_parts(parts)
        return await cache.ledger.record(
            tenant,
            _sum_of(made) if tokens is UNSET else tokens,
            model=_UNKNOWN_MODEL if model is None else model,
            token_type=token_type,
            operation=operation,
            agent_id=get_current_agent_id() if agent_id is None else agent_id,
            conversation_id=get_current_conversation_id() if conversation_id is None else conversation_id,
            collection_id=collection_id,
            metadata=metadata,
            idempotency_key=idempotency_key,
            parts=made,
            cost=cost,
        )
    except Exception as error:
        # Outside of a source an error loses nothing. Any: parts may be any object, and code of its own runs.
        if not in_source():
            raise
        what = f"{show(tokens)} tokens of {show(model)} under {show(idempotency_key)}"
        _log.error("token usage is not counted, and the answer that it was for is kept: %s: %s", what, error)
        return False


def _sum_of(parts: dict[str, Any] | None) -> int:
    """Returns the tokens of a call that are told by their parts alone.

    Raises:
        ValueError: There are no parts, neither input nor output is among them, or one of these is no number.
    """
    if not parts:
        raise ArgumentError(
            "tokens must be an integer, or parts name some, and both are left out: the provider gave no usage. Ask it for it "
            "(OpenAI's streams: stream_options={'include_usage': True}), or pass tokens=0"
        )
    if "input" not in parts and "output" not in parts:
        names = ", ".join(map(repr, sorted(map(text_of, parts))))
        raise ArgumentError(f"parts names {names}, and neither 'input' nor 'output': pass tokens= as well")
    return sum(whole(parts.get(name, 0), f"parts[{name!r}]") for name in ("input", "output"))


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
    """Counts tokens that were spent on embeddings. As `track_token_usage`."""
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


def _is_index(amount: Any) -> bool:
    # The class of an integer has the method too, and is no amount.
    return isinstance(amount, SupportsIndex) and not isinstance(amount, type)


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
    """Counts the tokens of one question and its answer, together. As `track_token_usage`.

    The totals have them as the parts ``input`` and ``output`` too.
    """
    given = {"tokens_in": tokens_in, "tokens_out": tokens_out}
    missing = next((name for name, amount in given.items() if not _is_index(amount)), None)
    if missing is not None:
        if not in_source():
            raise ArgumentError(
                f"{missing} must be an integer, not {show(given[missing])}: pass the number that the provider reported"
            )
        # The answer is paid for, and is not lost for a figure that its provider left out.
        given[missing] = 0
    return await track_token_usage(
        tenant_id,
        sum(map(index, given.values())),
        model,
        agent_id,
        conversation_id,
        None,
        TOKEN_TYPE_LLM,
        operation_type,
        given,
        idempotency_key,
        parts={"input": given["tokens_in"], "output": given["tokens_out"]},
    )


async def estimate_prompt_tokens(text: str, model: str = "gpt-3.5-turbo") -> int:  # noqa: ARG001 - callers pass it
    """Returns about how many tokens a text is, for budgets: no tokenizer is asked.

    Args:
        text: The text.
        model: Accepted; the estimate is the same for all.

    Returns:
        The mean of four characters a token and three words for four tokens; 0 for an empty text, else at least 1.
    """
    if not text:
        return 0
    if not isinstance(text, str):
        raise ArgumentError(f"text must be a string, not {show(text)}")
    return max(1, round((len(text) / 4 + len(text.split()) * 4 / 3) / 2))
