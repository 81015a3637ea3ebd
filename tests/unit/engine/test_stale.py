"""What is served while a source is slow or down: expired values, never invalidated ones."""

import asyncio
import logging

import pytest

from alacena.engine import UNCHANGED, LoadTimeoutError, Policy, UsageError
from tests.unit.engine.scene import TENANT, Source, play

FAIL_SAFE = Policy(ttl=10, stale_if_error_s=60)
EAGER = Policy(ttl=10, stale_while_revalidate_s=60)
PATIENT = Policy(ttl=10, stale_if_error_s=60, soft_timeout_s=0.5)


@pytest.mark.parametrize("server", [False, True])
def test_a_failing_source_is_stood_in_for_inside_the_window_and_not_beyond(server):
    async def scenario(stage):
        source = Source("old")
        await stage.cache.load("note", "n", TENANT, source.load)
        source.value = ConnectionError("down")
        await asyncio.sleep(69)
        found = await stage.cache.lookup("note", "n", TENANT, source.load)
        assert (found.value, found.source, found.hit) == ("old", "stale", True)
        await asyncio.sleep(2)
        with pytest.raises(ConnectionError):
            await stage.cache.load("note", "n", TENANT, source.load)

    play(scenario, policy=FAIL_SAFE, server=server)


@pytest.mark.parametrize("server", [False, True])
@pytest.mark.parametrize("how", ["delete", "resource", "type", "tenant", "tag"])
def test_what_was_invalidated_is_never_served_stale(server, how):
    async def scenario(stage):
        source = Source("old")
        await stage.cache.load("note", "n", TENANT, source.load, tags=["t"])
        await asyncio.sleep(11)
        await end(stage.cache, how)
        source.value = ConnectionError("down")
        with pytest.raises(ConnectionError):
            await stage.cache.load("note", "n", TENANT, source.load)

    play(scenario, policy=FAIL_SAFE, server=server)


@pytest.mark.parametrize("server", [False, True])
@pytest.mark.parametrize("how", ["delete", "resource", "type", "tenant", "tag"])
@pytest.mark.parametrize("many", [False, True])
def test_what_is_invalidated_while_its_load_is_under_way_is_not_served_when_that_fails(server, how, many):
    async def scenario(stage):
        source = Source("old")
        await stage.cache.load("note", "n", TENANT, source.load, tags=["t"])
        await asyncio.sleep(11)
        failing = Source(ConnectionError("down"), takes_s=2)

        async def load_many(ids):
            return {ids[0]: await failing.load(None)}

        work = (
            stage.cache.load_many("note", ["n"], TENANT, load_many)
            if many
            else stage.cache.load("note", "n", TENANT, failing.load)
        )
        load = asyncio.create_task(work)
        await asyncio.sleep(1)
        await end(stage.cache, how)
        with pytest.raises(ConnectionError):
            await load

    play(scenario, policy=FAIL_SAFE, server=server)


@pytest.mark.parametrize("server", [False, True])
def test_what_is_invalidated_before_the_soft_timeout_is_not_served_at_it(server):
    async def scenario(stage):
        source = Source("old")
        await stage.cache.load("note", "n", TENANT, source.load)
        await asyncio.sleep(11)
        source.value, source.takes_s = "new", 2.0
        load = asyncio.create_task(stage.cache.load("note", "n", TENANT, source.load))
        await asyncio.sleep(0.2)
        await stage.cache.delete("note", "n", TENANT)
        assert await load == "new"

    play(scenario, policy=PATIENT, server=server)


async def end(cache, how):
    match how:
        case "delete":
            await cache.delete("note", "n", TENANT)
        case "resource":
            await cache.invalidate(TENANT, "note", "n")
        case "type":
            await cache.invalidate(TENANT, "note")
        case "tenant":
            await cache.invalidate(TENANT)
        case "tag":
            await cache.invalidate(TENANT, tags=["t"])


