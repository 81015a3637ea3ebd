"""A file that keeps what could not be sent, on disk before the caller is told, until it can be."""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Spill:
    """Lines in a file, appended and fsynced; several processes may share it.

    A drain takes the whole file aside, and gives back what is left of it, so that a line is in exactly one place
    whatever dies when. Only one drain runs at a time. Needs a Unix: the locks are ``flock``.

    Args:
        path: The file. Beside it stand ``.lock``, ``.drain-lock``, ``.draining`` and ``.rejected``.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._lock = Path(f"{path}.lock")
        self._draining = Path(f"{path}.draining")
        self._drain_lock = Path(f"{path}.drain-lock")
        self._rejected = Path(f"{path}.rejected")
        self._drain: BinaryIO | None = None

    @property
    def holds_any(self) -> bool:
        """Whether there is something to drain. Looks at the disk, reads nothing."""
        return self._path.exists() or self._draining.exists()

    async def append(self, line: bytes) -> None:
        """Keep a line. When this returns, it is on disk.

        Cancellation: the write goes on and is finished; it may be kept or not.

        Raises:
            OSError: The disk is full, or the file cannot be written.
        """
        await asyncio.to_thread(self._append, self._path, [line])

    async def reject(self, line: bytes) -> None:
        """Keep a line that the server refuses where somebody can look at it."""
        await asyncio.to_thread(self._append, self._rejected, [line])

    async def take(self) -> list[bytes] | None:
        """Take what is there aside for a drain, which ends with :meth:`keep`.

        What a drain that died had taken comes first. ``None``: another drain runs. A last line that was torn by a
        crash was never confirmed, and is left out.
        """
        return await asyncio.to_thread(self._take)

    async def keep(self, rest: Sequence[bytes]) -> None:
        """End the drain: say what is left of it."""
        await asyncio.to_thread(self._keep, rest)

    def _append(self, path: Path, lines: Sequence[bytes]) -> None:
        with self._locked():
            created = not path.exists()
            with path.open("ab+") as file:
                if not _ends_a_line(file):
                    file.write(b"\n")
                file.write(b"".join(line + b"\n" for line in lines))
                file.flush()
                os.fsync(file.fileno())
            if created:
                _sync_directory(path.parent)

    def _take(self) -> list[bytes] | None:
        if self._drain is not None or not self._begin_drain():
            return None
        with self._locked():
            lines = [*_lines(self._draining), *_lines(self._path)]
            if lines:
                self._replace(lines)
            self._path.unlink(missing_ok=True)
            return lines

    def _begin_drain(self) -> bool:
        import fcntl

        file = self._drain_lock.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._drain = file
        return True

    def _keep(self, rest: Sequence[bytes]) -> None:
        if self._drain is None:
            return
        with self._locked():
            if rest:
                self._replace(rest)
            else:
                self._draining.unlink(missing_ok=True)
                _sync_directory(self._path.parent)
        self._drain.close()
        self._drain = None

    def _replace(self, lines: Sequence[bytes]) -> None:
        fresh = Path(f"{self._draining}.new")
        with fresh.open("wb") as file:
            file.write(b"".join(line + b"\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._draining)
        _sync_directory(self._path.parent)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        import fcntl

        with self._lock.open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _lines(path: Path) -> list[bytes]:
    """The whole lines of a file."""
    if not path.exists():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return [line for line in whole.split(b"\n") if line]


def _ends_a_line(file: BinaryIO) -> bool:
    """False where a crash tore the last line, which would swallow the next."""
    if file.seek(0, os.SEEK_END) == 0:
        return True
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
