"""Two workers want to do one job: they do it one after the other, and a third one does not wait."""

import asyncio

from alacena import Cache, LockTimeoutError, Settings


async def work(cache, worker):
    async with cache.tenant("acme").locks.acquire("nightly-report", ttl_s=30, wait_s=10) as lock:
        print(worker, "works")
        await asyncio.sleep(0.2)
        print(worker, "is done")
        return lock.fence


async def work_if_nobody_does(cache, worker):
    try:
        async with cache.tenant("acme").locks.acquire("nightly-report", wait_s=0):
            print(worker, "works")
    except LockTimeoutError:
        print(worker, "leaves it: somebody is on it")


async def main():
    async with Cache(Settings.from_env()) as cache:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(work(cache, "first"))
            second = group.create_task(work(cache, "second"))
            group.create_task(work_if_nobody_does(cache, "third"))
        assert first.result() < second.result()  # the fence: a later owner has a higher one


asyncio.run(main())
