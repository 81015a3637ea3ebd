"""What code for other caches looks like with this one, and that it asks its source once and keeps nothing stale."""

import asyncio

from alacena import Cache, CacheManager, Context, Settings, cached, override

ASKED = []
BEGUN, GATE = asyncio.Event(), asyncio.Event()


async def read_price(product_id):
    ASKED.append(product_id)
    BEGUN.set()
    await GATE.wait()
    return {"product": product_id, "cents": 990}


# --8<-- [start:decorated]
@cached("price", ttl=600)
async def price(product_id: str) -> dict:
    return await read_price(product_id)


# --8<-- [end:decorated]
# --8<-- [start:explicit]
async def price_of(cache: Cache, tenant_id: str, product_id: str) -> dict:
    async def read(_):
        return await read_price(product_id)

    return await cache.load("price", product_id, tenant_id, read, ttl=600)


# --8<-- [end:explicit]
async def at_once(ask, callers=5):
    before = len(ASKED)
    running = [asyncio.create_task(ask()) for _ in range(callers)]
    await BEGUN.wait()
    GATE.set()
    await asyncio.gather(*running)
    BEGUN.clear()
    GATE.clear()
    return len(ASKED) - before


async def main():
    async with Cache(Settings.from_env()) as cache:
        with override(cache), Context(tenant_id="acme"):
            assert await at_once(lambda: price("p1")) == 1
            # --8<-- [start:invalidate]
            await price.invalidate("p1")  # one entry
            await CacheManager.invalidate("acme", "price")  # all of a type
            # --8<-- [end:invalidate]
            assert await at_once(lambda: price("p1")) == 1

            reading = asyncio.create_task(price("p2"))
            await BEGUN.wait()
            await price.invalidate("p2")  # while it is read: what was read before is not kept
            GATE.set()
            await reading
            await price("p2")
            assert ASKED.count("p2") == 2
        BEGUN.clear()
        GATE.clear()
        assert await at_once(lambda: price_of(cache, "globex", "p1")) == 1  # another tenant: asked for itself
    print("asked", len(ASKED), "times")


asyncio.run(main())
