"""Prometheus reads the snapshot, from its own thread; several processes stand behind one port."""

from __future__ import annotations

import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest

from alacena.engine import Cache, Settings

prometheus_client = pytest.importorskip("prometheus_client")

from prometheus_client.parser import text_string_to_metric_families  # noqa: E402

from alacena.integrations.prometheus import (  # noqa: E402
    CacheCollector,
    SnapshotCollector,
    fleet_page,
    list_exported_names,
)
from proving.servers.prometheus import find_program  # noqa: E402
from tests.waiting import until  # noqa: E402

PROMTOOL = find_program("promtool")

if TYPE_CHECKING:
    from collections.abc import Callable

    from alacena.engine import Snapshot


async def used(cache: Cache) -> Snapshot:
    """A snapshot in which something is counted."""
    await cache.load("document", "d1", "acme", lambda: "text")
    await cache.get("document", "d2", "acme")
    await cache.ledger.record("acme", 100, model="m", idempotency_key="k1", cost="0.5")
    await until(lambda: cache.snapshot().total.reads.total >= 2, "a snapshot with both reads")
    return cache.snapshot()


def scraped(registry: Any) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    page = prometheus_client.generate_latest(registry).decode()
    families = text_string_to_metric_families(page)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


async def test_a_scrape_from_another_thread_reads_the_snapshot() -> None:
    async with Cache(Settings(namespace="shop")) as cache:
        registry = prometheus_client.CollectorRegistry()
        registry.register(CacheCollector(cache, tenants=True))
        await used(cache)
        pages: list[dict[Any, float]] = []
        thread = threading.Thread(target=lambda: pages.append(scraped(registry)))
        thread.start()
        thread.join()
    (page,) = pages

    def at(name: str, **labels: str) -> float:
        return page[name, tuple(sorted({"namespace": "shop", **labels}.items()))]

    assert at("alacena_reads_total", data_type="document", answer="load") == 1
    assert at("alacena_reads_total", data_type="document", answer="none") == 1
    assert at("alacena_misses_total", data_type="document", reason="absent") == 2
    assert at("alacena_tokens_total", kind="used") == 100
    assert at("alacena_cost_total", kind="used") == 0.5
    assert at("alacena_tenant_reads_total", tenant="acme", answer="load") == 1
    assert at("alacena_operation_duration_seconds_count", operation="load") == 1
    assert at("alacena_operation_duration_seconds_bucket", operation="load", le="+Inf") == 1
    assert at("alacena_memory_serving") == 1
    assert {name for name, _ in page} == list_exported_names()


async def test_a_closed_cache_exports_nothing_and_breaks_nothing() -> None:
    async with Cache() as cache:
        registry = prometheus_client.CollectorRegistry()
        registry.register(CacheCollector(cache))
    assert scraped(registry) == {}


async def test_labels_are_bounded_however_many_tenants_and_types_there_are() -> None:
    async with Cache() as cache:
        for number in range(300):
            await cache.get(f"type{number}", "d1", f"tenant{number}")
        await until(lambda: cache.snapshot().total.reads.none == 300, "a snapshot with every read")
        registry = prometheus_client.CollectorRegistry()
        registry.register(CacheCollector(cache, tenants=True))
        page = scraped(registry)
    labels = [dict(labels) for _, labels in page]
    assert len({one["tenant"] for one in labels if "tenant" in one}) == 21
    assert len({one["data_type"] for one in labels if "data_type" in one}) == 61
    assert not any("d1" in one.values() for one in labels)


async def test_one_page_tells_of_every_process_of_the_namespace(valkey_server: Any) -> None:
    settings = {"redis_url": valkey_server.url, "fleet_every_s": 0.2}
    async with Cache(Settings(**settings, process_name="web-1")) as one:
        async with Cache(Settings(**settings, process_name="web-2")) as two:
            await used(two)

            async def page_of_both() -> Any:
                page, content_type = await fleet_page(one)
                return (page, content_type) if b'process="web-2"' in page else None

            page, content_type = await until(page_of_both, "both processes on one page")
        assert content_type.startswith("text/plain")
        assert b'process="web-1"' in page


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool is installed: make prometheus")
async def test_promtool_has_nothing_to_say_about_the_page() -> None:
    async with Cache() as cache:
        await used(cache)
        registry = prometheus_client.CollectorRegistry()
        registry.register(CacheCollector(cache, tenants=True))
        page = prometheus_client.generate_latest(registry)
    checked = subprocess.run([str(PROMTOOL), "check", "metrics"], input=page, capture_output=True, check=False)  # noqa: ASYNC221
    assert checked.returncode == 0, checked.stderr + checked.stdout


def test_a_missing_client_is_named(import_without: Callable[[str, str], Any]) -> None:
    with pytest.raises(ImportError, match=r"alacena\[prometheus\]"):
        import_without("alacena.integrations.prometheus", "prometheus_client")


def test_registering_takes_no_snapshot() -> None:
    def never() -> Any:
        raise AssertionError("a snapshot was taken")

    prometheus_client.CollectorRegistry().register(SnapshotCollector(never))
