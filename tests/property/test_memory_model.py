"""The tier against a model: whatever the order of calls, its books agree and nothing dead is served."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from alacena.engine.memory import ENTRY_BYTES, MemoryBounds, MemoryEntry, MemoryTier

if TYPE_CHECKING:
    from collections.abc import Callable

tenants = st.sampled_from(["acme", "umbrella", "initech"])
types = st.sampled_from(["document", "chunk"])
resources = st.integers(0, 12)
idents = st.tuples(tenants, types, resources)
lives = st.one_of(st.just(math.inf), st.floats(0.0, 40.0))


class ModelEnvironment:
    def __init__(self) -> None:
        self.at = 0.0
        self.now: Callable[[], float] = lambda: self.at
        self.wall: Callable[[], float] = lambda: self.at

    def random(self) -> float:
        return random.Random(1).random()

    def token(self, size: int) -> bytes:
        return bytes(size)


class Generation:
    def __init__(self) -> None:
        self.nonce: int | None = 0


class MemoryMachine(RuleBasedStateMachine):
    """The model knows what was put last under each ident; the tier may have dropped it, never changed it."""

    @initialize(
        max_bytes=st.integers(1, 30).map(lambda entries: entries * (ENTRY_BYTES + 200)),
        max_entries=st.one_of(st.none(), st.integers(1, 20)),
        weights=st.sampled_from([None, {"acme": 5.0}, {"umbrella": 0.1}]),
    )
    def open(self, max_bytes: int, max_entries: int | None, weights: dict[str, float] | None) -> None:
        self.environment = ModelEnvironment()
        self.max_bytes, self.max_entries = max_bytes, max_entries
        self.memory = MemoryTier(
            MemoryBounds(max_bytes=max_bytes, max_entries=max_entries, weights=weights), environment=self.environment
        )
        self.latest: dict[tuple[object, ...], MemoryEntry] = {}
        self.generations = {tenant: Generation() for tenant in ("acme", "umbrella", "initech")}
        self.hits = 0
        self.puts = 0

    @rule(ident=idents, size=st.integers(0, 2_000), fresh=lives, stale=st.floats(0.0, 10.0), cost=st.floats(0.0, 99.0))
    def put(self, ident: tuple[str, str, int], size: int, fresh: float, stale: float, cost: float) -> None:
        generation = self.generations[ident[0]]
        self.puts += 1
        slot = MemoryEntry(
            ident,
            self.puts,
            wire_key=repr(ident).encode(),
            charge=size + ENTRY_BYTES,
            fresh_until=self.environment.at + fresh,
            dead_after=self.environment.at + fresh + stale,
            ground=((generation,), (generation.nonce,)),
            cost=cost,
        )
        kept = self.memory.put(slot)
        assert kept == (self.memory.entries.get(ident) is slot)
        self.latest[ident] = slot

    @rule(
        tenant=tenants, data_type=types, chosen=st.lists(resources, max_size=8), size=st.integers(0, 400), fresh=lives
    )
    def put_all(self, tenant: str, data_type: str, chosen: list[int], size: int, fresh: float) -> None:
        generation, slots = self.generations[tenant], []
        for resource in chosen:
            ident = (tenant, data_type, resource)
            self.puts += 1
            slot = MemoryEntry(
                ident,
                self.puts,
                wire_key=repr(ident).encode(),
                charge=size + ENTRY_BYTES,
                fresh_until=self.environment.at + fresh,
                dead_after=self.environment.at + fresh,
                ground=((generation,), (generation.nonce,)),
            )
            slots.append(slot)
            self.latest[ident] = slot
        self.memory.put_all(slots)

    @rule(ident=idents)
    def get(self, ident: tuple[str, str, int]) -> None:
        slot = self.memory.get(ident, self.environment.at)
        if slot is not None:
            self.hits += 1
            self._check_served(slot, ident)
            assert self.environment.at < slot.fresh_until

    @rule(ident=idents)
    def get_stale(self, ident: tuple[str, str, int]) -> None:
        slot = self.memory.get_stale(ident, self.environment.at)
        if slot is not None:
            self.hits += 1
            self._check_served(slot, ident)
            assert slot.fresh_until <= self.environment.at < slot.dead_after

    def _check_served(self, slot: MemoryEntry, ident: tuple[str, str, int]) -> None:
        assert slot is self.latest[ident]
        assert slot.stamps == tuple(generation.nonce for generation in slot.generations)

    @rule(ident=idents, by_wire=st.booleans())
    def discard(self, ident: tuple[str, str, int], by_wire: bool) -> None:
        held = self.memory.entries.get(ident)
        found = self.memory.discard_wire(repr(ident).encode()) if by_wire else self.memory.discard(ident)
        assert found is held
        assert ident not in self.memory.entries

    @rule(tenant=tenants, known=st.booleans())
    def change_generation(self, tenant: str, known: bool) -> None:
        self.puts += 1
        self.generations[tenant].nonce = self.puts if known else None
        self.memory.epoch += 1

    @rule(seconds=st.floats(0.0, 30.0))
    def wait(self, seconds: float) -> None:
        self.environment.at += seconds

    @rule(budget=st.integers(0, 8))
    def expire(self, budget: int) -> None:
        before = len(self.memory.entries)
        freed = self.memory.expire(self.environment.at, budget)
        assert before - len(self.memory.entries) <= freed <= budget

    @precondition(lambda self: self.memory.entries)
    @rule()
    def clear(self) -> None:
        self.memory.clear()
        assert not self.memory.entries

    @rule()
    def expire_all(self) -> None:
        self.memory.expire(self.environment.at, 10**6)
        at = self.environment.at
        assert all(slot.dead_after + max(0.125, 5.0) > at for slot in self.memory.entries.values())

    @invariant()
    def books_agree(self) -> None:
        if not hasattr(self, "memory"):
            return
        slots = self.memory.entries
        assert self.memory.held_bytes == sum(slot.size + ENTRY_BYTES for slot in slots.values())
        assert self.memory.held_bytes <= self.max_bytes
        assert self.max_entries is None or len(slots) <= self.max_entries
        assert all(slot.ident == ident and slot is self.latest[ident] for ident, slot in slots.items())

    @invariant()
    def statistics_agree(self) -> None:
        if not hasattr(self, "memory"):
            return
        counts = self.memory.stats()
        assert sum(count.entries for count in counts.values()) == len(self.memory.entries)
        assert sum(count.bytes for count in counts.values()) == self.memory.held_bytes
        assert sum(count.hits for count in counts.values()) == self.hits

    def teardown(self) -> None:
        """Everything can be let go, one by one, by the key that the server knows."""
        if hasattr(self, "memory"):
            for slot in list(self.memory.entries.values()):
                assert self.memory.discard_wire(slot.wire_key) is slot
            assert self.memory.held_bytes == 0


MemoryMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None, derandomize=True)
test_memory_against_its_model = MemoryMachine.TestCase
