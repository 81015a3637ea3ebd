"""What the tier hands out, what it refuses, and what it counts."""

from __future__ import annotations

import gc
import math
import weakref

import pytest

from alacena.engine.base.errors import SettingsError, UsageError
from alacena.engine.memory import ENTRY_BYTES, MemoryBounds, MemoryTier

KEY = ("acme", "document", "a")


class Generation:
    def __init__(self, nonce: bytes | None) -> None:
        self.nonce = nonce


class Value:
    """Something that a weak reference can watch."""


def test_a_kept_slot_is_found_and_each_read_counts_one_hit(new_memory, new_entry) -> None:
    memory = new_memory(10)
    assert memory.put(new_entry("a"))
    entry = memory.get(KEY, 1_000.0)
    assert entry is not None
    assert entry.value == "value of a"
    memory.get(KEY, 1_000.0)
    assert entry.hits == 2
    assert memory.get(("acme", "document", "b"), 1_000.0) is None


def test_a_slot_is_fresh_before_its_instant_and_stale_from_it_until_its_death(new_memory, new_entry) -> None:
    memory = new_memory(10)
    memory.put(new_entry("a", fresh_until=1_010.0, dead_after=1_020.0))
    assert memory.get(KEY, 1_009.9) is not None
    assert memory.get_stale(KEY, 1_009.9) is None
    assert memory.get(KEY, 1_010.0) is None
    assert memory.get_stale(KEY, 1_010.0) is not None
    assert memory.get_stale(KEY, 1_020.0) is None


def test_nothing_is_served_after_serving_until(new_memory, new_entry) -> None:
    memory = new_memory(10)
    memory.put(new_entry("a", fresh_until=1_010.0, dead_after=1_020.0))
    memory.serving_until = 1_000.0
    assert memory.get(KEY, 1_000.0) is not None
    assert memory.get(KEY, 1_000.1) is None
    memory.serving_until = 1_012.0
    assert memory.get_stale(KEY, 1_012.0) is not None
    assert memory.get_stale(KEY, 1_012.1) is None
    memory.serving_until = -math.inf
    assert memory.get(KEY, 0.0) is None


def test_a_changed_generation_discards_the_slot(new_memory, new_entry) -> None:
    memory = new_memory(10)
    generation = Generation(b"one")
    memory.put(new_entry("a", ground=((generation,), (b"one",))))
    assert memory.get(KEY, 1_000.0) is not None
    generation.nonce = b"two"
    memory.epoch += 1
    assert memory.get(KEY, 1_000.0) is None
    assert KEY not in memory.entries


def test_an_unknown_generation_is_a_miss_and_the_slot_stays(new_memory, new_entry) -> None:
    memory = new_memory(10)
    generation = Generation(None)
    memory.put(new_entry("a", ground=((generation,), (b"one",))))
    assert memory.get(KEY, 1_000.0) is None
    generation.nonce = b"one"
    memory.epoch += 1
    assert memory.get(KEY, 1_000.0) is not None


def test_a_known_change_discards_even_beside_an_unknown_generation(new_memory, new_entry) -> None:
    memory = new_memory(10)
    memory.put(new_entry("a", ground=((Generation(None), Generation(b"new")), (b"one", b"old"))))
    assert memory.get(KEY, 1_000.0) is None
    assert KEY not in memory.entries


def test_generations_are_compared_once_an_epoch(new_memory, new_entry) -> None:
    memory = new_memory(10)
    generation = Generation(b"one")
    entry = new_entry("a", ground=((generation,), (b"one",)))
    memory.put(entry)
    memory.get(KEY, 1_000.0)
    assert entry.checked == memory.epoch
    memory.epoch += 1
    memory.get(KEY, 1_000.0)
    assert entry.checked == memory.epoch


def test_a_stale_copy_of_a_changed_generation_is_never_served(new_memory, new_entry) -> None:
    memory = new_memory(10)
    generation = Generation(b"two")
    memory.put(new_entry("a", fresh_until=1_001.0, dead_after=1_100.0, ground=((generation,), (b"one",))))
    assert memory.get_stale(KEY, 1_002.0) is None
    assert KEY not in memory.entries


