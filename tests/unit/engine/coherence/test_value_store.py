"""What memory keeps of a value, and what it hands out."""

import math

import numpy as np
import pytest

from alacena.engine import MISSING, Policy
from alacena.engine.base.generation import Generation
from alacena.engine.base.keys import Keys
from alacena.engine.base.remote_tier import ABSENT, NOT_FOUND, Found
from alacena.engine.base.scope import Scope
from alacena.engine.codec import Codec
from alacena.engine.coherence.value_store import ValueStore
from alacena.engine.memory import MemoryBounds, MemoryTier

KEY = Keys().entry("note", "n", Scope("acme"))


@pytest.fixture
def copies(environment):
    return ValueStore(MemoryTier(MemoryBounds(max_bytes=1_000_000), environment=environment), Codec(), environment)


def keep(copies, value, *, fresh_for_s=math.inf, stale_for_s=0.0, load_s=0.0, generations=(), **policy):
    stamps = tuple(generation.nonce for generation in generations)
    return copies.keep(
        KEY, value, None, generations, stamps,
        fresh_for_s=fresh_for_s, stale_for_s=stale_for_s, load_s=load_s, policy=Policy(**policy),
    )  # fmt: skip


@pytest.mark.parametrize("value", ["text", b"bytes", 7, 1.5, True, (1, ("a", b"b")), frozenset({1}), 2**100])
def test_an_immutable_value_is_handed_out_as_it_is(copies, value):
    keep(copies, value)
    assert copies.peeker()(KEY.ident) is value


@pytest.mark.parametrize("value", [[1], {"a": [1]}, {1}, ([1],), bytearray(b"x")])
def test_a_mutable_value_is_kept_encoded_and_every_reader_has_his_own(copies, value):
    keep(copies, value)
    peek = copies.peeker()
    first, second = peek(KEY.ident), peek(KEY.ident)
    assert first == second == value
    assert first is not second
    assert first is not value
    assert isinstance(copies.memory.entries[KEY.ident].value, bytes)


def test_a_shared_value_is_the_same_object_for_all(copies):
    value = {"a": 1}
    keep(copies, value, shared=True)
    assert copies.peeker()(KEY.ident) is value


def test_an_array_is_kept_read_only(copies):
    array = np.arange(10.0)
    keep(copies, array)
    kept = copies.peeker()(KEY.ident)
    array[0] = 99
    assert kept[0] == 0.0
    assert not kept.flags.writeable
    assert copies.peeker()(KEY.ident) is kept


def test_a_read_only_array_of_its_own_is_not_copied(copies):
    array = np.arange(1000.0)
    array.setflags(write=False)
    keep(copies, array)
    assert copies.peeker()(KEY.ident) is array


@pytest.mark.parametrize("shared", [False, True])
def test_a_part_of_a_larger_array_is_cut_out(copies, shared):
    table = np.arange(100_000.0)
    table.setflags(write=False)
    keep(copies, table[:10], shared=shared)
    kept = copies.peeker()(KEY.ident)
    assert np.array_equal(kept, table[:10])
    assert not np.shares_memory(kept, table)
    assert copies.memory.entries[KEY.ident].size < 2_000


@pytest.mark.parametrize("nothing", [NOT_FOUND, ABSENT])
def test_a_kind_of_nothing_is_no_value_to_who_peeks(copies, nothing):
    keep(copies, nothing)
    assert copies.peeker()(KEY.ident) is MISSING
    assert copies.hand_out(copies.memory.entries[KEY.ident]) is nothing


def test_peek_gives_only_what_is_fresh_alive_and_allowed(copies, environment):
    generation = Generation("t")
    generation.nonce = b"one"
    peek = copies.peeker()
    assert peek(KEY.ident) is MISSING

    def again(**life):
        generation.nonce = b"one"
        copies.memory.epoch += 1
        copies.memory.serving_until = math.inf
        keep(copies, "v", generations=(generation,), **life)
        assert peek(KEY.ident) == peek(KEY.ident) == "v"

    again(fresh_for_s=10, stale_for_s=10)
    environment.advance(10)
    assert peek(KEY.ident) is MISSING
    again()
    copies.memory.serving_until = environment.now() - 1
    assert peek(KEY.ident) is MISSING
    again()
    generation.nonce = b"two"
    copies.memory.epoch += 1
    assert peek(KEY.ident) is MISSING


def test_hits_are_counted_once_each(copies):
    keep(copies, "v")
    peek = copies.peeker()
    for _ in range(5):
        peek(KEY.ident)
    assert copies.memory.entries[KEY.ident].hits == 5


def test_what_is_too_large_is_not_kept_and_says_so(copies):
    assert keep(copies, "x" * 1000) is True
    assert keep(copies, "x" * 500_000) is False
    assert copies.peeker()(KEY.ident) is MISSING


def test_seconds_left_are_told(copies, environment):
    keep(copies, "v", fresh_for_s=10.0)
    environment.advance(4)
    assert copies.fresh_for(copies.memory.entries[KEY.ident]) == pytest.approx(6)
    keep(copies, "v")
    assert copies.fresh_for(copies.memory.entries[KEY.ident]) == math.inf


