"""A server that says no: to writes, to us, or for a moment only. What is old is not served, and it is said what to do."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Any

import pytest

from alacena.engine import BackendUnavailableError, Cache, ServerReplyError, Settings, SettingsError
from alacena.engine.remote.redis import owed_removals
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from proving.servers.redis_server import RedisServer
    from proving.servers.topology import RedisCluster

DEADLINE_S = 40.0
"""Of what ends at once, and would take a minute or for ever if it were not for the mend."""


def settings_of(server: RedisServer, **more: Any) -> Settings:
    return Settings(redis_url=server.url, redis_budget_s=5.0, ttl_jitter_ratio=0.0, **more)


def refuse_writes(server: RedisServer) -> None:
    server.call("CONFIG", "SET", "min-replicas-to-write", 1)


def take_writes(server: RedisServer) -> None:
    server.call("CONFIG", "SET", "min-replicas-to-write", 0)


@pytest.mark.parametrize("use_memory", [True, False])
async def test_what_was_invalidated_is_not_read_while_the_server_refuses_writes(
    start_redis: Callable[..., RedisServer], use_memory: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """redis/redis 9913, pulibrary/dpul 1471: writes are refused for hours while reads go on."""
    server = start_redis()
    async with Cache(settings_of(server)) as cache:
        await cache.set("document", "d1", "old", "acme", document_ids=["d1"])
        await cache.set("document", "d2", "other", "acme")
        refuse_writes(server)
        with caplog.at_level(logging.INFO, "alacena"):
            assert await cache.invalidate("acme", "document", "d1") == 0
            for _ in range(3):
                assert await cache.get("document", "d1", "acme", use_memory=use_memory) is None
                assert (await cache.get_many("document", ["d1"], "acme")).get("d1") is None
                assert await cache.load("document", "d1", "acme", lambda: "new", use_memory=use_memory) == "new"
                assert await cache.get("document", "d2", "acme", use_memory=False) == "other"
            assert cache.guarantee()["removals_owed"] > 0
            take_writes(server)
            await until(lambda: cache.guarantee()["removals_owed"] == 0)
        assert server.call("EXISTS", "alacena:e:{acme.0}:document:d1") == 0
        said = [record.getMessage() for record in caplog.records]
        assert sum("a removal was not confirmed" in line for line in said) == 1
        assert sum("every removal that was owed is confirmed" in line for line in said) == 1


@pytest.mark.parametrize("what", ["type", "tenant", "tag", "document"])
async def test_every_kind_of_invalidation_bars_what_it_covers(
    start_redis: Callable[..., RedisServer], what: str
) -> None:
    """django/channels_redis 118: a refusal is no milder than an outage, whatever was to be removed."""
    server = start_redis()
    async with Cache(settings_of(server)) as cache:
        await cache.set("document", "d1", "old", "acme", document_ids=["src"], tags=["t"])
        refuse_writes(server)
        said = {
            "type": lambda: cache.invalidate("acme", "document"),
            "tenant": lambda: cache.invalidate("acme"),
            "tag": lambda: cache.invalidate("acme", tags=["t"]),
            "document": lambda: cache.invalidate("acme", document_ids=["src"]),
        }[what]
        assert await said() == 0
        assert await cache.get("document", "d1", "acme") is None
        assert await cache.get("document", "d1", "acme", use_memory=False) is None
        take_writes(server)
        await until(lambda: cache.guarantee()["removals_owed"] == 0)
        assert await cache.get("document", "d1", "acme") is None


async def test_a_new_connection_does_not_serve_what_is_still_owed(start_redis: Callable[..., RedisServer]) -> None:
    """redis/redis 9913: the connection is lost and made again while the disk is still full."""
    server = start_redis()
    async with Cache(settings_of(server)) as cache:
        await cache.set("document", "d1", "old", "acme")
        refuse_writes(server)
        assert await cache.delete("document", "d1", "acme") is False
        connected = cache._parts.remote._nodes.all()[0].link.counters  # type: ignore[union-attr]
        before = connected.connected
        server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await until(lambda: connected.connected > before and cache.guarantee()["connected"])
        assert cache.guarantee()["removals_owed"] > 0
        assert await cache.get("document", "d1", "acme") is None
        take_writes(server)
        await until(lambda: cache.guarantee()["removals_owed"] == 0)


@pytest.mark.parametrize("use_memory", [True, False])
async def test_a_refresh_that_could_not_be_stored_is_not_followed_by_the_older_value(
    start_redis: Callable[..., RedisServer], use_memory: bool
) -> None:
    """redis/redis 9913: the caller has the new value in hand, and reads the old one in the next step."""
    server = start_redis()
    async with Cache(settings_of(server)) as cache:
        for number in range(5):
            resource = f"d{number}"
            take_writes(server)
            await until(lambda: cache.guarantee()["removals_owed"] == 0)
            assert await cache.set("document", resource, "old", "acme")
            refuse_writes(server)
            assert await cache.refresh("document", resource, "acme", lambda: "new") == "new"
            assert await cache.get("document", resource, "acme", use_memory=use_memory) is None


async def test_a_hold_that_was_refused_leaves_nothing_old_behind(start_redis: Callable[..., RedisServer]) -> None:
    """redis/redis 9913: a transaction runs though its hold could not be set."""
    server = start_redis()
    async with Cache(settings_of(server)) as cache:
        await cache.set("document", "d1", "old", "acme")
        refuse_writes(server)
        async with cache.write("acme", ("document", "d1")):
            assert await cache.get("document", "d1", "acme") is None
        assert await cache.get("document", "d1", "acme", use_memory=False) is None


@pytest.mark.parametrize("how", ["renamed", "no right"])
async def test_a_server_without_unlink_is_asked_to_del(start_redis: Callable[..., RedisServer], how: str) -> None:
    """django/channels_redis 118: a hardened server has renamed commands; scripts must not need them either."""
    if how == "renamed":
        server = start_redis(extra=("--rename-command", "UNLINK", ""))
    else:
        server = start_redis(users=["default on nopass ~* &* +@all -unlink"])
    async with Cache(settings_of(server, max_value_bytes=1_000)) as cache:
        await cache.set("document", "d1", "old", "acme")
        assert cache.guarantee()["missing_rights"] == ["UNLINK"]
        assert await cache.delete("document", "d1", "acme")
        assert await cache.get("document", "d1", "acme", use_memory=False) is None
        await cache.set("answer", "q", "old", "acme", document_ids=["d1"])
        assert await cache.invalidate("acme", document_ids=["d1"]) == 1
        assert await cache.get("answer", "q", "acme", use_memory=False) is None
        await cache.set("document", "d1", "old", "acme")
        async with cache.write("acme", ("document", "d1")):
            assert cache.guarantee()["removals_owed"] == 0
            assert await cache.get("document", "d1", "acme", use_memory=False) is None
        assert cache.guarantee()["removals_owed"] == 0
        await cache.set("document", "d1", "old", "acme")
        assert await cache.refresh("document", "d1", "acme", lambda: "x" * 3_000) == "x" * 3_000
        assert await cache.get("document", "d1", "acme", use_memory=False) is None


async def test_a_server_without_del_is_named(start_redis: Callable[..., RedisServer]) -> None:
    """django/channels_redis 118: the other way round, the scripts cannot do without it."""
    server = start_redis(users=["default on nopass ~* &* +@all -del"])
    async with Cache(settings_of(server)) as cache:
        assert await cache.get("document", "d1", "acme") is None
        assert cache.guarantee()["missing_rights"] == ["DEL"]


async def test_many_debts_become_one_of_the_tenant_and_then_one_of_everything(
    start_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache's own: an ingestion goes on for hours while the server refuses writes."""
    monkeypatch.setattr(owed_removals, "_MOST_OF_A_BUCKET", 3)
    monkeypatch.setattr(owed_removals, "_MOST_BUCKETS", 2)
    server = start_redis()
    async with Cache(settings_of(server)) as cache:
        for tenant in ("a", "b", "c", "d"):
            await cache.set("document", "bystander", "old", tenant)
        refuse_writes(server)
        for number in range(4):
            await cache.invalidate("a", tags=[f"t{number}"])
        assert cache.guarantee()["removals_owed"] == 1
        assert await cache.get("document", "bystander", "a") is None
        assert await cache.get("document", "bystander", "d", use_memory=False) == "old"
        for tenant in ("b", "c"):
            for number in range(4):
                await cache.invalidate(tenant, tags=[f"t{number}"])
        assert cache.guarantee()["removals_owed"] == 1
        assert await cache.get("document", "bystander", "d", use_memory=False) is None
        take_writes(server)
        await until(lambda: cache.guarantee()["removals_owed"] == 0)
        assert await cache.get("document", "bystander", "a") is None
        assert await cache.set("document", "bystander", "new", "a")
        assert await cache.get("document", "bystander", "a") == "new"


