"""What a process did, line by line, for the checker."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from alacena.testing.staleness import Operation, dump, load

if TYPE_CHECKING:
    from collections.abc import Iterable

_BUFFER_BYTES = 1 << 16


class Journal:
    """The log of one process.

    Args:
        path: The file.
        actor: The process's name.
    """

    def __init__(self, path: str | Path, actor: str) -> None:
        self._file = Path(path).open("a", buffering=_BUFFER_BYTES)  # noqa: SIM115 - the journal is the context
        self._actor = actor

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, key: int, version: int, called_at: float, bound_s: float | None = None) -> None:
        """A read has returned ``version``."""
        self._note("read", key, version, called_at, bound_s)

    def invalidated(self, versions: Iterable[tuple[int, int]], called_at: float) -> None:
        """An invalidation was acknowledged: of each ``(key, version)``, nothing older may be seen any more."""
        for key, version in versions:
            self._note("invalidate", key, version, called_at, None)

    def _note(
        self, kind: Literal["read", "invalidate"], key: int, version: int, called_at: float, bound_s: float | None
    ) -> None:
        operation = Operation(
            kind=kind,
            key=str(key),
            version=version,
            called_at=called_at,
            returned_at=now(),
            actor=self._actor,
            bound_s=bound_s,
        )
        self._file.write(dump(operation) + "\n")


def now() -> float:
    """Seconds on the one clock that all processes of this machine share."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def gather(paths: Iterable[Path]) -> list[Operation]:
    """The history of all processes."""
    return [operation for path in paths if path.exists() for operation in load(path.read_text().splitlines())]
