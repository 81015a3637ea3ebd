"""Metrics of several processes on one page, as Prometheus takes it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from alacena.engine import Cache, Settings
from alacena.integrations.prometheus import fleet_page
from tests.waiting import until

if TYPE_CHECKING:
    from proving.servers.redis_server import RedisServer


async def test_a_worker_that_is_started_anew_is_on_no_page_twice(valkey_server: RedisServer) -> None:
    """prometheus/client_python#275, #411: workers are restarted, and each restart left a record under the same name."""
    settings = Settings(redis_url=valkey_server.url, fleet_every_s=0.2, process_name="web-1", redis_budget_s=5.0)
    async with Cache(settings) as before, Cache(settings) as after:

        async def page_of_both() -> bytes | None:
            members = await after.fleet()
            if sum(member.snapshot is not None and not member.is_stale for member in members) < 2:
                return None
            page, _ = await fleet_page(before)
            return page if b'process="web-1 (2)"' in page else None

        page = await until(page_of_both, "both processes on one page")
    lines = [line.rpartition(" ")[0] for line in page.decode().splitlines() if not line.startswith("#")]
    assert [line for line, number in Counter(lines).items() if number > 1] == []
    assert any('process="web-1"' in line for line in lines)
