"""A FastAPI service: each request works for the tenant of its token, and each tenant has entries of its own."""

import asyncio
import os

import httpx2
from fastapi import FastAPI

from alacena import get_with_cache_aside
from alacena.integrations.asgi import TenantMiddleware, cache_lifespan
from alacena.integrations.fastapi import CurrentCaller, CurrentTenant

DOCUMENTS = {("acme", "d1"): "Acme's", ("globex", "d1"): "Globex's"}
CLAIMS = {"token-a": {"tenant_id": "acme", "user_id": "ana"}, "token-g": {"tenant_id": "globex", "user_id": "gus"}}


# --8<-- [start:who]
def caller_of(scope):
    """Stands for the check of a token's signature; it may be ``async def``."""
    token = dict(scope["headers"]).get(b"authorization", b"").decode().removeprefix("Bearer ")
    return CLAIMS.get(token)  # tenant_id, and user_id and permissions if there are any; None: nobody


app = FastAPI(lifespan=cache_lifespan(redis_url=os.environ.get("REDIS_URL") or None))
app.add_middleware(TenantMiddleware, who=caller_of, public=("/health",))
# --8<-- [end:who]


# --8<-- [start:endpoint]
@app.get("/documents/{document_id}")
async def read_document(document_id: str, tenant_id: CurrentTenant, caller: CurrentCaller):
    async def fetch():
        return DOCUMENTS[tenant_id, document_id]

    text, metrics = await get_with_cache_aside("document", document_id, fetch_from_db_func=fetch)
    return {"text": text, "source": metrics["source"], "reader": caller.user_id}


# --8<-- [end:endpoint]
@app.get("/health")
async def health():
    return "ok"


async def main():
    transport = httpx2.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx2.AsyncClient(transport=transport, base_url="http://t") as client:
        for token, text in (("token-a", "Acme's"), ("token-g", "Globex's"), ("token-a", "Acme's")):
            answer = await client.get("/documents/d1", headers={"Authorization": f"Bearer {token}"})
            assert answer.json()["text"] == text
        assert answer.json() == {"text": "Acme's", "source": "cache", "reader": "ana"}
        assert (await client.get("/documents/d1")).status_code == 401
        assert (await client.get("/health")).status_code == 200
    print("two tenants, one id, two entries")


asyncio.run(main())
