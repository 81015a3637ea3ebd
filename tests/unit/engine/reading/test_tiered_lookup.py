"""The two tiers as one: what becomes of the breaker, and what a batch of hits in memory says of its entries."""

import pytest

from alacena.engine import Policy, Settings
from alacena.engine.base.counts import Counts
from alacena.engine.base.errors import OutcomeUnknownError, WrongLoopError
from alacena.engine.base.events import Events
from alacena.engine.base.keys import Keys
from alacena.engine.base.remote_tier import NewEntry
from alacena.engine.base.scope import Scope
from alacena.engine.codec import Codec
from alacena.engine.coherence.generation_table import GenerationTable
from alacena.engine.coherence.value_store import ValueStore
from alacena.engine.loading.single_flight import SingleFlight
from alacena.engine.memory import MemoryBounds, MemoryTier
from alacena.engine.reading.reading_parts import ReadingParts
from alacena.engine.reading.tiered_lookup import TieredLookup
from alacena.engine.remote.local.local_tier import LocalTier

KEYS = Keys()
KEY = KEYS.entry("note", "n", Scope("acme"))


@pytest.fixture
def memory(environment):
    return MemoryTier(MemoryBounds(max_bytes=1_000_000), environment=environment)


@pytest.fixture
def values(memory, environment):
    return ValueStore(memory, Codec(), environment)


@pytest.fixture
def tier(memory, values, environment):
    return LocalTier(GenerationTable(memory, SingleFlight(memory, environment, 1.0)), values, environment)


@pytest.fixture
def lookup(memory, values, tier, environment):
    parts = ReadingParts(tier, KEYS, Events(()), Counts(environment.now), environment, Settings())
    return TieredLookup(parts, memory, values)


async def test_a_probe_from_another_loop_leaves_the_way_to_the_next_one(lookup, tier, environment, monkeypatch):
    """1. The server fails until the breaker opens. 2. The first to ask again does so on another loop, which is refused.
    3. The next one is the probe then: else nobody would ask the server for as long as the cache lives.
    """
    answers = []

    async def find(*_, **__):
        environment.advance(0.1)
        raise answers[0]

    monkeypatch.setattr(tier, "find", find)
    answers[:] = [OutcomeUnknownError("no answer in time")]
    for _ in range(5):
        assert await lookup.find((KEY,), Policy(), keep=False) is None
    environment.advance(10)
    answers[:] = [WrongLoopError("another loop")]
    for _ in range(2):
        with pytest.raises(WrongLoopError):
            await lookup.find((KEY,), Policy(), keep=False)


async def test_of_many_too_a_dear_value_took_as_long_as_it_took(lookup, tier, environment):
    """What a load cost in money decides what stays in memory. It is no time, and renews nothing early."""
    policy = Policy(early_refresh_beta=1.0, ttl=60.0, jitter_ratio=0.0)
    dear = NewEntry(value="v", payload=Codec().encode("v"), fresh_for_s=60.0, load_s=2.0, usd=30.0, policy=policy)
    await tier.store(KEY, dear)
    (one,) = await lookup.find_many((KEY,), policy, keep=True)
    assert one is not None
    assert one.load_s == 2.0
