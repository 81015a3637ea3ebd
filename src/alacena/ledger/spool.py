"""A file of usage that could not be sent, on disk before the caller is told, until it can be."""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, BinaryIO
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from io import FileIO

_spills: WeakSet[Spool] = WeakSet()


class Spool:
    """Lines in a file, appended and fsynced; several processes may share it.

    A drain takes the whole file aside, and gives back the rest. A line is never lost, even if a process dies or fails
    when; where something did, it may be given out once more. Only one drain runs at a time, and its lock is let go of
    in any case. Needs a Unix: the locks are ``flock``.

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
        self._taken: list[bytes] = []
        _spills.add(self)

    @property
    def holds_any(self) -> bool:
        """Whether there is something to drain. Looks at the disk, reads nothing."""
        return self._path.exists() or self._draining.exists()

    async def append(self, line: bytes) -> None:
        """Keeps a line. When this returns, it is on disk.

        Cancellation: the write goes on and is finished; it may be kept or not.

        Raises:
            OSError: The disk is full, or the file cannot be written: the line is not kept, and nothing of it is left.
        """
        await asyncio.to_thread(self._append, self._path, [line])

    async def reject(self, line: bytes) -> None:
        """Keeps a line that the server refuses for an operator to look at.

        Raises:
            OSError: As for :meth:`append`.
        """
        await asyncio.to_thread(self._append, self._rejected, [line])

    async def take(self) -> list[bytes] | None:
        """Takes the lines aside for a drain, which ends with :meth:`keep`.

        Lines that a drain took before it died come first. ``None``: another drain runs. A last line that was torn by a
        crash was never confirmed, and is left out.

        Cancellation: no drain was begun.

        Raises:
            OSError: The file cannot be read or moved: no drain was begun.
        """
        # A thread cannot be cancelled: if the caller leaves, it sees the event. Past that, the callback lets go.
        has_left = Event()
        taking = asyncio.ensure_future(asyncio.to_thread(self._take, has_left))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            has_left.set()
            taking.add_done_callback(self._let_go)
            raise

    async def keep(self, rest: Sequence[bytes]) -> None:
        """Ends the drain, with the lines that are left of it.

        Cancellation: the drain is ended all the same.

        Raises:
            OSError: The drained lines could not be taken out: the drain is over, and its lines come once more.
        """
        keeping = asyncio.ensure_future(asyncio.to_thread(self._keep, rest))
        # What has not begun in its thread when it is cancelled never runs: the lock would stay.
        keeping.add_done_callback(lambda done: self.close() if done.cancelled() else None)
        await asyncio.shield(keeping)

    def close(self) -> None:
        """Lets go of the lock of a drain that is no more. Lines that it had taken stay on disk."""
        drain, self._drain = self._drain, None
        if drain is not None:
            _unlock(drain)

    def _let_go(self, taking: asyncio.Future[list[bytes] | None]) -> None:
        """Lets the file go if the caller that was to drain has gone meanwhile."""
        if not taking.cancelled() and taking.exception() is None and taking.result() is not None:
            self.close()

    def _append(self, path: Path, lines: Sequence[bytes]) -> None:
        with self._hold_lock():
            created = not path.exists()
            with path.open("ab+", buffering=0) as file:
                size = file.seek(0, os.SEEK_END)
                text = b"".join(line + b"\n" for line in lines)
                try:
                    _write(file, text if _ends_a_line(file) else b"\n" + text)
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(size)  # Half a line would be taken for a whole one when the next is appended.
                    raise
            # The directory holds a new file's name: without this, a crash may lose the file with what was synced.
            if created:
                _sync_directory(path.parent)

    def _take(self, has_left: Event) -> list[bytes] | None:
        if self._drain is not None or not self._begin_drain():
            return None
        taken = False
        try:
            with self._hold_lock():
                if not self._draining.exists() and self._path.exists():
                    self._path.replace(self._draining)
                # 1. A drain took the file and died; its lines are in ``.draining``.
                # 2. New lines came into a new file.
                # 3. Both are one drain now, the older lines first. Replacing the first file by the second would lose
                #    it.
                elif self._path.exists():
                    # The old file goes after the new one is on disk: a crash in between gives its lines twice.
                    self._replace([*_lines(self._draining), *_lines(self._path)])
                    self._path.unlink()
                self._taken = _lines(self._draining)
            if has_left.is_set():
                return None
            taken = True
            return list(self._taken)
        finally:
            if not taken:
                self.close()

    def _begin_drain(self) -> bool:
        # Not at the top: the module must load on systems without ``fcntl``, too.
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
        try:
            if rest and len(rest) == len(self._taken):
                return  # Nothing was drained: what lies on disk is what is left, and the server may be away for long.
            with self._hold_lock():
                if rest:
                    self._replace(rest)
                else:
                    self._draining.unlink(missing_ok=True)
                    _sync_directory(self._path.parent)
        finally:
            self._taken = []
            self.close()

    def _replace(self, lines: Sequence[bytes]) -> None:
        fresh = Path(f"{self._draining}.new")
        with fresh.open("wb") as file:
            file.write(b"".join(line + b"\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
        # Written aside, synced, then renamed: a crash at any point leaves the old lines or the new ones, never half a
        # file.
        fresh.replace(self._draining)
        _sync_directory(self._path.parent)

    def _disown(self) -> None:
        """Disowns the lock in a forked child: it is the parent's, and must not live as long as this process does."""
        drain, self._drain = self._drain, None
        if drain is not None:
            # Closed and not unlocked: the lock is shared with the parent, and LOCK_UN would end it there too.
            drain.close()

    @contextmanager
    def _hold_lock(self) -> Iterator[None]:
        import fcntl

        with self._lock.open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _lines(path: Path) -> list[bytes]:
    """Returns the whole lines of a file."""
    if not path.exists():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return [line for line in whole.split(b"\n") if line]


def _ends_a_line(file: FileIO) -> bool:
    """Returns False if a crash tore the last line, which would swallow the next."""
    if file.seek(0, os.SEEK_END) == 0:
        return True
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _write(file: FileIO, text: bytes) -> None:
    """Writes all of a text: an unbuffered file may take less at once."""
    while text:
        text = text[file.write(text) :]


def _unlock(file: BinaryIO) -> None:
    """Lets go of a lock, also where a forked child still has the file open."""
    import fcntl

    fcntl.flock(file, fcntl.LOCK_UN)
    file.close()


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _disown_all() -> None:
    for spill in list(_spills):
        spill._disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_all)
