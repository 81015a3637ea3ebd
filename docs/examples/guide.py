"""The guide's services in one program: ingestion, embeddings, questions, files."""

import asyncio
import tempfile
from pathlib import Path

from alacena import (
    TTL_SHORT,
    CacheManager,
    acquire_job_lock,
    depends_on,
    generate_resource_id_hash,
    get_embeddings_batch_with_cache,
    get_with_cache_aside,
    invalidate_document_update,
    release_job_lock,
    standardize_llama_metadata,
    track_token_usage,
)

STORAGE = {"reports/2026.pdf": b"%PDF"}
DOCUMENTS = {}


# --8<-- [start:basic]
async def basic_verbs():
    await CacheManager.set("document", "d1", {"title": "Lease"}, "acme")
    document = await CacheManager.get("document", "d1", "acme")
    await CacheManager.delete("document", "d1", "acme")
    await CacheManager.invalidate("acme", "document", "d1")
    return document


# --8<-- [end:basic]
# --8<-- [start:lists]
async def list_verbs():
    manager = CacheManager.get_instance()
    await manager.rpush("acme:ingestion_queue", {"document_id": "d1"})
    waiting = await manager.lrange("ingestion_queue", 0, -1, tenant_id="acme")
    job = await manager.lpop("ingestion_queue", tenant_id="acme")
    return waiting, job


# --8<-- [end:lists]
# --8<-- [start:file]
async def download_file(tenant_id, file_key):
    file_id = generate_resource_id_hash(file_key)
    path = await CacheManager.get("file", file_id, tenant_id)
    if path is not None and Path(path).exists():
        return path
    path = await download(tenant_id, file_key)
    await CacheManager.set("file", file_id, path, tenant_id, ttl=CacheManager.ttl_extended)
    return path


# --8<-- [end:file]
async def download(tenant_id, file_key):
    folder = Path(tempfile.gettempdir())
    target = folder / f"alacena-guide-{tenant_id}-{generate_resource_id_hash(file_key)[:8]}"
    target.write_bytes(STORAGE[file_key])
    return str(target)


# --8<-- [start:ingest]
async def ingest(job_id, tenant_id, document_id, text):
    if not await acquire_job_lock(job_id, tenant_id):
        return False  # somebody else is on it
    try:
        chunks = [
            {"text": part, **standardize_llama_metadata(None, tenant_id, document_id, chunk_id=number)}
            for number, part in enumerate(text.split(". "))
        ]
        for chunk, vector in zip(chunks, await embed_chunks(chunks, tenant_id), strict=True):
            chunk["embedding"] = vector
        DOCUMENTS[tenant_id, document_id] = chunks
        await invalidate_document_update(tenant_id, document_id)
    finally:
        await release_job_lock(job_id, tenant_id)
    return True


# --8<-- [end:ingest]
# --8<-- [start:embed]
async def embed_chunks(chunks, tenant_id, model="small-3"):
    async def call_provider(texts):
        vectors, tokens, call_id = await provider(texts)
        await track_token_usage(tenant_id, tokens, model, operation="embedding", idempotency_key=call_id)
        return vectors

    vectors, _ = await get_embeddings_batch_with_cache([c["text"] for c in chunks], tenant_id, model, call_provider)
    return vectors


# --8<-- [end:embed]
async def provider(texts):
    return [[float(len(text))] for text in texts], sum(map(len, texts)), f"emb-{generate_resource_id_hash(texts)}"


# --8<-- [start:query]
async def search(question, collection_id, tenant_id, top_k=5):
    async def run():
        found = [name for (tenant, name) in DOCUMENTS if tenant == tenant_id][:top_k]
        depends_on(*found)  # editing one of them ends this answer
        return {"question": question, "documents": found}

    result, metrics = await get_with_cache_aside(
        data_type="query_result",
        resource_id=generate_resource_id_hash([question, collection_id, top_k]),
        tenant_id=tenant_id,
        generate_func=run,
        collection_id=collection_id,
        ttl=TTL_SHORT,
    )
    return result, metrics["source"]


# --8<-- [end:query]
async def main():
    assert await basic_verbs() == {"title": "Lease"}
    assert await list_verbs() == ([{"document_id": "d1"}], {"document_id": "d1"})
    assert await download_file("acme", "reports/2026.pdf") == await download_file("acme", "reports/2026.pdf")
    assert await ingest("job-1", "acme", "lease", "The rent is due. The notice period is 30 days")
    assert (await search("notice?", "legal", "acme"))[1] == "generation"
    assert (await search("notice?", "legal", "acme"))[1] == "cache"
    assert await ingest("job-2", "acme", "lease", "The notice period is 60 days")
    assert (await search("notice?", "legal", "acme"))[1] == "generation"
    await CacheManager.close()
    print("ingested, asked, edited, and asked again")


asyncio.run(main())