@pytest.mark.parametrize("server", [False, True])
def test_a_slow_source_is_stood_in_for_after_the_soft_timeout_and_finishes_behind(server):
    async def scenario(stage):
        source = Source("old")
        await stage.cache.load("note", "n", TENANT, source.load)
        await asyncio.sleep(11)
        source.value, source.takes_s = "new", 2.0
        began = stage.now()
        found = await stage.cache.lookup("note", "n", TENANT, source.load)
        assert (found.value, found.source) == ("old", "stale")
        assert 0.5 <= stage.now() - began < 0.6
        await asyncio.sleep(2)
        found = await stage.cache.lookup("note", "n", TENANT)
        assert (found.value, found.source) == ("new", "cache")
        assert source.asked == 2
        assert stage.left_behind() == dict.fromkeys(stage.left_behind(), 0)

    play(scenario, policy=PATIENT, server=server)


def test_nothing_stale_means_that_the_soft_timeout_does_not_matter():
    async def scenario(stage):
        assert await stage.cache.load("note", "n", TENANT, Source(takes_s=3.0).load) == "v1"
        assert stage.now() >= 3.0

    play(scenario, policy=PATIENT)


@pytest.mark.parametrize("server", [False, True])
def test_a_stale_value_is_served_at_once_while_one_load_renews_it(server):
    async def scenario(stage):
        source = Source("old")
        await stage.cache.load("note", "n", TENANT, source.load)
        await asyncio.sleep(11)
        source.value, source.takes_s = "new", 1.0
        reads = [stage.cache.lookup("note", "n", TENANT, source.load) for _ in range(50)]
        began = stage.now()
        found = await asyncio.gather(*reads)
        assert {(f.value, f.source) for f in found} == {("old", "stale")}
        assert stage.now() - began < 0.05
        await asyncio.sleep(1.1)
        assert source.asked == 2
        assert await stage.cache.get("note", "n", TENANT) == "new"

    play(scenario, policy=EAGER, server=server)


@pytest.mark.parametrize("server", [False, True])
def test_one_window_does_not_open_the_other(server):
    async def scenario(stage):
        both = Policy(ttl=10, stale_while_revalidate_s=5, stale_if_error_s=60)
        source = Source("old")
        await stage.cache.lookup("note", "n", TENANT, source.load, policy=both)
        await asyncio.sleep(20)
        source.value = "new"
        found = await stage.cache.lookup("note", "n", TENANT, source.load, policy=both)
        assert (found.value, found.source) == ("new", "loader")
        await asyncio.sleep(71)
        await stage.cache.lookup("note", "m", TENANT, Source("old").load, policy=EAGER)
        await asyncio.sleep(75)
        with pytest.raises(ConnectionError):
            await stage.cache.lookup("note", "m", TENANT, Source(ConnectionError()).load, policy=EAGER)

    play(scenario, policy=EAGER, server=server)


@pytest.mark.parametrize("server", [False, True])
@pytest.mark.parametrize("policy", [EAGER, Policy(ttl=10, stale_if_error_s=60)])
def test_a_source_that_has_nothing_any_more_ends_the_stale_value(server, policy):
    async def scenario(stage):
        source = Source("old")
        await stage.cache.load("note", "n", TENANT, source.load)
        await asyncio.sleep(11)
        source.value = None
        await stage.cache.load("note", "n", TENANT, source.load)
        await asyncio.sleep(0.1)
        found = await stage.cache.lookup("note", "n", TENANT, source.load)
        assert (found.value, found.source, found.found) == (None, "none", False)
        source.value = ConnectionError("down")
        with pytest.raises(ConnectionError):
            await stage.cache.load("note", "n", TENANT, source.load)

    play(scenario, policy=policy, server=server)


