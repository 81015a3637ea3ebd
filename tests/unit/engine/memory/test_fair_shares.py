"""Fairness: who fills the tier pays for it, and what nobody uses may be borrowed."""

from __future__ import annotations

import random
from collections import Counter
from itertools import accumulate

import pytest

from alacena.engine.memory import ENTRY_BYTES, MemoryTier

SMALL = [f"small-{number:02}" for number in range(50)]


def run(memory: MemoryTier, new_entry, requests) -> dict[str, float]:
    """Hit ratio by tenant."""
    hits, asked = Counter(), Counter()
    for tenant, resource, size in requests:
        asked[tenant] += 1
        if memory.get((tenant, "document", resource), 1_000.0) is not None:
            hits[tenant] += 1
        else:
            memory.put(new_entry(resource, tenant=tenant, size=size))
    return {tenant: hits[tenant] / asked[tenant] for tenant in asked}


def small_requests(rng: random.Random, count: int):
    """Fifty tenants, each with a skew over forty documents of its own."""
    weights = list(accumulate(1 / rank for rank in range(1, 41)))
    for _ in range(count):
        yield rng.choice(SMALL), rng.choices(range(40), cum_weights=weights)[0], 100


def held(memory: MemoryTier) -> Counter[str]:
    out: Counter[str] = Counter()
    for entry in memory.entries.values():
        out[entry.ident[0]] += entry.charge
    return out


def test_a_tenant_with_a_hundredfold_traffic_and_data_does_not_take_the_hits_of_fifty_others(
    new_memory, new_entry
) -> None:
    # Room for 30 of each small tenant's 40 documents, and as much again for the noisy one.
    noise_free = run(new_memory(51 * 30), new_entry, small_requests(random.Random(5), 20_000))

    def with_noise():
        rng = random.Random(6)
        for request in small_requests(random.Random(5), 20_000):
            yield request
            for _ in range(2):  # a hundred times what one of fifty asks for
                yield "noisy", rng.randrange(4_000), 900

    memory = new_memory(51 * 30)
    beside_noise = run(memory, new_entry, with_noise())
    alone = sum(noise_free[tenant] for tenant in SMALL) / 50
    beside = sum(beside_noise[tenant] for tenant in SMALL) / 50
    assert alone > 0.85
    assert beside > alone - 0.02
    assert min(beside_noise[tenant] for tenant in SMALL) > min(noise_free.values()) - 0.03


def test_one_policy_for_all_would_have_lost_those_hits(new_memory, new_entry) -> None:
    """The control: the same requests, all as one tenant's."""
    rng = random.Random(6)
    hits = asked = 0
    memory = new_memory(51 * 30)
    for tenant, resource, size in small_requests(random.Random(5), 20_000):
        asked += 1
        if memory.get(("all", "document", (tenant, resource)), 1_000.0) is not None:
            hits += 1
        else:
            memory.put(new_entry((tenant, resource), tenant="all", size=size))
        for _ in range(2):
            key = ("noisy", rng.randrange(4_000))
            if memory.get(("all", "document", key), 1_000.0) is None:
                memory.put(new_entry(key, tenant="all", size=900))
    assert hits / asked < 0.7


def test_what_others_do_not_use_is_borrowed_and_given_back(new_memory, new_entry) -> None:
    memory = new_memory(100)
    for number in range(300):
        memory.put(new_entry(number, tenant="early"))
    assert held(memory)["early"] == memory.held_bytes > 95 * (ENTRY_BYTES + 100)
    for number in range(300):
        memory.put(new_entry(number, tenant="late"))
    both = held(memory)
    assert abs(both["early"] - both["late"]) <= 4 * (ENTRY_BYTES + 100)


def test_a_tenant_below_its_share_is_never_the_one_that_gives(new_memory, new_entry) -> None:
    memory = new_memory(100)
    modest = [new_entry(number, tenant="modest") for number in range(30)]
    for entry in modest:
        memory.put(entry)
    for number in range(400):
        memory.put(new_entry(number, tenant=f"greedy-{number % 2}"))
        assert held(memory)["modest"] == 30 * (ENTRY_BYTES + 100)
        for entry in modest:
            entry.hits += 1


def test_weights_divide_the_tier(new_memory, new_entry) -> None:
    memory = new_memory(400, weights={"gold": 3.0})
    for number in range(2_000):
        memory.put(new_entry(number, tenant="gold"))
        memory.put(new_entry(number, tenant="plain"))
    both = held(memory)
    assert 2.8 < both["gold"] / both["plain"] < 3.2


def test_a_tenant_that_left_gives_its_room_to_the_living(new_memory, new_entry) -> None:
    memory = new_memory(200)
    for number in range(100):
        memory.put(new_entry(number, tenant="gone"))
    for number in range(20_000):
        memory.put(new_entry(number, tenant="alive"))
    assert held(memory)["gone"] < 20 * (ENTRY_BYTES + 100)


def test_a_tenant_that_only_reads_keeps_its_room(new_memory, new_entry) -> None:
    memory = new_memory(200)
    for number in range(100):
        memory.put(new_entry(number, tenant="reader"))
    for number in range(20_000):
        memory.put(new_entry(number, tenant="writer"))
        memory.get(("reader", "document", number * 7 % 100), 1_000.0)
    assert held(memory)["reader"] > 90 * (ENTRY_BYTES + 100)


@pytest.mark.parametrize("weight", [1.0, 0.01, 100.0])
def test_one_tenant_alone_is_served_by_the_plain_policy_whatever_its_weight(new_memory, new_entry, weight) -> None:
    rng = random.Random(8)
    requests = [("only", int(rng.paretovariate(0.7)) % 3_000, 100) for _ in range(10_000)]
    weighted = run(new_memory(200, weights={"only": weight}), new_entry, requests)
    assert weighted == run(new_memory(200), new_entry, requests)
