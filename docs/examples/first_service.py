"""The smallest service: the first request asks the source, the second one the cache."""

import asyncio

# --8<-- [start:service]
from fastapi import FastAPI, HTTPException

from alacena import get_with_cache_aside, invalidate_document_update
from alacena.integrations.asgi import TenantMiddleware, cache_lifespan, from_header
from alacena.integrations.fastapi import CurrentTenant

DOCUMENTS = {("acme", "d1"): "The notice period is 30 days."}

app = FastAPI(lifespan=cache_lifespan())  # the server is that of REDIS_URL
app.add_middleware(TenantMiddleware, who=from_header("X-Tenant-ID"))  # later: the claims of a token


@app.get("/documents/{document_id}")
async def read(document_id: str, tenant_id: CurrentTenant):
    async def fetch():
        return DOCUMENTS.get((tenant_id, document_id))  # None: there is no such document

    text, metrics = await get_with_cache_aside("document", document_id, fetch_from_db_func=fetch)
    if text is None:
        raise HTTPException(404, "there is no such document")
    return {"text": text, "source": metrics["source"]}


@app.put("/documents/{document_id}")
async def write(document_id: str, text: str, tenant_id: CurrentTenant):
    DOCUMENTS[tenant_id, document_id] = text
    await invalidate_document_update(tenant_id, document_id)
    return {"text": text}


# --8<-- [end:service]
async def try_it():
    import httpx2

    transport = httpx2.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx2.AsyncClient(transport=transport, base_url="http://t") as client:
        acme = {"X-Tenant-ID": "acme"}
        for source in ("supabase", "cache"):
            answer = await client.get("/documents/d1", headers=acme)
            assert answer.json() == {"text": "The notice period is 30 days.", "source": source}
        await client.put("/documents/d1", params={"text": "60 days."}, headers=acme)
        answer = await client.get("/documents/d1", headers=acme)
        assert answer.json() == {"text": "60 days.", "source": "supabase"}
        assert (await client.get("/documents/d1")).status_code == 401
        assert (await client.get("/documents/d1", headers={"X-Tenant-ID": "globex"})).status_code == 404


if __name__ == "__main__":
    asyncio.run(try_it())
