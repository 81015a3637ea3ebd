"""The page "What it does not do" names these tests: each shows one limit, and that the page does not say too much."""

from __future__ import annotations

import ast
import inspect
import re
from typing import TYPE_CHECKING

import pytest

from alacena import Cache, CacheManager, Settings
from alacena.engine import EncodeError, UnsafeServerError
from tests.docs.pages import DOCS, ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from proving.servers.redis_server import RedisServer

NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@pytest.fixture
async def cache() -> AsyncIterator[Cache]:
    async with Cache(Settings()) as opened:
        yield opened


async def test_a_change_that_nobody_announces_is_not_seen(cache: Cache) -> None:
    row = {"text": "old"}

    async def source(_: object) -> dict[str, str]:
        return dict(row)

    await cache.load("document", "d1", "acme", source)
    row["text"] = "typed by hand"

    assert await cache.load("document", "d1", "acme", source) == {"text": "old"}
    await cache.invalidate("acme", "document", "d1")
    assert await cache.load("document", "d1", "acme", source) == {"text": "typed by hand"}


async def test_what_a_lagging_source_answers_is_believed(cache: Cache) -> None:
    replica, primary = {"text": "old"}, {"text": "old"}

    async def source(_: object) -> dict[str, str]:
        return dict(replica)

    primary["text"] = "new"
    await cache.invalidate("acme", "document", "d1")

    assert await cache.load("document", "d1", "acme", source) == {"text": "old"} != primary
    assert await cache.get("document", "d1", "acme") == {"text": "old"}


async def test_two_caches_without_a_server_share_nothing(cache: Cache) -> None:
    async with Cache(Settings()) as other:
        await cache.set("document", "d1", "here", "acme")

        assert await other.get("document", "d1", "acme") is None


async def test_a_lock_that_ended_does_not_stop_its_owner_and_the_fence_does(cache: Cache) -> None:
    locks = cache.tenant("acme").locks
    newest = 0

    def write(fence: int) -> bool:
        """Stands for a resource that refuses a fence below one that it has seen."""
        nonlocal newest
        taken, newest = fence >= newest, max(fence, newest)
        return taken

    async with locks.acquire("report", ttl_s=30) as slow:
        pass  # its process is paused here, for longer than the lock lives
    async with locks.acquire("report", ttl_s=30) as later:
        assert write(later.fence)

        assert not write(slow.fence)  # this line ran: nothing but the resource stopped it


async def test_a_job_whose_worker_never_acknowledged_comes_again(cache: Cache) -> None:
    queue = cache.tenant("acme").queues("ingestion")
    await queue.push({"document_id": "d1"}, id="d1")
    (item,) = await queue.reserve(visibility_s=60)
    await queue.give_back([item])  # its work was done, and its worker ended before it said so

    (again,) = await queue.reserve(visibility_s=60)

    assert again.id == item.id


async def test_one_call_under_two_keys_is_counted_twice(cache: Cache) -> None:
    ledger = cache.tenant("acme").ledger
    for key in ("call-1", "call-1", "call-2"):
        await ledger.record(tokens=10, model="m", idempotency_key=key)

    assert (await ledger.totals()).used == 20


async def test_a_server_that_may_evict_is_refused_for_coordination(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis(maxmemory_policy="allkeys-lru")
    async with Cache(Settings(redis_url=server.url)) as cache:
        await cache.set("document", "d1", "kept", "acme")

        with pytest.raises(UnsafeServerError):
            await cache.tenant("acme").queues("ingestion").push("work")


async def test_a_class_that_is_not_registered_is_refused(cache: Cache) -> None:
    with pytest.raises(EncodeError):
        await cache.set("document", "d1", object(), "acme")


@pytest.mark.parametrize("verb", ["get", "set", "delete", "invalidate"])
def test_there_is_no_synchronous_api(verb: str) -> None:
    for kind in (Cache, CacheManager):
        assert inspect.iscoroutinefunction(inspect.unwrap(getattr(kind, verb)))


@pytest.mark.parametrize("language", ["en", "es"])
def test_the_page_names_tests_that_exist_and_each_line_has_one(language: str) -> None:
    text = (DOCS / language / "explanation" / "limits.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    named = [found.groups() for line in rows for found in NAMED.finditer(line)]

    assert len(named) == len(rows)
    for file, name in named:
        tree = ast.parse((ROOT / file).read_text("utf-8"))
        assert name in {
            node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