@pytest.mark.parametrize("server", [False, True])
def test_everybody_who_waits_is_served_stale_when_the_source_fails(server):
    async def scenario(stage):
        source = Source("old")
        await stage.cache.load("note", "n", TENANT, source.load)
        await asyncio.sleep(11)
        source.value, source.takes_s = ConnectionError("down"), 1.0
        found = await asyncio.gather(*(stage.cache.lookup("note", "n", TENANT, source.load) for _ in range(20)))
        assert {(f.value, f.source) for f in found} == {("old", "stale")}
        assert source.asked == 2

    play(scenario, policy=FAIL_SAFE, server=server)


def test_the_hard_timeout_gives_up_frees_the_place_and_gives_the_lease_back():
    async def scenario(stage):
        hanging = Source(takes_s=1e6)
        with pytest.raises(LoadTimeoutError, match=r"note 'n'.*Source\.load within 2 s, the hard_timeout_s of 'note'"):
            await stage.cache.load("note", "n", TENANT, hanging.load)
        assert stage.now() < 2.2
        assert hanging.cancelled == 1
        await asyncio.sleep(0.1)
        assert stage.left_behind() == dict.fromkeys(stage.left_behind(), 0)
        began = stage.now()
        assert await stage.caches[1].load("note", "n", TENANT, Source().load) == "v1"
        assert await stage.cache.load("note", "m", TENANT, Source().load) == "v1"
        assert stage.now() - began < 0.2

    policy = Policy(hard_timeout_s=2.0)
    play(scenario, policy=policy, server=True, processes=2, max_loads_per_tenant=1)


def test_the_hard_timeout_counts_from_the_call_not_from_the_place():
    async def scenario(stage):
        loads = [stage.cache.load("note", f"n{i}", TENANT, Source(takes_s=1.5).load) for i in range(3)]
        outcomes = await asyncio.gather(*loads, return_exceptions=True)
        assert sorted(type(o).__name__ for o in outcomes) == ["LoadTimeoutError", "LoadTimeoutError", "str"]
        assert stage.now() < 2.2

    play(scenario, policy=Policy(hard_timeout_s=2.0), max_loads_per_tenant=1)


def test_a_timeout_of_the_loaders_own_passes_as_it_is():
    async def scenario(stage):
        async def load():
            async with asyncio.timeout(0.1):
                await asyncio.sleep(9)

        with pytest.raises(TimeoutError) as caught:
            await stage.cache.load("note", "n", TENANT, load)
        assert not isinstance(caught.value, LoadTimeoutError)

    play(scenario, policy=Policy(hard_timeout_s=2.0))


def test_a_hard_timeout_is_stood_in_for_like_any_failure():
    async def scenario(stage):
        await stage.cache.load("note", "n", TENANT, Source("old").load)
        await asyncio.sleep(11)
        found = await stage.cache.lookup("note", "n", TENANT, Source(takes_s=1e6).load)
        assert (found.value, found.source) == ("old", "stale")

    play(scenario, policy=Policy(ttl=10, stale_if_error_s=60, hard_timeout_s=1))


@pytest.mark.parametrize("server", [False, True])
def test_unchanged_begins_the_life_of_the_previous_value_anew(server):
    async def scenario(stage):
        source = Source({"a": [1]})
        await stage.cache.load("note", "n", TENANT, source.load)
        await asyncio.sleep(11)
        source.value = UNCHANGED
        found = await stage.cache.lookup("note", "n", TENANT, source.load)
        assert (found.value, found.source, found.stored) == ({"a": [1]}, "loader", True)
        assert source.contexts[1].previous == {"a": [1]}
        await asyncio.sleep(0.1)
        assert 9 < await stage.cache.ttl("note", "n", TENANT) <= 10

    play(scenario, policy=FAIL_SAFE, server=server)


@pytest.mark.parametrize("server", [False, True])
def test_unchanged_without_a_previous_value_is_an_error_and_not_remembered(server):
    async def scenario(stage):
        with pytest.raises(UsageError, match=r"note 'n' returned UNCHANGED.*context\.previous"):
            await stage.cache.lookup("note", "n", TENANT, Source(UNCHANGED).load)
        assert await stage.cache.get("note", "n", TENANT) is None
        assert await stage.cache.load("note", "n", TENANT, Source("v1").load) == "v1"

    play(scenario, policy=FAIL_SAFE, server=server)


