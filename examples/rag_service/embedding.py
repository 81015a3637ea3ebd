"""The embedding service: OpenAI's client with a caching transport, which asks for what nobody has asked for yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from alacena import Context

if TYPE_CHECKING:
    from collections.abc import Sequence

    from examples.rag_service.stage.embedder import Embedder, Vector


@dataclass(frozen=True, slots=True)
class Batch:
    """Vectors, and what it took to get them.

    Attributes:
        vectors: One a text, in order.
        computed: How many of them the provider was asked for; the rest came from the cache.
        tokens: What the provider charged for those.
    """

    vectors: list[Vector]
    computed: int
    tokens: int


class EmbeddingService:
    """Embeds texts for a tenant, asking the provider only for those that nobody has asked for yet.

    Args:
        embedder: The provider, through the transport: it keeps vectors text by text, apart for each tenant, and tells
            the ledger of each call once.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    async def embed(
        self, texts: Sequence[str], *, tenant_id: str, collection_id: str, are_questions: bool = False
    ) -> Batch:
        """Embed the texts: one round trip to the cache, one call to the provider for all that it lacks."""
        with Context(tenant_id=tenant_id, collection_id=collection_id):
            embedded = await self._embedder.embed(texts, are_questions=are_questions)
        return Batch(embedded.vectors, embedded.computed, embedded.tokens)
