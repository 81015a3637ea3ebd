"""Generations in this process: what ends, what dies with it, who is woken."""

import asyncio
import math

import pytest

from alacena.engine.base.generation import Generation
from alacena.engine.coherence.generation_table import GenerationTable
from alacena.engine.loading.single_flight import SingleFlight
from alacena.engine.memory import MemoryBounds, MemoryEntry, MemoryTier


@pytest.fixture
def parts(environment):
    memory = MemoryTier(MemoryBounds(max_bytes=1_000_000), environment=environment)
    flights = SingleFlight(memory, environment, 1.0)
    return GenerationTable(memory, flights), memory, flights


def put(coherence, name, *generations):
    objects = coherence.generations(tuple(generations))
    for generation in objects:
        generation.nonce = generation.nonce or b"nonce"
    slot = MemoryEntry(
        ("acme", "note", name), name, wire_key=name.encode(), charge=10, fresh_until=math.inf,
        ground=(objects, tuple(g.nonce for g in objects)),
    )  # fmt: skip
    coherence.memory.put(slot)


def alive(memory, name):
    return memory.get(("acme", "note", name), 0.0) is not None


def test_one_object_stands_for_a_name(parts):
    coherence, *_ = parts
    assert coherence.generation("t") is coherence.generation("t")
    assert coherence.generations(("t", "y")) is coherence.generations(("t", "y"))
    assert coherence.generations(("t", "y", "c"))[0] is coherence.generation("t")


def test_a_generation_that_nobody_depends_on_is_forgotten(parts):
    coherence, *_ = parts
    held = coherence.generation("held")
    for number in range(5_000):
        coherence.generation(f"passing {number}")
    assert len(coherence._generations) <= 1_100
    assert coherence.generation("held") is held


def test_an_ending_kills_exactly_what_is_under_it(parts):
    coherence, memory, _ = parts
    put(coherence, "a", "t", "y:note", "c:1")
    put(coherence, "b", "t", "y:note", "c:2")
    put(coherence, "c", "t", "y:other", "c:1")
    coherence.end("c:1")
    assert [alive(memory, name) for name in "abc"] == [False, True, False]
    coherence.end("unheard of")
    assert alive(memory, "b")


def test_what_is_unknown_is_no_hit_and_comes_back_when_it_is_the_same(parts):
    coherence, memory, _ = parts
    put(coherence, "a", "t", "y", "c")
    generation = coherence.generation("c")
    coherence.learn(generation, None)
    assert not alive(memory, "a")
    coherence.learn(generation, b"nonce")
    assert alive(memory, "a")
    coherence.learn(generation, b"other")
    assert not alive(memory, "a")
    coherence.learn(generation, b"nonce")
    assert not alive(memory, "a"), "what was found dead is gone"


def test_a_drop_forgets_the_copy_and_closes_the_flight(parts):
    coherence, memory, flights = parts
    put(coherence, "a", "t", "y")
    flight = flights.register(b"a")
    coherence.drop(b"a")
    assert not alive(memory, "a")
    assert flights.get(b"a") is None
    assert not flight.joinable


def test_losing_everything_turns_memory_off_before_anything_else(parts):
    coherence, memory, flights = parts
    put(coherence, "a", "t", "y")
    flights.register(b"a")
    epoch = memory.epoch
    coherence.forget_all()
    assert memory.serving_until == -math.inf
    assert len(memory.entries) == 0
    assert memory.epoch > epoch
    assert coherence.generation("t").nonce is None
    assert flights.get(b"a") is None


async def test_who_waits_for_an_entry_is_woken_by_its_change_and_by_a_loss(parts):
    coherence, *_ = parts
    for change, may_be_filled in (
        (lambda: coherence.drop(b"a"), True),
        (lambda: coherence.wake_waiters(b"a"), False),
        (coherence.forget_all, True),
    ):
        waiting = [coherence.watch(b"a") for _ in range(3)]
        coherence.drop(b"b")
        assert not any(watcher.done() for watcher in waiting)
        change()
        assert await asyncio.gather(*waiting) == [may_be_filled] * 3
        assert coherence._watchers == {}


async def test_who_stops_waiting_leaves_nothing(parts):
    coherence, *_ = parts
    one, other = coherence.watch(b"a"), coherence.watch(b"a")
    one.cancel()
    await asyncio.sleep(0)
    assert coherence._watchers == {b"a": {other}}
    other.cancel()
    await asyncio.sleep(0)
    assert coherence._watchers == {}


def test_a_generation_is_compared_by_its_nonce_alone():
    generation = Generation("t")
    assert generation.nonce is None
    with pytest.raises(AttributeError):
        generation.other = 1
