"""The walk that collects hits: each is seen once, whatever comes and goes while it is under way."""

from __future__ import annotations

import random

import pytest

from alacena.engine.base.counts import Counts
from alacena.engine.memory import memory_tier


@pytest.fixture
def counts() -> Counts:
    return Counts()


def hit(memory, tenant, resource, times=1):
    for _ in range(times):
        assert memory.get((tenant, "document", resource), 1_000.0) is not None


def walk_on(memory, budget=3):
    """To the end of the walk."""
    steps = 1
    while not memory.collect(budget):
        steps += 1
    return steps


def counted(counts):
    total, _ = counts.sums()
    return total.reads.memory, total.entries, total.bytes


def test_small_steps_see_each_hit_once_and_feed_both_tellers(counts, new_memory, new_entry) -> None:
    memory = new_memory(100, counts=counts)
    for number in range(30):
        memory.put(new_entry(number, tenant=f"t{number % 4}"))
        hit(memory, f"t{number % 4}", number, number)
    assert walk_on(memory) > 10
    expected = sum(range(30))
    assert counted(counts) == (expected, 30, memory.held_bytes)
    assert sum(one.hits for one in memory.stats().values()) == expected
    walk_on(memory)
    assert counted(counts)[0] == expected


def test_stats_between_two_steps_take_nothing_from_the_walk(counts, new_memory, new_entry) -> None:
    memory = new_memory(100, counts=counts)
    for number in range(20):
        memory.put(new_entry(number))
        hit(memory, "acme", number)
    memory.collect(7)
    assert memory.stats()["acme", "document"].hits == 20
    walk_on(memory)
    assert counted(counts) == (20, 20, memory.held_bytes)


def test_the_walk_finds_its_place_again_if_the_entry_at_which_it_stood_has_left(counts, new_memory, new_entry) -> None:
    memory = new_memory(100, counts=counts)
    for number in range(20):
        memory.put(new_entry(number))
        hit(memory, "acme", number)
    memory.collect(6)
    for number in (13, 14, 15):  # the newest comes first, so the walk stands at about these
        memory.discard(("acme", "document", number))
    walk_on(memory)
    assert counted(counts)[0] == 20
    assert all(entry.collected == entry.hits for entry in memory.entries.values())


@pytest.mark.parametrize("seed", range(5))
def test_tenants_that_come_and_go_take_none_of_the_others_out_of_the_walk(
    seed, counts, new_memory, new_entry, monkeypatch
) -> None:
    monkeypatch.setattr(memory_tier, "_KEPT_EMPTY_TENANTS", 0)
    memory, dice = new_memory(500, counts=counts), random.Random(seed)
    passing = [f"passing{number}" for number in range(40)]
    for number in range(40):
        for tenant in (f"t{number}", passing[number]):
            memory.put(new_entry("d", tenant=tenant))
            hit(memory, tenant, "d")
    dice.shuffle(passing)
    while not memory.collect(dice.randrange(1, 6)):
        if passing:
            memory.discard((passing.pop(), "document", "d"))
    stayed = [entry for ident, entry in memory.entries.items() if not ident[0].startswith("passing")]
    assert len(stayed) == 40
    assert all(entry.collected == entry.hits for entry in stayed)
    walk_on(memory)
    assert counted(counts) == (80, len(memory.entries), memory.held_bytes)


def test_a_memory_that_is_cleared_holds_nothing_and_what_was_met_is_not_met_again(
    counts, new_memory, new_entry, environment
) -> None:
    memory = new_memory(100, counts=counts)
    for number in range(20):
        memory.put(new_entry(number, tenant=f"t{number % 3}"))
        hit(memory, f"t{number % 3}", number)
    walk_on(memory)
    memory.collect(5)
    memory.clear()
    assert counted(counts)[1:] == (0, 0)
    memory.put(new_entry("again", tenant="t1"))
    walk_on(memory)
    assert counted(counts)[1:] == (1, memory.held_bytes)
    memory.expire(environment.now(), 100)
    assert counted(counts)[0] == 20


def test_hits_of_a_tenant_that_was_forgotten_are_told_by_the_snapshot(
    counts, new_memory, new_entry, environment, monkeypatch
) -> None:
    monkeypatch.setattr(memory_tier, "_KEPT_EMPTY_TENANTS", 1)
    memory = new_memory(100, counts=counts)
    memory.put(new_entry("d"))
    hit(memory, "acme", "d", 3)
    memory.put(new_entry("d", tenant="umbrella"))
    memory.clear()
    while memory.expire(environment.now(), 100):
        pass
    assert ("acme", "document") not in memory.stats()
    assert counted(counts)[0] == 3
