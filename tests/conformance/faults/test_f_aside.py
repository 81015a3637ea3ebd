"""F: cache-aside, alone and in batches."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from alacena import CacheManager, Context, Policy, configure, get_embeddings_batch_with_cache, get_with_cache_aside
from alacena.common.cache.metrics import METRICS
from alacena.engine.base.errors import InvalidKeyError, MissingTenantError, TenantMismatchError

if TYPE_CHECKING:
    from alacena.engine import Cache

either = pytest.mark.usefixtures("cache")


class ServiceError(Exception):
    """What services raise on purpose."""


@either
async def test_f1_what_a_source_raises_reaches_the_caller_as_it_is() -> None:
    error = ServiceError("403")

    async def failing() -> None:
        raise error

    for functions in ((failing, None), (None, failing), (lambda: None, failing)):
        with pytest.raises(ServiceError) as raised:
            await get_with_cache_aside("document", "d", "t", *functions)
        assert raised.value is error
    assert (await get_with_cache_aside("document", "d", "t", lambda: 1))[0] == 1


@either
async def test_f1_nothing_found_is_not_an_error_and_not_remembered_by_default() -> None:
    calls = []

    async def nothing(resource_id: str) -> None:
        calls.append(resource_id)

    for _ in range(2):
        value, metrics = await get_with_cache_aside("document", "d", "t", nothing, nothing)
        assert (value, metrics["source"], metrics["cache_hit"]) == (None, "not_found", False)
    assert calls == ["d"] * 4


@either
async def test_f2_every_arity_works_and_an_impossible_one_is_refused_before_anything_is_called() -> None:
    called = []

    async def fetch() -> None:
        called.append("fetch")

    with pytest.raises(TypeError, match="cannot be a source"):
        await get_with_cache_aside("document", "d", "t", fetch, lambda a, b, c, d: 1)
    assert called == []
    shapes: list[Any] = [
        lambda: "0",
        lambda r: r,
        lambda r, t: t,
        lambda r, t, ctx: ctx.get_tenant_id(),
        lambda *a: a[1],
        lambda **k: k["agent_id"],
    ]
    answers = [
        (await get_with_cache_aside("x", f"d{n}", "t", shape, agent_id="a", ctx=Context("t")))[0]
        for n, shape in enumerate(shapes)
    ]
    assert answers == ["0", "d1", "t", "t", "t", "a"]


@either
async def test_f2_callers_pass_validation_idempotency_and_metadata() -> None:
    calls = []

    def load() -> dict[str, int]:
        calls.append(1)
        return {"version": len(calls)}

    async def fresh_enough(value: dict[str, int]) -> bool:
        return value["version"] >= 2

    options: dict[str, Any] = {"idempotency_key": "k", "metadata": {"service": "s"}}
    first, metrics = await get_with_cache_aside("x", "d", "t", load, validation_func=fresh_enough, **options)
    assert first == {"version": 1}
    assert metrics["idempotency_key"] == "k"
    assert metrics["metadata"] == {"service": "s"}
    second, metrics = await get_with_cache_aside("x", "d", "t", load, validation_func=fresh_enough)
    assert (second, metrics["source"], metrics["cache_hit"]) == ({"version": 2}, "supabase", False)
    third, metrics = await get_with_cache_aside("x", "d", "t", load, validation_func=lambda v: v["version"] >= 2)
    assert (third, metrics["source"]) == ({"version": 2}, "cache")


@either
async def test_f3_concurrent_misses_share_one_load() -> None:
    calls = []
    begun, gate = asyncio.Event(), asyncio.Event()

    async def generate() -> list[int]:
        calls.append(1)
        begun.set()
        await gate.wait()
        return [1]

    tasks = [asyncio.create_task(get_with_cache_aside("x", "d", "t", None, generate)) for _ in range(20)]
    await begun.wait()
    gate.set()
    results = await asyncio.gather(*tasks)
    assert len(calls) == 1
    assert [value for value, _ in results] == [[1]] * 20
    assert {metrics["source"] for _, metrics in results} <= {"generation", "cache"}
    results[0][0].append(2)
    assert results[1][0] == [1]


async def test_f4_reads_write_no_metrics_to_the_server_and_misses_are_misses(server_cache: Cache) -> None:
    METRICS.clear()
    for number in range(3):
        await get_with_cache_aside("x", f"d{number}", "t", lambda: 1)
    assert METRICS.get("x", "cache_hit").count == 0
    stats = server_cache.stats()
    assert stats["misses"] == 3


@either
async def test_f5_a_missing_tenant_or_id_is_an_error() -> None:
    with pytest.raises(MissingTenantError):
        await get_with_cache_aside("x", "d", None, lambda: 1)
    with pytest.raises(MissingTenantError):
        await get_with_cache_aside("x", "d", "", lambda: 1)
    for blank in ("", None):
        with pytest.raises(InvalidKeyError):
            await get_with_cache_aside("x", blank, "t", lambda: 1)


@either
async def test_f6_a_batch_embeds_each_distinct_text_once_and_keeps_it() -> None:
    asked: list[list[str]] = []

    async def provider(texts: list[str]) -> list[list[float]]:
        asked.append(texts)
        return [[float(len(text)), 0.1] for text in texts]

    texts = ["one", "three", "one", ""]
    first, metrics = await get_embeddings_batch_with_cache(texts, "t", "m", provider, collection_id="c")
    assert asked == [["one", "three", ""]]
    assert metrics["source"] == "generation"
    assert (metrics["texts_count"], metrics["cache_hits"], metrics["cache_misses"]) == (4, 0, 4)
    second, metrics = await get_embeddings_batch_with_cache([*texts, "new"], "t", "m", provider, collection_id="c")
    assert asked[1:] == [["new"]]
    assert second[:4] == first
    assert [type(x) for x in second[0]] == [float, float]
    assert (metrics["source"], metrics["cache_hits"], metrics["cache_misses"]) == ("mixed", 4, 1)
    _, metrics = await get_embeddings_batch_with_cache(texts, "t", "m", provider, collection_id="c")
    assert metrics["source"] == "cache"
    assert len(asked) == 2


@either
async def test_f6_another_model_revision_size_tenant_or_scope_is_another_embedding() -> None:
    asked = []

    def provider(texts: list[str]) -> dict[str, Any]:
        asked.append(texts)
        return {"embeddings": [[1.0] * options.get("dimensions", 1)] * len(texts)}

    options: dict[str, Any]
    for tenant, model, options in (
        ("t", "m", {}),
        ("t", "m2", {}),
        ("t", "m", {"revision": "2"}),
        ("t", "m", {"dimensions": 256}),
        ("t2", "m", {}),
        ("t", "m", {"agent_id": "a"}),
    ):
        await get_embeddings_batch_with_cache(["x"], tenant, model, provider, **options)
        await get_embeddings_batch_with_cache(["x"], tenant, model, provider, **options)
    assert len(asked) == 6


@either
async def test_f6_partial_results_are_said_and_not_cached() -> None:
    async def half(texts: list[str]) -> list[Any]:
        return [[1.0] if text != "bad" else None for text in texts]

    embeddings, metrics = await get_embeddings_batch_with_cache(["good", "bad"], "t", "m", half)
    assert embeddings == [[1.0], None]
    assert metrics["partial_results"] is True
    assert metrics["missing"] == [1]

    async def whole(texts: list[str]) -> list[Any]:
        assert texts == ["bad"]
        return [[2.0]]

    embeddings, metrics = await get_embeddings_batch_with_cache(["good", "bad"], "t", "m", whole)
    assert embeddings == [[1.0], [2.0]]
    assert "partial_results" not in metrics
    with pytest.raises(ValueError, match=r"got 2 texts and returned 1"):
        await get_embeddings_batch_with_cache(["x", "y"], "t", "m", lambda texts: [[1.0]])
    assert await get_embeddings_batch_with_cache([], "t", "m", whole) == (
        [],
        {
            "source": "cache",
            "data_type": "embedding_batch",
            "texts_count": 0,
            "cache_hits": 0,
            "cache_misses": 0,
            "generation_time_ms": 0.0,
            "total_time_ms": pytest.approx(0, abs=1000),
        },
    )


@either
async def test_f6_what_the_provider_raises_passes_and_arrays_are_there_where_asked() -> None:
    numpy = pytest.importorskip("numpy")

    async def failing(texts: list[str]) -> list[Any]:
        raise ServiceError

    with pytest.raises(ServiceError):
        await get_embeddings_batch_with_cache(["x"], "t", "m", failing)

    async def provider(texts: list[str]) -> Any:
        return numpy.ones((len(texts), 3))

    for _ in range(2):
        arrays, _ = await get_embeddings_batch_with_cache(["x"], "t", "m", provider, as_arrays=True)
        assert arrays[0].dtype == numpy.float32
        assert arrays[0].tolist() == [1.0, 1.0, 1.0]


async def test_f_memory_hits_and_redis_hits_report_their_tier(server_cache: Cache, neighbour: Cache) -> None:
    await neighbour.set("x", "d", "v", "t")
    keys = {"source", "tier", "cache_hit", "stored", "data_type", "resource_id", "latency_ms", "total_time_ms"}
    for tier in ("redis", "memory"):
        value, metrics = await get_with_cache_aside("x", "d", "t", lambda: "loaded")
        assert (value, metrics["tier"], metrics["source"], metrics["cache_hit"]) == ("v", tier, "cache", True)
        assert set(metrics) == keys
        assert metrics["total_time_ms"] >= metrics["latency_ms"] >= 0
    _, metrics = await get_with_cache_aside("x", "e", "t", lambda: None, lambda: "made")
    assert keys < set(metrics)
    assert (metrics["source"], metrics["tier"], metrics["cache_hit"]) == ("generation", None, False)
    assert {"db_check_time_ms", "generation_time_ms"} <= set(metrics)


@either
async def test_f_a_memory_hit_reports_how_long_it_took() -> None:
    for resource_id, value in (("text", "v"), ("document", {"a": [1]})):
        await CacheManager.set("x", resource_id, value, "t")
        got, metrics = await get_with_cache_aside("x", resource_id, "t", lambda: "loaded")
        assert (got, metrics["tier"], metrics["cache_hit"]) == (value, "memory", True)
        assert (metrics["data_type"], metrics["resource_id"]) == ("x", resource_id)
        assert metrics["total_time_ms"] == metrics["latency_ms"] > 0
        metrics["tier"] = "the caller's own"


@pytest.mark.usefixtures("unopened")
async def test_f_stale_values_are_offered_where_the_policy_allows(environment: Any) -> None:
    policy = Policy(ttl=10.0, stale_if_error_s=60.0)
    configure(environment=environment, policies={"x": policy}, ttl_jitter_ratio=0.0)

    async def failing() -> None:
        raise ServiceError

    await get_with_cache_aside("x", "d", "t", lambda: "old")
    environment.advance(11)
    value, metrics = await get_with_cache_aside("x", "d", "t", failing)
    assert (value, metrics["source"]) == ("old", "stale")
    environment.advance(60)
    with pytest.raises(ServiceError):
        await get_with_cache_aside("x", "d", "t", failing)


@either
async def test_f_sources_run_for_the_tenant_they_load_for() -> None:
    async def load() -> Any:
        return await CacheManager.get("secret", "s")

    await CacheManager.set("secret", "s", "of a", "a")
    await CacheManager.set("secret", "s", "of b", "b")
    async with Context("a"):
        with pytest.raises(TenantMismatchError):
            await get_with_cache_aside("copy", "c", "b", load)
        with Context("b"):
            assert (await get_with_cache_aside("copy", "c", "b", load))[0] == "of b"
        assert (await get_with_cache_aside("copy", "c", None, load))[0] == "of a"
    assert (await get_with_cache_aside("copy", "d", None, load, ctx=Context("b")))[0] == "of b"


@either
async def test_f_a_serializer_alone_is_refused_and_a_failing_one_loses_nothing() -> None:
    for one in ({"serializer": str}, {"deserializer": int}):
        with pytest.raises(TypeError, match="together"):
            await get_with_cache_aside("x", "d", "t", lambda: 1, **one)
        await CacheManager.set("x", "f", "in memory", "t")
        with pytest.raises(TypeError, match="together"):
            await get_with_cache_aside("x", "f", "t", lambda: 1, **one)

    def refuse(value: Any) -> Any:
        raise ValueError("cannot")

    for _ in range(2):
        value, metrics = await get_with_cache_aside("x", "d", "t", lambda: 1, serializer=refuse, deserializer=int)
        assert value == 1
        assert "cannot" in metrics["serialization_error"]

    await CacheManager.set("x", "e", "not a number", "t")
    value, metrics = await get_with_cache_aside("x", "e", "t", lambda: 5, serializer=str, deserializer=int)
    assert (value, metrics["cache_hit"]) == (5, False)
    assert await CacheManager.get("x", "e", "t") == "5"
