"""Items that end every process which takes them: what becomes of them, and how long do the others wait?"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proving.coordination.crew import Crew, until
from proving.coordination.peers import ABSENT
from proving.coordination.peers.queues import PEERS, POISON, RECLAIM_S
from proving.figures.tables import Column, Result, Row, Table, judged
from proving.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from proving.coordination.peers.queues import QueuePeer
    from proving.figures.tables import Bar, Cell
    from proving.stand.effort import Effort

WORKERS = 3
ATTEMPTS = 3
PAUSE_S = 0.01
CALM_S = 3.0
"""When nobody has taken poison and nothing else has come for so long beyond what reclaiming takes, it is over."""
LONGEST_S = 45.0
_NAMES = ("alacena, Worker", "a list and LPOP", "arq", "taskiq, ListQueue", "taskiq, Stream", "dramatiq")
_QUICK = _NAMES[:2]
_COLUMNS = (
    "others not done", "others buried", "done without poison, ms", "with poison, ms", "longest gap, ms", "poison buried",
    "of", "tries of each", "workers ended", "still tried at the end",
)  # fmt: skip


@dataclass(slots=True)
class Seen:
    """What a library has done with its items.

    Attributes:
        poison: How many there were.
        tries: How often each was taken that was taken at all.
        late_tries: Of these, how many in the last seconds.
        lost: Others that were not handled until then.
        buried: Numbers that were set aside; ``None`` where the library does not do that.
        done_s: When the last of the others was done.
        gap_s: The longest time without another of them done.
        ended: Processes that ended.
    """

    poison: int
    tries: Counter[int]
    late_tries: int
    lost: int
    buried: list[int] | None
    done_s: float
    gap_s: float
    ended: int


async def measure(effort: Effort, seed: int) -> Result:
    """Each library by itself on an emptied server, without poison and with it."""
    del seed
    count, bad = effort.of((600, 4), (200, 2))
    rows: list[Row] = []
    bars: tuple[Bar, ...] = ()
    with RedisServer("valkey") as server:
        for peer in PEERS:
            if peer.name not in (_QUICK if effort.quick else _NAMES):
                continue
            if peer.absent:
                rows.append(Row(peer.name, (ABSENT, *(None,) * (len(_COLUMNS) - 1)), "peer"))
                continue
            server.reset()
            without = await swallow(peer, server.url, count, 0)
            server.reset()
            seen = await swallow(peer, server.url, count, bad)
            rows.append(Row(peer.name, _cells(without, seen), peer.role))
            if peer.role == "ours":
                bars = judge(seen)
    notes = (
        (
            f"{WORKERS} workers with one handler of {PAUSE_S * 1000:g} ms each, replaced when they end; {ATTEMPTS} attempts where "
            f"a library has a limit, everybody reclaims after about {RECLAIM_S:g} s (arq: {RECLAIM_S + 10:g})"
        ),
        (
            "done: when the last of the others was, from the start; gap: the longest time without one of them done; still tried: "
            f"poison taken in the last seconds (what reclaiming takes, and {CALM_S:g}); nobody is watched for more than {LONGEST_S:g} s"
        ),
    )
    return Result((Table("Poison", tuple(Column(name, 0) for name in _COLUMNS), tuple(rows), notes),), bars)


def judge(seen: Seen) -> tuple[Bar, ...]:
    """Poison is buried after so many attempts, nobody else is."""
    buried = seen.buried or []
    return (
        judged("poison not buried", seen.poison - sum(number >= POISON for number in buried), bar=0),
        judged("tries of a poison item", max(seen.tries.values(), default=0), bar=ATTEMPTS),
        judged("others buried or lost", sum(number < POISON for number in buried) + seen.lost, bar=0),
    )


def _cells(without: Seen, seen: Seen) -> tuple[Cell, ...]:
    tries = seen.tries.values()
    buried = (
        [None, None]
        if seen.buried is None
        else [sum(n < POISON for n in seen.buried), sum(n >= POISON for n in seen.buried)]
    )
    return (
        seen.lost, buried[0], 1000 * without.done_s, 1000 * seen.done_s, 1000 * seen.gap_s, buried[1], seen.poison,
        f"{min(tries)} to {max(tries)}" if len(seen.tries) == seen.poison else "not all", seen.ended, seen.late_tries,
    )  # fmt: skip


async def swallow(peer: QueuePeer, url: str, count: int, bad: int) -> Seen:
    """Send items with poison among them, replace whom it ends, and watch until all has settled."""
    numbers = list(range(count))
    for number in range(bad):
        numbers.insert((2 * number + 1) * count // (2 * bad), POISON + number)
    calm_s = peer.reclaim_s + CALM_S
    await peer.send(url, numbers)
    with Crew(peer.work, WORKERS, url=url, pause_s=PAUSE_S, at_once=1, attempts=ATTEMPTS) as crew:
        began = last = time.monotonic()
        done: list[float] = [began]
        tried: list[float] = []
        ended = 0

        def settled() -> bool:
            nonlocal ended, last
            ended += crew.replace_dead()
            now, found = time.monotonic(), list(map(int, crew.lines()))
            tries = sum(number >= POISON for number in found)
            others = len({number for number in found if number < count})
            if tries > len(tried) or others >= len(done):
                last = now
            tried.extend([now] * (tries - len(tried)))
            done.extend([now] * (others + 1 - len(done)))
            calm = now - last > calm_s or (bad == 0 and others == count)
            return calm or now - began > LONGEST_S

        extra = count
        while not await until(settled, 1.0, every_s=0.005):
            # taskiq looks for what dead workers left only after it got something new.
            await peer.send(url, range(extra, extra + 4))
            extra += 4
        finished = time.monotonic()
        tries = Counter(int(line) for line in crew.lines() if int(line) >= POISON)
    return Seen(
        bad, tries, sum(at > finished - calm_s for at in tried), count + 1 - len(done),
        None if peer.buried is None else await peer.buried(url), done[-1] - began,
        max(after - before for before, after in itertools.pairwise(done)), ended,
    )  # fmt: skip
