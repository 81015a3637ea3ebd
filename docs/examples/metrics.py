"""What a process has counted: the snapshot, Prometheus, OpenTelemetry, and the processes of a namespace."""

import asyncio

from opentelemetry.metrics import get_meter
from prometheus_client import CollectorRegistry, generate_latest

from alacena import CacheManager, get_with_cache_aside
from alacena.integrations.opentelemetry import observe_cache
from alacena.integrations.prometheus import CacheCollector, fleet_page


async def main():
    # --8<-- [start:snapshot]
    cache = await CacheManager.cache()
    await get_with_cache_aside("document", "d1", "acme", generate_func=lambda: "text")
    await asyncio.sleep(2)  # a snapshot is renewed once a second

    snapshot = cache.snapshot()  # from any thread; nothing is awaited
    total = snapshot.total
    print(total.reads.memory, total.reads.redis, total.reads.load, total.misses.absent)
    for row in snapshot.rows:
        print(row.tenant, row.kind, row.reads.total, row.bytes)
    # --8<-- [end:snapshot]
    assert (total.reads.load, total.misses.absent) == (1, 1)

    # --8<-- [start:prometheus]
    registry = CollectorRegistry()  # or prometheus_client.REGISTRY
    registry.register(CacheCollector(cache))
    # --8<-- [end:prometheus]
    assert b'alacena_reads_total{answer="load",data_type="document"' in generate_latest(registry)

    # --8<-- [start:opentelemetry]
    observe_cache(cache, meter=get_meter("service"))
    # --8<-- [end:opentelemetry]

    # --8<-- [start:fleet]
    for member in await cache.fleet():
        print(member.name, member.age_s, member.is_stale, member.snapshot.total.reads.total)
        entry = {"data_type": "document", "resource_id": "d1", "tenant_id": "acme"}
        print(await cache.ask(member.name, "explain", entry))
    page, content_type = await fleet_page(cache)  # every process, for one address that is scraped
    print(content_type, len(page))
    # --8<-- [end:fleet]
    assert b"process=" in page
    await CacheManager.close()


asyncio.run(main())
