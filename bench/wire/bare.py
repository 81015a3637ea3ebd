"""The floor: a protocol on hiredis with no features at all. No deadlines, no limits, no pushes, no errors."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import hiredis


class Bare(asyncio.Protocol):
    """Futures in a queue; what is asked for in one turn of the loop leaves in one write."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.reader = hiredis.Reader(notEnoughData=...)
        self.waiting: deque[asyncio.Future[Any]] = deque()
        self.out: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def call(self, *command: Any) -> asyncio.Future[Any]:
        future = self.loop.create_future()
        self.waiting.append(future)
        if not self.out:
            self.loop.call_soon(self.flush)
        self.out.append(hiredis.pack_command(command))
        return future

    def flush(self) -> None:
        self.transport.write(b"".join(self.out))
        self.out.clear()

    def data_received(self, data: bytes) -> None:
        self.reader.feed(data)
        gets, popleft = self.reader.gets, self.waiting.popleft
        while (reply := gets()) is not ...:
            future = popleft()
            if not future.done():
                future.set_result(reply)
