"""A document is deleted while it is being ingested: none of its chunks is stored."""

import asyncio

from alacena import CacheManager, invalidate_document_update

TEXTS = {"contract-1": "The notice period is 30 days. The rent is due on the first."}


def split(document_id):
    return {
        f"{document_id}_{number}": {"document_id": document_id, "text": text}
        for number, text in enumerate(TEXTS[document_id].split(". "))
    }


async def embedded(chunks):
    """Stands for the work that takes a while."""
    await asyncio.sleep(0)
    return chunks


# --8<-- [start:reading]
async def ingest(document_id):
    async with CacheManager.reading("acme", document_id=document_id) as reading:
        chunks = await embedded(split(document_id))
        return await reading.set_many("chunk", chunks)


# --8<-- [end:reading]
async def main():
    assert await ingest("contract-1") == 2
    ingesting = asyncio.create_task(ingest("contract-1"))
    await asyncio.sleep(0)
    await invalidate_document_update("acme", "contract-1")  # deleted meanwhile
    await ingesting
    assert await CacheManager.get("chunk", "contract-1_0", "acme") is None
    await CacheManager.close()
    print("gone: the chunks of a document that was deleted while it was ingested")


asyncio.run(main())