async def test_a_full_server_is_no_error_at_the_start(start_redis: Callable[..., RedisServer]) -> None:
    """safe-global/safe-transaction-service 951, aioredis-py 1179: no room for another client when the service starts."""
    server = start_redis(tcp=True, extra=("--maxclients", "2"))
    held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(2)]
    try:
        settings = Settings(redis_url=server.tcp_url, redis_connect_timeout_s=0.3, redis_budget_s=5.0)
        async with Cache(settings) as cache:
            assert await cache.load("document", "d1", "acme", lambda: "value") == "value"
            assert cache.guarantee()["connected"] is False
            assert cache.guarantee()["no_stale_fill"] is False
            assert cache.guarantee()["staleness_bound_s"] is None
            for one in held:
                one.close()
            await until(lambda: cache.guarantee()["memory"])
            assert await cache.set("document", "d1", "value", "acme")
    finally:
        for one in held:
            one.close()


@pytest.mark.parametrize("kind", ["password", "database"])
async def test_a_refusal_that_lasts_ends_open_at_once(start_redis: Callable[..., RedisServer], kind: str) -> None:
    """redis/lettuce 1379: a wrong password, or a database that is not there, is no outage."""
    server = start_redis(password="right" if kind == "password" else None, databases=1, tcp=True)
    place = f"127.0.0.1:{server.port}"
    url = f"redis://:wrong@{place}/0" if kind == "password" else f"redis://{place}/5"
    cache = Cache(Settings(redis_url=url, redis_connect_timeout_s=60.0))
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(ServerReplyError):
            await cache.open()


