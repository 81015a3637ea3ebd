"""A test of your own code: time that moves by hand, events that are kept, no global left behind."""

import asyncio

from alacena import Cache, CacheManager, Invalidated, Policy, get_with_cache_aside, override
from alacena.testing.doubles import FakeEnvironment, RecordingObserver


async def title_of(document_id):
    """The code under test."""
    value, _ = await get_with_cache_aside("title", document_id, "acme", generate_func=lambda: "A title")
    return value


async def test_titles_live_a_minute():
    # --8<-- [start:test]
    environment, observer = FakeEnvironment(), RecordingObserver()
    policies = {"title": Policy(ttl=60, jitter_ratio=0)}
    async with Cache(environment=environment, observers=[observer], policies=policies) as cache:
        with override(cache):
            assert await title_of("d1") == "A title"
            assert await CacheManager.ttl("title", "d1", "acme") == 60
            environment.advance(61)
            assert await CacheManager.get("title", "d1", "acme") is None
            await CacheManager.invalidate("acme", "title", "d1")
    assert len(observer.of(Invalidated)) == 1
    # --8<-- [end:test]


asyncio.run(test_titles_live_a_minute())
