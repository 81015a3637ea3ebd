"""What a loader may take, and what it may say about its value."""

import asyncio
import functools
import math
from random import Random

import pytest

from alacena.engine import MISSING, UNCHANGED, UNSET, Policy
from alacena.engine.base.keys import Keys
from alacena.engine.base.remote_tier import Found
from alacena.engine.base.scope import Scope
from alacena.engine.loading.load import LoadContext, adapt
from alacena.engine.reading.read_decision import is_early
from tests.unit.engine.scene import TENANT, Source, play

KEY = Keys().entry("note", "n", Scope(TENANT, agent_id="a", collection_id="c"))


class Repository:
    async def plain(self):
        return "plain"

    async def given(self, context):
        return context.resource_id

    @classmethod
    def of_class(cls, context):
        return context.resource_id

    @staticmethod
    def static(context):
        return context.resource_id

    def __call__(self, context):
        return context.resource_id


class Plain:
    def __call__(self):
        return "plain"


async def nothing():
    return "plain"


async def context_given(context):
    return context.resource_id


def make(d="mine"):
    return lambda d=d: d


@pytest.mark.parametrize(
    ("loader", "expected"),
    [
        (nothing, "plain"),
        (context_given, "n"),
        (lambda: "plain", "plain"),
        (lambda context: context.resource_id, "n"),
        (lambda *args: args[0].resource_id, "n"),
        (lambda *, key=1: "plain", "plain"),
        (lambda **kwargs: "plain", "plain"),
        (make(), "mine"),
        (lambda context=None: context.resource_id, "n"),
        (lambda _=None: _.resource_id, "n"),
        (lambda context, d="mine": (context.resource_id, d)[0], "n"),
        (Repository().plain, "plain"),
        (Repository().given, "n"),
        (Repository.of_class, "n"),
        (Repository.static, "n"),
        (Repository(), "n"),
        (Plain(), "plain"),
        (functools.partial(lambda a, context: (a, context.resource_id)[1], 1), "n"),
        (functools.partial(lambda a: "plain", 1), "plain"),
        (str.upper, AttributeError),
    ],
)
async def test_a_loader_takes_the_context_or_nothing_and_is_async_or_not(loader, expected):
    load = adapt(loader)
    if isinstance(expected, type):
        with pytest.raises((expected, TypeError)):
            await load(LoadContext(KEY))
    else:
        assert await load(LoadContext(KEY)) == expected


def test_the_context_says_what_is_asked_for():
    context = LoadContext(KEY)
    assert (context.tenant_id, context.data_type, context.resource_id) == (TENANT, "note", "n")
    assert (context.agent_id, context.conversation_id, context.collection_id) == ("a", None, "c")
    assert context.previous is MISSING
    assert context.ttl is UNSET


@pytest.mark.parametrize("ttl", [0, -1, math.nan, True, "60"])
def test_a_senseless_ttl_costs_nobody_the_value_which_is_not_stored(ttl):
    context = LoadContext(KEY)
    context.ttl = ttl
    assert (context.ttl, context.stored, context.refusal) == (UNSET, False, "ttl")
    assert "ttl must be" in context.slips[0]


def test_one_document_or_many_before_or_after():
    context = LoadContext(KEY, tags=["t"])
    context.depends_on("d1")
    context.depends_on(["d2", "d3"])
    assert context.tags == ["t", "document:d1", "document:d2", "document:d3"]


@pytest.mark.parametrize("server", [False, True])
@pytest.mark.parametrize("told", ["before", "after", "with the call"])
def test_what_a_value_was_made_from_ends_it(server, told):
    async def scenario(stage):
        async def load(context):
            if told == "before":
                context.depends_on(["d1", "d2"])
            await asyncio.sleep(0.1)
            if told == "after":
                context.depends_on(["d1", "d2"])
            return "answer"

        documents = ["d1", "d2"] if told == "with the call" else []
        await stage.cache.load("note", "n", TENANT, load, document_ids=documents)
        await asyncio.sleep(0.1)
        reader = stage.caches[-1]
        assert await reader.get("note", "n", TENANT) == "answer"
        await stage.cache.invalidate(TENANT, document_ids=["d3"])
        assert await reader.get("note", "n", TENANT) == "answer"
        await stage.cache.invalidate(TENANT, document_ids="d2")
        await asyncio.sleep(0.1)
        for cache in stage.caches:
            assert await cache.get("note", "n", TENANT) is None

    play(scenario, server=server, processes=2 if server else 1)


