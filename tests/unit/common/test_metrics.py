"""Counts of the application's own events."""

from __future__ import annotations

import pytest

from alacena.common.cache.metrics import METRICS, Metrics, Tally, track_cache_metrics, track_chunk_cache_metrics
from alacena.common.core.constants import METRIC_CACHE_HIT, METRIC_CACHE_MISS, METRIC_CHUNK_CACHE_MISS, METRIC_LATENCY


@pytest.fixture(autouse=True)
def fresh_counts():
    METRICS.clear()
    yield
    METRICS.clear()


async def test_a_miss_counts_as_a_miss_whatever_its_value() -> None:
    for _ in range(3):
        await track_cache_metrics("document", "t", METRIC_CACHE_MISS, True)
    assert METRICS.get("document", METRIC_CACHE_MISS) == Tally(3, 3.0)
    assert METRICS.get("document", METRIC_CACHE_HIT) == Tally()


async def test_latencies_have_a_count_and_a_mean() -> None:
    for latency_ms in (1.5, 2.5):
        await track_cache_metrics(data_type="document", tenant_id="t", metric_type=METRIC_LATENCY, value=latency_ms)
    assert METRICS.get("document", METRIC_LATENCY).mean == 2.0
    assert Tally().mean == 0


async def test_the_signature_by_operation_counts_the_same_things() -> None:
    await track_cache_metrics(data_type="x", tenant_id="t", operation="get", hit=True, latency_ms=3, metadata={})
    await track_cache_metrics(data_type="x", tenant_id="t", operation="get", hit=False)
    await track_cache_metrics(data_type="x", tenant_id="t", operation="size", cache_size=10)
    await track_cache_metrics(data_type="x", tenant_id="t", operation="set", cache_size=7)
    await track_cache_metrics(data_type="x", operation="invalidate")
    counted = {kind: METRICS.get("x", kind).total for kind in ("cache_hit", "cache_miss", "cache_size", "latency")}
    assert counted == {"cache_hit": 1, "cache_miss": 1, "cache_size": 17, "latency": 3}
    assert METRICS.get("x", "cache_invalidation").count == 1
    assert METRICS.get("x", "cache_set").count == 1


async def test_chunk_events_count_under_their_kind() -> None:
    await track_chunk_cache_metrics("t", "c1", METRIC_CHUNK_CACHE_MISS, "col", "d", "m", True, {"a": 1})
    assert METRICS.get("chunk", METRIC_CHUNK_CACHE_MISS).count == 1


def test_names_made_up_at_run_time_cannot_fill_the_memory() -> None:
    metrics = Metrics(max_tallies=3)
    for number in range(10):
        metrics.add(f"type{number}", "k")
    assert metrics.get("other", "other").count == 7
    assert metrics.get("type1", "k").count == 1
