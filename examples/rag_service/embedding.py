"""The embedding service: vectors from the batch cache, and every call to the provider counted once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from alacena import OPERATION_EMBEDDING, TOKEN_TYPE_EMBEDDING, get_embeddings_batch_with_cache, track_token_usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from examples.rag_service.embedder import Embedder, Vector


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
        embedder: The provider.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    async def embed(self, texts: Sequence[str], *, tenant_id: str, collection_id: str) -> Batch:
        """Embed the texts: one round trip to the cache, one call to the provider for all that it lacks."""
        spent: list[int] = []

        async def provider(missing: list[str]) -> list[Vector]:
            embedded = await self._embedder.embed(missing)
            spent.append(embedded.tokens)
            await self._count(embedded.tokens, embedded.call_id, len(missing), tenant_id, collection_id)
            return embedded.vectors

        vectors, metrics = await get_embeddings_batch_with_cache(
            texts=texts,
            tenant_id=tenant_id,
            model_name=self._embedder.model,
            embedding_provider=provider,
            as_arrays=True,
        )
        return Batch(vectors, int(metrics["cache_misses"]), sum(spent))

    async def _count(self, tokens: int, call_id: str, texts: int, tenant_id: str, collection_id: str) -> None:
        """Put one call on the ledger.

        The key names the call, not its content: sent again after a lost reply it counts once, while a second call for
        the same text, which the provider charges for as well, counts as what it is.
        """
        model = self._embedder.model
        await track_token_usage(
            tenant_id=tenant_id,
            tokens=tokens,
            model=model,
            collection_id=collection_id,
            token_type=TOKEN_TYPE_EMBEDDING,
            operation=OPERATION_EMBEDDING,
            metadata={"chunk_count": texts, "service": "embedding"},
            idempotency_key=f"{tenant_id}:{model}:{collection_id}:{OPERATION_EMBEDDING}:{call_id}",
        )
