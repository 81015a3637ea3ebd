"""What stays: the kinds of request sequence that defeat one policy or another."""

from __future__ import annotations

import random
from collections import OrderedDict
from itertools import accumulate

import msgspec
import pytest

from alacena.engine.memory import ENTRY_BYTES, MemoryTier
from alacena.engine.memory.window_sizer import WindowSizer


def hit_ratio(memory: MemoryTier, new_entry, keys, **fields) -> float:
    hits = 0
    for key in keys:
        if memory.get(("acme", "document", key), 1_000.0) is not None:
            hits += 1
        else:
            memory.put(new_entry(key, **fields))
    return hits / len(keys)


def lru_ratio(keys, capacity: int) -> float:
    kept: OrderedDict[object, None] = OrderedDict()
    hits = 0
    for key in keys:
        if key in kept:
            hits += 1
            kept.move_to_end(key)
        else:
            kept[key] = None
            if len(kept) > capacity:
                kept.popitem(last=False)
    return hits / len(keys)


def skewed(rng: random.Random, keys: int, count: int) -> list[int]:
    weights = list(accumulate(1 / rank**0.9 for rank in range(1, keys + 1)))
    return rng.choices(range(keys), cum_weights=weights, k=count)


def test_a_loop_larger_than_the_tier_is_served_in_part(new_memory, new_entry) -> None:
    keys = list(range(120)) * 60
    assert lru_ratio(keys, 100) == 0.0
    assert hit_ratio(new_memory(100), new_entry, keys) > 0.7


def test_a_scan_does_not_wash_out_what_is_used(new_memory, new_entry) -> None:
    rng = random.Random(1)
    keys = skewed(rng, 1_000, 8_000)
    ratio = hit_ratio(new_memory(100), new_entry, keys)
    fresh = iter(range(10**6, 2 * 10**6))
    scanned = [key for place, key in enumerate(keys) for key in ([key, next(fresh)] if place % 800 < 400 else [key])]
    served = hit_ratio(new_memory(100), new_entry, scanned) * len(scanned) / len(keys)
    assert served > ratio - 0.05
    assert lru_ratio(scanned, 100) * len(scanned) / len(keys) < ratio - 0.1


def test_keys_that_come_back_once_and_soon_are_served_like_lru_serves_them(new_memory, new_entry) -> None:
    keys = [key for step in range(12_000) for key in (step, step - 60) if key >= 0]
    expected = lru_ratio(keys, 150)
    assert expected > 0.49
    assert hit_ratio(new_memory(150), new_entry, keys) > expected - 0.02


def test_yesterday_s_favourites_leave_when_others_take_their_place(new_memory, new_entry) -> None:
    rng = random.Random(2)
    memory = new_memory(150)
    hit_ratio(memory, new_entry, skewed(rng, 1_000, 15_000))
    changed = [key + 10_000 for key in skewed(rng, 1_000, 15_000)]
    assert hit_ratio(memory, new_entry, changed) > hit_ratio(new_memory(150), new_entry, changed) - 0.03


@pytest.mark.parametrize("cost", [0.001, 7.0, 1e9])
def test_equal_costs_whatever_they_are_change_nothing(new_memory, new_entry, cost) -> None:
    keys = skewed(random.Random(3), 2_000, 10_000)
    plain, priced = new_memory(100), new_memory(100)
    assert hit_ratio(plain, new_entry, keys) == hit_ratio(priced, new_entry, keys, cost=cost)
    assert list(plain.entries) == list(priced.entries)


def lost(memory: MemoryTier, new_entry, keys, *, costs, told: bool) -> float:
    """Cost of all the misses."""
    total = 0.0
    for key in keys:
        if memory.get(("acme", "document", key), 1_000.0) is None:
            total += costs[key]
            memory.put(new_entry(key, cost=costs[key] if told else 1.0))
    return total