@pytest.mark.parametrize(
    "policy", [Policy(), Policy(shared=True), Policy(early_refresh_beta=1.0)], ids=["", "shared", "early"]
)
def test_what_is_received_together_is_kept_as_if_it_had_come_alone(copies, environment, policy):
    codec, keys = Codec(), Keys()
    values = ["text", {"a": [1]}, np.arange(1536, dtype=np.float32), np.arange(3.0), (1, [2]), 7]
    generation = Generation("t")
    generation.nonce = b"one"
    alone = ValueStore(MemoryTier(MemoryBounds(max_bytes=1_000_000), environment=environment), codec, environment)
    received = []
    for number, value in enumerate(values):
        data = b"8 bytes." + codec.encode(value)
        found = Found(keys.entry("note", f"n{number}", Scope("acme")), codec.decode(data, 8), "redis", 60.0, 0.5)
        received.append((found, 30.0, 0.25, data, 8))
        alone.keep(
            found.key, codec.decode(data, 8), data[8:], (generation,), (b"one",),
            fresh_for_s=60.0, stale_for_s=30.0, load_s=0.5, usd=0.25, policy=policy,
        )  # fmt: skip
    copies.keep_received(received, (generation,), (b"one",), policy)
    for found, _, _, data, _ in received:
        slot, other = copies.memory.entries[found.key.ident], alone.memory.entries[found.key.ident]
        np.testing.assert_equal(copies.hand_out(slot), alone.hand_out(other))
        assert type(slot.value) is type(other.value)
        assert (slot.fresh_until, slot.dead_after, slot.cost) == (other.fresh_until, other.dead_after, other.cost)
        assert copies.load_s(slot) == 0.5
        assert (slot.stamps, slot.wire_key, slot.size) == (
            other.stamps,
            other.wire_key,
            pytest.approx(other.size, abs=64),
        )
        if isinstance(slot.value, np.ndarray):
            assert slot.value.base is data
            assert not slot.value.flags.writeable


def test_a_small_array_does_not_keep_a_large_entry_alive(copies):
    codec, key = Codec(), Keys().entry("note", "n", Scope("acme"))
    data = bytes(8_000) + codec.encode(np.arange(3.0))
    copies.keep_received(
        [(Found(key, codec.decode(data, 8_000), "redis", 60.0), 0.0, 0.0, data, 8_000)], (), (), Policy()
    )
    slot = copies.memory.entries[key.ident]
    assert np.array_equal(slot.value, np.arange(3.0))
    assert slot.size < 500


def test_entries_on_the_same_ground_share_their_stamps_and_not_after_one_of_them_changed(copies):
    tenant, kind = Generation("t"), Generation("y")
    tenant.nonce, kind.nonce = b"1" * 16, b"2" * 16
    keys = Keys()

    def kept(name):
        key = keys.entry("note", name, Scope("acme"))
        copies.keep(
            key, name, None, (tenant, kind), tuple(bytes(bytearray(g.nonce)) for g in (tenant, kind)),
            fresh_for_s=9.0, stale_for_s=0.0, load_s=0.0, policy=Policy(),
        )  # fmt: skip
        return copies.memory.entries[key.ident]

    first, second = kept("a"), kept("b")
    assert first.stamps is second.stamps
    assert first.generations is second.generations
    kind.nonce = b"3" * 16
    copies.memory.epoch += 1
    third = kept("c")
    assert third.stamps == (tenant.nonce, kind.nonce)
    peek = copies.peeker()
    assert [peek(slot.ident) for slot in (first, second, third)] == [MISSING, MISSING, "c"]


def test_the_slot_that_is_peeked_at_is_the_one_whose_value_would_be(copies, environment):
    keep(copies, {"a": [1]}, fresh_for_s=9.0)
    slot = copies.entry_peeker()(KEY.ident, environment.now())
    assert slot is copies.memory.entries[KEY.ident]
    assert slot.thaw(slot.value) == {"a": [1]}
    assert slot.hits == 1
    copies.memory.serving_until = -math.inf
    assert copies.entry_peeker()(KEY.ident, environment.now()) is None
    copies.memory.serving_until = math.inf
    assert copies.entry_peeker()(KEY.ident, environment.now() + 9.0) is None
    copies.memory.discard(KEY.ident)
    assert copies.entry_peeker()(KEY.ident, environment.now()) is None


@pytest.mark.parametrize("life_s", [300.0, 3_600.0, 86_400.0, 2_592_000.0])
def test_lives_of_one_length_that_are_spread_end_at_instants_that_many_share(copies, life_s):
    ends = []
    for number in range(2_000):
        keep(copies, "text", fresh_for_s=life_s * (1 - number / 8_000))
        ends.append(copies.memory.entries[KEY.ident].fresh_until - copies._environment.now())
    assert len(set(ends)) < 1_100
    for number, end in enumerate(ends):
        lost_s = life_s * (1 - number / 8_000) - end
        assert -1e-6 <= lost_s <= max(0.125, life_s / 2_000)
