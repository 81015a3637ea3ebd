"""The remote tier without a server: leases, holds and generations under the same rules."""

import math

import pytest

from alacena.engine import Policy
from alacena.engine.base.keys import Keys
from alacena.engine.base.remote_tier import Held, Lease, NewEntry
from alacena.engine.base.scope import Scope
from alacena.engine.codec import Codec
from alacena.engine.coherence.generation_table import GenerationTable
from alacena.engine.coherence.value_store import ValueStore
from alacena.engine.loading.single_flight import SingleFlight
from alacena.engine.memory import MemoryBounds, MemoryTier
from alacena.engine.remote.local.local_tier import LocalTier

KEYS = Keys()
SCOPE = Scope("acme")
KEY = KEYS.entry("note", "n", SCOPE)
RESOURCE = KEYS.resource_generation("note", "n", SCOPE)
POLICY = Policy()


@pytest.fixture
def tier(environment):
    memory = MemoryTier(MemoryBounds(max_bytes=1_000_000), environment=environment)
    coherence = GenerationTable(memory, SingleFlight(memory, environment, 1.0))
    return LocalTier(coherence, ValueStore(memory, Codec(), environment), environment)


def new_entry(value="v", *, tags=(), fresh_for_s=60.0):
    return NewEntry(value=value, payload=Codec().encode(value), fresh_for_s=fresh_for_s, tags=tags, policy=POLICY)


async def leased(tier, key=KEY, tags=()):
    settled = []
    lease = await tier.lease(key, tags, settled.append)
    assert settled == [lease]
    assert isinstance(lease, Lease)
    return lease


async def found(tier, key=KEY):
    hit = await tier.find((key,), POLICY, keep=True)
    return None if hit is None else hit.value


async def test_a_lease_is_redeemed_once(tier):
    lease = await leased(tier)
    assert await tier.fill(lease, new_entry()) == ""
    assert await found(tier) == "v"
    assert await tier.fill(lease, new_entry("again")) == "lease"
    assert await found(tier) == "v"


async def test_what_takes_the_lease_away(tier):
    for taken in (
        lambda: tier.delete((KEY,)),
        lambda: tier.store(KEY, new_entry("mine")),
        lambda: tier.invalidate((), (KEY,)),
    ):
        lease = await leased(tier)
        await taken()
        assert await tier.fill(lease, new_entry("late")) == "lease"
        assert await found(tier) != "late"


async def test_one_request_at_a_time_has_the_lease_unless_it_can_store_nothing_any_more(tier):
    lease = await leased(tier)
    settled = []
    held = await tier.lease(KEY, (), settled.append)
    assert isinstance(held, Held)
    assert settled == [held]
    tier.release(lease)
    assert await held.change
    lease = await leased(tier)
    await tier.invalidate(KEYS.scope_generations(SCOPE, "note"), ())
    newer = await leased(tier)
    assert await tier.fill(lease, new_entry("late")) == "lease"
    assert await tier.fill(newer, new_entry("new")) == ""


async def test_a_lease_that_was_given_back_is_gone_and_a_strangers_is_left_alone(tier):
    lease = await leased(tier)
    tier.release(lease)
    newer = await leased(tier)
    tier.release(lease)
    assert await tier.fill(newer, new_entry()) == ""
    tier.release(newer)
    assert tier._leases == {}


@pytest.mark.parametrize("ended", ["tenant", "type", "early tag"])
async def test_an_ending_refuses_the_fill(tier, ended):
    lease = await leased(tier, tags=("early",))
    groups = {
        "tenant": KEYS.scope_generations(SCOPE, None),
        "type": KEYS.scope_generations(SCOPE, "note"),
        "early tag": KEYS.tag_generations("acme", "early"),
    }[ended]
    await tier.invalidate(groups, ())
    assert await tier.fill(lease, new_entry(tags=("early",))) == "generation"
    assert await found(tier) is None


async def test_other_endings_do_not(tier):
    lease = await leased(tier)
    await tier.invalidate(KEYS.scope_generations(SCOPE, "other"), ())
    await tier.invalidate(KEYS.tag_generations("acme", "t"), ())
    await tier.invalidate(KEYS.scope_generations(Scope("rival"), None), ())
    assert await tier.fill(lease, new_entry()) == ""


async def test_a_late_tag_that_ended_during_the_load_refuses_the_fill(tier):
    lease = await leased(tier)
    await tier.invalidate(KEYS.tag_generations("acme", "late"), ())
    assert await tier.fill(lease, new_entry(tags=("late",))) == "generation"
    lease = await leased(tier)
    assert await tier.fill(lease, new_entry(tags=("late",))) == ""
    await tier.invalidate(KEYS.tag_generations("acme", "late"), ())
    assert await found(tier) is None


