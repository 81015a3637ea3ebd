"""Queues and locks are found by the lists that are kept of them: for a user without SCAN, and on a cluster."""

from __future__ import annotations

import asyncio
import json


def test_a_user_who_may_not_scan_finds_queues_and_locks(start_redis, alacena, work):
    server = start_redis(users=["app on >pw ~* &* +@all -scan -keys"], tcp=True)
    url = f"redis://app:pw@127.0.0.1:{server.port}"

    async def job(cache):
        for tenant in ("acme", "other"):
            await cache.queues("ingest", tenant_id=tenant).push(1)
        await cache.queues("reports", tenant_id="acme").push(1)
        async with cache.locks.acquire("re:index", tenant_id="acme"):
            await cache.fleet()
            return [
                json.loads((await asyncio.to_thread(alacena, *words.split(), "--json", url=url)).stdout)
                for words in (
                    "queues stats",
                    "queues stats --tenant acme",
                    "queues stats ingest",
                    "locks",
                    "locks --tenant x",
                )
            ]

    every, acme, ingest, locks, foreign = work(url, job)
    names = [[(row["tenant_id"], row["queue"]) for row in one["queues"]] for one in (every, acme, ingest)]
    assert names[0] == [("acme", "ingest"), ("acme", "reports"), ("other", "ingest")]
    assert names[1] == names[0][:2]
    assert names[2] == [("acme", "ingest"), ("other", "ingest")]
    assert [(lock["tenant_id"], lock["name"]) for lock in locks["locks"]] == [("acme", "re:index")]
    assert foreign["locks"] == []
    assert alacena("queues", "stats", "--search", url=url).exit_code == 1  # that one needs SCAN


def test_on_a_cluster(redis_cluster, alacena, work):
    url = "redis+cluster://" + ",".join(f"{host}:{port}" for host, port in redis_cluster.addresses)
    tenants = [f"tenant-{number}" for number in range(6)]

    async def job(cache):
        for tenant in tenants:
            await cache.queues("ingest", tenant_id=tenant).push(1)
            await cache.locks.take("reindex", tenant_id=tenant)
        await cache.fleet()
        return [
            json.loads((await asyncio.to_thread(alacena, *words, "--json", url=url)).stdout)
            for words in (("queues", "stats"), ("locks",))
        ]

    queues, locks = work(url, job, process_name="web-1")
    assert [row["tenant_id"] for row in queues["queues"]] == tenants
    assert [lock["tenant_id"] for lock in locks["locks"]] == tenants
    assert all(lock["process"].startswith("web-1#") for lock in locks["locks"])


def test_names_that_must_not_be_seen_are_digests_there_too(valkey_server, alacena, work, monkeypatch):
    monkeypatch.setenv("ALACENA_KEY_SECRET", "a secret of this test")

    async def job(cache):
        await cache.locks.take("reindex", tenant_id="acme")
        await cache.queues("ingest", tenant_id="acme").push(1)
        await cache.fleet()
        words = ("locks", "--tenant", "acme", "--json")
        said = json.loads((await asyncio.to_thread(alacena, *words, url=valkey_server.url)).stdout)
        return said["locks"], await cache.queues.find_keys(), await cache.queues.of("acme").find_keys()

    locks, queues, own = work(valkey_server.url, job, key_secret="a secret of this test")
    assert len(locks) == 1
    assert "acme" not in json.dumps(locks)
    assert queues == own
    assert "acme" not in queues[0]


def test_a_queue_that_was_forgotten_is_not_shown(valkey_server, alacena, work):
    async def job(cache):
        queue = cache.queues("ingest", tenant_id="acme")
        await queue.push(1)
        valkey_server.call("DEL", *valkey_server.call("KEYS", "*:queue:*"))
        assert len(await cache.queues.find_keys()) == 1

    work(valkey_server.url, job)
    assert json.loads(alacena("queues", "stats", "--json", url=valkey_server.url).stdout) == {"queues": []}


def test_the_list_is_bounded(valkey_server, work, monkeypatch):
    monkeypatch.setattr("alacena.coordination.ready_tenants.MOST_LISTED", 3)

    async def job(cache):
        for number in range(5):
            await cache.queues(f"q{number}", tenant_id="acme").push(1)
        assert [key.split(":")[3] for key in await cache.queues.find_keys()] == ["q4", "q3", "q2"]
        assert [key.split(":")[3] for key in await cache.queues.find_keys(1)] == ["q4"]

    work(valkey_server.url, job)
