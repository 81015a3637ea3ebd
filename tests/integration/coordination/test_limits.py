"""Limits and budgets on both stores."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from alacena.coordination.budgets import Budgets
from alacena.coordination.limits import Limits
from alacena.engine.base.errors import IdempotencyConflictError, LimitExceededError, NotOwnerError
from tests.waiting import until

if TYPE_CHECKING:
    from alacena.coordination.coordination_context import CoordinationContext
    from tests.integration.coordination.stand import LossyStore


async def test_a_thousand_spenders_never_overspend_a_budget(port: CoordinationContext, store: LossyStore) -> None:
    budget = Budgets(port)("b", tenant_id="t", limit=1_000)
    store.lose_first = {"budget_reserve", "budget_settle"}
    gate = asyncio.Semaphore(100)

    async def spend(number: int) -> int:
        async with gate:
            try:
                reservation = await budget.reserve(7)
            except LimitExceededError:
                return 0
            if number % 3 == 0:
                await reservation.refund()
                return 0
            await reservation.commit(5)
            return 5

    spent = sum(await asyncio.gather(*(spend(number) for number in range(1_000))))
    state = await budget.state()
    assert state.spent == spent
    assert state.reserved == state.open_reservations == 0
    assert 990 <= spent <= 1_000


async def test_a_reservation_that_does_not_fit_is_refused_with_when_to_come_back(port: CoordinationContext) -> None:
    budget = Budgets(port)("b", tenant_id="t", limit=10)
    first = await budget.reserve(6, ttl_s=30)
    assert first.remaining == 4
    with pytest.raises(LimitExceededError) as refused:
        await budget.reserve(5)
    assert 25 < (refused.value.retry_after_s or 0) <= 30
    await first.commit(10 - 4)
    with pytest.raises(LimitExceededError) as refused:
        await budget.reserve(5)
    assert refused.value.retry_after_s is None
    await budget.reset()
    await budget.reserve(10)


async def test_a_reservation_is_idempotent_by_its_id_and_settled_once(port: CoordinationContext) -> None:
    budget = Budgets(port)("b", tenant_id="t", limit=10)
    reservation = await budget.reserve(4, reservation_id="r")
    await budget.reserve(4, reservation_id="r")
    assert (await budget.state()).reserved == 4
    with pytest.raises(IdempotencyConflictError):
        await budget.reserve(5, reservation_id="r")
    await reservation.commit(3)
    await reservation.commit(3)
    with pytest.raises(IdempotencyConflictError):
        await reservation.commit(2)
    with pytest.raises(IdempotencyConflictError):
        await reservation.refund()
    with pytest.raises(IdempotencyConflictError):
        await reservation.commit(5)
    assert (await budget.state()).spent == 3


async def test_a_reservation_that_ran_out_is_free_again_and_what_it_spent_still_counts(
    port: CoordinationContext,
) -> None:
    budget = Budgets(port)("b", tenant_id="t", limit=10)
    reservation = await budget.reserve(10, ttl_s=0.03)

    async def fits() -> bool:
        return (await budget.state()).remaining == 10

    await until(fits)
    with pytest.raises(NotOwnerError):
        await reservation.extend(5)
    await reservation.commit(1)
    await reservation.commit(1)
    with pytest.raises(IdempotencyConflictError):
        await reservation.refund()
    assert (await budget.state()).spent == 1


async def test_an_extended_reservation_holds_and_a_block_refunds_what_it_did_not_commit(
    port: CoordinationContext,
) -> None:
    budget = Budgets(port)("b", tenant_id="t", limit=10)
    async with await budget.reserve(10, ttl_s=5) as reservation:
        await reservation.extend(60)
        with pytest.raises(LimitExceededError) as refused:
            await budget.reserve(1)
        assert (refused.value.retry_after_s or 0) > 50
    async with await budget.reserve(10) as reservation:
        await reservation.commit(4)
    assert (await budget.state()).remaining == 6


async def test_a_token_bucket_gives_its_burst_and_then_its_rate(port: CoordinationContext) -> None:
    limits = Limits(port)
    decisions = [await limits.token_bucket("l", tenant_id="t", rate_per_s=2, burst=5) for _ in range(6)]
    assert [bool(decision) for decision in decisions] == [True] * 5 + [False]
    wait_s = decisions[-1].retry_after_s
    assert wait_s is not None
    assert 0 < wait_s <= 0.51

    async def allowed() -> bool:
        return (await limits.token_bucket("l", tenant_id="t", rate_per_s=2, burst=5)).allowed

    await until(allowed)
    never = await limits.token_bucket("l", tenant_id="t", rate_per_s=2, burst=5, cost=6)
    assert (never.allowed, never.retry_after_s) == (False, None)
    with pytest.raises(LimitExceededError):
        never.require()


async def test_a_sliding_window_never_admits_more_than_its_limit_in_any_window(port: CoordinationContext) -> None:
    limits = Limits(port)
    now = port.environment.now
    admitted: list[tuple[float, float]] = []
    while len(admitted) < 45:
        asked = now()
        if (await limits.sliding_window("l", tenant_id="t", limit=20, window_s=0.3)).allowed:
            admitted.append((asked, now()))
    # Of each admission it is known between which moments it was: counted is what was in the window for certain.
    in_each = [sum(asked >= start and done < start + 0.295 for asked, done in admitted) for start, _ in admitted]
    assert max(in_each) <= 20


async def test_a_refused_request_is_not_counted(port: CoordinationContext) -> None:
    limits = Limits(port)
    assert (await limits.sliding_window("l", tenant_id="t", limit=5, window_s=60, cost=4)).remaining == 1
    refused = await limits.sliding_window("l", tenant_id="t", limit=5, window_s=60, cost=2)
    assert (refused.allowed, refused.remaining) == (False, 1)
    assert 50 < (refused.retry_after_s or 0) <= 61
    assert (await limits.sliding_window("l", tenant_id="t", limit=5, window_s=60)).allowed
    assert (await limits.sliding_window("l", tenant_id="other", limit=5, window_s=60, cost=5)).allowed
    assert (await limits.sliding_window("l", tenant_id="t", limit=5, window_s=60, cost=6)).retry_after_s is None


async def test_bad_limits_are_refused(port: CoordinationContext, store: LossyStore) -> None:
    limits = Limits(port)
    with pytest.raises(ValueError, match="rate_per_s"):
        await limits.token_bucket("l", tenant_id="t", rate_per_s=0, burst=1)
    with pytest.raises(ValueError, match="burst"):
        await limits.token_bucket("l", tenant_id="t", rate_per_s=1, burst=0)
    with pytest.raises(ValueError, match="window_s"):
        await limits.sliding_window("l", tenant_id="t", limit=1, window_s=0)
    with pytest.raises(ValueError, match="cost"):
        await limits.sliding_window("l", tenant_id="t", limit=1, window_s=1, cost=0)
    assert store.sent == []


async def test_each_decision_takes_one_round_trip(port: CoordinationContext, store: LossyStore) -> None:
    limits, budget = Limits(port), Budgets(port)("b", tenant_id="t", limit=9)
    await limits.sliding_window("l", tenant_id="t", limit=5, window_s=60)
    await limits.token_bucket("l", tenant_id="t", rate_per_s=1, burst=5)
    await (await budget.reserve(3)).commit(2)
    assert store.sent == ["limit_window", "limit_bucket", "budget_reserve", "budget_settle"]
