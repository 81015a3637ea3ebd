"""A document changes: everything that was made from it becomes a miss, whoever stored it."""

import asyncio

from alacena import CacheManager, depends_on, get_with_cache_aside, invalidate_document_update


# --8<-- [start:lineage]
async def answer(resource_id):
    found = ["contract-1", "contract-2"]  # what the search returned
    depends_on(*found)
    return {"text": "The notice period is 30 days.", "sources": found}


# --8<-- [end:lineage]
async def main():
    chunk = {"chunk_id": "contract-1_0", "document_id": "contract-1", "text": "30 days"}
    await CacheManager.set("chunk", "contract-1_0", chunk, "acme")  # names its document by itself
    await CacheManager.set("document", "contract-1", {"document_id": "contract-1"}, "acme")
    await get_with_cache_aside("query_result", "q1", "acme", generate_func=answer)
    await CacheManager.set("embedding", "other", [0.1, 0.2], "acme")

    # --8<-- [start:update]
    await invalidate_document_update("acme", "contract-1")
    # --8<-- [end:update]
    assert await CacheManager.get("document", "contract-1", "acme") is None
    assert await CacheManager.get("chunk", "contract-1_0", "acme") is None
    assert await CacheManager.get("query_result", "q1", "acme") is None
    assert await CacheManager.get("embedding", "other", "acme") == [0.1, 0.2]

    # --8<-- [start:scopes]
    await CacheManager.invalidate("acme", "document", "contract-1")  # one resource, at every scope
    await CacheManager.invalidate("acme", "query_result")  # a whole type
    await CacheManager.invalidate("acme", collection_id="legal")  # all that belongs to a collection
    await CacheManager.invalidate("acme")  # the tenant
    # --8<-- [end:scopes]
    assert await CacheManager.get("embedding", "other", "acme") is None
    await CacheManager.close()
    print("gone: the document, its chunk and the answer that was made from it")


asyncio.run(main())