class Rotating:
    """Gives the password of the moment, or fails."""

    def __init__(self, *words: str) -> None:
        self.words: tuple[str, ...] = words
        self.asked = 0
        self.fault: Exception | None = None

    async def get_credentials_async(self) -> Any:
        self.asked += 1
        if self.fault is not None:
            raise self.fault
        return self.words


async def test_a_password_that_rotates_is_asked_for_at_each_connect(
    start_redis: Callable[..., RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    """redis/ioredis 1738, redis/node-redis 821: tokens of cloud identities change while the service runs."""
    server = start_redis(password="first")
    provider = Rotating("first")
    settings = Settings(redis_url=f"unix://{server.socket_path}", redis_budget_s=5.0)
    async with Cache(settings, credentials=provider) as cache:
        assert await cache.set("document", "d1", "value", "acme")
        server.call("CONFIG", "SET", "requirepass", "second")
        server.password = "second"
        with caplog.at_level(logging.INFO, "alacena"):
            server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await until(lambda: "WRONGPASS" in cache.guarantee()["why"])
            assert cache.guarantee()["coordination"] == "unavailable: not connected"
            provider.fault = RuntimeError("the token is hunter2")
            await until(lambda: "RuntimeError" in cache.guarantee()["why"])
            assert await cache.get("document", "d1", "acme") is None
            provider.fault, provider.words = None, ("default", "second")
            await until(lambda: cache.guarantee()["connected"])
        assert await cache.get("document", "d1", "acme") == "value"
        text = " ".join(record.getMessage() for record in caplog.records)
        assert "refuses us" in text
        assert "hunter2" not in text
        assert cache.guarantee()["faults"] == {}


def test_what_gives_no_credentials_is_refused_before_anything_is_opened() -> None:
    """redisson 4713: a provider of another shape."""
    with pytest.raises(SettingsError, match="get_credentials_async"):
        Cache(Settings(), credentials=object())  # type: ignore[arg-type]


async def test_scripts_that_were_forgotten_are_given_again_for_renewal_and_release(
    start_redis: Callable[..., RedisServer],
) -> None:
    """The cache's own: SCRIPT FLUSH while loads are under way."""
    server = start_redis()
    async with Cache(settings_of(server, lease_s=30.0)) as cache, Cache(settings_of(server)) as other:
        await cache.get("document", "d1", "acme")

        async def nothing() -> None:
            server.call("SCRIPT", "FLUSH", "SYNC")

        assert await cache.load("document", "d1", "acme", nothing) is None
        async with asyncio.timeout(DEADLINE_S):
            assert await other.load("document", "d1", "acme", lambda: "value") == "value"


async def test_missing_rights_are_found_at_connect_and_said(
    start_redis: Callable[..., RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    """redis/lettuce 1379, StackExchange.Redis PR 1888: a user without scripts; nothing is kept, and nobody says so."""
    server = start_redis(users=["app on >pw ~alacena:* &alacena:* +@all -@scripting"])
    with caplog.at_level(logging.WARNING, "alacena"):
        async with Cache(Settings(redis_url=f"unix://app:pw@{server.socket_path}", redis_budget_s=5.0)) as cache:
            promised = cache.guarantee()
            assert sorted(promised["missing_rights"]) == ["EVAL", "scripts"]
            assert promised["one_load"] == "per process"
            assert promised["coordination"] == "refused: no right to scripts"
            with pytest.raises(ServerReplyError, match="NOPERM"):
                await cache.counters.increment("c", tenant_id="t")
            server.call("ACL", "SETUSER", "app", "+@scripting")
            await until(lambda: cache.guarantee()["missing_rights"] == [])
            assert cache.guarantee()["coordination"] == "all processes"
    assert sum("allows us no scripts" in record.getMessage() for record in caplog.records) == 1


async def test_a_right_that_only_some_invalidations_need_is_found_at_connect_too(
    start_redis: Callable[..., RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    """django/channels_redis 118, another command: EVAL is renamed away, and EVALSHA is not."""
    server = start_redis(users=["app on >pw ~alacena:* &alacena:* +@all -eval"])
    with caplog.at_level(logging.WARNING, "alacena"):
        async with Cache(Settings(redis_url=f"unix://app:pw@{server.socket_path}", redis_budget_s=5.0)) as cache:
            assert cache.guarantee()["missing_rights"] == ["EVAL"]
            assert await cache.counters.increment("c", tenant_id="t") == 1
    assert sum("allows us no EVAL" in record.getMessage() for record in caplog.records) == 1


async def test_a_right_to_subscribe_that_is_missing_is_said_at_the_first_wait(
    start_redis: Callable[..., RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    """redis/lettuce 1379, another right: waiters are woken by nobody, and each of them looks like a slow server."""
    server = start_redis(users=["app on >pw ~alacena:* &alacena:* +@all -subscribe"])
    settings = Settings(redis_url=f"unix://app:pw@{server.socket_path}", redis_budget_s=5.0, redis_timeout_s=600.0)
    with caplog.at_level(logging.INFO, "alacena"):
        async with Cache(settings) as cache, asyncio.timeout(DEADLINE_S):
            lock = await cache.locks.take("l", tenant_id="acme")
            waiting = asyncio.create_task(cache.locks.take("l", tenant_id="acme"))
            await until(lambda: cache.guarantee()["missing_rights"] == ["SUBSCRIBE"])
            assert cache.guarantee()["coordination"] == "all processes"
            await lock.release()
            await (await waiting).release()
            assert await cache.queues("q", tenant_id="acme").reserve(wait_s=0.01) == []
            server.call("ACL", "SETUSER", "app", "+subscribe")
            await until(lambda: cache.guarantee()["missing_rights"] == [])
    said = [record.getMessage() for record in caplog.records]
    assert sum("allows us no SUBSCRIBE" in line and "grant SUBSCRIBE" in line for line in said) == 1
    assert sum("allows us SUBSCRIBE now" in line for line in said) == 1


async def test_a_server_that_accepts_and_says_nothing_is_named_with_the_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A firewall that swallows, a port of something else: the reason of "not connected" was an empty text."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(listen, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    with caplog.at_level(logging.INFO, "alacena"):
        async with Cache(Settings(redis_url=url, redis_connect_timeout_s=0.05)) as cache:
            await until(lambda: "did not answer within 0.05 s" in cache.guarantee()["why"])
            with pytest.raises(BackendUnavailableError, match="did not answer within"):
                await cache.counters.increment("c", tenant_id="acme")
    assert any("is not reached yet: it did not answer within 0.05 s" in line for line in caplog.messages)
    silent.close()
    await silent.wait_closed()


async def test_one_node_of_a_cluster_is_refused_at_once_with_the_scheme_to_write(redis_cluster: RedisCluster) -> None:
    """redis/redis-py#1030: a plain client of a cluster works for the keys of one node, and says MOVED for the others."""
    with pytest.raises(ServerReplyError, match=r"one node of a cluster of 3.*redis\+cluster://"):
        await Cache(Settings(redis_url=redis_cluster.url)).open()


async def test_a_server_without_hello_is_named_with_what_is_needed(start_redis: Callable[..., RedisServer]) -> None:
    """envoyproxy/envoy#17571: an old server, or a proxy before it, takes HELLO for an unknown command."""
    server = start_redis("redis", extra=("--rename-command", "HELLO", "HALLO"))
    with pytest.raises(ServerReplyError, match=r"does not speak RESP3.*unknown command"):
        await Cache(Settings(redis_url=server.url)).open()
