"""py-key-value on Alacena: exact times, tenants apart, nothing lost without a word."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("key_value.aio")

from key_value.aio.errors import StoreConnectionError

from alacena import Cache, Context, Settings
from alacena.integrations.bridge import Bridge
from alacena.integrations.key_value import CachedStore

if TYPE_CHECKING:
    from collections.abc import Callable


async def test_values_come_back_with_their_time_for_the_same_tenant_and_user_only(cache: Cache) -> None:
    store = CachedStore(cache)
    with Context(tenant_id="acme", user_id="ana"):
        await store.put("k", {"n": 1}, collection="c", ttl=60)
        value, ttl = await store.ttl("k", collection="c")
        assert value == {"n": 1}
        assert ttl is not None
        assert 50 < ttl <= 60
        assert await store.get("k", collection="other") is None
    for tenant, user in (("acme", None), ("acme", "eva"), ("globex", "ana")):
        with Context(tenant_id=tenant, user_id=user):
            assert await store.get("k", collection="c") is None


async def test_many_values_and_deletion(cache: Cache) -> None:
    store = CachedStore(cache)
    with Context(tenant_id="acme"):
        await store.put_many(["a", "b"], [{"n": 1}, {"n": 2}])
        assert await store.get_many(["b", "c", "a"]) == [{"n": 2}, None, {"n": 1}]
        assert [await store.delete("a"), await store.delete("a")] == [True, False]
        assert await store.delete_many(["a", "b"]) == 1


async def test_jitter_does_not_end_an_entry_early() -> None:
    async with Cache(Settings(ttl_jitter_ratio=0.5)) as cache:
        store = CachedStore(cache)
        with Context(tenant_id="acme"):
            await store.put("k", {"n": 1}, ttl=100)
            assert await cache.ttl("key_value", '["default_collection", "k"]', "acme") >= 90


async def test_value_that_was_not_stored_is_an_error(cache: Cache) -> None:
    store = CachedStore(cache)
    with Context(tenant_id="acme"):
        async with cache.write("acme", ("key_value", '["default_collection", "k"]')):
            with pytest.raises(StoreConnectionError):
                await store.put("k", {"n": 1})


async def test_code_of_another_loop_uses_a_bridge() -> None:
    with Bridge(Cache(Settings())) as bridge, Context(tenant_id="acme"):
        store = CachedStore(bridge)
        await store.put("k", {"n": 1})
        assert await store.get("k") == {"n": 1}


def test_missing_framework_names_extra_and_range(import_without: Callable[[str, str], Any]) -> None:
    with pytest.raises(ImportError, match=r"py-key-value-aio>=0\.5,<0\.6.*alacena\[key-value\]"):
        import_without("alacena.integrations.key_value", "key_value")


async def test_store_that_fills_lets_what_is_missing_be_made_once(cache: Cache) -> None:
    store, made = CachedStore(cache, fills=True), 0

    async def tool() -> Any:
        nonlocal made
        if (found := await store.get("k")) is not None:
            return found
        made += 1
        await asyncio.sleep(0)
        await store.put("k", {"n": made}, ttl=60)
        return {"n": made}

    with Context(tenant_id="acme"):
        assert await asyncio.gather(*[tool() for _ in range(4)]) == [{"n": 1}] * 4


async def test_store_that_fills_keeps_nothing_that_an_invalidation_overtook(cache: Cache) -> None:
    store = CachedStore(cache, fills=True)
    with Context(tenant_id="acme"):
        assert await store.get("k") is None
        await cache.invalidate("acme")
        await store.put("k", {"n": 1}, ttl=60)
        assert await store.get("k") is None
        await store.delete("k")
        await store.put("k", {"n": 2}, ttl=60)  # it was ended by the code itself: what it puts is its own word
        assert await store.get("k") == {"n": 2}
