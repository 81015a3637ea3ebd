"""A function whose results are kept, by its arguments."""

import asyncio
from decimal import Decimal

from alacena import TTL_SHORT, CacheManager, Context, cached

ASKED = []


# --8<-- [start:function]
@cached("price", ttl=TTL_SHORT)
async def price(product_id: str, currency: str = "EUR") -> Decimal:
    ASKED.append(product_id)
    return Decimal("9.90")


# --8<-- [end:function]
async def main():
    async with Context(tenant_id="acme"):
        assert await price("p1") == await price(product_id="p1", currency="EUR") == Decimal("9.90")
        assert ASKED == ["p1"]
        assert await price.invalidate("p1") > 0
        await price("p1")
    assert ASKED == ["p1", "p1"]
    await CacheManager.close()
    print("asked", len(ASKED), "times")


asyncio.run(main())
