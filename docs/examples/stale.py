"""The source fails, is slow, or says that nothing changed; what was invalidated is never served."""

import asyncio

from alacena import UNCHANGED, Cache, Policy
from alacena.testing.doubles import FakeEnvironment


class Source:
    def __init__(self):
        self.state, self.asked = "well", 0

    async def price(self, context):
        self.asked += 1
        if self.state == "down":
            raise ConnectionError("the database is away")
        if self.state == "slow":
            await asyncio.sleep(0.2)
        if context.previous == 100:  # a conditional request, an ETag, a version column
            return UNCHANGED
        return 100


async def main():
    environment, source = FakeEnvironment(), Source()
    # --8<-- [start:policy]
    policy = Policy(ttl=60, stale_if_error_s=3600, soft_timeout_s=0.05, retry_after_s=5)
    # --8<-- [end:policy]
    async with Cache(environment=environment, policies={"price": policy}) as cache:
        acme = cache.tenant("acme")

        async def read():
            return await acme.lookup("price", "p1", source.price)

        await read()
        environment.advance(61)

        source.state = "down"
        answers = [await read() for _ in range(1_000)]
        assert {(a.value, a.source) for a in answers} == {(100, "stale")}
        assert source.asked == 1 + 1, "it failed, so it is left alone for five seconds"

        environment.advance(6)
        source.state = "slow"
        assert (await read()).source == "stale"  # after soft_timeout_s; the load goes on behind
        await asyncio.sleep(0.3)
        assert (await read()).source == "cache"  # unchanged: it is fresh again

        source.state = "down"
        await acme.invalidate("price", "p1")
        try:
            await read()
        except ConnectionError as error:
            print("invalidated, so the source's own error reaches the caller:", error)


asyncio.run(main())
