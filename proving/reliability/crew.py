"""Processes of their own, which can be stopped, woken and killed."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

_ROOT = Path(__file__).parents[2]
_LONGEST_LINE = 1 << 24
_PATIENCE_S = 90.0


class Member:
    """One process, seen from the one that started it. It runs ``module:function(talk, **arguments)``.

    Where ``setpriv`` exists (util-linux) the kernel ends it with the process that started it.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, work: str, arguments: Mapping[str, Any]) -> Self:
        """Start one."""
        guard = shutil.which("setpriv")
        process = await asyncio.create_subprocess_exec(
            *((guard, "--pdeathsig", "KILL", "--") if guard else ()),
            sys.executable, "-m", "proving.stand.workers", work, msgspec.json.encode(arguments).decode(),
            cwd=_ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LONGEST_LINE,
        )  # fmt: skip
        return cls(process)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def hear(self) -> Any:
        """The next thing that it says; ``None`` when it has ended.

        Raises:
            TimeoutError: It says nothing.
        """
        assert self._process.stdout is not None
        async with asyncio.timeout(_PATIENCE_S):
            line = await self._process.stdout.readline()
        return msgspec.json.decode(line) if line else None

    def tell(self, word: str) -> None:
        """Say something to it."""
        assert self._process.stdin is not None
        self._process.stdin.write(word.encode() + b"\n")

    def pause(self) -> None:
        """Freeze it (SIGSTOP): its connections stay open, and it does nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo :meth:`pause`."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it without a word (SIGKILL)."""
        self._signal(signal.SIGKILL)

    async def ended(self) -> int:
        """Wait until it has ended; its exit code."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        return await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):  # it has ended, and this loop has not heard of it yet
                os.kill(self.pid, number)


@asynccontextmanager
async def crew(work: str, arguments: Iterable[Mapping[str, Any]]) -> AsyncIterator[list[Member]]:
    """Members that have said that they are ready; whoever still runs at the end is killed."""
    members = await asyncio.gather(*(Member.start(work, one) for one in arguments))
    try:
        for member in members:
            said = await member.hear()
            if said != "ready":
                raise RuntimeError(f"a member of the crew could not begin: it said {said!r}")
        yield list(members)
    finally:
        for member in members:
            member.kill()
        await asyncio.gather(*(member.ended() for member in members))


async def results(members: Iterable[Member]) -> list[Any]:
    """Tell everybody to go, and hear what each has to say at the end; who was killed says nothing."""
    members = list(members)
    for member in members:
        member.tell("go")
    return [said for said in await asyncio.gather(*(member.hear() for member in members)) if said is not None]
