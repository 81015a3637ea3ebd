"""The source fails: what expired is served where the type allows it, what was invalidated never."""

import asyncio

from alacena import Cache, Policy
from alacena.testing.doubles import FakeEnvironment


async def broken(context):
    await asyncio.sleep(0.01)
    raise ConnectionError("the database is away")


async def main():
    environment = FakeEnvironment()
    # --8<-- [start:policy]
    policy = Policy(ttl=60, stale_if_error_s=3600, jitter_ratio=0)
    # --8<-- [end:policy]
    async with Cache(environment=environment, policies={"price": policy}) as cache:
        await cache.set("price", "p1", 100, "acme")
        environment.advance(61)
        lookup = await cache.lookup("price", "p1", "acme", broken)
        assert (lookup.value, lookup.source) == (100, "stale")

        await cache.invalidate("acme", "price", "p1")
        try:
            await cache.load("price", "p1", "acme", broken)
        except ConnectionError as error:
            print("invalidated, so the source's own error reaches the caller:", error)


asyncio.run(main())