@pytest.mark.parametrize("server", [False, True])
def test_a_skipped_value_is_for_those_who_wait_alone(server):
    async def scenario(stage):
        async def load(context):
            context.skip()
            await asyncio.sleep(0.1)
            return {"a": [1]}

        found = await asyncio.gather(*(stage.cache.lookup("note", "n", TENANT, load) for _ in range(3)))
        assert [(f.value, f.source, f.stored) for f in found] == [({"a": [1]}, "loader", False)] * 3
        found[0].value["a"].append("poison")
        assert found[1].value == {"a": [1]}
        await asyncio.sleep(0.1)
        assert await stage.cache.get("note", "n", TENANT) is None
        assert stage.left_behind() == dict.fromkeys(stage.left_behind(), 0)

    play(scenario, server=server)


@pytest.mark.parametrize("server", [False, True])
def test_the_loader_may_say_how_long_its_value_lives_and_where_it_came_from(server):
    async def scenario(stage):
        async def load(context):
            context.ttl = 5
            context.origin = "supabase"
            return "v"

        found = await stage.cache.lookup("note", "n", TENANT, load, ttl=100)
        assert found.origin == "supabase"
        await asyncio.sleep(4)
        assert await stage.cache.get("note", "n", TENANT) == "v"
        await asyncio.sleep(2)
        assert await stage.cache.get("note", "n", TENANT) is None

        async def for_ever(context):
            context.ttl = None
            return "v"

        await stage.cache.load("note", "m", TENANT, for_ever)
        await asyncio.sleep(0.1)
        assert await stage.cache.ttl("note", "m", TENANT) == -1

    play(scenario, server=server)


async def test_costs_add_up():
    context = LoadContext(KEY)
    context.cost(tokens=10, usd=0.5)
    context.cost(tokens=5)
    assert (context.tokens, context.usd) == (15, 0.5)


def test_a_dear_value_stays_when_a_cheap_one_has_to_go():
    async def scenario(stage):
        def loader(usd):
            async def load(context):
                context.cost(usd=usd)
                return "x" * 1000

            return load

        for number in range(300):
            await stage.cache.load("note", f"n{number}", TENANT, loader(100.0 if number % 10 == 0 else 0.0))
        kept = [n for n in range(300) if await stage.cache.get("note", f"n{n}", TENANT)]
        dear = sum(n % 10 == 0 for n in kept)
        assert dear == 30, (dear, len(kept))

    play(scenario, memory_max_bytes=200_000, seeds=(1,))


@pytest.mark.parametrize("server", [False, True])
@pytest.mark.parametrize("ttl", [0, -3.0, math.nan])
def test_a_senseless_ttl_is_refused_before_the_source_is_asked(server, ttl):
    async def scenario(stage):
        source = Source()
        for call in (
            stage.cache.load("note", "n", TENANT, source.load, ttl=ttl),
            stage.cache.load_many("note", ["n"], TENANT, source.load, ttl=ttl),
            stage.cache.refresh("note", "n", TENANT, source.load, ttl=ttl),
            stage.cache.set("note", "n", "v", TENANT, ttl=ttl),
        ):
            with pytest.raises(ValueError, match="ttl must be greater than 0"):
                await call
        assert source.asked == 0

    play(scenario, server=server, seeds=(1,))


def test_unchanged_has_a_name():
    assert repr(UNCHANGED) == "UNCHANGED"


@pytest.mark.parametrize("server", [False, True])
def test_that_the_source_has_nothing_is_remembered_and_is_no_value(server):
    async def scenario(stage):
        source = Source(None)
        where = ("note", "n", TENANT)
        for _ in range(3):
            found = await stage.cache.lookup(*where, source.load)
            assert (found.value, found.found, found.hit) == (None, False, False)
            await asyncio.sleep(0.1)
        assert source.asked == 1
        assert found.source == "cache"
        assert await stage.cache.get(*where, default="default") == "default"
        assert await stage.cache.get(*where, default="default", use_memory=False) == "default"
        assert await stage.cache.get_many("note", ["n"], TENANT) == {}
        assert await stage.cache.load_many("note", ["n"], TENANT, source.load) == {}
        assert await stage.cache.load(*where, source.load) is None
        assert await stage.cache.ttl(*where) == -2
        assert stage.cache.peek((TENANT, "note", "n")) is MISSING
        assert source.asked == 1
        await stage.cache.set("note", "n", "now", TENANT)
        assert await stage.cache.get(*where) == "now"
        await stage.cache.delete(*where)
        await stage.cache.load(*where, source.load)
        await asyncio.sleep(31)
        source.value = "new"
        assert await stage.cache.load(*where, source.load) == "new"

    play(scenario, server=server, policy=Policy(negative_ttl_s=30))


