"""Claims: a look-up that on a miss gives the permission to store, for frameworks whose look-up and store are two calls."""

import asyncio
import contextvars

import pytest

from alacena import CacheManager, Context, depends_on
from alacena.engine import (
    MISSING,
    UNCHANGED,
    CircularLoadError,
    ClaimError,
    OneShotValueError,
    Policy,
    Scope,
    TenantMismatchError,
)
from tests.unit.engine.scene import TENANT, play, settle


class Model:
    """Answers a question once it may, and counts how often it was asked."""

    def __init__(self, value="an answer"):
        self.value = value
        self.asked = 0
        self.is_asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def __call__(self, *_):
        self.asked += 1
        self.is_asked.set()
        await self.may_answer.wait()
        return self.value


async def ask(cache, model, resource_id="q1", **options):
    """The usual use: look, and make and store what is not there."""
    async with cache.claim("answer", resource_id, "acme", **options) as claim:
        if claim.found:
            return claim.value
        value = await model()
        await claim.store(value)
        return value


def beside(work):
    """A task of somebody else's: one that a block starts in its own context works for the block."""
    return asyncio.create_task(work, context=contextvars.Context())


async def stands(cache, *, waiting):
    """Until so many callers wait for the claim of the entry in this process."""
    key = cache._parts.keys.entry("answer", "q1", Scope("acme")).entry
    for _ in range(100_000):
        if len(cache._parts.flights.get(key)._waiters) == waiting + 1:
            return
        await asyncio.sleep(0)
    raise AssertionError("nobody waits")


# What it does


async def test_a_value_is_stored_and_found(cache):
    async with cache.claim("answer", "q1", "acme") as claim:
        assert not claim.found
        assert claim.is_open
        assert claim.value is None
        assert claim.previous is MISSING
        assert await claim.store([1, {"a": 2}])
        assert not claim.is_open
        assert claim.lookup.source == "loader"
    async with cache.claim("answer", "q1", "acme") as claim:
        assert claim.found
        assert claim.value == [1, {"a": 2}]
        assert claim.lookup.source == "cache"
    assert await cache.get("answer", "q1", "acme") == [1, {"a": 2}]


@pytest.mark.parametrize("value", [0, "", [], {}, False])
async def test_what_is_false_is_a_value(cache, value):
    async with cache.claim("answer", "q1", "acme") as claim:
        assert await claim.store(value)
    async with cache.claim("answer", "q1", "acme") as claim:
        assert claim.found
        assert claim.value == value


async def test_of_many_claims_and_loads_at_once_one_makes_the_value_and_each_has_its_own(cache):
    """Two-step caches, such as LangChain's: look-up and update are two calls, and N callers ask N times."""
    model = Model({"text": "an answer"})
    loaded = Model()
    first = beside(ask(cache, model))
    await model.is_asked.wait()
    others = [beside(ask(cache, model)) for _ in range(20)]
    others += [beside(cache.load("answer", "q1", "acme", loaded)) for _ in range(5)]
    batch = beside(cache.load_many("answer", ["q1"], "acme", loaded))
    await stands(cache, waiting=26)
    model.may_answer.set()
    answers = [await first, *await asyncio.gather(*others), (await batch)["q1"]]
    assert answers == [{"text": "an answer"}] * 27
    assert len({id(answer) for answer in answers}) == 27
    assert (model.asked, loaded.asked) == (1, 0)


async def test_a_claim_waits_for_a_load_and_has_its_value(cache):
    model = Model("loaded")
    load = beside(cache.load("answer", "q1", "acme", model))
    await model.is_asked.wait()
    claim = beside(ask(cache, Model()))
    await stands(cache, waiting=1)
    model.may_answer.set()
    assert (await load, await claim) == ("loaded", "loaded")


