"""The second shelf without a server: leases, holds and generations under the same rules."""

import math

import pytest

from alacena.engine import Policy
from alacena.engine.codec import Codec
from alacena.engine.coherence import Coherence
from alacena.engine.copies import Copies
from alacena.engine.flight import Flights
from alacena.engine.keys import Keys
from alacena.engine.local.shelf import LocalShelf
from alacena.engine.memory import Memory
from alacena.engine.scope import Scope
from alacena.engine.shelf import Held, Lease, Parcel

KEYS = Keys()
SCOPE = Scope("acme")
KEY = KEYS.entry("note", "n", SCOPE)
RESOURCE = KEYS.resource_generation("note", "n", SCOPE)
POLICY = Policy()


@pytest.fixture
def shelf(environment):
    memory = Memory(max_bytes=1_000_000, environment=environment)
    coherence = Coherence(memory, Flights(memory, environment, 1.0))
    return LocalShelf(coherence, Copies(memory, Codec(), environment), environment)


def parcel(value="v", *, tags=(), fresh_for_s=60.0):
    return Parcel(value=value, payload=Codec().encode(value), fresh_for_s=fresh_for_s, tags=tags, policy=POLICY)


async def leased(shelf, key=KEY, tags=()):
    settled = []
    lease = await shelf.lease(key, tags, settled.append)
    assert settled == [lease]
    assert isinstance(lease, Lease)
    return lease


async def found(shelf, key=KEY):
    hit = await shelf.find((key,), POLICY, keep=True)
    return None if hit is None else hit.value


async def test_a_lease_is_redeemed_once(shelf):
    lease = await leased(shelf)
    assert await shelf.fill(lease, parcel()) == ""
    assert await found(shelf) == "v"
    assert await shelf.fill(lease, parcel("again")) == "lease"
    assert await found(shelf) == "v"


async def test_what_takes_the_lease_away(shelf):
    for taken in (
        lambda: shelf.delete((KEY,)),
        lambda: shelf.store(KEY, parcel("mine")),
        lambda: shelf.invalidate((), (KEY,)),
    ):
        lease = await leased(shelf)
        await taken()
        assert await shelf.fill(lease, parcel("late")) == "lease"
        assert await found(shelf) != "late"


async def test_one_request_at_a_time_has_the_lease_unless_it_can_store_nothing_any_more(shelf):
    lease = await leased(shelf)
    settled = []
    held = await shelf.lease(KEY, (), settled.append)
    assert isinstance(held, Held)
    assert settled == [held]
    shelf.release(lease)
    assert await held.change
    lease = await leased(shelf)
    await shelf.invalidate(KEYS.scope_generations(SCOPE, "note"), ())
    newer = await leased(shelf)
    assert await shelf.fill(lease, parcel("late")) == "lease"
    assert await shelf.fill(newer, parcel("new")) == ""


async def test_a_lease_that_was_given_back_is_gone_and_a_strangers_is_left_alone(shelf):
    lease = await leased(shelf)
    shelf.release(lease)
    newer = await leased(shelf)
    shelf.release(lease)
    assert await shelf.fill(newer, parcel()) == ""
    shelf.release(newer)
    assert shelf._leases == {}


@pytest.mark.parametrize("ended", ["tenant", "type", "early tag"])
async def test_an_ending_refuses_the_fill(shelf, ended):
    lease = await leased(shelf, tags=("early",))
    groups = {
        "tenant": KEYS.scope_generations(SCOPE, None),
        "type": KEYS.scope_generations(SCOPE, "note"),
        "early tag": KEYS.tag_generations("acme", "early"),
    }[ended]
    await shelf.invalidate(groups, ())
    assert await shelf.fill(lease, parcel(tags=("early",))) == "generation"
    assert await found(shelf) is None


async def test_other_endings_do_not(shelf):
    lease = await leased(shelf)
    await shelf.invalidate(KEYS.scope_generations(SCOPE, "other"), ())
    await shelf.invalidate(KEYS.tag_generations("acme", "t"), ())
    await shelf.invalidate(KEYS.scope_generations(Scope("rival"), None), ())
    assert await shelf.fill(lease, parcel()) == ""


