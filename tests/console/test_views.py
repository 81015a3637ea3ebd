"""What the console answers: the same as the commands, for ids that nobody expects, and if the server is away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from alacena import Cache, Scope, Settings
from alacena.ops import cache_report
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from alacena.ops.console import ActivityLog
    from proving.servers.redis_server import RedisServer

ODD = ["<script>alert(1)</script>", "line\nbreak", "\u202eright to left", "a" * 9_000, "100 %", "../up", "ñandú"]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: ascii(odd[:12]))
async def test_entry_of_any_name_is_explained(
    cache: Cache, client_of: Callable[..., httpx.AsyncClient], odd: str
) -> None:
    await cache.set("document", odd, "text", "acme")
    async with client_of() as client:
        found = (await client.get("/api/explain", params={"type": "document", "id": odd, "tenant": "acme"})).json()

    assert found["data"]["reason"] == "memory"
    assert found["sentences"][1]["tone"] == "good"


async def test_question_without_its_parts_says_which(client_of: Callable[..., httpx.AsyncClient]) -> None:
    async with client_of() as client:
        lacking = await client.get("/api/explain", params={"type": "document", "tenant": "acme"})
        long = await client.get("/api/explain", params={"type": "d", "id": "x" * 30_000, "tenant": "acme"})
        wrong = await client.get("/api/tokens", params={"tenant": "acme", "day": "yesterday"})

    assert (lacking.status_code, lacking.json()["error"]) == (400, "the request names no 'id'")
    assert (long.status_code, wrong.status_code) == (400, 422)
    assert "yesterday" in wrong.json()["error"]


async def test_health_is_that_of_this_cache(cache: Cache, client_of: Callable[..., httpx.AsyncClient]) -> None:
    await cache.queues("jobs", tenant_id="acme").push(1)
    async with client_of() as client:
        found = (await client.get("/api/health")).json()

    states = [check["state"] for check in found["checks"]]
    assert states == sorted(states, key=["fail", "warn", "skip", "pass"].index)
    assert found["guarantee"]["connected"] is True
    settings = next(check for check in found["checks"] if check["check"] == "settings")
    assert cache.settings.namespace in settings["found"]


async def test_queues_locks_and_tokens(cache: Cache, client_of: Callable[..., httpx.AsyncClient]) -> None:
    queue = cache.queues("jobs", tenant_id="acme", max_attempts=1)
    await queue.push({"n": 1})
    (item,) = await queue.reserve(1)
    await item.nack(reason="no such document")
    await cache.ledger.record("acme", 1_200, model="m", operation="answer")
    await cache.ledger.record("acme", 700, model="m", operation="answer", saved=True)
    async with client_of() as client:
        queues = (await client.get("/api/queues")).json()["data"]["queues"]
        dead = (await client.get("/api/dead", params={"tenant": "acme", "queue": "jobs"})).json()["data"]["dead"]
        tokens = (await client.get("/api/tokens", params={"tenant": "acme"})).json()["data"]

    assert [(row["queue"], row["tenant_id"], row["dead"]) for row in queues] == [("jobs", "acme", 1)]
    assert [letter["reason"] for letter in dead] == ["no such document"]
    assert (tokens["used"], tokens["saved"]) == (1_200, 700)


async def test_tenant_that_is_named_is_asked_of_the_processes(
    cache: Cache, client_of: Callable[..., httpx.AsyncClient]
) -> None:
    await cache.set("document", "d1", "text", "acme")
    async with client_of() as client:
        found = (await client.get("/api/tenants", params={"tenant": "acme"})).json()
        nobody = (await client.get("/api/tenants", params={"tenant": "nobody"})).json()

    assert [(row["tenant_id"], row["data_type"], row["entries"]) for row in found["rows"]] == [("acme", "document", 1)]
    assert (found["asked"], found["answered"]) == (1, 1)
    assert nobody["rows"] == []


async def test_loads_do_not_push_what_an_operator_looks_for_out_of_the_activity_log(
    cache: Cache, activity: ActivityLog
) -> None:
    await cache.invalidate("acme", "document", "d1")
    before = len(activity.lines())
    for number in range(3):
        await cache.load("document", f"d{number}", "acme", lambda: "text")
    assert len(activity.lines()) == before


async def test_activity_log_tells_what_happened_the_newest_first(
    cache: Cache, activity: ActivityLog, client_of: Callable[..., httpx.AsyncClient]
) -> None:
    await cache.set("document", "d1", "text", "acme")
    await cache.invalidate("acme", "document", "d1")
    await cache.get("document", "d1", "acme")
    async with client_of() as client:
        lines = (await client.get("/api/log")).json()["lines"]

    assert lines[0]["what"] == "Invalidated"
    assert lines[0]["facts"]["tenant_id"] == "acme"
    assert {line["what"] for line in lines} <= {"Invalidated", "MemorySwitched", "ServerFound"}


def test_activity_log_is_bounded(activity: ActivityLog) -> None:
    for number in range(700):
        activity.write("noted", {"number": number})

    assert len(activity.lines()) == 500
    assert activity.lines()[0]["facts"] == {"number": 699}


async def test_entry_of_one_reader_is_explained(cache: Cache, client_of: Callable[..., httpx.AsyncClient]) -> None:
    await cache.set("document", "d1", "text", "acme", user_id="ana", permissions=["read", "pay"], use_memory=False)
    question = {"type": "document", "id": "d1", "tenant": "acme"}
    async with client_of() as client:
        of_nobody = (await client.get("/api/explain", params=question)).json()["data"]
        whose = {"user_id": "ana", "permissions": " pay , read,"}
        of_ana = (await client.get("/api/explain", params=question | whose)).json()["data"]

    assert of_nobody["reason"] == "other_scope"
    assert of_ana["reason"] == "redis"


async def test_cache_without_a_server_is_explained_too() -> None:
    async with Cache() as cache:
        await cache.set("document", "d1", "text", "acme")
        found = await cache_report.explanation(cache, "document", "d1", Scope("acme"))

    assert found.data["reason"] == "memory"


async def test_processes_are_summed_and_asked_one_by_one(
    cache: Cache, valkey_server: RedisServer, client_of: Callable[..., httpx.AsyncClient]
) -> None:
    async with Cache(Settings(redis_url=valkey_server.url, process_name="other")) as other:
        await other.set("document", "d1", "text", "acme")
        await other.get("document", "d1", "acme")
        question = {"type": "document", "id": "d1", "tenant": "acme"}
        async with client_of() as client:

            async def listed() -> Any:
                found = (await client.get("/api/fleet")).json()["processes"]
                return found if len(found) == 2 else None

            fleet = await until(listed)
            explained = (await client.get("/api/explain", params=question)).json()["data"]

            async def counted() -> Any:
                return (await client.get("/api/overview")).json()["reads"]["memory"] == 1

            await until(counted)
            (name,) = (one["name"] for one in fleet if not one["name"].startswith("other"))
            mine = (await client.get("/api/overview", params={"process": name})).json()

    assert not any(one["is_stale"] for one in fleet)
    (there,) = explained["processes"]
    assert there["process"].startswith("other")
    assert there["memory"]["alive"]
    assert explained["facts"]["memory"] is None
    assert (mine["processes"], mine["reads"]["memory"]) == (1, 0)