async def test_the_error_of_a_load_that_is_waited_for_is_the_claims_too(cache):
    may_fail = asyncio.Event()

    async def source():
        await may_fail.wait()
        raise LookupError("gone")

    load = beside(cache.load("answer", "q1", "acme", source))
    while not len(cache._parts.flights):
        await asyncio.sleep(0)
    claim = beside(ask(cache, Model()))
    await stands(cache, waiting=1)
    may_fail.set()
    for one in (load, claim):
        with pytest.raises(LookupError, match="gone"):
            await one


@pytest.mark.parametrize("mode", ["server"])
async def test_processes_wait_for_one_anothers_claims(open_cache):
    caches = [await open_cache() for _ in range(3)]
    model = Model()
    model.may_answer.set()
    answers = await asyncio.gather(*(ask(cache, model) for cache in caches for _ in range(5)))
    assert answers == ["an answer"] * 15
    assert model.asked == 1


@pytest.mark.parametrize("mode", ["server"])
async def test_a_claim_that_is_left_goes_to_another_process(open_cache):
    here, there = await open_cache(), await open_cache()
    model = Model()
    async with here.claim("answer", "q1", "acme"):
        other = beside(ask(there, model))
        await asyncio.sleep(0)
        assert not model.is_asked.is_set()
    await model.is_asked.wait()
    model.may_answer.set()
    assert await other == "an answer"
    assert await here.get("answer", "q1", "acme") == "an answer"


# How it ends


@pytest.mark.parametrize("how", ["left", "raised", "cancelled", "skipped over"])
async def test_who_waits_for_a_claim_that_is_left_has_it_next(cache, how):
    model = Model()
    may_end = asyncio.Event()

    async def leaver():
        async with cache.claim("answer", "q1", "acme") as claim:
            assert not claim.found
            await may_end.wait()
            if how == "raised":
                raise LookupError("the model is away")

    leaving = asyncio.create_task(leaver())
    while not len(cache._parts.flights):
        await asyncio.sleep(0)
    waiting = [beside(ask(cache, model)) for _ in range(3)]
    waiting.append(beside(cache.load("answer", "q1", "acme", model)))
    batch = beside(cache.load_many("answer", ["q1", "q2"], "acme", lambda ids: dict.fromkeys(ids, "b")))
    await stands(cache, waiting=5)
    if how == "cancelled":
        leaving.cancel()
    may_end.set()
    outcome = (await asyncio.gather(leaving, return_exceptions=True))[0]
    expected = {"raised": LookupError, "cancelled": asyncio.CancelledError}
    assert isinstance(outcome, expected.get(how, type(None)))
    model.may_answer.set()
    assert len(set(await asyncio.gather(*waiting))) == 1
    assert set(await batch) == {"q1", "q2"}
    assert model.asked <= 1
    assert not len(cache._parts.flights)


async def test_who_is_cancelled_while_waiting_leaves_the_claim_to_the_others(cache):
    async with cache.claim("answer", "q1", "acme") as claim:
        waiting = [beside(ask(cache, Model())) for _ in range(2)]
        await stands(cache, waiting=2)
        waiting[0].cancel()
        await asyncio.wait((waiting[0],))
        assert waiting[0].cancelled()
        assert await claim.store("v")
    assert await waiting[1] == "v"


async def test_a_claim_that_is_cancelled_before_it_is_had_holds_nobody_up(cache):
    for steps in range(12):
        early = beside(ask(cache, Model(), f"q{steps}"))
        for _ in range(steps):
            await asyncio.sleep(0)
        load = beside(cache.load("answer", f"q{steps}", "acme", lambda: "loaded"))
        await asyncio.sleep(0)
        early.cancel()
        await asyncio.wait((early,))
        assert await load == "loaded"


async def test_a_storer_that_is_cancelled_has_stored(cache):
    async with cache.claim("answer", "q1", "acme") as claim:
        storing = asyncio.create_task(claim.store("v"))
        await asyncio.sleep(0)
        storing.cancel()
        await asyncio.wait((storing,))
    assert await cache.get("answer", "q1", "acme") == "v"


# What is not stored