@pytest.mark.parametrize("server", [False, True])
@pytest.mark.parametrize("beta", [0.0, 1e6])
def test_editing_a_value_that_is_being_renewed_does_not_change_what_unchanged_keeps(server, beta):
    async def scenario(stage):
        policy = Policy(ttl=10, stale_while_revalidate_s=60, early_refresh_beta=beta)
        await stage.cache.lookup("note", "n", TENANT, Source({"a": [1]}, takes_s=0.5).load, policy=policy)
        await asyncio.sleep(5 if beta else 11)
        again = Source(UNCHANGED, takes_s=0.5)
        found = await stage.cache.lookup("note", "n", TENANT, again.load, policy=policy)
        found.value["a"].append("poison")
        await asyncio.sleep(1)
        assert again.asked == 1
        assert await stage.cache.get("note", "n", TENANT) == {"a": [1]}

    play(scenario, server=server)


def test_a_renewal_that_fails_is_noted_and_nobody_is_told(caplog):
    caplog.set_level(logging.INFO, logger="alacena")

    async def scenario(stage):
        await stage.cache.load("note", "n", TENANT, Source("old").load)
        await asyncio.sleep(11)
        assert await stage.cache.load("note", "n", TENANT, Source(ConnectionError("down")).load) == "old"
        await asyncio.sleep(1)
        assert await stage.cache.load("note", "n", TENANT, Source("new").load) == "old"

    play(scenario, policy=EAGER)
    assert "down" in caplog.text


@pytest.mark.parametrize("server", [False, True])
def test_load_many_serves_stale_at_once_and_renews_in_one_call(server):
    async def scenario(stage):
        calls = []

        async def load(ids):
            calls.append(sorted(ids))
            return {i: f"{i} {len(calls)}" for i in ids}

        await stage.cache.load_many("note", ["a", "b"], TENANT, load)
        await asyncio.sleep(11)
        assert await stage.cache.load_many("note", ["a", "b", "c"], TENANT, load) == {
            "a": "a 1",
            "b": "b 1",
            "c": next(f"c {n + 1}" for n, call in enumerate(calls) if "c" in call),
        }
        await asyncio.sleep(0.5)
        assert sorted(calls) == [["a", "b"], ["a", "b"], ["c"]]
        renewed = calls.index(["a", "b"], 1) + 1
        assert await stage.cache.get_many("note", ["a", "b"], TENANT) == {"a": f"a {renewed}", "b": f"b {renewed}"}

    play(scenario, policy=EAGER, server=server)


@pytest.mark.parametrize("server", [False, True])
def test_load_many_is_stood_in_for_when_the_source_fails_or_is_slow(server):
    async def scenario(stage):
        async def load(ids):
            return dict.fromkeys(ids, "old")

        async def fail(ids):
            raise ConnectionError("down")

        async def crawl(ids):
            await asyncio.sleep(5)
            return dict.fromkeys(ids, "new")

        await stage.cache.load_many("note", ["a", "b"], TENANT, load)
        await asyncio.sleep(11)
        assert await stage.cache.load_many("note", ["a", "b"], TENANT, fail) == {"a": "old", "b": "old"}
        with pytest.raises(ConnectionError):
            await stage.cache.load_many("note", ["a", "b", "c"], TENANT, fail)
        await asyncio.sleep(5)
        began = stage.now()
        assert await stage.cache.load_many("note", ["a", "b"], TENANT, crawl) == {"a": "old", "b": "old"}
        assert stage.now() - began < 0.6
        await asyncio.sleep(5)
        assert await stage.cache.get_many("note", ["a", "b"], TENANT) == {"a": "new", "b": "new"}

    play(scenario, policy=PATIENT, server=server)
