"""Where the server is said to be: names of several addresses, ports of something else, nodes that do not know their name."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from alacena.engine import Cache, Settings
from alacena.engine.base.errors import ServerReplyError
from alacena.engine.remote.redis.endpoint import Address, ServerAccess
from alacena.engine.remote.redis.slot_map import Range, Redirection, read_slots, slot_of
from alacena.engine.remote.redis.wire import handshake
from alacena.engine.remote.redis.wire.handshake import open_socket
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from proving.servers.redis_server import RedisServer
    from proving.servers.topology import RedisCluster

HERE = "127.0.0.1"


def _answer_names(monkeypatch: pytest.MonkeyPatch, *places: tuple[str, int]) -> None:
    async def resolve(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)


async def test_an_address_that_swallows_everything_does_not_hide_the_next_one(
    start_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """aio-libs-abandoned/aioredis-py 353 in its kind: a name gave an address where nobody answers, for as long as it lived.

    In a container without IPv6 it is the first of each name.
    """
    loop = asyncio.get_running_loop()
    server, connect, asked = start_redis(tcp=True), loop.sock_connect, []
    hole = (HERE, 1)

    async def swallow(opened: socket.socket, place: Any) -> None:
        asked.append((opened, place))
        if place == hole:
            await loop.create_future()
        await connect(opened, place)

    _answer_names(monkeypatch, hole, (HERE, server.port))
    monkeypatch.setattr(loop, "sock_connect", swallow)
    monkeypatch.setattr(handshake, "_NEXT_ADDRESS_S", 0.001)
    async with Cache(Settings(redis_url="redis://cache.internal", redis_budget_s=5.0)) as cache:
        assert await cache.set("note", "n", "x", "acme")
    assert hole in [place for _, place in asked]
    assert [opened for opened, place in asked if place == hole and opened.fileno() != -1] == []


async def test_of_a_name_whose_addresses_all_refuse_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    _answer_names(monkeypatch, (HERE, 1), (HERE, 1), (HERE, 2))
    with pytest.raises(ConnectionError, match=r"cache\.internal:6379 cannot be reached: Connection refused"):
        await open_socket(asyncio.Protocol, Address("cache.internal", 6379), ServerAccess())


async def test_a_server_that_wants_tls_is_named_with_the_scheme_to_write() -> None:
    """redis/node-redis 2903 and its neighbours: "Connection closed", for hours, for want of one letter."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    async with await asyncio.start_server(hang_up, HERE, 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Cache(Settings(redis_url=f"redis://{HERE}:{port}", redis_connect_timeout_s=0.1)) as cache:
            await until(lambda: "write rediss:// in place of redis://" in cache.guarantee()["why"])


async def test_a_server_without_tls_is_named_with_the_scheme_to_write() -> None:
    """The other way round: what reads no TLS waits for the end of a line, and the client for its answer."""
    over = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    async with await asyncio.start_server(say_nothing, HERE, 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Cache(Settings(redis_url=f"rediss://{HERE}:{port}", redis_connect_timeout_s=0.1)) as cache:
            await until(lambda: "write redis:// in place of rediss://" in cache.guarantee()["why"])
        over.set()


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("unable to get local issuer certificate", r"\?ssl_ca_certs="),
        ("IP address mismatch, certificate is not valid for '127.0.0.1'.", "write a host that its certificate names"),
        ("certificate has expired", "has expired$"),
    ],
)
async def test_a_certificate_that_is_refused_is_answered_with_the_option(
    start_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch, said: str, remedy: str
) -> None:
    """redis/ioredis 754, redis/redis 7928: addresses that no certificate names, and authorities that nobody was told of."""
    server = start_redis(tcp=True)

    async def refuse(*_: Any, **__: Any) -> None:
        error = ssl.SSLCertVerificationError(1, "certificate verify failed")
        error.verify_message = said
        raise error

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", refuse)
    access = ServerAccess(tls=ssl.create_default_context())
    with pytest.raises(ConnectionError, match=rf"{HERE}:{server.port} cannot be reached: .*{remedy}"):
        await open_socket(asyncio.Protocol, Address(HERE, server.port), access)


@pytest.mark.parametrize(
    ("password", "remedy"),
    [(None, "it is a server and no sentinel; the port of sentinels is mostly 26379"), ("s", r"\?sentinel_password=")],
)
async def test_a_server_in_the_place_of_a_sentinel_is_named(
    start_redis: Callable[..., RedisServer], password: str | None, remedy: str
) -> None:
    """redis/redis-py 3431 in its kind: the server's port in the place of the sentinels', or their password left out."""
    server = start_redis(tcp=True, password=password)
    settings = Settings(redis_url=f"redis+sentinel://{HERE}:{server.port}/mymaster", redis_connect_timeout_s=0.5)
    async with Cache(settings) as cache:
        await until(lambda: remedy.replace("\\", "") in cache.guarantee()["why"])


async def test_a_node_that_has_no_name_is_followed(start_cluster: Callable[..., RedisCluster]) -> None:
    """redis/lettuce 2290, phpredis/phpredis 2646: ``MOVED 3999 :6380``, and ``?`` for the host of a node without one."""
    cluster = start_cluster(nodes=2)
    for node in cluster.nodes:
        node.call("CONFIG", "SET", "cluster-preferred-endpoint-type", "hostname")
    url = f"redis+cluster://{HERE}:{cluster.nodes[0].port}"
    async with Cache(Settings(redis_url=url, redis_budget_s=5.0, redis_timeout_s=5.0)) as cache:
        tenant = next(t for t in map(str, range(1_000)) if cluster.node_of(f"{{{t}.0}}") is cluster.primaries[0])
        await cache.get("note", "n", tenant)
        cluster.move_slot(slot_of(f"{tenant}.0"), *cluster.primaries)
        assert await cache.set("note", "n", "x", tenant)
        assert await cache.get("note", "n", tenant, use_memory=False) == "x"


def test_a_node_without_a_name_is_where_it_says_or_where_it_was_asked() -> None:
    asked = Address("10.0.0.1", 6379)
    facts = [b"ip", b"10.0.0.2"]
    for host, more, place in (
        (None, [], "10.0.0.1"),
        (b"", [], "10.0.0.1"),
        (b"?", facts, "10.0.0.2"),
        (b"?", {b"ip": b"10.0.0.2"}, "10.0.0.2"),
        (b"?", [], "10.0.0.1"),
        (b"node-2", facts, "node-2"),
    ):
        assert read_slots([[0, 9, [host, 6380, b"id", more]]], asked) == [Range(0, 9, Address(place, 6380))]
    for host, place in (("", "10.0.0.1"), ("?", "10.0.0.1"), ("node-2", "node-2"), ("::1", "::1")):
        redirection = Redirection.read(ServerReplyError(f"MOVED 7 {host}:6380"), asked)
        assert redirection == Redirection(7, Address(place, 6380), passing=False)
