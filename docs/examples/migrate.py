"""Code that was written for a package named ``common`` runs unchanged."""

import asyncio

import alacena

alacena.install_as_common()

from common.cache.manager import CacheManager  # noqa: E402
from common.core.constants import TTL_SHORT  # noqa: E402


async def main():
    await CacheManager.set("query_result", "q1", {"answer": 42}, "acme", ttl=TTL_SHORT)
    assert await CacheManager.get("query_result", "q1", "acme") == {"answer": 42}
    assert CacheManager is alacena.CacheManager
    await CacheManager.close()
    print("common is", CacheManager.__module__)


asyncio.run(main())
