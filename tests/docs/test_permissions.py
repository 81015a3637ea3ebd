"""The user of the page on permissions can do all that Alacena does, and little else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import hiredis
import pytest

from alacena import Cache, Settings
from proving.servers.resp import open_socket
from tests.docs.pages import DOCS

if TYPE_CHECKING:
    from collections.abc import Callable

    from proving.servers.redis_server import RedisServer

LANGUAGES = ("en", "es")


def user_of(language: str) -> str:
    """The line of the page."""
    text = (DOCS / language / "how-to" / "permissions.md").read_text("utf-8")
    return re.search(r"^user (.*)$", text, re.MULTILINE)[1]  # type: ignore[index]


def test_both_pages_have_the_same_user() -> None:
    assert user_of("en") == user_of("es")


@pytest.fixture
def server(start_redis: Callable[..., RedisServer]) -> RedisServer:
    return start_redis(users=[user_of("en")], extra=["--appendonly", "yes"])


async def test_the_user_can_do_all_that_the_library_does(server: RedisServer) -> None:
    settings = Settings(redis_url=f"unix://app:secret@{server.socket_path}", redis_budget_s=5.0)
    async with Cache(settings) as cache:
        acme = cache.tenant("acme")
        await acme.set("document", "d1", "text", document_ids=["d1"])
        assert await acme.get("document", "d1", use_memory=False) == "text"
        await acme.invalidate(document_ids=["d1"])
        assert await acme.get("document", "d1", use_memory=False) is None
        async with acme.locks.acquire("report", ttl_s=30) as lock:
            assert lock.fence
        queue = acme.queues("ingestion")
        await queue.push("work", id="w1")
        (item,) = await queue.reserve(visibility_s=60)
        await item.ack()
        assert await acme.counters.increment("calls") == 1
        assert await acme.flags.set_nx("flag", 1)
        await acme.ledger.record(tokens=5, model="m", idempotency_key="c1", mode="safe")
        assert (await acme.ledger.totals()).used == 5

        assert cache.guarantee()["missing_rights"] == []
        assert cache.guarantee()["memory"]
    assert refused_commands(server) == []


def test_the_user_can_do_little_else(server: RedisServer) -> None:
    for command in (("GET", "other:key"), ("FLUSHALL",), ("KEYS", "*"), ("CONFIG", "GET", "*"), ("ACL", "LIST")):
        assert "NOPERM" in as_user(server, *command)


def refused_commands(server: RedisServer) -> list[Any]:
    """What the server has refused this user, its own log says; ``CONFIG GET`` only makes ``mode="safe"`` quick."""
    log = [dict(zip(entry[::2], entry[1::2], strict=True)) for entry in server.call("ACL", "LOG")]
    return [entry["object"] for entry in log if entry["object"] != "config|get"]


def as_user(server: RedisServer, *command: str) -> str:
    """The error that a command of the user gets."""
    reader = hiredis.Reader(encoding="utf-8")
    with open_socket(server.address, 5.0) as connection:
        for words in (("AUTH", "app", "secret"), command):
            connection.sendall(hiredis.pack_command(words))
            reply = False
            while reply is False:
                reader.feed(connection.recv(65536))
                reply = reader.gets()
    return str(reply)
