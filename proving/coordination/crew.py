"""Processes that are killed and replaced, each with a journal that survives it."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from alacena.engine.base.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from multiprocessing.context import ForkServerProcess

    Work = Callable[..., Awaitable[None]]

T = TypeVar("T")

NOISE = "BENCH_NOISE"
"""A variable of the environment; where it is set, one sees what the processes complain of while they are killed."""

_CONTEXT = multiprocessing.get_context("forkserver")
_PRELOADED = [
    "__main__",
    "alacena.engine.remote.redis.factory",
    *(
        f"proving.coordination.{name}"
        for name in ("budgets", "failovers", "fences", "kills", "ledger", "liveness", "million", "poison", "zombies")
    ),
]


class Journal:
    """Lines that are with the system, and so survive their writer, when :meth:`note` returns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, *lines: str) -> None:
        """Write lines, in one call of the system."""
        os.write(self._file, "".join(f"{line}\n" for line in lines).encode())

    def predecessors(self) -> list[str]:
        """What those noted that had this place before."""
        place = self._path.name.partition(".")[0]
        return [line for path in self._path.parent.glob(f"{place}.*") for line in _whole_lines(path)]


class Crew:
    """Processes of one work. They come from a server that has everything imported, so that a new one costs little.

    Args:
        work: ``async def work(journal, **arguments)``, at the top of a module.
        size: How many processes.
        arguments: For the work; ``place`` is added: the number of the process, the same for its replacement.
    """

    def __init__(self, work: Work, size: int, **arguments: Any) -> None:
        _CONTEXT.set_forkserver_preload(_PRELOADED)
        self._folder = tempfile.TemporaryDirectory(prefix="alacena-crew-")
        self._work = work
        self._arguments = arguments
        self._began = 0
        self.kills = 0
        self.members: list[ForkServerProcess] = []
        self._size = size

    def __enter__(self) -> Self:
        self.members = [self._start(place) for place in range(self._size)]
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members:
            member.kill()
        for member in self.members:
            member.join()
        self._folder.cleanup()

    def _start(self, place: int) -> ForkServerProcess:
        self._began += 1
        path = f"{self._folder.name}/{place}.{self._began}"
        arguments = {**self._arguments, "place": place}
        process = _CONTEXT.Process(target=_run, args=(self._work, path, arguments), daemon=True)
        process.start()
        return process

    def kill(self, place: int) -> None:
        """SIGKILL, and another one in its place."""
        self.members[place].kill()
        self.members[place].join()
        self.kills += 1
        self.members[place] = self._start(place)

    def replace_dead(self) -> int:
        """Put others in the place of those that ended by themselves; how many."""
        dead = [place for place, member in enumerate(self.members) if not member.is_alive()]
        for place in dead:
            self.members[place].join()
            self.members[place] = self._start(place)
        return len(dead)

    def pause(self, place: int) -> None:
        """SIGSTOP."""
        os.kill(self._pid(place), signal.SIGSTOP)

    def resume(self, place: int) -> None:
        """SIGCONT."""
        os.kill(self._pid(place), signal.SIGCONT)

    def paused(self, place: int) -> bool:
        """Whether it stands still."""
        return Path(f"/proc/{self._pid(place)}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def _pid(self, place: int) -> int:
        pid = self.members[place].pid
        assert pid is not None
        return pid

    def lines(self) -> list[str]:
        """What all of them have noted so far, the dead ones too. A line torn by a death is left out."""
        return [line for path in sorted(Path(self._folder.name).iterdir()) for line in _whole_lines(path)]

    def noted_bytes(self) -> int:
        """How much has been noted: cheap, for counting lines of one length."""
        return sum(path.stat().st_size for path in Path(self._folder.name).iterdir())


def _whole_lines(path: Path) -> list[str]:
    return [line for line in path.read_text().rpartition("\n")[0].split("\n") if line]


def _run(work: Work, path: str, arguments: dict[str, Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if NOISE not in os.environ:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    asyncio.run(work(Journal(Path(path)), **arguments))  # type: ignore[arg-type]


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask again while the store does not answer: for whoever watches on a machine that is busy."""
    while True:
        try:
            return await ask()
        except BackendError:
            await asyncio.sleep(0.1)


async def until(condition: Callable[[], Awaitable[bool] | bool], within_s: float, every_s: float = 0.02) -> bool:
    """Ask until the answer is yes; ``False`` if it was not within the time."""
    deadline = time.monotonic() + within_s
    while True:
        answer = condition()
        if answer if isinstance(answer, bool) else await answer:
            return True
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(every_s)
