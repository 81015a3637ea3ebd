"""The server's clock is set back or forward: nothing is shut, delayed or held for longer than its own length.

The store of this process runs here on a clock that the test sets; that the scripts do on a server what they do here,
with clocks that are set back, is held by ``tests/property/test_scripts_twins.py``.
"""

from __future__ import annotations

from typing import Any

import pytest

from alacena.coordination import Budgets, CoordinationContext, Counters, Limits, Locks, Queues
from alacena.engine.base.errors import LimitExceededError
from alacena.engine.remote.local.local_backend import LocalBackend
from alacena.testing.doubles import FakeEnvironment
from tests.integration.coordination.stand import PlainKeys

HOUR_S = 3_600.0


class Machine:
    """A server whose clock can be set, apart from the time that passes."""

    def __init__(self) -> None:
        self._environment = FakeEnvironment(seed=7)
        self.wall_s = 1_700_000_000.0
        store = LocalBackend(self._environment)
        store.keyspace.clock = lambda: self.wall_s
        self.port = CoordinationContext(store, PlainKeys(), self._environment)

    def set_clock(self, by_s: float) -> None:
        """Set the clock, while no time passes."""
        self.wall_s += by_s

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.wall_s += seconds


@pytest.fixture
def machine() -> Machine:
    return Machine()


STEPS = pytest.mark.parametrize("step_s", [-HOUR_S, -1.5, HOUR_S])


@STEPS
async def test_a_window_opens_again_within_its_length(machine: Machine, step_s: float) -> None:
    """agronholm/apscheduler 351, gocron 438: the clock is set back by an hour, and a limit of 2 s was shut for it."""
    limits = Limits(machine.port)

    async def ask() -> Any:
        return await limits.sliding_window("w", tenant_id="t", limit=3, window_s=2)

    assert [bool(await ask()) for _ in range(4)] == [True, True, True, False]
    machine.set_clock(step_s)
    if step_s < 0:
        refused = await ask()
        assert not refused
        assert refused.retry_after_s <= 2.1
    machine.wait(2.1)
    assert [bool(await ask()) for _ in range(4)] == [True, True, True, False]


@STEPS
async def test_a_bucket_fills_again_in_its_time(machine: Machine, step_s: float) -> None:
    limits = Limits(machine.port)

    async def ask() -> Any:
        return await limits.token_bucket("b", tenant_id="t", rate_per_s=2, burst=3)

    assert [bool(await ask()) for _ in range(4)] == [True, True, True, False]
    machine.set_clock(step_s)
    if step_s < 0:
        refused = await ask()
        assert not refused
        assert refused.retry_after_s <= 0.5
    machine.wait(1.5)
    assert [bool(await ask()) for _ in range(4)] == [True, True, True, False]


@STEPS
async def test_a_delayed_item_comes_after_its_delay(machine: Machine, step_s: float) -> None:
    """sidekiq-scheduler 283: jobs that were due in seconds waited for as long as the clock was set back."""
    queue = Queues(machine.port, fair=False)("q", tenant_id="t")
    await queue.push("later", delay_s=3)
    await queue.push("again")
    [item] = await queue.reserve(visibility_s=2)
    await item.nack(3)
    machine.set_clock(step_s)
    if step_s < 0:
        assert await queue.reserve() == []
    machine.wait(3.1)
    assert {item.value for item in await queue.reserve(5)} == {"later", "again"}


async def test_an_item_for_a_time_of_day_waits_for_the_clock_on_the_wall(machine: Machine) -> None:
    queue = Queues(machine.port, fair=False)("q", tenant_id="t")
    await queue.push("at", at=machine.wall_s + 60)
    machine.set_clock(-HOUR_S)
    await queue.push("then", at=machine.wall_s + 30)
    machine.wait(31)
    [item] = await queue.reserve(5)
    assert item.value == "then"
    await item.ack()
    machine.wait(60)
    assert await queue.reserve(5) == []
    machine.wait(HOUR_S)
    assert [item.value for item in await queue.reserve(5)] == ["at"]


