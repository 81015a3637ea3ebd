"""What FusionCache documents of fail-safe, timeouts, eager, adaptive and conditional refresh, held against ours.

One test a property, in virtual time. Where ours differs on purpose, the test says how.
"""

import asyncio
from unittest.mock import patch

import pytest

from alacena.engine import MISSING, UNCHANGED, LoadTimeoutError, Policy
from alacena.engine.api import snapshot_recorder
from alacena.engine.loading.source_backoff import _MOST, SourceBackoff
from alacena.engine.memory import memory_sweeper
from alacena.testing.doubles import FakeEnvironment
from tests.unit.engine import scene
from tests.unit.engine.scene import TENANT, Source

HOUR = 3600
FAIL_SAFE = Policy(ttl=300, stale_if_error_s=2 * HOUR, retry_after_s=60, jitter_ratio=0)
BOTH = pytest.mark.parametrize("server", [False, True])


def play(scenario, **options):
    """Hours pass here: what a process does ten times a second would be most of the work, so it does it once in ten."""
    with patch.object(snapshot_recorder, "_TURN_S", 10.0), patch.object(memory_sweeper, "_EXPIRY_EVERY_S", 10.0):
        scene.play(scenario, **{"staleness_bound_s": 40.0, **options})


async def read(stage, source, **options):
    return await stage.cache.lookup("note", "n", TENANT, source.load, **options)


async def aged(stage, age_s, policy=None):
    """A source whose value was loaded so long ago."""
    source = Source("old")
    await read(stage, source, policy=policy)
    await asyncio.sleep(age_s)
    return source


def served(found):
    return found.value, found.source


@BOTH
def test_fail_safe_serves_the_expired_value_where_the_source_raises(server):
    async def scenario(stage):
        source = await aged(stage, 360)
        source.value = ConnectionError("down")
        assert served(await read(stage, source)) == ("old", "stale")

    play(scenario, policy=FAIL_SAFE, server=server)


