"""The sweep of expired entries: a bounded time in each turn of the loop, until all are gone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from alacena.engine.memory import MemoryBounds, MemoryEntry, MemoryTier
from alacena.engine.memory.memory_sweeper import MemorySweeper
from alacena.testing.doubles import FakeEnvironment

if TYPE_CHECKING:
    from collections.abc import Callable

ENTRIES = 30_000


class Turns:
    """The timers of an event loop, run by hand."""

    def __init__(self) -> None:
        self.waiting: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Any:
        self.waiting.append((delay_s, callback))
        return self

    def turn(self) -> float:
        """Run what waits, and say how long it wanted to wait."""
        delay_s, callback = self.waiting.pop()
        callback()
        return delay_s


def filled(environment: FakeEnvironment, lives: Callable[[int], float]) -> MemoryTier:
    memory = MemoryTier(MemoryBounds(max_bytes=10**9), environment=environment)
    for number in range(ENTRIES):
        wire_key = b"%d" % number
        memory.put(
            MemoryEntry(
                ("t", "x", number),
                None,
                wire_key,
                1,
                fresh_until=environment.now() + lives(number),
                dead_after=environment.now() + lives(number),
            )
        )
    return memory


@pytest.fixture
def environment() -> FakeEnvironment:
    return FakeEnvironment()


@pytest.fixture
def turns() -> Any:
    return Turns()


def test_where_time_passes_a_step_ends_after_a_millisecond_and_the_next_turn_goes_on(environment, turns) -> None:
    memory = filled(environment, lambda _: 1.0)
    environment.advance(10.0)
    expire = memory.expire
    steps: list[int] = []

    class Slow:
        def expire(self, now: float, budget: int) -> int:
            environment.advance(0.0003)
            steps[-1] += (freed := expire(now, budget))
            return freed

        def compact(self) -> None:
            memory.compact()

    slow: Any = Slow()
    MemorySweeper(slow, environment, turns)
    waits = []
    while memory.entries:
        steps.append(0)
        waits.append(turns.turn())
    assert set(steps[:-1]) == {200}
    assert sum(steps) == ENTRIES
    assert waits[0] == 0.1
    assert set(waits[1:]) == {0.0}


def test_where_time_stands_still_a_step_ends_after_a_bounded_number(environment, turns) -> None:
    memory = filled(environment, lambda _: 1.0)
    environment.advance(10.0)
    MemorySweeper(memory, environment, turns)
    turns.turn()
    freed = ENTRIES - len(memory.entries)
    assert 0 < freed <= 2_000
    while memory.entries:
        turns.turn()
    turns.turn()
    assert turns.waiting[0][0] == 0.1


def test_what_is_left_is_found_in_tables_of_its_own_size_by_those_who_held_them_before(environment, turns) -> None:
    memory = filled(environment, lambda number: math.inf if number % 3_000 == 0 else 1.0)
    slot_of, before = memory.entries.get, memory.entries.__sizeof__()
    environment.advance(10.0)
    MemorySweeper(memory, environment, turns)
    for _ in range(ENTRIES // 2_000 + 2):
        turns.turn()
    left = range(0, ENTRIES, 3_000)
    assert [slot_of(("t", "x", number)) is not None for number in left] == [True] * len(left)
    assert len(memory.entries) == len(left)
    assert memory.entries.__sizeof__() < before / 100
    assert memory.discard_wire(b"3000") is not None
    assert slot_of(("t", "x", 3000)) is None