async def test_a_hold_keeps_everything_out_until_its_owner_ends_it_or_it_expires(tier, environment):
    await tier.store(KEY, new_entry("old"))
    before = await leased(tier)
    token = await tier.hold((KEY,), (RESOURCE,), 30)
    assert await found(tier) is None
    assert await tier.fill(before, new_entry()) == "lease"
    during = await leased(tier)
    assert not during.storable
    assert await tier.fill(during, new_entry()) == "hold"
    assert await tier.store(KEY, new_entry()) == "hold"
    await tier.unhold((KEY,), b"a stranger's")
    assert await tier.store(KEY, new_entry()) == "hold"
    await tier.unhold((KEY,), token)
    assert await tier.store(KEY, new_entry("new")) == ""
    await tier.hold((KEY,), (RESOURCE,), 30)
    environment.advance(29)
    assert await tier.store(KEY, new_entry()) == "hold"
    environment.advance(2)
    assert await tier.store(KEY, new_entry("after")) == ""


async def test_a_hold_that_ended_by_itself_is_held_against_readings_that_began_before(tier, environment):
    (early,) = await tier.begin([(KEY.journal,)], 0)
    await tier.hold((KEY,), (), 30)
    environment.advance(29)
    (during,) = await tier.begin([(KEY.journal,)], 0)
    environment.advance(2)
    (after,) = await tier.begin([(KEY.journal,)], 0)
    assert await tier.store(KEY, new_entry("old"), early) == "hold"
    assert await tier.store(KEY, new_entry("old"), during) == "hold"
    assert await tier.store(KEY, new_entry("new"), after) == ""
    environment.advance(8 * 24 * 3600)
    assert await tier.store(KEY, new_entry("new")) == ""
    assert tier._holds == {}


async def test_a_lease_from_under_a_hold_is_not_redeemed_after_it(tier):
    token = await tier.hold((KEY,), (RESOURCE,), 30)
    lease = await leased(tier)
    await tier.unhold((KEY,), token)
    assert await tier.fill(lease, new_entry("read during the transaction")) in {"lease", "hold"}
    assert await found(tier) is None


async def test_a_hold_covers_every_scope_of_its_resource(tier):
    scoped = KEYS.entry("note", "n", Scope("acme", agent_id="a"))
    await tier.hold((KEY,), (RESOURCE,), 30)
    assert await tier.store(scoped, new_entry()) == "hold"


async def test_the_first_of_the_keys_that_is_there_answers(tier):
    narrow, wide = KEYS.entries("note", "n", Scope("acme", agent_id="a"))
    await tier.store(wide, new_entry("wide"))
    assert (await tier.find((narrow, wide), POLICY, keep=True)).value == "wide"
    await tier.store(narrow, new_entry("narrow"))
    assert (await tier.find((narrow, wide), POLICY, keep=True)).value == "narrow"
    assert [hit and hit.value for hit in await tier.find_many((wide, narrow), POLICY, keep=True)] == ["wide", "narrow"]


async def test_removals_count_what_was_there(tier):
    await tier.store(KEY, new_entry())
    assert await tier.delete((KEY,)) == 1
    assert await tier.delete((KEY,)) == 0
    await tier.store(KEY, new_entry(tags=("t",)))
    assert await tier.invalidate(KEYS.tag_generations("acme", "t"), ()) >= 1
    assert await tier.invalidate(KEYS.tag_generations("acme", "t"), ()) == 0


async def test_what_memory_did_not_keep_was_not_stored(tier):
    assert await tier.store(KEY, new_entry("x" * 500_000)) == "value"
    lease = await leased(tier)
    assert await tier.fill(lease, new_entry("x" * 500_000)) == "value"
    assert tier._leases == {}


async def test_it_says_what_it_promises_and_what_it_knows(tier):
    guarantee = tier.guarantee()
    assert (guarantee["mode"], guarantee["no_stale_fill"], guarantee["staleness_bound_s"]) == ("memory", True, 0.0)
    await leased(tier)
    await tier.hold((KEYS.entry("note", "m", SCOPE),), (RESOURCE,), 30)
    assert await tier.inspect(KEY) == {"tier": "this process only", "lease": True, "hold": False, "wider": []}
    assert (await tier.inspect(KEYS.entry("note", "m", SCOPE)))["hold"] is True
    assert tier._coherence.memory.serving_until == math.inf


async def test_who_waits_for_a_lease_is_told_whether_a_value_was_set(tier):
    async def told_by(store):
        await leased(tier)
        held = await tier.lease(KEY, (), lambda _: None)
        assert isinstance(held, Held)
        await store()
        return held.change.result()

    assert await told_by(lambda: tier.store(KEY, new_entry("mine"))) is True
    assert await told_by(lambda: tier.store_many((KEY,), (new_entry("mine"),))) is True
    (began,) = await tier.begin(*KEYS.groundwork(SCOPE, ("note",), ()))
    await tier.delete((KEY,), told=True)
    assert await told_by(lambda: tier.store(KEY, new_entry("old"), began)) is False