async def test_what_was_invalidated_since_the_claim_began_is_not_stored(cache):
    async with cache.claim("answer", "q1", "acme", document_ids=["d1"]) as claim:
        waiting = beside(ask(cache, Model()))
        await stands(cache, waiting=1)
        await cache.invalidate("acme", document_ids=["d1"])
        later = Model("newer")
        later.may_answer.set()
        assert await beside(ask(cache, later)) == "newer"
        assert not await claim.store("older")
    # It asked before the invalidation; who asks after it has a later answer.
    assert await waiting == "older"
    assert await cache.get("answer", "q1", "acme") == "newer"


@pytest.mark.parametrize("named", ["by the store", "by depends_on", "by the value"])
async def test_a_document_named_late_counts_from_the_beginning(cache, named):
    async with cache.claim("answer", "q1", "acme") as claim:
        await cache.invalidate("acme", document_ids=["d1"])
        if named == "by depends_on":
            claim.depends_on("d1")
        value = {"document_id": "d1"} if named == "by the value" else "v"
        stored = await claim.store(value, document_ids=["d1"] if named == "by the store" else ())
    assert not stored
    assert await cache.get("answer", "q1", "acme") is None


async def test_a_set_beats_a_claim(cache):
    async with cache.claim("answer", "q1", "acme") as claim:
        await cache.set("answer", "q1", "theirs", "acme")
        assert not await claim.store("mine")
    assert await cache.get("answer", "q1", "acme") == "theirs"


async def test_a_skipped_value_is_for_those_who_wait(cache):
    async with cache.claim("answer", "q1", "acme") as claim:
        waiting = beside(ask(cache, Model()))
        await stands(cache, waiting=1)
        claim.skip()
        assert not await claim.store("v")
    assert await waiting == "v"
    assert await cache.get("answer", "q1", "acme") is None


async def test_a_value_that_cannot_be_stored_is_handed_out(cache):
    async with cache.claim("answer", "q1", "acme") as claim:
        assert not await claim.store(object())
    async with cache.claim("answer", "q1", "acme") as claim:
        assert not claim.found


async def test_a_value_that_nobody_can_copy_is_made_by_each_for_itself(cache):
    made = []

    class Uncopied:
        def __deepcopy__(self, memo):
            raise TypeError

        def __reduce_ex__(self, protocol):
            raise TypeError

    async def make():
        made.append(Uncopied())
        return made[-1]

    async with cache.claim("answer", "q1", "acme") as claim:
        waiting = beside(ask(cache, make))
        await stands(cache, waiting=1)
        first = Uncopied()
        await claim.store(first)
    assert await waiting is made[0]


# What it depends on


async def test_what_the_block_reads_is_what_the_value_is_made_from(cache):
    """Without `depends_on`: the answer ends with the retrieval that it was made from."""
    await cache.set("retrieval", "r1", ["chunk"], "acme", document_ids=["d1"])
    async with cache.claim("answer", "q1", "acme") as claim:
        assert await cache.get("retrieval", "r1", "acme") == ["chunk"]
        await claim.store("made of d1")
    await cache.invalidate("acme", document_ids=["d1"])
    assert await cache.get("answer", "q1", "acme") is None


async def test_what_is_read_after_the_block_is_not(cache):
    await cache.set("retrieval", "r1", ["chunk"], "acme", document_ids=["d1"])
    async with cache.claim("answer", "q1", "acme") as claim:
        await claim.store("made of nothing")
        await cache.get("retrieval", "r1", "acme")
    await cache.get("retrieval", "r1", "acme")
    await cache.invalidate("acme", document_ids=["d1"])
    assert await cache.get("answer", "q1", "acme") == "made of nothing"


@pytest.mark.parametrize("found", [True, False])
async def test_a_load_depends_on_what_it_claims(cache, found):
    async def inner():
        async with cache.claim("retrieval", "r1", "acme") as claim:
            if not claim.found:
                await claim.store("chunks", document_ids=["d1"])
            return "chunks"

    if found:
        await inner()
    assert await cache.load("answer", "q1", "acme", inner) == "chunks"
    await cache.invalidate("acme", document_ids=["d1"])
    assert await cache.get("answer", "q1", "acme") is None


