"""The servers that other tests stand on do what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hiredis
import pytest

from proving.servers.process import StartError
from proving.servers.redis_server import RedisServer
from proving.servers.resp import call

if TYPE_CHECKING:
    from collections.abc import Callable


def test_redis_url_leads_to_an_empty_server(redis_url: str, redis_server: RedisServer) -> None:
    assert redis_url == redis_server.url
    assert redis_server.call("DBSIZE") == 0
    assert redis_server.call("SET", "left", "behind") == "OK"


def test_the_next_test_does_not_find_what_the_last_one_left(redis_server: RedisServer) -> None:
    assert redis_server.call("GET", "left") is None


def test_a_restarted_server_keeps_its_address_and_loses_its_data(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis("valkey", tcp=True)
    before, url, port = _run_id(server), server.url, server.port
    server.call("SET", "k", "v")
    server.restart()
    assert (server.url, server.port) == (url, port)
    assert server.call("GET", "k") is None
    assert _run_id(server) != before
    assert call(("127.0.0.1", port), "PING") == "PONG"


def test_a_paused_server_is_silent_and_a_resumed_one_answers(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis("valkey")
    server.process.pause()
    with pytest.raises(TimeoutError):
        call(server.address, "PING", timeout_s=0.05)
    server.process.resume()
    assert server.call("PING") == "PONG"


def test_passwords_and_users_are_enforced(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis("valkey", password="s3 cret/", users=["app on >pw ~a:* +@all"])
    assert server.url == f"unix://:s3%20cret%2F@{server.socket_path}"
    assert server.call("PING") == "PONG"
    with pytest.raises(hiredis.ReplyError, match="NOAUTH"):
        call(server.address, "GET", "k")
    assert "user app on" in " ".join(server.call("ACL", "LIST"))


def test_a_server_that_cannot_start_says_why_and_leaves_nothing() -> None:
    server = RedisServer("valkey", extra=["--maxmemory-policy", "nonsense"])
    with pytest.raises(StartError, match="nonsense"), server:
        pass
    assert not server.directory.exists()


def _run_id(server: RedisServer) -> str:
    lines = server.call("INFO", "server").splitlines()
    return next(line for line in lines if line.startswith("run_id"))