@STEPS
async def test_a_lease_of_the_dead_ends_in_its_time(machine: Machine, step_s: float) -> None:
    queue = Queues(machine.port, fair=False)("q", tenant_id="t")
    await queue.push("v")
    await queue.reserve(visibility_s=5)
    machine.set_clock(step_s)
    if step_s < 0:
        assert await queue.reserve() == []
    machine.wait(5.1)
    assert [item.attempt for item in await queue.reserve()] == [2]


async def test_a_lease_that_is_held_can_be_kept_and_settled(machine: Machine) -> None:
    queue = Queues(machine.port, fair=False)("q", tenant_id="t")
    await queue.push("v", "1")
    [item] = await queue.reserve(visibility_s=5)
    machine.set_clock(-HOUR_S)
    machine.wait(1)
    await item.extend(5)
    machine.wait(4)
    await item.ack()
    assert (await queue.push("v", "1")).outcome == "settled"
    machine.wait(HOUR_S + 1)
    assert (await queue.push("v", "1")).outcome == "taken"


async def test_tenants_have_their_turn_although_the_clock_was_set_back(machine: Machine) -> None:
    queues = Queues(machine.port)
    await queues("q", tenant_id="t").push_many(["one", "two"])
    view = queues.any("q")
    [item] = await view.reserve()
    await item.ack()
    machine.set_clock(-HOUR_S)
    assert await view.reserve() == []
    machine.wait(0.001)
    [item] = await view.reserve()
    await item.ack()
    assert await view.reserve() == []
    await queues("q", tenant_id="t").push("three", delay_s=2)
    machine.set_clock(-HOUR_S)
    machine.wait(3)
    assert [item.value for item in await view.reserve()] == []
    machine.wait(3)
    assert [item.value for item in await view.reserve()] == ["three"]


@STEPS
async def test_a_reservation_runs_out_in_its_time(machine: Machine, step_s: float) -> None:
    budget = Budgets(machine.port)("b", tenant_id="t", limit=100)
    await budget.reserve(100, ttl_s=3)
    machine.set_clock(step_s)
    if step_s < 0:
        with pytest.raises(LimitExceededError) as refused:
            await budget.reserve(1)
        assert (refused.value.retry_after_s or 0) <= 3
    machine.wait(3.1)
    assert (await budget.state()).remaining == 100
    await budget.reserve(100)


async def test_a_lock_of_the_dead_is_free_in_its_time_and_fences_grow(machine: Machine) -> None:
    locks = Locks(machine.port)
    first = await locks.try_acquire("l", tenant_id="t", ttl_s=3, token="dead")
    assert first is not None
    machine.set_clock(-HOUR_S)
    assert await locks.try_acquire("l", tenant_id="t", ttl_s=3, token="next") is None
    machine.wait(3.1)
    second = await locks.try_acquire("l", tenant_id="t", ttl_s=3, token="next")
    assert second is not None
    assert second > first


async def test_a_counter_starts_again_in_its_time(machine: Machine) -> None:
    counters = Counters(machine.port)

    async def count() -> int:
        return await counters.increment("c", tenant_id="t", ttl_s=3)

    assert await count() == 1
    machine.set_clock(-HOUR_S)
    assert await count() == 2
    machine.wait(3.1)
    assert await count() == 1


@pytest.mark.parametrize("steps_s", [[-50.0, -50.0, -50.0], [HOUR_S, -HOUR_S, HOUR_S, -HOUR_S]])
async def test_a_clock_that_is_set_again_and_again_delays_nothing(machine: Machine, steps_s: list[float]) -> None:
    queue = Queues(machine.port, fair=False)("q", tenant_id="t")
    for step_s in steps_s:
        await queue.push("v", delay_s=10)
        machine.set_clock(step_s)
        await queue.stats()
        assert len(await queue.reserve()) == (1 if step_s > 0 else 0)
        machine.wait(10.1)
        for item in await queue.reserve(5):
            await item.ack()
        assert (await queue.stats()).delayed == 0
