"""A value that is loaded once, served from the cache, and gone when its document changes."""

import asyncio

from alacena import CacheManager, get_with_cache_aside

DATABASE = {"d1": {"document_id": "d1", "title": "Lease agreement"}}


async def fetch_document(resource_id, tenant_id):
    print(f"asking the database for {resource_id} of {tenant_id}")
    return DATABASE.get(resource_id)


async def main():
    for _ in range(2):
        document, metrics = await get_with_cache_aside("document", "d1", "acme", fetch_document)
        print(document["title"], "| from:", metrics["source"])

    DATABASE["d1"] = {"document_id": "d1", "title": "Lease agreement, signed"}
    await CacheManager.invalidate("acme", "document", "d1")
    document, metrics = await get_with_cache_aside("document", "d1", "acme", fetch_document)
    print(document["title"], "| from:", metrics["source"])
    assert document["title"].endswith("signed")

    await CacheManager.close()


asyncio.run(main())