async def test_a_late_tag_that_ended_during_the_load_refuses_the_fill(shelf):
    lease = await leased(shelf)
    await shelf.invalidate(KEYS.tag_generations("acme", "late"), ())
    assert await shelf.fill(lease, parcel(tags=("late",))) == "generation"
    lease = await leased(shelf)
    assert await shelf.fill(lease, parcel(tags=("late",))) == ""
    await shelf.invalidate(KEYS.tag_generations("acme", "late"), ())
    assert await found(shelf) is None


async def test_a_hold_keeps_everything_out_until_its_owner_ends_it_or_it_expires(shelf, environment):
    await shelf.store(KEY, parcel("old"))
    before = await leased(shelf)
    token = await shelf.hold((KEY,), (RESOURCE,), 30)
    assert await found(shelf) is None
    assert await shelf.fill(before, parcel()) == "lease"
    during = await leased(shelf)
    assert not during.storable
    assert await shelf.fill(during, parcel()) == "hold"
    assert await shelf.store(KEY, parcel()) == "hold"
    await shelf.unhold((KEY,), b"a stranger's")
    assert await shelf.store(KEY, parcel()) == "hold"
    await shelf.unhold((KEY,), token)
    assert await shelf.store(KEY, parcel("new")) == ""
    await shelf.hold((KEY,), (RESOURCE,), 30)
    environment.advance(29)
    assert await shelf.store(KEY, parcel()) == "hold"
    environment.advance(2)
    assert await shelf.store(KEY, parcel("after")) == ""
    assert shelf._holds == {}


async def test_a_lease_from_under_a_hold_is_not_redeemed_after_it(shelf):
    token = await shelf.hold((KEY,), (RESOURCE,), 30)
    lease = await leased(shelf)
    await shelf.unhold((KEY,), token)
    assert await shelf.fill(lease, parcel("read during the transaction")) in {"lease", "hold"}
    assert await found(shelf) is None


async def test_a_hold_covers_every_scope_of_its_resource(shelf):
    scoped = KEYS.entry("note", "n", Scope("acme", agent_id="a"))
    await shelf.hold((KEY,), (RESOURCE,), 30)
    assert await shelf.store(scoped, parcel()) == "hold"


async def test_the_first_of_the_keys_that_is_there_answers(shelf):
    narrow, wide = KEYS.entries("note", "n", Scope("acme", agent_id="a"))
    await shelf.store(wide, parcel("wide"))
    assert (await shelf.find((narrow, wide), POLICY, keep=True)).value == "wide"
    await shelf.store(narrow, parcel("narrow"))
    assert (await shelf.find((narrow, wide), POLICY, keep=True)).value == "narrow"
    assert [hit and hit.value for hit in await shelf.find_many((wide, narrow), POLICY, keep=True)] == ["wide", "narrow"]


async def test_removals_count_what_was_there(shelf):
    await shelf.store(KEY, parcel())
    assert await shelf.delete((KEY,)) == 1
    assert await shelf.delete((KEY,)) == 0
    await shelf.store(KEY, parcel(tags=("t",)))
    assert await shelf.invalidate(KEYS.tag_generations("acme", "t"), ()) >= 1
    assert await shelf.invalidate(KEYS.tag_generations("acme", "t"), ()) == 0


async def test_what_memory_did_not_keep_was_not_stored(shelf):
    assert await shelf.store(KEY, parcel("x" * 500_000)) == "value"
    lease = await leased(shelf)
    assert await shelf.fill(lease, parcel("x" * 500_000)) == "value"
    assert shelf._leases == {}


async def test_it_says_what_it_promises_and_what_it_knows(shelf):
    guarantee = shelf.guarantee()
    assert (guarantee["mode"], guarantee["no_stale_fill"], guarantee["staleness_bound_s"]) == ("memory", True, 0.0)
    await leased(shelf)
    await shelf.hold((KEYS.entry("note", "m", SCOPE),), (RESOURCE,), 30)
    assert await shelf.inspect(KEY) == {"shelf": "this process only", "lease": True, "hold": False}
    assert (await shelf.inspect(KEYS.entry("note", "m", SCOPE)))["hold"] is True
    assert shelf._coherence.memory.serving_until == math.inf
