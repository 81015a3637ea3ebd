"""An entry is stored, and then a document that it was made from is updated: why is the next read a miss?"""

import asyncio

from alacena import Cache, Settings


async def main():
    async with Cache(Settings.from_env()) as cache:
        acme = cache.tenant("acme")
        await acme.set("answer", "q1", "30 days", document_ids=["d1"])
        assert await acme.get("answer", "q1") == "30 days"

        await acme.invalidate(document_ids=["d1"])
        assert await acme.get("answer", "q1") is None  # but why?
        facts = await acme.explain("answer", "q1")
        for tier in ("memory", "entry"):  # this process's copy, and the server's
            print(tier, facts[tier])


asyncio.run(main())
