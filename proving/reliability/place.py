"""What a trial may use: a folder of its own, a seed, and how long it may take."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

    from proving.servers.redis_server import Flavour

T = TypeVar("T")

OURS = "alacena"
_PATIENCE_S = 300.0
"""Nothing that is attempted takes as long, unless it hangs."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much a trial does.

    Attributes:
        quick: Whether it is the short version, of a few seconds.
        seed: Names everything that is drawn by lot.
        flavour: Which server.
        peers: Whether other caches are put to the same test.
    """

    quick: bool = False
    seed: int = 1
    flavour: Flavour = "valkey"
    peers: bool = True

    def of(self, full: T, quick: T) -> T:
        """One of two sizes."""
        return quick if self.quick else full


@dataclass(frozen=True, slots=True)
class Finding:
    """What one trial found about one cache.

    Attributes:
        number: Of the goal in the list of reliability goals.
        name: Of the trial.
        who: Which cache, or which variant.
        ran: Seeds, processes, operations, faults.
        figure: What was seen.
        held: Whether that is what is promised; ``None`` for peers, which promised nothing.
        details: Figures by name, for machines.
    """

    number: str
    name: str
    who: str
    ran: str
    figure: str
    held: bool | None = None
    details: dict[str, float] = field(default_factory=dict)


async def attempted(number: str, name: str, who: str, finding: Awaitable[Finding]) -> Finding:
    """A finding, or that it could not be made: what fails keeps no other row from being shown."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await finding
    except Exception as error:
        return failed(number, name, who, error)


def failed(number: str, name: str, who: str, error: BaseException) -> Finding:
    """The row of what could not be brought to its end: a broken promise where it is ours."""
    return Finding(number, name, who, "not to its end", f"failed: {error!r:.300}", held=False if who == OURS else None)


@contextmanager
def folder() -> Iterator[Path]:
    """A private folder that is gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix="alacena-trial-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
