"""Events: complete, off the hot path, and no observer's fault becomes a reader's."""

import asyncio

import pytest

from alacena.engine import Cache, Policy
from alacena.engine.base.events import (
    BackendFailed,
    Event,
    Events,
    FillRefused,
    Invalidated,
    LoadFinished,
    LookupFinished,
)
from tests.unit.engine.scene import TENANT, Source, play


class Failing:
    def observe(self, event):
        raise RuntimeError("an observer's own fault")


async def test_a_failing_observer_is_logged_and_goes_no_further(caplog):
    seen = []

    class Keeping:
        def observe(self, event):
            seen.append(event)

    async with Cache(observers=[Failing(), Keeping()]) as cache:
        assert await cache.load("note", "n", TENANT, lambda: "v") == "v"
        assert await cache.get("note", "n", TENANT) == "v"
    assert [type(event) for event in seen] == [LoadFinished, LookupFinished, LookupFinished]
    assert "an observer's own fault" in caplog.text


def test_nobody_listens_is_false():
    assert not Events()
    assert Events([Failing()])


async def test_a_hit_by_peek_tells_nobody_and_counts_all_the_same():
    class Never:
        def observe(self, event):
            raise AssertionError(event)

    async with Cache() as cache:
        await cache.set("note", "n", "v", TENANT)
        cache._events._observers = (Never(),)
        for _ in range(10):
            assert cache.peek((TENANT, "note", "n")) == "v"
        assert cache.stats()["memory"][(TENANT, "note")].hits == 10


@pytest.mark.parametrize("server", [False, True])
def test_every_read_ends_in_one_event_that_says_who_answered(server):
    async def scenario(stage):
        cache, source = stage.cache, Source("v", takes_s=0.5)
        await cache.lookup("note", "n", TENANT, source.load)
        await asyncio.sleep(0.1)
        await cache.get("note", "n", TENANT)
        await cache.get("note", "n", TENANT, use_memory=False)
        await cache.get("note", "absent", TENANT)
        await asyncio.sleep(11)
        source.value = OSError()
        await cache.load("note", "n", TENANT, source.load)
        told = [(e.resource_id, e.source, e.tier) for e in stage.seen.of(LookupFinished)]
        tier = "redis" if server else "memory"
        assert told == [
            ("n", "loader", None),
            ("n", "cache", "memory"),
            ("n", "cache", tier),
            ("absent", "none", None),
            ("n", "stale", "memory"),
        ]
        assert stage.seen.of(LookupFinished)[0].latency_s == pytest.approx(0.5, abs=0.02)
        assert all(e.tenant_id == TENANT and e.data_type == "note" for e in stage.seen.of(LookupFinished))

    play(scenario, server=server, policy=Policy(ttl=10, stale_if_error_s=60))


@pytest.mark.parametrize("server", [False, True])
def test_invalidations_and_refused_fills_are_told_with_their_reason(server):
    async def scenario(stage):
        cache = stage.cache

        async def refused(how, reason):
            stage.seen.clear()
            load = asyncio.create_task(cache.load("note", "n", TENANT, Source(takes_s=0.5).load))
            await asyncio.sleep(0.2)
            await how()
            await load
            await asyncio.sleep(0.1)
            assert [e.reason for e in stage.seen.of(FillRefused)] == [reason]

        await refused(lambda: cache.delete("note", "n", TENANT), "lease")
        await refused(lambda: cache.set("note", "n", 1, TENANT, ttl=0.01), "lease")
        await refused(lambda: cache.invalidate(TENANT, "note"), "generation")
        ended = stage.seen.of(Invalidated)
        assert [(e.tenant_id, e.data_type) for e in ended] == [(TENANT, "note")]
        assert "y:note" in ended[0].what

    play(scenario, server=server)


def test_what_redis_fails_is_told_by_verb():
    async def scenario(stage):
        stage.server.process.pause()
        stage.sim.network.links_of("p0")[0].reset()
        await asyncio.sleep(0.1)
        cache = stage.cache
        assert await cache.get("note", "n", TENANT) is None
        assert await cache.set("note", "n", 1, TENANT) is False
        assert await cache.delete("note", "n", TENANT) is False
        assert await cache.invalidate(TENANT) == 0
        assert await cache.get_many("note", ["n"], TENANT) == {}
        assert await cache.load("note", "n", TENANT, Source().load) == "v1"
        async with cache.write(TENANT, ("note", "n")):
            pass
        verbs = [e.verb for e in stage.seen.of(BackendFailed)]
        assert {"get", "set", "delete", "invalidate", "get_many", "write"} <= set(verbs)
        assert all(e.error for e in stage.seen.of(BackendFailed))
        assert cache.stats()["backend_failures"] == len(verbs)
        stage.server.process.resume()

    play(scenario, server=True, seeds=(1,))


def test_events_are_values():
    assert Event("a", "b") == Event("a", "b")
    assert LookupFinished("a", "b", "c") != LookupFinished("a", "b", "d")
    with pytest.raises(AttributeError):
        Event("a").tenant_id = "b"