def test_put_replaces_and_keeps_the_books(new_memory, new_entry) -> None:
    memory = new_memory(10)
    memory.put(new_entry("a", size=100))
    memory.put(new_entry("a", size=300, value="newer"))
    assert len(memory.entries) == 1
    assert memory.held_bytes == ENTRY_BYTES + 300
    assert memory.get(KEY, 1_000.0).value == "newer"


@pytest.mark.parametrize("entries", [200, 40, 3])
def test_many_put_at_once_are_kept_as_if_they_had_come_one_by_one(new_memory, new_entry, entries) -> None:
    together, apart = new_memory(entries), new_memory(entries)
    for memory in (together, apart):
        for number in range(30):
            memory.put(new_entry(f"before {number}"))
    batch = range(10, 60)
    together.put_all([new_entry(f"before {number}", value="new") for number in batch])
    for number in batch:
        apart.put(new_entry(f"before {number}", value="new"))
    more = range(100, 150)
    together.put_all([new_entry(number) for number in more])
    for number in more:
        apart.put(new_entry(number))
    assert {ident: entry.value for ident, entry in together.entries.items()} == {
        ident: entry.value for ident, entry in apart.entries.items()
    }
    assert together.stats() == apart.stats()


def test_what_is_put_at_once_is_kept_once_and_not_where_it_is_dead_or_too_large(new_memory, new_entry) -> None:
    memory = new_memory(20, max_entry_ratio=0.2)
    memory.put_all([])
    memory.put_all([new_entry("a", value="first"), new_entry("b"), new_entry("a", value="last")])
    assert memory.entries[KEY].value == "last"
    memory.put_all([new_entry("c", fresh_until=999.0), new_entry("d", size=5_000), new_entry("e")])
    assert {resource for _, _, resource in memory.entries} == {"a", "b", "e"}
    again = new_entry("f")
    memory.put(again)
    with pytest.raises(UsageError, match="put already"):
        memory.put_all([again])
    for entry in list(memory.entries.values()):
        assert memory.discard_wire(entry.wire_key) is entry
    assert memory.held_bytes == 0


def test_what_was_put_at_once_expires_and_makes_room(new_memory, new_entry, environment) -> None:
    memory = new_memory(100)
    memory.put_all([new_entry(number, fresh_until=1_010.0 + number % 3) for number in range(60)])
    for number in range(60, 150):
        memory.put(new_entry(number))
    assert len(memory.entries) == 100
    environment.at += 20
    memory.expire(environment.at, 1_000)
    assert all(entry.fresh_until == math.inf for entry in memory.entries.values())


def test_put_replaces_both_where_one_has_the_ident_and_another_the_wire_key(new_memory, new_entry) -> None:
    memory = new_memory(10)
    memory.put(new_entry("a"))
    memory.put(new_entry("b"))
    newcomer = new_entry("a", size=300)
    newcomer.wire_key = b"acme:document:b"
    assert memory.put(newcomer)
    assert list(memory.entries.values()) == [newcomer]
    assert memory.held_bytes == ENTRY_BYTES + 300
    assert memory.discard_wire(b"acme:document:a") is None
    assert memory.discard_wire(b"acme:document:b") is newcomer


def test_a_slot_that_is_too_large_is_not_kept_and_takes_its_older_version_along(new_memory, new_entry) -> None:
    memory = new_memory(10, max_entry_ratio=0.5)
    memory.put(new_entry("a"))
    assert not memory.put(new_entry("a", size=5 * (ENTRY_BYTES + 100)))
    assert memory.get(KEY, 1_000.0) is None
    assert memory.held_bytes == 0


def test_a_slot_that_is_dead_already_is_not_kept(new_memory, new_entry) -> None:
    memory = new_memory(10)
    assert not memory.put(new_entry("a", fresh_until=1_000.0))
    assert not memory.entries


def test_a_slot_object_is_put_once(new_memory, new_entry) -> None:
    memory = new_memory(10)
    entry = new_entry("a")
    memory.put(entry)
    with pytest.raises(UsageError, match="make a new one"):
        memory.put(entry)


def test_a_push_discards_by_wire_key(new_memory, new_entry) -> None:
    memory = new_memory(10)
    entry = new_entry("a")
    memory.put(entry)
    assert memory.discard_wire(b"acme:document:b") is None
    assert memory.discard_wire(b"acme:document:a") is entry
    assert memory.discard(KEY) is None
    assert memory.held_bytes == 0


