"""What is written wrong on the first day is answered with what to write, at the line where it stands."""

from __future__ import annotations

import gc
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from alacena import CacheManager, configure
from alacena.engine import InvalidKeyError, UsageError

if TYPE_CHECKING:
    from alacena.engine import Cache


async def fetch(_: object = None) -> str:
    return "text"


async def test_a_lock_that_is_awaited_is_answered_with_the_block(cache: Cache) -> None:
    with pytest.raises(UsageError, match=r"async with locks\.acquire"):
        await cache.locks.acquire("reindex", tenant_id="acme")  # type: ignore[misc]


@pytest.mark.parametrize("verb", ["load", "refresh", "lookup"])
async def test_a_source_that_was_called_is_answered_with_the_function(cache: Cache, verb: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as that a coroutine was never awaited
        for wrong in (fetch(), 7, "fetch"):
            with pytest.raises(TypeError, match="pass it without calling it"):
                await getattr(cache, verb)("document", "d1", "acme", wrong)
        gc.collect()


async def test_a_worker_of_a_name_is_answered_with_the_view_of_its_queues(cache: Cache) -> None:
    with pytest.raises(UsageError, match=r"cache\.queues\.any\('ingestion'\)"):
        cache.queues.worker("ingestion", fetch)  # type: ignore[arg-type]


async def test_pairs_in_place_of_a_mapping_are_answered_with_the_mapping(manager: type[CacheManager]) -> None:
    pairs: Any = [("d1", "text")]
    with pytest.raises(TypeError, match="a mapping of values by id, not list"):
        await manager.set_many("document", pairs, "acme")


async def test_the_instance_has_the_settings_that_the_guide_speaks_of(
    manager: type[CacheManager], url: str | None
) -> None:
    assert manager.get_instance().settings.redis_url == url
    await manager.close()
    configure(namespace="next")
    assert manager.get_instance().settings.namespace == "next"


@pytest.mark.parametrize("verb", ["get_many", "peek_many", "load_many"])
async def test_no_list_of_ids_is_answered_with_the_list(cache: Cache, verb: str) -> None:
    """A lookup that found no ids gives ``None`` in place of an empty list."""
    nothing: Any = None
    source = (fetch,) if verb == "load_many" else ()
    with pytest.raises(InvalidKeyError, match="resource_ids must be a list of ids, not NoneType"):
        await getattr(cache, verb)("document", nothing, "acme", *source)


@pytest.mark.parametrize("wrong", [None, 1.5], ids=["none", "float"])
async def test_no_documents_end_nothing_and_are_named(manager: type[CacheManager], wrong: Any) -> None:
    """Without the refusal, ``document_ids=None`` would end all of the tenant."""
    await manager.set("document", "d1", "text", "acme")
    with pytest.raises(InvalidKeyError, match="document_id must be"):
        await manager.invalidate("acme", document_ids=wrong)
    assert await manager.get("document", "d1", "acme") == "text"


async def test_one_id_for_many_items_is_answered_with_the_list(cache: Cache) -> None:
    letters: Any = "ab"
    queue = cache.queues("q", tenant_id="acme")
    with pytest.raises(TypeError, match="one for each value"):
        await queue.push_many([1, 2], ids=letters)
    assert await queue.push_many([], ids=[]) == []


@pytest.mark.parametrize("verb", ["load", "lookup", "begin_claim"])
async def test_a_policy_that_is_none_is_answered_with_the_class(cache: Cache, verb: str) -> None:
    wrong: Any = {"ttl": 60}
    source = () if verb == "begin_claim" else (fetch,)
    for door in (cache, cache.tenant("acme")):
        where = ("acme",) if door is cache else ()
        with pytest.raises(TypeError, match=r"policy must be a Policy, such as Policy\(ttl=60\), not dict"):
            await getattr(door, verb)("document", "d1", *where, *source, policy=wrong)


async def test_no_mapping_of_values_is_answered_with_the_mapping_in_the_engine_too(cache: Cache) -> None:
    pairs: Any = [("d1", "text")]
    with pytest.raises(TypeError, match="a mapping of values by id, not list"):
        await cache.tenant("acme").set_many("document", pairs)


async def test_a_message_holds_little_of_a_long_argument(cache: Cache) -> None:
    """A prompt in the place of a number must not fill the log."""
    prompt: Any = "tell me of the merger " * 1_000
    queue, acme = cache.queues("q", tenant_id="acme"), cache.tenant("acme")
    calls = [
        lambda: queue.push(1, delay_s=prompt),
        lambda: queue.push(1, if_dead=prompt),
        lambda: queue.push(1, if_dead=[]),  # type: ignore[arg-type]
        lambda: queue.reserve(prompt),
        lambda: queue.reserve(wait_s=prompt),
        lambda: cache.counters.increment("c", prompt, tenant_id="acme"),
        lambda: cache.limits.token_bucket("l", rate_per_s=prompt, burst=1, tenant_id="acme"),
        lambda: cache.budgets("b", limit=prompt, tenant_id="acme"),
        lambda: cache.ledger.record("acme", prompt, model="m", idempotency_key="k"),
        lambda: cache.invalidate("acme", resource_id=prompt),
        lambda: acme.queues("q", tenant_id=prompt),
    ]
    for call in calls:
        with pytest.raises((ValueError, UsageError)) as caught:
            await call()
        assert len(str(caught.value)) < 500
