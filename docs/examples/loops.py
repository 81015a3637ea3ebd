"""Code that runs a new event loop each time ends each with close(), so that nothing is cut off."""

import asyncio

from alacena import CacheManager


async def work(number):
    await CacheManager.set("report", "r1", number, "acme")
    return await CacheManager.get("report", "r1", "acme")


# --8<-- [start:job]
async def job(number):
    try:
        return await work(number)
    finally:
        await CacheManager.close()


# --8<-- [end:job]
assert [asyncio.run(job(number)) for number in range(3)] == [0, 1, 2]
