"""E: lists, counters, sets, locks and limits."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from alacena import CacheManager, Context, acquire_job_lock, configure, release_job_lock
from alacena.common import runtime
from alacena.common.cache import jobs
from alacena.common.cache.jobs import job_lock_fence
from alacena.engine.base.errors import BackendError
from tests.waiting import until

if TYPE_CHECKING:
    from alacena.engine import Cache

MANAGER = CacheManager.get_instance()


@pytest.mark.usefixtures("cache")
async def test_e1_lists_belong_to_their_tenant_and_every_way_of_naming_them_agrees() -> None:
    await MANAGER.rpush("queue", 1, tenant_id="a")
    await MANAGER.rpush("a:queue", 2)
    await MANAGER.rpush("a:queue", 3, tenant_id="a")
    async with Context("a"):
        await MANAGER.rpush("queue", 4)
    await MANAGER.rpush("queue", "other", tenant_id="b")
    assert await MANAGER.lrange("queue", 0, -1, "a") == [1, 2, 3, 4]
    assert await MANAGER.lrange("b:queue") == ["other"]
    assert await MANAGER.delete(key="a:queue", tenant_id="a") is True
    assert await MANAGER.llen("a:queue") == 0
    with pytest.raises(TypeError, match=r"delete\(key=...\)"):
        await MANAGER.delete("a:queue")


@pytest.mark.usefixtures("cache")
async def test_e2_and_e3_elements_come_out_as_they_went_in_and_falsy_ones_are_elements() -> None:
    elements = [{"id": 1, "when": None}, "plain", "", 0, False, [], {"a": (1,)}, b"\x00"]
    for element in elements:
        await MANAGER.rpush("l", element, "t")
    assert await MANAGER.lrange("l", tenant_id="t") == elements
    got = [await MANAGER.lpop("l", "t") for _ in elements]
    assert got == elements
    assert [type(x) for x in got] == [type(x) for x in elements]
    assert await MANAGER.lpop("l", "t") is None


@pytest.mark.usefixtures("unopened")
async def test_e4_a_failure_is_an_error_and_not_an_empty_answer(start_redis: Any) -> None:
    server = start_redis()
    configure(redis_url=server.url, redis_timeout_s=0.2, redis_connect_timeout_s=0.2)
    await runtime.opened()
    server.crash()
    for call in (
        MANAGER.rpush("l", 1, "t"),
        MANAGER.lpop("l", "t"),
        MANAGER.lrange("l", tenant_id="t"),
        MANAGER.set_nx("k", 1, "t"),
        MANAGER.increment_counter("c", tenant_id="t"),
        MANAGER.get_set_members("s", "t"),
        acquire_job_lock("j", "t"),
    ):
        with pytest.raises(BackendError):
            await call
    assert await CacheManager.get("document", "d", "t") is None
    assert await CacheManager.set("document", "d", 1, "t") is False


@pytest.mark.usefixtures("cache")
async def test_e5_only_its_owner_releases_a_lock(cache: Cache) -> None:
    assert await acquire_job_lock("j", "t", 600) is True
    assert await acquire_job_lock("j", "t", 600) is False
    assert await acquire_job_lock("j", "other", 600) is True
    assert isinstance(job_lock_fence("j", "t"), int)
    assert await cache.locks.release("job_lock:j", tenant_id="t", token="a stranger's") is False
    assert await acquire_job_lock("j", "t") is False
    assert await release_job_lock("j", "t") is True
    assert await release_job_lock("j", "t") is False
    assert job_lock_fence("j", "t") is None
    assert await acquire_job_lock("j", "t") is True
    await release_job_lock("j", "t")
    await release_job_lock("j", "other")


@pytest.mark.usefixtures("cache")
async def test_e5_a_lock_that_lapsed_is_the_next_owners_and_stays_so(cache: Cache) -> None:
    assert await acquire_job_lock("j", "t", expiry_seconds=600)
    first = job_lock_fence("j", "t")
    lapsed = jobs._HELD["t", "j"].token
    for token in (lapsed, "another"):
        await cache.locks.release("job_lock:j", tenant_id="t", token=token)
        await cache.locks.try_acquire("job_lock:j", tenant_id="t", token="another")
    await cache.locks.release("job_lock:j", tenant_id="t", token="another")
    assert await cache.locks.try_acquire("job_lock:j", tenant_id="t", token="next") > first
    assert await release_job_lock("j", "t") is False
    assert await acquire_job_lock("j", "t") is False


@pytest.mark.usefixtures("cache")
async def test_e5_a_lock_is_renewed_while_the_task_that_took_it_runs(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewals = []
    renew = cache.locks.renew

    async def counted(*args: Any, **options: Any) -> bool:
        renewals.append(await renew(*args, **options))
        return bool(renewals[-1])

    monkeypatch.setattr(type(cache.locks), "renew", staticmethod(counted))
    assert await acquire_job_lock("j", "t", expiry_seconds=1.5)
    await until(lambda: len(renewals) >= 4)  # one each third of its life: it would have lapsed by now
    assert all(renewals)
    assert await cache.locks.try_acquire("job_lock:j", tenant_id="t", token="next") is None
    assert await release_job_lock("j", "t") is True

    await asyncio.create_task(acquire_job_lock("k", "t", expiry_seconds=0.2))

    async def taken() -> bool:
        return await cache.locks.try_acquire("job_lock:k", tenant_id="t", token="next") is not None

    await until(taken)


@pytest.mark.usefixtures("cache")
async def test_e6_a_counter_gets_its_expiry_with_its_first_increment_and_keeps_it() -> None:
    names = map(str, itertools.count())
    name = ""

    async def incremented_while_it_lives() -> bool:
        nonlocal name
        name = next(names)
        assert await MANAGER.increment_counter(name, 5, tenant_id="t", ttl=0.2) == 5
        return await MANAGER.increment_counter(name, tenant_id="t", ttl=600) == 6

    async def over() -> bool:
        return await MANAGER.get_counter(name, tenant_id="t") == 0

    await until(incremented_while_it_lives)
    await until(over)


@pytest.mark.usefixtures("cache")
async def test_e7_metadata_never_spoils_the_count() -> None:
    values = [
        await MANAGER.increment_counter("c", 2, tenant_id="t", metadata={"flag": True, "none": None}) for _ in range(3)
    ]
    assert values == [2, 4, 6]


@pytest.mark.usefixtures("cache")
async def test_e8_what_is_counted_is_what_is_read() -> None:
    await MANAGER.increment_counter(counter_type="rate_limit", amount=1, resource_id="r", tenant_id="t")
    await MANAGER.increment_counter(counter_type="rate_limit", tenant_id="t", value=3, resource_id="r")
    assert await MANAGER.get_counter("rate_limit", "r", "t") == 4
    await MANAGER.increment_counter("tokens", 7, "r", "t", agent_id="a", token_type="llm")
    assert await MANAGER.get_counter("tokens", "r", "t", agent_id="a", token_type="llm") == 7
    assert await MANAGER.get_counter("tokens", "r", "t", token_type="llm") == 0
    assert await MANAGER.get_counter("tokens", "r", "t", agent_id="a") == 0
    assert await MANAGER.get_counter("rate_limit", "r", "other") == 0


@pytest.mark.usefixtures("cache")
async def test_e9_a_limit_holds_against_concurrent_callers() -> None:
    values = await asyncio.gather(*(MANAGER.increment_counter("limit", tenant_id="t", ttl=60) for _ in range(50)))
    assert sorted(values) == list(range(1, 51))


@pytest.mark.usefixtures("cache")
async def test_e10_a_set_lives_for_ever_unless_it_is_told_otherwise() -> None:
    assert await MANAGER.add_to_set("pending", '{"id": 1}', tenant_id="system") == 1
    assert await MANAGER.add_to_set("pending", '{"id": 1}', tenant_id="system") == 0
    await MANAGER.add_to_set("short", "x", "t", ttl=0.1)

    async def over() -> bool:
        return not await MANAGER.get_set_members("short", "t")

    await until(over)
    assert await MANAGER.get_set_members(set_name="pending", tenant_id="system") == ['{"id": 1}']
    assert await MANAGER.remove_from_set("pending", '{"id": 1}', "system") == 1


@pytest.mark.usefixtures("cache")
async def test_flags_of_data_types_are_lowered_by_delete() -> None:
    assert await CacheManager.set_if_not_exists("lock", "j", "v", "t", ttl=60)
    assert await CacheManager.delete("lock", "j", "t") is True
    assert await CacheManager.set_if_not_exists("lock", "j", "v", "t", ttl=60)
    assert await MANAGER.set_nx("k", "v", "t") is True
    assert await MANAGER.set_nx("t:k", "w", ex=5) is False
    assert await MANAGER.delete(key="k", tenant_id="t") is True
    assert await MANAGER.set_nx("k", "w", "t", ex=5) is True
