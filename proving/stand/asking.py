"""One call again and again, as a user would write it: no layer, no unpacking of arguments inside the loop."""

from __future__ import annotations

import statistics
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proving.rivals.rival import Ask

_UNROLLED = 10
_SLICES = 10
_FLOOR_CALLS = 10_000
_LOOP = """
async def loop(function, arguments, turns, clock):
    {names}, = arguments
    began = clock()
    for _ in range(turns):
        {calls}
    return clock() - began
"""


class Pair(NamedTuple):
    """A call and its floor, measured in turn.

    Attributes:
        call_s: Seconds of processor time that a call took.
        floor_s: Seconds that a call of the floor took meanwhile.
    """

    call_s: float
    floor_s: float


async def beside(floor: Ask, ask: Ask, repeat: int) -> Pair:
    """Measure a call and its floor in slices of a few milliseconds that take turns, ``repeat`` calls of each.

    What slows the machine down for longer than a slice hits both. Processor time counts: on the wall the longer of two
    slices is interrupted more often, and a busy machine would make a ratio of them larger than it is.
    """
    call_s: list[float] = []
    floor_s: list[float] = []
    for _ in range(_SLICES):
        floor_s.append(await seconds_a_call(floor, repeat // _SLICES))
        call_s.append(await seconds_a_call(ask, repeat // _SLICES))
    return Pair(statistics.median(call_s), statistics.median(floor_s))


async def seconds_a_call(ask: Ask, repeat: int) -> float:
    """How much of this thread's processor time one call takes, over ``repeat`` of them in one task, awaited one after the other."""
    turns = max(1, repeat // _UNROLLED)
    took_s: float = await _loop(len(ask.arguments), ask.awaited)(ask.function, ask.arguments, turns, time.thread_time)
    return took_s / (turns * _UNROLLED)


@lru_cache
def _loop(arity: int, awaited: bool) -> Callable[..., Any]:
    names = ", ".join(f"a{number}" for number in range(arity))
    call = f"{'await ' if awaited else ''}function({names})"
    space: dict[str, Any] = {}
    exec(_LOOP.format(names=names, calls="; ".join([call] * _UNROLLED)), space)
    made: Callable[..., Any] = space["loop"]
    return made


class Cost(NamedTuple):
    """Seconds of processor time: of a call, and of the floor meanwhile."""

    call_s: float
    floor_s: float


async def work_beside_floor(work: Callable[[], Awaitable[None]], calls: int) -> Cost:
    """Returns what each of ``calls`` calls costs, which ``work`` makes. The floor is measured before and after it.

    Here no call can be repeated as it is: each has a key of its own.
    """
    before_s = await _floor_s()
    began = time.process_time()
    await work()
    call_s = (time.process_time() - began) / calls
    return Cost(call_s, (before_s + await _floor_s()) / 2)


async def _floor_s() -> float:
    table = dict.fromkeys(range(_FLOOR_CALLS))

    async def look(key: int) -> object:
        return table.get(key)

    began = time.process_time()
    for key in table:
        await look(key)
    return (time.process_time() - began) / _FLOOR_CALLS
