"""Making trouble with a `FaultProxy`: by a script, or at random from a seed."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, TypeAlias

from alacena.engine.base.arguments import check_part, exact, finite_seconds, list_of
from alacena.engine.base.errors import ArgumentError, show

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alacena.testing.proxy import FaultProxy

Step: TypeAlias = "tuple[float, Callable[[FaultProxy], Awaitable[None] | None]]"
"""Seconds to wait, then what to do with the proxy."""


async def play(proxy: FaultProxy, steps: list[Step]) -> None:
    """Runs a script of faults: wait, act, wait, act.

    Args:
        proxy: The proxy to break.
        steps: Each a pause in seconds and an action, such as ``(0.5, FaultProxy.reset)``.
    """
    for step in list_of(steps, "steps", "pauses and actions"):
        if not isinstance(step, tuple) or len(step) != 2 or not callable(step[1]):
            raise ArgumentError(
                f"a step must be a pause and an action, such as (0.5, FaultProxy.reset), not {show(step)}"
            )
        pause_s, action = step
        await asyncio.sleep(pause_s)
        result = action(proxy)
        if result is not None:
            await result


async def torment(proxy: FaultProxy, *, duration_s: float, every_s: float, seed: int) -> list[str]:
    """Does something random to a proxy again and again, and leaves it calm.

    Args:
        proxy: The proxy to break.
        duration_s: For how long, in seconds.
        every_s: Mean pause between two faults.
        seed: Names the faults and pauses.

    Returns:
        The names of the faults, in their order.
    """
    check_part(proxy, "proxy", "calm", "a FaultProxy")
    duration_s, every_s = finite_seconds(duration_s, "duration_s"), finite_seconds(every_s, "every_s")
    chance = random.Random(exact(seed, "seed"))  # noqa: S311 - reproducible on purpose
    loop = asyncio.get_running_loop()
    until = loop.time() + duration_s
    done: list[str] = []
    try:
        while loop.time() < until:
            await asyncio.sleep(min(chance.expovariate(1 / every_s), max(0.0, until - loop.time())))
            # In the order in which they are written: a seed names its faults by their places.
            name = chance.choice(list(_TORMENTS))
            done.append(name)
            _TORMENTS[name](proxy, chance)
    finally:
        # However it ends: a torment that is cancelled must not leave its faults to the next test.
        proxy.calm()
    return done


def _delay(proxy: FaultProxy, chance: random.Random) -> None:
    side = chance.choice([proxy.up, proxy.down])
    side.latency_s, side.jitter_s = 0.05 * chance.random(), 0.05 * chance.random()


def _split(proxy: FaultProxy, chance: random.Random) -> None:
    chance.choice([proxy.up, proxy.down]).split = chance.choice(["none", "random", "every"])


def _lose(proxy: FaultProxy, chance: random.Random) -> None:
    chance.choice([proxy.up, proxy.down]).lost = True


def _hold(proxy: FaultProxy, chance: random.Random) -> None:
    chance.choice([proxy.up, proxy.down]).hold()


_TORMENTS: dict[str, Callable[[FaultProxy, random.Random], None]] = {
    # One of them ends all faults: they would add up until nothing passes.
    "calm": lambda proxy, _chance: proxy.calm(),
    "cut": lambda proxy, _chance: proxy.cut(),
    "delay": _delay,
    "hold": _hold,
    "lose": _lose,
    "reset": lambda proxy, _chance: proxy.reset(),
    "split": _split,
}
