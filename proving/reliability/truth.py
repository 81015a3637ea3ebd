"""The source of truth of the trials: versions in a file that every process maps into its memory."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

_CELL = struct.Struct("<qq")


class Truth:
    """Two numbers a key: the committed version, and how often the key was loaded.

    A commit in any process is seen by every process at once, so a version that a reader returns tells exactly what the
    source held when it was asked. Numbers only grow; a lock of the kernel's on the key's bytes makes them exact.

    Args:
        path: The file; made with :meth:`create`.
    """

    def __init__(self, path: str | Path) -> None:
        self._file = os.open(path, os.O_RDWR)
        self._cells = mmap.mmap(self._file, 0)

    @classmethod
    def create(cls, path: Path, keys: int) -> Self:
        """A source of ``keys`` keys, each at version 1."""
        path.write_bytes(_CELL.pack(1, 0) * keys)
        return cls(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._cells.close()
        os.close(self._file)

    def __len__(self) -> int:
        return len(self._cells) // _CELL.size

    def version(self, key: int) -> int:
        """What is committed."""
        return self._cell(key)[0]

    def loads(self, key: int) -> int:
        """How often the key was loaded, by all processes together."""
        return self._cell(key)[1]

    def total_loads(self) -> int:
        """How often anything was loaded."""
        return sum(self.loads(key) for key in range(len(self)))

    def commit(self, key: int) -> int:
        """Change the key; its new version."""
        with self._locked(key):
            version, loads = self._cell(key)
            _CELL.pack_into(self._cells, key * _CELL.size, version + 1, loads)
        return version + 1

    def load(self, key: int) -> int:
        """Read the key as a loader would: it is counted. Its version."""
        with self._locked(key):
            version, loads = self._cell(key)
            _CELL.pack_into(self._cells, key * _CELL.size, version, loads + 1)
        return version

    def _cell(self, key: int) -> tuple[int, int]:
        version, loads = _CELL.unpack_from(self._cells, key * _CELL.size)
        return version, loads

    @contextmanager
    def _locked(self, key: int) -> Iterator[None]:
        fcntl.lockf(self._file, fcntl.LOCK_EX, _CELL.size, key * _CELL.size)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, _CELL.size, key * _CELL.size)
