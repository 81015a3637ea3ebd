"""C: memory never outlives what it copies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from alacena import CacheManager, configure
from alacena.common import runtime
from tests.waiting import until

if TYPE_CHECKING:
    from alacena.engine import Cache


@pytest.fixture
async def clock(environment: Any, unopened: None) -> Any:
    """The process-wide cache in memory, its time under the hand of the test."""
    configure(environment=environment, ttl_jitter_ratio=0.0)
    await runtime.opened()
    return environment


async def test_c1_a_copy_in_memory_lives_as_long_as_what_it_copies(server_cache: Cache, neighbour: Cache) -> None:
    async def copied() -> bool:
        await neighbour.set("document", "d", "v", "t", ttl=0.3)
        return await CacheManager.get("document", "d", "t") == "v"

    async def gone() -> bool:
        return await CacheManager.get("document", "d", "t") is None

    await until(copied)
    await until(gone)


async def test_c1_expired_entries_are_not_served_from_memory(clock: Any) -> None:
    await CacheManager.set("document", "d", "v", "t", ttl=10)
    clock.advance(9.9)
    assert await CacheManager.get("document", "d", "t") == "v"
    clock.advance(0.2)
    assert await CacheManager.get("document", "d", "t") is None


@pytest.mark.usefixtures("cache")
async def test_c2_a_general_value_seen_from_a_scope_goes_with_the_general_one() -> None:
    for undo in (
        lambda: CacheManager.invalidate("t", "agent_config", "x"),
        lambda: CacheManager.set("agent_config", "x", "new", "t"),
        lambda: CacheManager.delete("agent_config", "x", "t"),
    ):
        await CacheManager.set("agent_config", "x", "old", "t")
        assert await CacheManager.get("agent_config", "x", "t", agent_id="a") == "old"
        await undo()
        assert await CacheManager.get("agent_config", "x", "t", agent_id="a") in {None, "new"}


async def test_c3_without_a_server_the_cache_still_caches_deletes_and_invalidates(clock: Any) -> None:
    assert await CacheManager.set("document", "d", 1, "t")
    assert await CacheManager.get("document", "d", "t") == 1
    assert await CacheManager.delete("document", "d", "t") is True
    assert await CacheManager.delete("document", "d", "t") is False
    await CacheManager.set("document", "d", 2, "t")
    await CacheManager.invalidate("t", "document", "d")
    assert await CacheManager.get("document", "d", "t") is None


@pytest.mark.usefixtures("cache")
async def test_c4_invalidating_doc1_leaves_doc10() -> None:
    for name in ("doc1", "doc10", "doc", "doc*"):
        await CacheManager.set("document", name, name, "t")
    await CacheManager.invalidate("t", "document", "doc1")
    assert await CacheManager.get_many("document", ["doc1", "doc10", "doc", "doc*"], "t") == {
        name: name for name in ("doc10", "doc", "doc*")
    }
    await CacheManager.invalidate("t", "document", "doc*")
    assert await CacheManager.get_many("document", ["doc10", "doc", "doc*"], "t") == {"doc10": "doc10", "doc": "doc"}


async def test_c5_other_processes_drop_their_copies(server_cache: Cache, neighbour: Cache) -> None:
    await CacheManager.set("document", "d", "old", "t")
    assert await neighbour.get("document", "d", "t") == "old"
    await CacheManager.invalidate("t", "document", "d")

    async def dropped() -> bool:
        return await neighbour.get("document", "d", "t") is None

    await until(dropped)


async def test_c6_short_lived_entries_stay_while_there_is_room_and_permanent_ones_are_served(clock: Any) -> None:
    for number in range(100):
        await CacheManager.set("document", f"long{number}", number, "t", ttl=None)
    await CacheManager.set("query_result", "hot", "short", "t", ttl=60)
    assert runtime.PROCESS.peek(("t", "query_result", "hot")) == "short"
    assert runtime.PROCESS.peek(("t", "document", "long0")) == 0
