"""Rounds in turn: in each, every contender is measured once, in an order drawn anew."""

from __future__ import annotations

import gc
import random
import resource
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

T = TypeVar("T")

_SEED = 20_260_901


async def interleaved(contenders: Mapping[str, Callable[[], Awaitable[T]]], rounds: int) -> dict[str, list[T]]:
    """Measure everybody ``rounds`` times, after one round that does not count.

    Args:
        contenders: What gives one measurement of each, by name.
        rounds: How many count.

    Returns:
        The measurements by name, in the order of the rounds.
    """
    order = random.Random(_SEED)
    names = list(contenders)
    found: dict[str, list[T]] = {name: [] for name in names}
    gc.collect()
    gc.freeze()
    try:
        for number in range(rounds + 1):
            order.shuffle(names)
            for name in names:
                gc.collect()
                sample = await contenders[name]()
                if number:
                    found[name].append(sample)
    finally:
        gc.unfreeze()
    return found


def cpu_s() -> float:
    """Processor time of this process, its threads included."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Stopwatch:
    """Wall and processor time of a block.

    Attributes:
        wall_s: Seconds on the wall; 0 until the block has ended.
        cpu_s: Seconds of this process's processor time, likewise.
    """

    def __init__(self) -> None:
        self.wall_s = self.cpu_s = 0.0
        self._began = (0.0, 0.0)

    def __enter__(self) -> Stopwatch:
        self._began = (time.perf_counter(), cpu_s())
        return self

    def __exit__(self, *_: object) -> None:
        self.wall_s = time.perf_counter() - self._began[0]
        self.cpu_s = cpu_s() - self._began[1]
