"""Token usage: counted once, whatever is retried."""

import asyncio
from decimal import Decimal

from alacena import Cache, IdempotencyConflictError, Settings, override, track_token_usage


async def main():
    async with Cache(Settings.from_env()) as cache:
        with override(cache):
            # --8<-- [start:track]
            for _ in range(2):  # a retry
                await track_token_usage(
                    tenant_id="acme",
                    tokens=1_250,
                    model="gpt-4o-mini",
                    operation="query",
                    idempotency_key="chatcmpl-9f3",  # the provider's id of the call
                )
            # --8<-- [end:track]
            # --8<-- [start:parts]
            usage = {"input": 900, "output": 350, "cached": 512}  # or the answer's own usage object
            await track_token_usage(
                "acme", model="gpt-4o", idempotency_key="chatcmpl-a07", parts=usage, cost=Decimal("0.0024")
            )
            # --8<-- [end:parts]
            # --8<-- [start:budget]
            budget = cache.tenant("acme").budgets("model tokens of 2026-01", limit=1_000_000)
            async with await budget.reserve(2_000) as reservation:  # the most that the call may take
                tokens, call_id = 1_250, "chatcmpl-b51"  # what the provider's answer says
                await track_token_usage("acme", tokens, "gpt-4o-mini", idempotency_key=call_id)
                await reservation.commit(tokens)
            # --8<-- [end:budget]
            # --8<-- [start:conflict]
            try:
                await track_token_usage("acme", 9, "gpt-4o-mini", idempotency_key="chatcmpl-9f3")
            except IdempotencyConflictError as error:
                print(error)
            # --8<-- [end:conflict]
        # --8<-- [start:totals]
        totals = await cache.tenant("acme").ledger.totals()
        assert (totals.used, totals.calls) == (3_750, 3)
        assert totals.parts == usage
        assert totals.cost == Decimal("0.0024")
        # --8<-- [end:totals]


asyncio.run(main())