# Waiting for oneself


async def test_a_block_that_waits_for_its_own_claim_is_told_so(cache):
    async with cache.claim("answer", "q1", "acme") as claim:
        for again in (ask(cache, Model()), cache.load("answer", "q1", "acme", Model())):
            with pytest.raises(CircularLoadError, match="answer 'q1' asks for answer 'q1'"):
                await again
        assert await claim.store("v")
        assert await cache.load("answer", "q1", "acme", Model()) == "v"


async def test_after_a_store_that_was_refused_the_block_may_ask_again(cache):
    async with cache.claim("answer", "q1", "acme") as claim:
        await cache.invalidate("acme", "answer")
        assert not await claim.store("older")
        assert await cache.load("answer", "q1", "acme", lambda: "newer") == "newer"


async def test_a_circle_of_two_blocks_is_found(cache):
    both = asyncio.Barrier(2)

    async def claims(one, other):
        async with cache.claim("answer", one, "acme") as claim:
            await both.wait()
            value = await cache.load("answer", other, "acme", lambda: "by itself")
            await claim.store(value)
            return value

    outcomes = await asyncio.gather(claims("a", "b"), claims("b", "a"), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["CircularLoadError", "str"]


@pytest.mark.parametrize("many", [False, True])
async def test_a_circle_that_closes_when_a_claim_is_left_is_found(cache, many):
    """The load of q2 waits for a claim of q1; who has q1 next asks for q2."""

    async def needs_q1():
        if many:
            return (await cache.load_many("answer", ["q1"], "acme", lambda ids: ["by itself"]))["q1"]
        return await cache.load("answer", "q1", "acme", lambda: "by itself")

    async def needs_q2():
        async with cache.claim("answer", "q1", "acme") as claim:
            await claim.store(await cache.load("answer", "q2", "acme", needs_q1))

    async with cache.claim("answer", "q1", "acme"):
        next_one = beside(needs_q2())
        await stands(cache, waiting=1)
        outer = beside(cache.load("answer", "q2", "acme", needs_q1))
        await stands(cache, waiting=2)
    async with asyncio.timeout(20):
        outcomes = await asyncio.gather(outer, next_one, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} <= {CircularLoadError, str, type(None)}
    assert any(outcome == "by itself" or isinstance(outcome, CircularLoadError) for outcome in outcomes)


async def test_a_block_with_the_tenants_only_place_may_load(open_cache):
    cache = await open_cache(max_loads_per_tenant=1)
    async with cache.claim("answer", "q1", "acme") as claim:
        assert await cache.load("retrieval", "r1", "acme", lambda: "chunks") == "chunks"
        async with cache.claim("prompt", "p1", "acme") as inner:
            await inner.store("be brief")
        assert await claim.store("v")


# Misuse


async def test_a_claim_takes_one_value(cache):
    async with cache.claim("answer", "q1", "acme") as claim:
        with pytest.raises(ValueError, match="store_nothing"):
            await claim.store(None)
        with pytest.raises(ValueError, match="ttl"):
            await claim.store("v", ttl=0)
        await claim.store("v")
        with pytest.raises(ClaimError, match="answer 'q1' has stored a value already"):
            await claim.store("w")
    async with cache.claim("answer", "q1", "acme") as claim:
        with pytest.raises(ClaimError, match="answer 'q1' was found: there is nothing to store"):
            await claim.store("w")
        claim.skip()
        claim.depends_on("d1")
    async with cache.claim("answer", "q2", "acme") as claim:
        pass
    with pytest.raises(ClaimError, match="answer 'q2' is closed: store before its block ends"):
        await claim.store("w")
    assert await cache.get("answer", "q1", "acme") == "v"


async def test_what_can_be_read_once_is_refused_and_the_next_one_has_the_claim(cache):
    async with cache.claim("answer", "q1", "acme") as claim:
        waiting = beside(cache.load("answer", "q1", "acme", lambda: "loaded"))
        await stands(cache, waiting=1)
        with pytest.raises(OneShotValueError):
            await claim.store(letter for letter in "abc")
    assert await waiting == "loaded"


# The guide's door


async def test_the_manager_claims_for_the_ambient_tenant(manager):
    with Context("acme"):
        async with manager.claim("answer", "q1") as claim:
            depends_on("d1")
            with pytest.raises(TenantMismatchError):
                await claim.store({"tenant_id": "other"})
            await claim.store("v")
        assert await CacheManager.get("answer", "q1") == "v"
        await CacheManager.invalidate("acme", document_ids=["d1"])
    assert await CacheManager.get("answer", "q1", "acme") is None
    async with manager.claim("answer", "q1", "acme", agent_id="a1") as claim:
        assert await claim.store("the agent's")
    assert await CacheManager.get("answer", "q1", "acme", agent_id="a1") == "the agent's"
    assert await CacheManager.get("answer", "q1", "acme") is None


# Time


@pytest.mark.parametrize("server", [False, True])
def test_a_claims_lease_is_kept_for_as_long_as_its_block_runs(server):
    async def scenario(stage):
        async with stage.cache.claim("note", "n", TENANT) as claim:
            other = beside(stage.caches[-1].load("note", "n", TENANT, lambda: "theirs"))
            await asyncio.sleep(20)
            assert not other.done()
            assert await claim.store("mine")
        assert await other == "mine"
        assert 20 <= stage.now() < 21

    play(scenario, server=server, processes=2 if server else 1, lease_s=5.0)


@pytest.mark.parametrize("server", [False, True])
def test_a_block_that_takes_longer_than_the_hard_timeout_holds_nobody_up(server, caplog):
    async def scenario(stage):
        async with stage.cache.claim("note", "n", TENANT) as claim:
            others = [beside(cache.load("note", "n", TENANT, lambda: "theirs")) for cache in stage.caches]
            await asyncio.sleep(60)
            assert [await other for other in others] == ["theirs"] * len(others)
            assert not claim.is_open
            assert not await claim.store("mine")
        assert await stage.cache.get("note", "n", TENANT) == "theirs"
        await settle()
        assert not any(stage.left_behind().values())

    caplog.set_level("WARNING", "alacena")
    play(scenario, policy=Policy(hard_timeout_s=10), server=server, processes=2 if server else 1, seeds=(1,))
    assert [r.getMessage() for r in caplog.records if "note 'n'" in r.getMessage()] == [
        "the claim of note 'n' was neither stored nor closed in time, and has ended: the next one has it"
    ]


@pytest.mark.parametrize("server", [False, True])
def test_a_claim_in_two_steps_ends_by_itself_when_it_is_forgotten(server, caplog):
    async def scenario(stage):
        await stage.cache.begin_claim("note", "n", TENANT, life_s=7)
        claim = await asyncio.create_task(stage.caches[-1].begin_claim("note", "n", TENANT))
        assert 7 <= stage.now() < 8
        assert not claim.found
        assert await asyncio.create_task(claim.store("v"))
        await claim.close()
        await claim.close()
        assert await stage.cache.load("note", "n", TENANT, lambda: "loaded") == "v"
        closed = await stage.cache.begin_claim("note", "m", TENANT)
        await closed.close()
        again = await stage.cache.begin_claim("note", "m", TENANT)
        await stage.cache.delete("note", "m", TENANT)
        await again.close()
        with pytest.raises(ValueError, match="greater than 0"):
            await stage.cache.begin_claim("note", "m", TENANT, life_s=0)
        assert stage.now() < 8
        await settle()
        assert not any(stage.left_behind().values())

    caplog.set_level("WARNING", "alacena")
    play(scenario, server=server, processes=2 if server else 1, seeds=(1,))
    assert len([r for r in caplog.records if "neither stored nor closed" in r.getMessage()]) == 1


@pytest.mark.parametrize("server", [False, True])
def test_while_an_expired_entry_is_renewed_by_a_claim_the_others_are_served_it(server):
    async def scenario(stage):
        await stage.cache.set("note", "n", {"v": 1}, TENANT, document_ids=["d1"])
        await asyncio.sleep(15)
        async with stage.cache.claim("note", "n", TENANT) as claim:
            assert not claim.found
            assert claim.previous == {"v": 1}
            async with stage.cache.claim("note", "n", TENANT) as other:
                assert other.found
                assert (other.value, other.lookup.source) == ({"v": 1}, "stale")
            assert await stage.cache.load("note", "n", TENANT, lambda: "loaded") == {"v": 1}
            assert await claim.store(UNCHANGED)
        assert (await stage.cache.lookup("note", "n", TENANT)).source == "cache"
        await stage.cache.invalidate(TENANT, document_ids=["d1"])
        assert await stage.cache.get("note", "n", TENANT) is None

    play(scenario, policy=Policy(ttl=10, stale_while_revalidate_s=30), server=server)


@pytest.mark.parametrize("server", [False, True])
def test_that_there_is_nothing_is_remembered_as_long_as_the_policy_says(server):
    async def scenario(stage):
        async with stage.cache.claim("note", "n", TENANT) as claim:
            assert await claim.store_nothing()
        async with stage.cache.claim("note", "n", TENANT) as claim:
            assert claim.found
            assert claim.value is None
        await asyncio.sleep(6)
        async with stage.cache.claim("note", "n", TENANT, ttl=3) as claim:
            assert not claim.found
            await claim.store("v", tags=["t"])
        await asyncio.sleep(2)
        assert await stage.cache.get("note", "n", TENANT) == "v"
        await asyncio.sleep(2)
        assert await stage.cache.get("note", "n", TENANT) is None

    play(scenario, policy=Policy(negative_ttl_s=5), server=server)


def test_a_process_that_dies_in_its_block_holds_the_others_for_a_lease():
    async def scenario(stage):
        here, there = stage.caches
        await stage.processes[0].spawn(here.begin_claim("note", "n", TENANT))
        stage.processes[0].kill()
        assert await there.load("note", "n", TENANT, lambda: "theirs") == "theirs"
        assert stage.now() < 10

    play(scenario, server=True, processes=2, lease_s=5.0)


@pytest.mark.parametrize("server", [False, True])
def test_a_cache_that_closes_waits_for_no_claim_that_nobody_may_come_back_for(server):
    async def scenario(stage):
        claim = await stage.cache.begin_claim("note", "n", TENANT)
        waiting = beside(stage.cache.load("note", "n", TENANT, lambda: "loaded"))
        await asyncio.sleep(0.1)
        began = stage.now()
        await stage.cache.close()
        assert stage.now() - began < 1.0
        assert await waiting == "loaded"
        assert not claim.is_open
        assert not await claim.store("v")

    play(scenario, server=server)


@pytest.mark.parametrize("server", [False, True])
def test_a_cache_that_closes_waits_for_a_block_that_stores(server):
    async def scenario(stage):
        async def block():
            async with stage.cache.claim("note", "n", TENANT) as claim:
                await asyncio.sleep(2)
                return await claim.store("v")

        storing = asyncio.create_task(block())
        await asyncio.sleep(0.1)
        await stage.cache.close()
        assert await storing
        assert 2 <= stage.now() < 3

    play(scenario, server=server)


@pytest.mark.parametrize("server", [False, True])
def test_a_block_that_closes_its_cache_does_not_wait_for_itself(server):
    async def scenario(stage):
        async with stage.cache.claim("note", "n", TENANT) as claim:
            await stage.cache.close()
            assert not await claim.store("v")
        assert stage.now() < 1.0

    play(scenario, server=server)
