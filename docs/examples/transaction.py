"""A change of the source that the cache takes part in: nothing old is read or stored meanwhile."""

import asyncio
from contextlib import asynccontextmanager

from alacena import Cache, Policy, Settings

TABLE = {"d1": "first"}


@asynccontextmanager
async def transaction():
    """Stands for ``async with connection.transaction()``."""
    draft = dict(TABLE)
    yield draft
    TABLE.update(draft)


async def read(context):
    return TABLE[context.resource_id]


async def main():
    async with Cache(Settings.from_env(), policies={"document": Policy(ttl=3600)}) as cache:
        acme = cache.tenant("acme")
        assert await acme.load("document", "d1", read) == "first"
        # --8<-- [start:write]
        async with acme.write(("document", "d1"), document_ids=["d1"]), transaction() as rows:
            rows["d1"] = "second"
            during = await acme.lookup("document", "d1", read)
        # --8<-- [end:write]
        assert during.value == "first"  # read from the source, which has not committed
        assert not during.stored  # and not stored
        assert await acme.load("document", "d1", read) == "second"
    print("what was read during the transaction was served and not stored")


asyncio.run(main())
