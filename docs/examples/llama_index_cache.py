"""LlamaIndex: a pipeline that transforms and embeds what changed, for the tenant around it."""

import asyncio

from llama_index.core.embeddings import MockEmbedding
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import Document

from alacena import CacheManager, Context
from alacena.integrations.llama_index import CachedEmbedding, CachedKVStore, CachedTransform, StandardMetadata


async def main():
    text = "The notice period is ninety days. The rent is due on the first."
    # --8<-- [start:pipeline]
    pipeline = IngestionPipeline(
        transformations=[
            CachedTransform(SentenceSplitter(chunk_size=200), ignored_metadata=["last_modified_date"]),
            StandardMetadata(),
            CachedEmbedding(MockEmbedding(4), name="small-3"),
        ],
        disable_cache=True,
    )
    with Context("acme"):
        first = await pipeline.arun(documents=[Document(text=text, id_="d1")])
        second = await pipeline.arun(documents=[Document(text=text, id_="d2")])

    assert first[0].text == second[0].text
    assert (first[0].ref_doc_id, second[0].ref_doc_id) == ("d1", "d2")
    assert second[0].metadata["tenant_id"] == "acme"
    # --8<-- [end:pipeline]

    # --8<-- [start:kv]
    store = CachedKVStore("summaries", ttl=3600)
    with Context("acme"):
        await store.aput("d1", {"summary": "A lease."})
        assert await store.aget("d1") == {"summary": "A lease."}
    # --8<-- [end:kv]
    await CacheManager.close()
    print("ingested")


asyncio.run(main())
