"""Work that is not lost: reserved under a lease, acknowledged, tried again, or set aside."""

import asyncio

from alacena import Cache, CacheManager, Settings, override


async def main():
    async with Cache(Settings.from_env()) as cache:
        # --8<-- [start:push]
        queue = cache.tenant("acme").queues("ingestion", max_attempts=2)
        await queue.push({"document_id": "d1"}, id="ingest:d1")
        await queue.push({"document_id": "d1"}, id="ingest:d1")  # the same work: taken in once
        # --8<-- [end:push]
        # --8<-- [start:work]
        (item,) = await queue.reserve(visibility_s=60)
        assert (item.value, item.attempt) == ({"document_id": "d1"}, 1)
        await item.nack(reason="the parser was busy")  # to be tried again

        (item,) = await queue.reserve(visibility_s=60, wait_s=5)
        assert item.attempt == 2
        await item.nack(reason="the file is broken")  # that was the last attempt
        # --8<-- [end:work]
        # --8<-- [start:dead]
        (letter,) = await queue.dead()
        print(letter.id, "|", letter.reason)
        assert await queue.replay() == 1
        # --8<-- [end:dead]
        # --8<-- [start:stats]
        stats = await queue.stats()
        assert stats.pushed == stats.ready + stats.delayed + stats.in_flight + stats.dead + stats.acked
        # --8<-- [end:stats]
        with override(cache):
            # --8<-- [start:lists]
            lists = CacheManager.get_instance()
            await lists.rpush("acme:notes", {"text": "a dict goes in"})
            assert await lists.lpop("notes", tenant_id="acme") == {"text": "a dict goes in"}
            # --8<-- [end:lists]


asyncio.run(main())
