"""Whole answers are cached by the rules of HTTP, each tenant's for itself."""

import asyncio
import os

import httpx2
from fastapi import FastAPI, Response
from hishel.asgi import ASGICacheMiddleware

from alacena import CacheManager, configure
from alacena.integrations.asgi import TenantMiddleware, from_header
from alacena.integrations.hishel import AlacenaStorage

asked = []
service = FastAPI()


@service.get("/prices")
async def prices(response: Response):
    asked.append("prices")
    response.headers["Cache-Control"] = "max-age=60"
    return {"d1": 30}


# --8<-- [start:wrap]
cached_service = ASGICacheMiddleware(service, AlacenaStorage())
app = TenantMiddleware(cached_service, who=from_header("X-Tenant-ID"))
# --8<-- [end:wrap]


async def main():
    configure(redis_url=os.environ.get("REDIS_URL") or None)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://t") as client:
        for tenant_id in ("acme", "acme", "globex"):
            answer = await client.get("/prices", headers={"X-Tenant-ID": tenant_id})
            assert answer.json() == {"d1": 30}
    assert len(asked) == 2, asked  # once for each tenant
    await CacheManager.close()


asyncio.run(main())
