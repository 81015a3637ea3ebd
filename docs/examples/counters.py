"""Counters, rate limits and budgets that hold across processes."""

import asyncio

from alacena import Cache, LimitExceededError, Settings


async def main():
    async with Cache(Settings.from_env()) as cache:
        # --8<-- [start:counter]
        acme = cache.tenant("acme")
        assert await acme.counters.increment("uploads", idempotency_id="upload-1") == 1
        assert await acme.counters.increment("uploads", idempotency_id="upload-1") == 1
        assert await acme.counters.get("uploads") == 1
        # --8<-- [end:counter]
        # --8<-- [start:limit]
        for _ in range(3):
            decision = await acme.limits.sliding_window("questions", limit=2, window_s=60)
        assert not decision
        print("ask again in", round(decision.retry_after_s), "s")
        # --8<-- [end:limit]
        # --8<-- [start:budget]
        budget = acme.budgets("tokens:2026-01", limit=1_000)
        async with await budget.reserve(800) as reservation:
            try:
                await budget.reserve(300)
            except LimitExceededError as error:
                print(error)
            await reservation.commit(650)  # what the call really took; the rest is free again
        assert (await budget.state()).remaining == 350
        # --8<-- [end:budget]


asyncio.run(main())
