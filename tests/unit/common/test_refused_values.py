"""A cached value that its reader refuses is asked for again, and the facts are those of that load."""

from __future__ import annotations

import asyncio

import pytest

from alacena import Cache, Policy, Settings
from alacena.common.cache.aside import get_with_cache_aside
from alacena.common.runtime import override
from alacena.testing.doubles import FakeEnvironment


@pytest.mark.parametrize("age_s", [1, 11])
async def test_the_facts_are_of_the_load_that_was_made_for_the_reader(age_s: int) -> None:
    environment = FakeEnvironment()
    asked: list[str] = []

    async def source(resource_id: str) -> str:
        asked.append(resource_id)
        await asyncio.sleep(0)
        return "new"

    policies = {"document": Policy(ttl=10, jitter_ratio=0, stale_while_revalidate_s=60)}
    async with Cache(Settings(), environment=environment, policies=policies) as cache:
        with override(cache):
            await cache.set("document", "d1", "old", "acme")
            environment.advance(age_s)
            value, metrics = await get_with_cache_aside(
                "document", "d1", "acme", source, validation_func=lambda found: found != "old"
            )
            assert value == "new"
            assert (metrics["source"], metrics["cache_hit"], metrics["stored"]) == ("supabase", False, True)
            assert metrics["db_check_time_ms"] >= 0
            # An expired one is renewed behind its answer besides, by a load that is not this reader's.
            assert 1 <= len(asked) <= 2
            assert await cache.get("document", "d1", "acme") == "new"