def test_a_told_cost_saves_cost(new_memory, new_entry) -> None:
    rng = random.Random(4)
    keys = skewed(rng, 2_000, 20_000)
    costs = [rng.choice((1.0, 1.0, 1.0, 50.0)) for _ in range(2_000)]
    ignorant = lost(new_memory(150), new_entry, keys, costs=costs, told=False)
    assert lost(new_memory(150), new_entry, keys, costs=costs, told=True) < 0.85 * ignorant


def size_of(key: int) -> int:
    return 20_000 if key % 4 == 0 else 100


def lru_ratio_by_bytes(keys, room: int) -> float:
    kept: OrderedDict[int, None] = OrderedDict()
    hits = held = 0
    for key in keys:
        if key in kept:
            hits += 1
            kept.move_to_end(key)
            continue
        kept[key] = None
        held += size_of(key) + ENTRY_BYTES
        while held > room:
            held -= size_of(kept.popitem(last=False)[0]) + ENTRY_BYTES
    return hits / len(keys)


def test_small_values_are_preferred_to_large_ones_of_the_same_use(new_memory, new_entry) -> None:
    keys = skewed(random.Random(5), 2_000, 20_000)
    memory = new_memory(300, max_entry_ratio=0.1)
    hits = 0
    for key in keys:
        if memory.get(("acme", "document", key), 1_000.0) is not None:
            hits += 1
        else:
            memory.put(new_entry(key, size=size_of(key)))
    large = sum(size_of(key) > 100 for _, _, key in memory.entries) / len(memory.entries)
    assert large < 0.1
    assert hits / len(keys) > lru_ratio_by_bytes(keys, 300 * (ENTRY_BYTES + 100)) + 0.1


def test_a_hit_moves_nothing(new_memory, new_entry) -> None:
    """A hit writes the entry's count and nothing else."""
    memory = new_memory(20)
    for number in range(40):
        memory.put(new_entry(number))
    entry = next(iter(memory.entries.values()))
    fields = [name for name in entry.__slots__ if hasattr(entry, name)]
    before = {name: getattr(entry, name) for name in fields}
    memory.get(entry.ident, 1_000.0)
    after = {name: getattr(entry, name) for name in fields}
    assert {name for name in fields if before[name] is not after[name]} == {"hits", "checked"}
    memory.get(entry.ident, 1_000.0)
    assert {name for name in fields if after[name] is not getattr(entry, name)} == {"hits"}


def test_the_same_requests_leave_the_same_slots(new_memory, new_entry) -> None:
    keys = skewed(random.Random(6), 2_000, 8_000)
    first, second = new_memory(100), new_memory(100)
    hit_ratio(first, new_entry, keys)
    hit_ratio(second, new_entry, keys)
    assert list(first.entries) == list(second.entries)


def test_tenants_that_hold_one_entry_each_share_their_numbers_and_their_border(new_memory, new_entry):
    memory = new_memory(100_000)
    for number in range(40):
        memory.put(new_entry("d", tenant=f"t{number}"))
    held = [memory._segments[f"t{number}"] for number in range(40)]
    for segment in held:
        charge = memory.entries[segment.tenant, "document", "d"].charge
        assert segment.bytes is segment.first_counters.bytes is segment.queues[0].bytes is charge
    for name in ("level", "floor", "ceiling", "_sizer"):
        assert len({id(getattr(segment, name)) for segment in held}) == 1, name


def test_what_a_tenant_learns_of_its_border_is_no_other_tenants(new_memory, new_entry):
    memory = new_memory(50)
    memory.put(new_entry("d", tenant="idle"))
    idle, busy = memory._segments["idle"], "busy"
    for number in range(400):
        memory.put(new_entry(number % 60, tenant=busy))
        memory.get((busy, "document", number % 7), 0.0)
    untouched = msgspec.structs.asdict(WindowSizer())
    assert msgspec.structs.asdict(memory._segments[busy]._sizer) != untouched
    assert msgspec.structs.asdict(idle._sizer) == untouched
