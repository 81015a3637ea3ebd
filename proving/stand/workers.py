"""Processes of their own, that say one JSON line at a time and hear one word at a time.

python -m proving.stand.workers module:function '{"arguments": "as JSON"}'
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Work = Callable[..., Awaitable[None]]

_ROOT = Path(__file__).parents[2]
_LONGEST_LINE = 1 << 22


class Worker:
    """One process, seen from the one that started it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, work: str, **arguments: Any) -> Self:
        """Start ``module:function(talk, **arguments)`` in a process of its own."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "proving.stand.workers", work, msgspec.json.encode(arguments).decode(),
            cwd=_ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LONGEST_LINE,
        )  # fmt: skip
        return cls(process)

    async def hear(self) -> Any:
        """The next thing it says; ``None`` when it has ended."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        return msgspec.json.decode(line) if line else None

    def tell(self, word: str) -> None:
        """Say something to it."""
        assert self._process.stdin is not None
        self._process.stdin.write(word.encode() + b"\n")

    def kill(self) -> None:
        """End it without a word."""
        if self._process.returncode is None:
            self._process.kill()

    async def ended(self) -> int:
        """Wait until it has ended; its exit code."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        return await self._process.wait()


class Talk:
    """The talk with whoever started this process, seen from inside."""

    def __init__(self, words: asyncio.StreamReader) -> None:
        self._words = words

    async def hear(self) -> str:
        """The next word; empty when nobody talks any more."""
        return (await self._words.readline()).decode().strip()

    @staticmethod
    def say(what: Any) -> None:
        """Say something, at once."""
        sys.stdout.write(msgspec.json.encode(what).decode() + "\n")
        sys.stdout.flush()


async def _work(name: str, arguments: dict[str, Any]) -> None:
    words = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
    module, _, function = name.partition(":")
    await getattr(importlib.import_module(module), function)(Talk(words), **arguments)


if __name__ == "__main__":
    asyncio.run(_work(sys.argv[1], msgspec.json.decode(sys.argv[2])))
