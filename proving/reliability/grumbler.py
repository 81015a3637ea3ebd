"""A server that says hello like any other and then answers chosen commands with an error of your choice."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Self

import hiredis

if TYPE_CHECKING:
    from collections.abc import Callable

_CANARY = b":canary:"


class Grumbler:
    """Speaks as much of the protocol as a client needs to connect, with tracking.

    Attributes:
        error: What it answers to every command that is about keys, such as ``"OOM command not allowed"``; empty: it has
            nothing, and takes everything.
        silent: Whether it does not push invalidations, like a proxy that swallows them.
        old: Whether it knows no ``HELLO``, like a server of before RESP3.
    """

    def __init__(self) -> None:
        self.error = ""
        self.silent = False
        self.old = False
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """Where it is."""
        assert self._server is not None
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        parser = hiredis.Reader()
        try:
            while data := await reader.read(65_536):
                parser.feed(data)
                while (command := parser.gets()) is not False:
                    writer.write(self._answer([bytes(word) for word in command]))
        except ConnectionError:
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    def _answer(self, command: list[bytes]) -> bytes:
        name = command[0].upper()
        if name == b"HELLO" and self.old:
            return b"-ERR unknown command 'HELLO'\r\n"
        if name in _POLITE:
            return _POLITE[name]()
        if len(command) > 1 and _CANARY in command[1]:
            return self._about_canary(name, command[1])
        if self.error:
            return b"-" + self.error.encode() + b"\r\n"
        return _EMPTY[name](command) if name in _EMPTY else b"+OK\r\n"

    def _about_canary(self, name: bytes, key: bytes) -> bytes:
        if name == b"GET":
            return b"_\r\n"
        push = b"" if self.silent else b">2\r\n$10\r\ninvalidate\r\n*1\r\n" + _bulk(key)
        return (b":1\r\n" if name in {b"UNLINK", b"DEL"} else b"+OK\r\n") + push


def _bulk(text: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(text), text)


def _hello() -> bytes:
    facts: dict[bytes, Any] = {b"server": b"redis", b"version": b"7.0.0", b"mode": b"standalone", b"role": b"master"}
    lines = b"".join(_bulk(name) + _bulk(fact) for name, fact in facts.items())
    return b"%%%d\r\n%s$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:1\r\n" % (len(facts) + 2, lines)


def _info() -> bytes:
    return _bulk(
        b"role:master\r\nmaster_replid:" + b"ab" * 20 + b"\r\nmaxmemory_policy:noeviction\r\nredis_version:7.0.0\r\n"
    )


def _time() -> bytes:
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    return b"*2\r\n" + _bulk(b"%d" % seconds) + _bulk(b"%d" % (rest // 1000))


_POLITE: dict[bytes, Callable[[], bytes]] = {
    b"HELLO": _hello,
    b"CLIENT": lambda: b"+OK\r\n",
    b"SCRIPT": lambda: b"+" + b"0" * 40 + b"\r\n",
    b"INFO": _info,
    b"TIME": _time,
    b"PING": lambda: b"+PONG\r\n",
}
_EMPTY: dict[bytes, Callable[[list[bytes]], bytes]] = {
    b"MGET": lambda command: b"*%d\r\n" % (len(command) - 1) + b"_\r\n" * (len(command) - 1),
    b"UNLINK": lambda _: b":0\r\n",
    b"GET": lambda _: b"_\r\n",
}
