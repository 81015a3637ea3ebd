"""Expiry: memory is freed unread, late by little, a bounded step at a time."""

from __future__ import annotations

import random


def test_the_dead_are_freed_without_being_read(new_memory, new_entry) -> None:
    memory = new_memory(10)
    memory.put(new_entry("a", fresh_until=1_010.0, dead_after=1_020.0))
    memory.put(new_entry("b"))
    assert memory.expire(1_019.0, 100) == 0
    assert memory.expire(1_022.0, 100) == 1
    assert list(memory.entries) == [("acme", "document", "b")]


def test_a_hundred_thousand_are_freed_in_steps_of_the_budget(new_memory, new_entry) -> None:
    rng = random.Random(3)
    memory = new_memory(100_000)
    for number in range(100_000):
        memory.put(new_entry(number, fresh_until=1_001.0 + rng.random() * 3_600.0))
    assert memory.expire(1_000.9, 10**9) == 0
    now, freed = 5_000.0, []
    while memory.entries:
        before = len(memory.entries)
        freed.append(memory.expire(now, 700))
        assert before - len(memory.entries) == freed[-1]
    assert set(freed[:-1]) == {700}
    assert sum(freed) == 100_000
    assert memory.held_bytes == 0


def test_nothing_goes_early_and_nothing_stays_longer_than_a_sixteenth_of_its_life(new_memory, new_entry) -> None:
    rng = random.Random(4)
    memory = new_memory(3_000)
    lives = {}
    for number in range(3_000):
        lives[number] = 0.05 + rng.paretovariate(0.4)
        memory.put(new_entry(number, fresh_until=1_000.0 + lives[number]))
    now = 1_000.0
    for _ in range(400):
        now += (now - 1_000.0) * 0.03 + 0.01
        memory.expire(now, 10**9)
        age = now - 1_000.0
        left = {ident[2] for ident in memory.entries}
        assert not [life for number, life in lives.items() if number not in left and life > age]
        assert not [lives[number] for number in left if lives[number] + max(0.125, lives[number] / 16) < age]


def test_a_life_that_was_prolonged_in_place_is_honoured(new_memory, new_entry) -> None:
    memory = new_memory(10)
    entry = new_entry("a", fresh_until=1_010.0)
    memory.put(entry)
    entry.fresh_until = 1_100.0
    memory.expire(1_050.0, 10)
    assert memory.get(("acme", "document", "a"), 1_050.0) is entry
    memory.expire(1_110.0, 10)
    assert not memory.entries


def test_evicted_and_discarded_slots_are_not_expired_again(new_memory, new_entry) -> None:
    memory = new_memory(5)
    for number in range(20):
        memory.put(new_entry(number, fresh_until=1_010.0))
    left = len(memory.entries)
    memory.discard(next(iter(memory.entries)))
    assert memory.expire(1_100.0, 100) == left - 1
    assert memory.stats()["acme", "document"].expirations == left - 1


def test_what_is_dead_makes_room_before_what_lives(new_memory, new_entry, environment) -> None:
    memory = new_memory(4)
    for name in "abc":
        memory.put(new_entry(name))
    memory.put(new_entry("dead", fresh_until=1_001.0))
    environment.at = 1_100.0
    memory.put(new_entry("new"))
    assert {ident[2] for ident in memory.entries} == {"a", "b", "c", "new"}
