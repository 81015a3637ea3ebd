"""A job runs in one process at a time, and what it writes is safe even if its lock is lost."""

import asyncio

from alacena import Cache, LockTimeoutError, Settings, acquire_job_lock, override, release_job_lock


async def main():
    async with Cache(Settings.from_env()) as cache:
        # --8<-- [start:block]
        acme = cache.tenant("acme")
        async with acme.locks.acquire("reindex", ttl_s=30, wait_s=10) as lock:
            first = lock.fence  # write it along with the result, and refuse smaller ones there
            try:
                async with acme.locks.acquire("reindex", wait_s=0):
                    raise AssertionError("two holders")
            except LockTimeoutError as error:
                print(error)
        async with acme.locks.acquire("reindex") as lock:
            assert lock.fence > first
        # --8<-- [end:block]
        with override(cache):
            # --8<-- [start:job]
            if await acquire_job_lock("job-7", "acme"):
                try:
                    assert not await acquire_job_lock("job-7", "acme")
                finally:
                    assert await release_job_lock("job-7", "acme")
            # --8<-- [end:job]


asyncio.run(main())
