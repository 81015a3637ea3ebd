"""Entries stay outside the garbage collector's walk, and nothing is kept alive by that."""

from __future__ import annotations

import gc
import weakref

import pytest


class Value:
    """Something whose end can be seen."""


@pytest.fixture
def counted():
    """No collection of its own accord: what is freed here is freed by reference counts, or when a test asks.

    What is there already is not walked through again and again: it is none of the tests'.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    gc.enable()


def fill(memory, new_entry, count, tenants=1):
    values = weakref.WeakSet()
    for number in range(count):
        value = Value()
        values.add(value)
        memory.put(new_entry(number, value=value, tenant=f"t{number % tenants}", fresh_until=2_000.0 + number))
        del value
    return values


def tracked():
    gc.collect()
    return len(gc.get_objects())


def test_an_entry_adds_nothing_to_what_the_collector_walks_through(counted, new_memory, new_entry):
    memory = new_memory(5_000)
    fill(memory, new_entry, 10)
    before = tracked()
    for number in range(4_000):
        memory.put(new_entry(number, value="text", fresh_until=2_000.0))
    assert tracked() - before <= 0.01 * 4_000


def test_a_tenant_adds_a_handful(counted, new_memory, new_entry):
    memory = new_memory(5_000)
    before = tracked()
    for number in range(1_000):
        memory.put(new_entry("d", tenant=f"t{number}", value="text"))
    assert tracked() - before <= 3 * 1_000


@pytest.mark.parametrize("tenants", [1, 50])
def test_a_tier_that_is_dropped_takes_its_values_along(counted, new_memory, new_entry, tenants):
    memory = new_memory(200)
    values = fill(memory, new_entry, 500, tenants)
    assert len(values) == 200
    del memory
    gc.collect()
    assert len(values) == 0


@pytest.mark.parametrize("swept", [0, 100])
def test_one_that_was_cleared_and_half_swept_too(counted, new_memory, new_entry, environment, swept):
    memory = new_memory(200)
    values = fill(memory, new_entry, 200, 3)
    memory.clear()
    memory.expire(environment.now(), swept)
    assert 200 - swept <= len(values) <= 200 - swept + 3 * 2  # the neighbours of the last ones in each ring
    del memory
    gc.collect()
    assert len(values) == 0


def test_what_leaves_is_freed_at_once(counted, new_memory, new_entry, environment):
    memory = new_memory(100)
    values = fill(memory, new_entry, 300, 2)
    assert len(values) == 100
    memory.discard(("t0", "document", 298))
    assert len(values) == 99
    environment.at = 1e9
    while memory.expire(environment.now(), 10):
        pass
    assert len(values) == 0


def test_tenants_that_are_forgotten_leave_nothing(counted, new_memory, new_entry):
    memory = new_memory(10)
    fill(memory, new_entry, 10)
    before = tracked()
    for number in range(6_000):
        memory.put(new_entry("d", tenant=f"passing {number}", value=Value()))
    assert tracked() - before <= 3 * 1_024 + 100