@pytest.mark.parametrize("server", [False, True])
def test_nothing_remembered_ends_with_its_document(server):
    async def scenario(stage):
        source = Source(None)
        await stage.cache.load("note", "n", TENANT, source.load, document_ids=["d"])
        await asyncio.sleep(0.1)
        await stage.cache.invalidate(TENANT, document_ids=["d"])
        source.value = "there now"
        assert await stage.cache.load("note", "n", TENANT, source.load) == "there now"

    play(scenario, server=server, policy=Policy(negative_ttl_s=30))


@pytest.mark.parametrize("server", [False, True])
def test_without_negative_caching_lookup_does_not_claim_to_have_stored_nothing(server):
    async def scenario(stage):
        found = await stage.cache.lookup("note", "n", TENANT, Source(None).load)
        assert (found.found, found.stored) == (False, False)

    play(scenario, server=server)


def test_an_expiring_value_is_renewed_early_by_one_process_under_the_lease():
    async def scenario(stage):
        source = Source(takes_s=1.0)
        await stage.cache.load("note", "n", TENANT, source.load)
        ages = []

        async def read(cache):
            while source.asked < 2:
                found = await cache.lookup("note", "n", TENANT, source.load)
                assert (found.value, found.source) == ("v1", "cache")
                ages.append(stage.now())
                await asyncio.sleep(0.25)

        await asyncio.gather(*(read(cache) for cache in stage.caches for _ in range(5)))
        await asyncio.sleep(1.5)
        assert source.asked == 2
        assert source.most_under_way == 1
        assert 3 < ages[-1] < 101
        left = await stage.caches[1].ttl("note", "n", TENANT)
        assert left > 90

    play(scenario, server=True, processes=3, policy=Policy(ttl=100, early_refresh_beta=1.0))


def test_early_refreshes_follow_xfetch():
    """P(due) = P(-load * beta * log(u) >= left) = exp(-left / (load * beta))."""
    random, policy = Random(1).random, Policy(early_refresh_beta=2.0)
    for left_s in (0.5, 2.0, 5.0):
        found = Found(KEY, "v", "memory", left_s, 1.0)
        due = sum(is_early(found, policy, random) for _ in range(20_000)) / 20_000
        assert due == pytest.approx(math.exp(-left_s / 2.0), abs=0.015)
    assert not is_early(Found(KEY, "v", "memory", math.inf, 1.0), policy, random)
    assert not is_early(Found(KEY, "v", "memory", 1e-9, 0.0), policy, random)
    assert not is_early(Found(KEY, "v", "memory", 1e-9, 1.0), Policy(), random)


def test_memory_leaves_the_decision_to_who_can_refresh():
    async def scenario(stage):
        source = Source(takes_s=1.0)
        await stage.cache.load("note", "n", TENANT, source.load)
        await asyncio.sleep(1)
        ident = (TENANT, "note", "n")
        assert stage.cache.peek(ident) == "v1"
        await asyncio.sleep(90)
        assert stage.cache.peek(ident) is MISSING
        assert await stage.cache.get("note", "n", TENANT) == "v1"

    play(scenario, policy=Policy(ttl=100, early_refresh_beta=1.0))


@pytest.mark.parametrize("ratio", [None, 0.0, 0.3])
def test_jitter_takes_off_at_most_its_ratio_and_spreads(ratio):
    async def scenario(stage):
        expected = 0.2 if ratio is None else ratio
        left = []
        for number in range(500):
            await stage.cache.set("note", f"n{number}", 1, TENANT)
            left.append(await stage.cache.ttl("note", f"n{number}", TENANT))
        assert max(left) <= 100.0
        assert min(left) >= 100 * (1 - expected) - 1e-6
        if expected:
            assert max(left) - min(left) > 100 * expected * 0.9
        else:
            assert min(left) == pytest.approx(100.0)
        await stage.cache.set("note", "n", 1, TENANT, ttl=None)
        assert await stage.cache.ttl("note", "n", TENANT) == -1

    play(scenario, policy=Policy(ttl=100, jitter_ratio=ratio), ttl_jitter_ratio=0.2, seeds=(1,))