@BOTH
def test_max_duration_ends_fail_safe_and_attempts_do_not_prolong_it(server):
    async def scenario(stage):
        source = await aged(stage, 301)
        source.value = ConnectionError("down")
        for _ in range(2 * HOUR // 60 - 1):
            assert served(await read(stage, source)) == ("old", "stale")
            await asyncio.sleep(60)
        await asyncio.sleep(60)
        with pytest.raises(ConnectionError):
            await read(stage, source)

    play(scenario, policy=FAIL_SAFE, server=server, seeds=(1,))


def test_without_fail_safe_or_an_expired_value_the_sources_error_is_the_callers():
    async def scenario(stage):
        with pytest.raises(ConnectionError):
            await read(stage, Source(ConnectionError("down")))
        source = await aged(stage, 301, policy=Policy(ttl=300))
        source.value = ConnectionError("down")
        with pytest.raises(ConnectionError):
            await read(stage, source, policy=Policy(ttl=300))

    play(scenario, policy=FAIL_SAFE)


@BOTH
@pytest.mark.parametrize("window", ["stale_if_error_s", "stale_while_revalidate_s"])
def test_throttle_leaves_a_source_that_failed_alone_and_asks_once_when_it_is_over(server, window):
    async def scenario(stage):
        source = await aged(stage, 301)
        source.value = ConnectionError("down")
        for _ in range(6):
            for _ in range(50):
                assert served(await read(stage, source)) == ("old", "stale")
                await asyncio.sleep(1)
            await asyncio.sleep(10)
        assert source.asked == 1 + 6

    policy = Policy(ttl=300, retry_after_s=60, jitter_ratio=0, **{window: 2 * HOUR})
    play(scenario, policy=policy, server=server)


@BOTH
def test_throttle_ends_with_the_first_answer_of_the_source(server):
    async def scenario(stage):
        source = await aged(stage, 301)
        source.value = ConnectionError("down")
        await read(stage, source)
        source.value = "new"
        assert served(await read(stage, source)) == ("old", "stale")
        await asyncio.sleep(60)
        assert served(await read(stage, source)) == ("new", "loader")
        await asyncio.sleep(301)
        source.value = "newer"
        assert served(await read(stage, source)) == ("newer", "loader")

    play(scenario, policy=FAIL_SAFE, server=server)


@BOTH
def test_throttle_does_not_bring_back_what_was_invalidated_nor_stop_a_refresh(server):
    async def scenario(stage):
        source = await aged(stage, 301)
        source.value = ConnectionError("down")
        await read(stage, source)
        source.value = "new"
        assert await stage.cache.refresh("note", "n", TENANT, source.load) == "new"
        await asyncio.sleep(301)
        source.value = ConnectionError("down")
        await read(stage, source)
        await stage.cache.invalidate(TENANT, "note", "n")
        source.value = "newest"
        assert served(await read(stage, source)) == ("newest", "loader")

    play(scenario, policy=FAIL_SAFE, server=server)


def test_throttle_can_be_switched_off():
    async def scenario(stage):
        source = await aged(stage, 301)
        source.value = ConnectionError("down")
        for _ in range(5):
            assert served(await read(stage, source)) == ("old", "stale")
        assert source.asked == 1 + 5

    play(scenario, policy=FAIL_SAFE.but(retry_after_s=0))


@BOTH
def test_throttle_holds_for_an_early_refresh_that_failed(server):
    async def scenario(stage):
        source = Source("old", takes_s=1)
        await read(stage, source)
        source.value = ConnectionError("down")
        await asyncio.sleep(250)
        for _ in range(40):
            assert served(await read(stage, source)) == ("old", "cache")
            await asyncio.sleep(1)
        assert source.asked == 1 + 1

    play(scenario, policy=FAIL_SAFE.but(early_refresh_beta=1e6), server=server)


@BOTH
def test_throttle_holds_for_many_entries_at_once(server):
    async def scenario(stage):
        calls = []

        async def load_many(ids):
            calls.append(sorted(ids))
            if len(calls) > 1:
                raise ConnectionError("down")
            return dict.fromkeys(ids, "old")

        for wait_s in (301, 30, 31, 0):
            assert await stage.cache.load_many("note", ["a", "b"], TENANT, load_many) == {"a": "old", "b": "old"}
            await asyncio.sleep(wait_s)
        assert calls == [["a", "b"]] * 3

    play(scenario, policy=FAIL_SAFE, server=server)


@BOTH
def test_a_soft_timeout_serves_the_expired_value_and_the_load_goes_on_and_updates_the_cache(server):
    async def scenario(stage):
        source = await aged(stage, 301)
        source.value, source.takes_s = "new", 0.3
        began = stage.now()
        assert served(await read(stage, source)) == ("old", "stale")
        assert 0.1 <= stage.now() - began < 0.15
        await asyncio.sleep(0.3)
        assert served(await stage.cache.lookup("note", "n", TENANT)) == ("new", "cache")
        assert (source.asked, source.cancelled) == (2, 0)

    play(scenario, policy=FAIL_SAFE.but(soft_timeout_s=0.1), server=server)


@BOTH
def test_after_a_soft_timeout_nobody_waits_for_the_same_slow_load_again(server):
    async def scenario(stage):
        source = await aged(stage, 301)
        source.value, source.takes_s = "new", 2.0
        await read(stage, source)
        for _ in range(10):
            began = stage.now()
            assert served(await read(stage, source)) == ("old", "stale")
            assert stage.now() - began < 0.05
        assert source.asked == 2

    play(scenario, policy=FAIL_SAFE.but(soft_timeout_s=0.1), server=server)


@BOTH
def test_a_hard_timeout_raises_where_nothing_expired_is_there_and_serves_it_where_it_is(server):
    """FusionCache lets the factory go on; ours cancels it, so that its place is free: `soft_timeout_s` lets it go on."""

    async def scenario(stage):
        hanging = Source("new", takes_s=10)
        began = stage.now()
        with pytest.raises(LoadTimeoutError):
            await read(stage, hanging)
        assert 1.0 <= stage.now() - began < 1.1
        assert hanging.cancelled == 1
        source = await aged(stage, 301)
        source.takes_s = 10
        assert served(await read(stage, source)) == ("old", "stale")
        assert source.cancelled == 1
        began = stage.now()
        assert served(await read(stage, source)) == ("old", "stale")
        assert stage.now() - began < 0.05, "a load that was given up counts as failed"

    play(scenario, policy=FAIL_SAFE.but(hard_timeout_s=1.0), server=server)


@BOTH
def test_eager_refresh_is_one_load_behind_a_fresh_answer_and_only_where_somebody_reads(server):
    """FusionCache begins at a fixed part of the life; ours by lot, ever more likely (XFetch)."""

    async def scenario(stage):
        source = Source("old", takes_s=1)
        await read(stage, source)
        await asyncio.sleep(240)
        assert source.asked == 1
        source.value = "new"
        began = stage.now()
        found = await asyncio.gather(*(read(stage, source) for _ in range(20)))
        assert {served(one) for one in found} == {("old", "cache")}
        assert stage.now() - began < 0.1
        await asyncio.sleep(1.5)
        assert served(await stage.cache.lookup("note", "n", TENANT)) == ("new", "cache")
        assert source.asked == 2

    play(scenario, policy=FAIL_SAFE.but(early_refresh_beta=1e6), server=server)


def test_jitter_spreads_the_expiry_of_what_was_stored_together():
    """FusionCache adds a time; ours takes a part off, so that nothing lives longer than was asked for."""

    async def scenario(stage):
        left = []
        for number in range(200):
            await stage.cache.lookup("note", f"n{number}", TENANT, Source().load)
            left.append(await stage.cache.ttl("note", f"n{number}", TENANT))
        assert max(left) <= 300
        assert max(left) - min(left) > 50

    play(scenario, policy=FAIL_SAFE.but(jitter_ratio=0.2), seeds=(1,))


@BOTH
def test_adaptive_caching_the_loader_gives_its_value_a_life_of_its_own(server):
    async def scenario(stage):
        async def load(context):
            context.ttl = 10
            return "short"

        await stage.cache.load("note", "n", TENANT, load)
        await asyncio.sleep(9)
        assert await stage.cache.get("note", "n", TENANT) == "short"
        await asyncio.sleep(2)
        assert await stage.cache.get("note", "n", TENANT) is None
        source = Source(ConnectionError("down"))
        assert served(await read(stage, source)) == ("short", "stale"), "fail-safe holds for it all the same"

    play(scenario, policy=FAIL_SAFE, server=server)


@BOTH
def test_conditional_refresh_what_did_not_change_is_not_sent_again_and_lives_anew(server):
    """FusionCache keeps an ETag beside the value; ours hands the loader the previous value, where one can be kept."""

    async def scenario(stage):
        bodies = 0

        async def load(context):
            nonlocal bodies
            if context.previous is not MISSING and context.previous["etag"] == "e1":
                return UNCHANGED
            bodies += 1
            return {"etag": "e1", "body": "large"}

        for _ in range(4):
            assert (await stage.cache.load("note", "n", TENANT, load))["body"] == "large"
            await asyncio.sleep(0.1)
            assert await stage.cache.ttl("note", "n", TENANT) > 299
            await asyncio.sleep(301)
        assert bodies == 1

    play(scenario, policy=FAIL_SAFE, server=server)


@BOTH
def test_cancellation_reaches_the_source_when_the_last_caller_leaves_and_is_no_failure(server):
    async def scenario(stage):
        source = await aged(stage, 301)
        source.value, source.takes_s = "new", 5
        callers = [asyncio.create_task(read(stage, source)) for _ in range(3)]
        await asyncio.sleep(1)
        callers[0].cancel()
        await asyncio.sleep(0.1)
        assert source.cancelled == 0
        for caller in callers:
            caller.cancel()
        await asyncio.wait(callers)
        await asyncio.sleep(0.1)
        assert source.cancelled == 1
        source.takes_s = 0
        assert served(await read(stage, source)) == ("new", "loader"), "the source did not fail: it is asked"

    play(scenario, policy=FAIL_SAFE, server=server)


def test_sources_that_are_left_alone_are_forgotten_oldest_first_beyond_a_number_of_them():
    environment = FakeEnvironment()
    source_backoff = SourceBackoff(environment)
    for number in range(_MOST + 1):
        source_backoff.record_failure(b"%d" % number, FAIL_SAFE)
    assert len(source_backoff) == _MOST
    assert (
        source_backoff.is_active(b"0"),
        source_backoff.is_active(b"1"),
        source_backoff.is_active(b"%d" % _MOST),
    ) == (False, True, True)
    environment.advance(53)
    assert source_backoff.is_active(b"1"), "a tenth is taken off at most"
    environment.advance(7.1)
    assert not source_backoff.is_active(b"1")
    assert len(source_backoff) == _MOST - 1
