"""Embeddings in one call: each distinct text is paid for once."""

import asyncio

from alacena import CacheManager, get_embeddings_batch_with_cache

PAID = []


# --8<-- [start:provider]
async def embed(texts):
    PAID.extend(texts)
    return [[float(len(text)), 1.0, 0.5] for text in texts]


# --8<-- [end:provider]
async def main():
    # --8<-- [start:batch]
    texts = ["notice period", "rent", "notice period"]
    vectors, metrics = await get_embeddings_batch_with_cache(texts, "acme", "small-3", embed)
    assert vectors[0] == vectors[2] == [13.0, 1.0, 0.5]
    assert PAID == ["notice period", "rent"]

    _, metrics = await get_embeddings_batch_with_cache([*texts, "deposit"], "acme", "small-3", embed)
    assert PAID[-1] == "deposit"
    assert metrics["source"] == "mixed"
    assert (metrics["cache_hits"], metrics["cache_misses"]) == (3, 1)
    # --8<-- [end:batch]
    await CacheManager.close()
    print("paid for", PAID)


asyncio.run(main())
