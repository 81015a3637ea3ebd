"""OpenTelemetry reads the snapshot through observable instruments, from the SDK's thread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from alacena.engine import Cache, Settings

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from alacena.integrations.opentelemetry import observe_cache
from alacena.integrations.snapshot_metrics import METRICS, TENANT_METRICS
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable


def observed(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    found = reader.get_metrics_data()
    if found is None:
        return {}
    metrics = [m for r in found.resource_metrics for s in r.scope_metrics for m in s.metrics]
    return {metric.name: [metric.unit, *metric.data.data_points] for metric in metrics}


@pytest.fixture
def reader() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture
def meter(reader: InMemoryMetricReader) -> Any:
    provider = MeterProvider(metric_readers=[reader])
    yield provider.get_meter("test")
    provider.shutdown()


async def test_a_reader_in_another_thread_observes_the_snapshot(reader: InMemoryMetricReader, meter: Any) -> None:
    async with Cache(Settings(namespace="shop")) as cache:
        observe_cache(cache, meter=meter, tenants=True)
        await cache.load("document", "d1", "acme", lambda: "text")
        await until(lambda: cache.snapshot().total.reads.load == 1, "a snapshot with the load")
        found: list[dict[str, list[Any]]] = []
        thread = threading.Thread(target=lambda: found.append(observed(reader)))
        thread.start()
        thread.join()
    (metrics,) = found

    unit, *points = metrics["alacena.reads"]
    assert unit == "{read}"
    loaded = [point for point in points if point.attributes["answer"] == "load"]
    assert [(point.value, dict(point.attributes)) for point in loaded] == [
        (1, {"alacena.namespace": "shop", "data_type": "document", "answer": "load"})
    ]
    assert {metric.name for metric in (*METRICS, *TENANT_METRICS)} <= set(metrics) | {"alacena.tenant.tokens"}
    unit, *points = metrics["alacena.operation.duration.sum"]
    assert unit == "s"
    assert {point.attributes["operation"] for point in points} == {"load", "store", "invalidate"}


async def test_a_closed_cache_reports_nothing(reader: InMemoryMetricReader, meter: Any) -> None:
    async with Cache() as cache:
        observe_cache(cache, meter=meter)
    assert observed(reader) == {}


def test_a_missing_api_is_named(import_without: Callable[[str, str], Any]) -> None:
    with pytest.raises(ImportError, match=r"alacena\[opentelemetry\]"):
        import_without("alacena.integrations.opentelemetry", "opentelemetry.metrics")
