"""The query service: an answer is computed once, and again when a document that it was made of changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alacena import (
    OPERATION_QUERY,
    TOKEN_TYPE_LLM,
    TTL_SHORT,
    depends_on,
    generate_resource_id_hash,
    get_with_cache_aside,
    track_token_usage,
)

if TYPE_CHECKING:
    from examples.rag_service.embedding import EmbeddingService
    from examples.rag_service.stage.answer import Answerer
    from examples.rag_service.stage.database import Database

TOP_K = 4


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as the caller gets it.

    Attributes:
        text: The answer.
        sources: The documents that it was made of, each with the version that was read.
        tier: Where it came from: ``memory``, ``redis`` or ``source`` (it was computed).
        tokens: What was spent on it this time.
        tokens_saved: What was not, because it was in the cache.
        ms: How long it took.
    """

    text: str
    sources: dict[str, int]
    tier: str
    tokens: int
    tokens_saved: int
    ms: float


class QueryService:
    """Answers questions about a tenant's collection of documents.

    Args:
        database: Finds passages.
        embedding: Turns questions into vectors.
        answerer: Writes answers from passages.
    """

    def __init__(self, database: Database, embedding: EmbeddingService, answerer: Answerer) -> None:
        self._database = database
        self._embedding = embedding
        self._answerer = answerer

    async def ask(self, question: str, *, tenant_id: str, collection_id: str, top_k: int = TOP_K) -> Reply:
        """Answer a question, from the nearest tier that has the answer."""
        spent: list[int] = []

        async def compute() -> dict[str, Any]:
            answer = await self._compute(question, tenant_id, collection_id, top_k)
            spent.append(answer["tokens"])
            return answer

        answer, metrics = await get_with_cache_aside(
            data_type="query_result",
            resource_id=generate_resource_id_hash(f"{question}:{collection_id}:{top_k}"),
            tenant_id=tenant_id,
            fetch_from_db_func=None,
            generate_func=compute,
            collection_id=collection_id,
            ttl=TTL_SHORT,
        )
        return Reply(
            text=answer["text"],
            sources=answer["sources"],
            tier=metrics["tier"] or "source",
            tokens=sum(spent),
            tokens_saved=0 if spent else answer["tokens"],
            ms=metrics["total_time_ms"],
        )

    async def _compute(self, question: str, tenant_id: str, collection_id: str, top_k: int) -> dict[str, Any]:
        batch = await self._embedding.embed(
            [question], tenant_id=tenant_id, collection_id=collection_id, are_questions=True
        )
        hits = await self._database.nearest(tenant_id, collection_id, batch.vectors[0], top_k)
        # From here on an edit of one of these documents reaches this answer, however long it takes to write.
        depends_on(*(hit.document_id for hit in hits))
        passages = await self._database.passages(tenant_id, [hit.chunk_id for hit in hits])
        answer = await self._answerer.answer(question, passages)
        await track_token_usage(
            tenant_id=tenant_id,
            tokens=answer.tokens,
            model=self._answerer.model,
            collection_id=collection_id,
            token_type=TOKEN_TYPE_LLM,
            operation=OPERATION_QUERY,
            metadata={"passages": len(passages), "service": "query"},
            idempotency_key=f"{tenant_id}:{self._answerer.model}:{collection_id}:{OPERATION_QUERY}:{answer.call_id}",
        )
        return {
            "text": answer.text,
            "sources": {passage.document_id: passage.version for passage in passages},
            "tokens": batch.tokens + answer.tokens,
        }