def test_a_wire_key_names_one_slot_even_where_idents_differ(new_memory, new_entry) -> None:
    memory = new_memory(10)
    first, second = new_entry("a"), new_entry("b")
    second.wire_key = first.wire_key
    memory.put(first)
    memory.put(second)
    assert list(memory.entries.values()) == [second]
    assert memory.discard_wire(second.wire_key) is second


def test_neither_bound_is_ever_exceeded(new_memory, new_entry) -> None:
    memory = new_memory(40, max_entries=25)
    for number in range(200):
        memory.put(new_entry(number, size=number % 7 * 400))
        assert len(memory.entries) <= 25
        assert memory.held_bytes <= 40 * (ENTRY_BYTES + 100)
    assert len(memory.entries) > 10


def test_the_newcomer_survives_its_own_put(new_memory, new_entry) -> None:
    memory = new_memory(3)
    for number in range(50):
        assert memory.put(new_entry(number))
        assert ("acme", "document", number) in memory.entries


def test_clear_empties_at_once_and_frees_the_values_little_by_little(new_memory, new_entry) -> None:
    memory = new_memory(100)
    watched = []
    for number in range(50):
        value = Value()
        watched.append(weakref.ref(value))
        memory.put(new_entry(number, value=value, fresh_until=2_000.0))
        del value
    memory.get(("acme", "document", 7), 1_000.0)
    find = memory.entries.get
    memory.clear()
    assert find(("acme", "document", 7)) is None
    assert memory.held_bytes == 0
    assert memory.expire(1_000.0, 30) == 30
    assert memory.expire(1_000.0, 30) == 20
    assert all(reference() is None for reference in watched)
    assert memory.stats()["acme", "document"].hits == 1
    assert memory.put(new_entry("again"))


def test_evicted_values_are_freed_without_the_garbage_collector(new_memory, new_entry) -> None:
    memory = new_memory(10)
    watched = []
    gc.disable()
    try:
        for number in range(100):
            value = Value()
            watched.append(weakref.ref(value))
            memory.put(new_entry(number, value=value, fresh_until=2_000.0))
            del value
        assert sum(reference() is not None for reference in watched) == len(memory.entries)
    finally:
        gc.enable()


def test_a_discarded_slot_keeps_no_neighbour_alive(new_memory, new_entry) -> None:
    memory = new_memory(10)
    for name in "abc":
        memory.put(new_entry(name, value=Value(), fresh_until=2_000.0))
    watched = weakref.ref(memory.entries["acme", "document", "c"].value)
    held = memory.discard(("acme", "document", "b"))
    memory.discard(("acme", "document", "c"))
    assert held is not None
    assert watched() is None


def test_statistics_by_tenant_and_type(new_memory, new_entry, environment) -> None:
    memory = new_memory(4)
    for number in range(6):
        memory.put(new_entry(number, data_type="chunk"))
    memory.put(new_entry("soon", tenant="umbrella", fresh_until=1_001.0))
    memory.get(("umbrella", "document", "soon"), 1_000.0)
    environment.at = 1_002.0
    memory.expire(environment.now(), 100)
    counts = memory.stats()
    assert counts["umbrella", "document"] == (0, 0, 1, 0, 1)
    chunks = counts["acme", "chunk"]
    assert chunks.entries == len(memory.entries)
    assert chunks.bytes == memory.held_bytes
    assert chunks.evictions == 6 - chunks.entries


def test_what_is_known_of_departed_tenants_is_bounded(new_memory, new_entry) -> None:
    memory = new_memory(10)
    for number in range(3_000):
        tenant = f"tenant-{number}"
        memory.put(new_entry("a", tenant=tenant))
        memory.discard((tenant, "document", "a"))
    assert len(memory.stats()) <= 1_024


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"max_bytes": 0}, "max_bytes"),
        ({"max_entries": 0}, "max_entries"),
        ({"max_entry_ratio": 0.0}, "max_entry_ratio"),
        ({"max_entry_ratio": 1.5}, "max_entry_ratio"),
        ({"weights": {"acme": 0.0}}, "weights"),
        ({"weights": {"acme": math.inf}}, "weights"),
    ],
)
def test_settings_that_make_no_sense_are_refused(environment, settings, complaint) -> None:
    with pytest.raises(SettingsError, match=complaint):
        MemoryTier(MemoryBounds(**{"max_bytes": 1_000, **settings}), environment=environment)
