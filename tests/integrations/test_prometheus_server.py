"""A real Prometheus scrapes a process, and takes every query of the dashboard and of the alerts."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from alacena.engine import Cache
from alacena.ops.dashboard import queries, rules
from proving.servers.prometheus import find_program
from proving.servers.redis_server import free_port
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

prometheus_client = pytest.importorskip("prometheus_client")
PROGRAM = find_program("prometheus")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Prometheus is installed: make prometheus")


@pytest.fixture
def scraped() -> Iterator[Any]:
    """The registry of a page that is served, and its port."""
    registry = prometheus_client.CollectorRegistry()
    server, thread = prometheus_client.start_http_server(0, addr="127.0.0.1", registry=registry)
    yield registry, server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def prometheus(scraped: Any, tmp_path: Path) -> Iterator[str]:
    """The address of a Prometheus that scrapes the page each second, and evaluates the rules."""
    (tmp_path / "rules.yml").write_text(json.dumps(rules()))
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [{"job_name": "alacena", "static_configs": [{"targets": [f"127.0.0.1:{scraped[1]}"]}]}],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))
    port = free_port()
    words = [f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    words += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    process = subprocess.Popen([str(PROGRAM), *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait()


def asked(address: str, query: str) -> dict[str, Any]:
    with urlopen(f"{address}/api/v1/query?{urlencode({'query': query})}") as reply:
        return json.load(reply)  # type: ignore[no-any-return]


async def test_every_query_is_answered_from_what_was_scraped(scraped: Any, prometheus: str) -> None:
    from alacena.integrations.prometheus import CacheCollector

    async with Cache() as cache:
        scraped[0].register(CacheCollector(cache, tenants=True))
        await cache.load("document", "d1", "acme", lambda: "text")

        async def seen() -> bool:
            try:
                found = await asyncio.to_thread(asked, prometheus, 'alacena_reads_total{answer="load"} == 1')
            except OSError:
                return False
            return bool(found["data"]["result"])

        await until(seen, "a scrape with the load in it")
        for query in queries():
            assert (await asyncio.to_thread(asked, prometheus, query))["status"] == "success", query
