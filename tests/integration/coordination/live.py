"""A private Valkey on a unix socket and a blocking client, for tests that drive the scripts themselves."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from proving.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def server(*options: str) -> Iterator[str]:
    """Run a private server until the block ends; gives its socket's path."""
    with RedisServer(extra=options) as running:
        yield str(running.socket_path)


def blocking_client(path: str) -> redis.Redis:
    """A client that gives raw RESP3 replies."""
    client = redis.Redis(unix_socket_path=path, protocol=3, retry=Retry(NoBackoff(), 0), decode_responses=False)
    client.response_callbacks.clear()
    return client
