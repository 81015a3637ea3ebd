"""Budgets and limits as strangers use them: what was spent is spent, and what a state means is part of its name."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest

from alacena.common.cache import acquire_job_lock, release_job_lock
from alacena.common.runtime import override
from alacena.coordination import Budgets
from alacena.coordination.coordination_context import CoordinationContext
from alacena.coordination.lock_acquisition import ACQUIRE
from alacena.coordination.locks import Locks
from alacena.engine.base.errors import (
    BackendUnavailableError,
    IdempotencyConflictError,
    LimitExceededError,
    LockLostError,
    LockTimeoutError,
    OutcomeUnknownError,
    UsageError,
)
from alacena.engine.remote.local.local_backend import LocalBackend
from tests.integration.coordination.stand import PlainKeys, port_of
from tests.strangers.test_queues import Gate
from tests.unit.coordination.virtual import VirtualEnvironment, run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    from alacena.coordination import Budget, Reservation
    from alacena.engine import Cache
    from alacena.engine.remote.backend import Script

    OpenCache: TypeAlias = Callable[..., Awaitable[Cache]]


@pytest.fixture
async def gate(cache: Cache) -> Gate:
    return Gate(port_of(cache).store)


@pytest.fixture
async def port(cache: Cache, gate: Gate) -> CoordinationContext:
    return port_of(cache, gate)


@pytest.fixture
async def budget(port: CoordinationContext) -> Budget:
    return Budgets(port)("tokens", tenant_id="acme", limit=1_000)


async def test_what_was_spent_over_the_reservation_counts_in_full(budget: Budget) -> None:
    """sapientinc/PRAXIST 81, headroomlabs-ai/headroom 2713, BerriAI/litellm 26672: the limit was never reached."""
    async with await budget.reserve(800) as reservation:
        await reservation.commit(1_200)
    state = await budget.state()
    assert (state.spent, state.reserved, state.remaining) == (1_200, 0, -200)
    with pytest.raises(LimitExceededError, match="0 of 1000 left"):
        await budget.reserve(1)


async def test_a_commit_that_failed_is_no_refund_and_can_be_made_again(budget: Budget, gate: Gate) -> None:
    """A network that hangs while it is committed: the block ended with a refund of what was spent."""
    reservation = await budget.reserve(800)

    async def work(held: Reservation, spent: int) -> None:
        async with held:
            await held.commit(spent)

    gate.lose["budget_settle"] = 3
    with pytest.raises(OutcomeUnknownError):
        await work(reservation, 700)
    for _ in range(2):
        await reservation.commit(700)
    assert (await budget.state()).spent == 700
    with pytest.raises(IdempotencyConflictError):
        await reservation.commit(800)
    another = await budget.reserve(300)
    gate.away = {"budget_settle"}
    with pytest.raises(BackendUnavailableError):
        await work(another, 250)
    gate.away.clear()
    assert (await budget.state()).reserved == 300
    await another.commit(250)
    assert (await budget.state()).spent == 950


@pytest.mark.parametrize("amount", [1.5, "7", -1, float("nan"), True])
async def test_an_amount_that_is_none_is_no_refund(budget: Budget, amount: Any) -> None:
    """As sapientinc/PRAXIST 81: what a call had spent was forgiven, here because its figure was no whole number."""
    with pytest.raises(ValueError, match="actual"):
        async with await budget.reserve(300) as held:
            await held.commit(amount)
    assert (await budget.state()).spent == 300
    async with await budget.reserve(300) as held:
        with pytest.raises(ValueError, match="actual"):
            await held.commit(amount)
        await held.commit(200)
    state = await budget.state()
    assert (state.spent, state.reserved) == (500, 0)


async def test_the_blocks_own_error_is_not_hidden_by_a_refund_that_failed(budget: Budget, gate: Gate) -> None:
    async def work() -> None:
        async with await budget.reserve(800):
            gate.away = {"budget_settle"}
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await work()


async def test_reservations_that_ran_out_are_freed_however_many_they_are(port: CoordinationContext) -> None:
    """300 reservations ran out; state() said that the budget was free, and reserve() refused."""
    budget = Budgets(port)("many", tenant_id="acme", limit=1_200)
    for _ in range(12):  # a hundred at a time: a busy machine answers no more within their deadline
        await asyncio.gather(*(budget.reserve(1, ttl_s=0.001) for _ in range(100)))

    async def freed() -> bool:
        return (await budget.reserve(1, ttl_s=0.001)).amount == 1

    assert await freed()
    assert (await budget.reserve(1_100)).amount == 1_100
    assert (await budget.state()).reserved <= 1_200


@pytest.mark.parametrize("reservation_id", [None, "request-7"])
async def test_a_cancelled_reserve_keeps_no_money(
    port: CoordinationContext, budget: Budget, gate: Gate, reservation_id: str | None
) -> None:
    """redis/redis-py 3847: clients hang up while it is asked for, and the money was gone for five minutes."""
    gate.waits = {"budget_reserve"}
    asking = asyncio.create_task(budget.reserve(1_000, reservation_id=reservation_id))
    await gate.reached.wait()
    asking.cancel()
    gate.open.set()
    await asyncio.wait([asking])
    await port._background.close()
    assert (await budget.state()).remaining == 1_000
    again = await budget.reserve(1_000, reservation_id=reservation_id)
    await again.commit(10)
    assert (await budget.state()).spent == 10


async def test_a_cancelled_request_keeps_what_the_same_request_had_set_aside_before(
    port: CoordinationContext, budget: Budget, gate: Gate
) -> None:
    held = await budget.reserve(1_000, reservation_id="request-7")
    gate.waits = {"budget_reserve"}
    asking = asyncio.create_task(budget.reserve(1_000, reservation_id="request-7"))
    await gate.reached.wait()
    asking.cancel()
    gate.open.set()
    await asyncio.wait([asking])
    await port._background.close()
    await held.commit(1_000)
    assert (await budget.state()).spent == 1_000


async def test_a_reserve_whose_reply_was_lost_keeps_no_money(
    port: CoordinationContext, budget: Budget, gate: Gate
) -> None:
    gate.lose["budget_reserve"] = 3
    with pytest.raises(OutcomeUnknownError):
        await budget.reserve(1_000)
    await port._background.close()
    assert (await budget.state()).remaining == 1_000


async def test_a_cancelled_refund_is_finished_and_a_cancelled_commit_too(
    port: CoordinationContext, budget: Budget, gate: Gate
) -> None:
    async def request(entered: asyncio.Event) -> None:
        async with await budget.reserve(100):
            entered.set()
            await asyncio.Event().wait()

    entered = asyncio.Event()
    asking = asyncio.create_task(request(entered))
    await entered.wait()
    gate.waits = {"budget_settle"}
    asking.cancel()
    await gate.reached.wait()
    asking.cancel()
    gate.open.set()
    await asyncio.wait([asking])
    await port._background.close()
    assert (await budget.state()).reserved == 0
    gate.reached.clear()
    gate.open.clear()
    reservation = await budget.reserve(100)
    committing = asyncio.create_task(reservation.commit(70))
    await gate.reached.wait()
    committing.cancel()
    gate.open.set()
    await asyncio.wait([committing])
    await port._background.close()
    assert (await budget.state()).spent == 70


@pytest.mark.parametrize("amount", [Decimal("1.50"), 1.5, True, "7"])
async def test_amounts_are_counted_in_the_smallest_unit(budget: Budget, amount: Any) -> None:
    with pytest.raises(ValueError, match="smallest unit"):
        await budget.reserve(amount)
    async with await budget.reserve(10) as reservation:
        with pytest.raises(ValueError, match="smallest unit"):
            await reservation.commit(amount)


async def test_two_windows_under_one_name_do_not_meet(cache: Cache) -> None:
    """long2ice/fastapi-limiter 38, laravel/framework 46290, express-rate-limit 362: 58 passed where 20 were allowed."""
    passed = 0
    for _ in range(40):
        second = await cache.limits.sliding_window("questions", tenant_id="acme", limit=30, window_s=1_000)
        minute = await cache.limits.sliding_window("questions", tenant_id="acme", limit=20, window_s=60_000)
        passed += bool(second and minute)
    assert passed == 20


async def test_two_buckets_under_one_name_do_not_meet(cache: Cache) -> None:
    async def ask(rate_per_s: float, burst: int) -> bool:
        decision = await cache.limits.token_bucket("calls", tenant_id="acme", rate_per_s=rate_per_s, burst=burst)
        return decision.allowed

    assert [await ask(0.001, 3) for _ in range(4)] == [True, True, True, False]
    assert [await ask(0.002, 2) for _ in range(3)] == [True, True, False]
    assert [await ask(0.001, 2) for _ in range(3)] == [True, True, False]


async def test_a_task_that_takes_its_own_lock_again_is_told(cache: Cache) -> None:
    """A lock taken twice by one task waited for itself without a word."""
    async with cache.locks.acquire("l", tenant_id="acme"):
        with pytest.raises(UsageError, match="not re-entrant"):
            async with cache.locks.acquire("l", tenant_id="acme"):
                pass
        with pytest.raises(LockTimeoutError, match="not re-entrant"):
            await cache.locks.take("l", tenant_id="acme", wait_s=0.01)
        assert await cache.locks.try_acquire("l", tenant_id="acme") is None
    async with cache.locks.acquire("l", tenant_id="acme", wait_s=5):
        pass


async def test_a_job_lock_whose_taker_was_cancelled_is_free(
    port: CoordinationContext, gate: Gate, open_cache: OpenCache
) -> None:
    """redis/redis-py 3847: the caller had left, and the lock of its job was held for ten minutes."""
    cache = await open_cache()
    gate.waits = {"lock_acquire"}
    with override(cache), patch.object(cache.locks, "_port", port):
        taking = asyncio.create_task(acquire_job_lock("job-1", "acme"))
        await gate.reached.wait()
        taking.cancel()
        gate.open.set()
        await asyncio.wait([taking])
        await cache.locks._background.close()
        gate.waits.clear()
        gate.lose["lock_acquire"] = 3
        with pytest.raises(OutcomeUnknownError):
            await acquire_job_lock("job-1", "acme")
        await cache.locks._background.close()
        assert await acquire_job_lock("job-1", "acme")
        assert await release_job_lock("job-1", "acme")


async def test_a_request_that_never_fits_is_told_to_ask_for_less(cache: Cache) -> None:
    """smg-project/smg PR 1397, oslabs-beta/GraphQL-Gate 89: a caller that waits, asks, and is refused for ever."""
    limits = cache.tenant("acme").limits
    for decision in (
        await limits.sliding_window("w", limit=5, window_s=60, cost=6),
        await limits.token_bucket("b", rate_per_s=1, burst=5, cost=6),
        await limits.sliding_window("none", limit=0, window_s=60),
    ):
        with pytest.raises(LimitExceededError, match="larger than its limit, and never fits: ask for less") as refused:
            decision.require()
        assert refused.value.retry_after_s is None


async def test_a_bucket_that_would_fill_in_millennia_is_refused_and_lets_nobody_through(cache: Cache) -> None:
    """krakend/krakend-ratelimit 30 in its kind: a rate that is all but none let through more than its burst."""
    limits = cache.tenant("acme").limits
    for rate, burst in ((1e-300, 1), (1e-9, 10**9), (5e-324, 1)):
        with pytest.raises(ValueError, match="within a hundred years"):
            await limits.token_bucket("b", rate_per_s=rate, burst=burst)
    allowed = [bool(await limits.token_bucket("b", rate_per_s=1e-9, burst=2)) for _ in range(4)]
    assert allowed == [True, True, False, False]


def test_a_lock_that_was_over_when_its_answer_came_begins_no_block() -> None:
    """mike-marcacci/node-redlock 296: the answer took longer than the lease, and the work began without a lock."""

    class Late(LocalBackend):
        late_s = 0.0

        async def script(self, script: Script, *args: Any, **options: Any) -> Any:
            answer = await super().script(script, *args, **options)
            if script is ACQUIRE:
                await asyncio.sleep(self.late_s)
            return answer

    async def test(environment: VirtualEnvironment) -> None:
        store = Late(environment)
        locks = Locks(CoordinationContext(store, PlainKeys(), environment))
        store.late_s = 10.0
        with pytest.raises(LockLostError, match="before the server's answer came: give it a longer ttl_s"):
            async with locks.acquire("l", tenant_id="acme", ttl_s=10):
                pytest.fail("a block began without its lock")
        with pytest.raises(LockLostError, match="before the server's answer came"):
            await locks.try_acquire("m", tenant_id="acme", ttl_s=10)
        store.late_s = 9.0
        async with locks.acquire("l", tenant_id="acme", ttl_s=10, wait_s=0) as lock:
            lock.check()
        await locks.close()

    run_virtual(test)
