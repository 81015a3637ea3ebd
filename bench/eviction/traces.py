"""Where the request traces come from: files of integers, or families made here from a seed."""

from __future__ import annotations

import gzip
import os
import random
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Trace = list[int]
"""Requested keys in order, as dense integers."""

DEFAULT_FOLDER = Path("traces")


def folder_of(option: str | None) -> Path:
    """The folder to read: the option, else ``BENCH_TRACES``, else the default."""
    return Path(option or os.environ.get("BENCH_TRACES") or DEFAULT_FOLDER)


def recorded(folder: Path) -> Iterator[tuple[str, Trace]]:
    """Every ``NAME.txt.gz`` of the folder: one integer key a line."""
    for path in sorted(folder.glob("*.txt.gz")):
        with gzip.open(path, "rt") as lines:
            yield path.name.removesuffix(".txt.gz"), [int(line) for line in lines]


def _zipf(rng: random.Random, keys: int, exponent: float, count: int) -> Trace:
    weights = list(accumulate(1 / rank**exponent for rank in range(1, keys + 1)))
    return rng.choices(range(keys), cum_weights=weights, k=count)


def zipf(rng: random.Random) -> Trace:
    """A stationary skew: what frequency alone serves best."""
    return _zipf(rng, 8_000, 0.9, 100_000)


def zipf_drift(rng: random.Random) -> Trace:
    """The same skew over a set that slides: yesterday's favourites are worth nothing."""
    return [key + step // 15 for step, key in enumerate(_zipf(rng, 4_000, 0.9, 100_000))]


def zipf_jumps(rng: random.Random) -> Trace:
    """A skew whose whole set of keys is replaced ten times."""
    return [key + step // 10_000 * 3_000 for step, key in enumerate(_zipf(rng, 3_000, 0.9, 100_000))]


def scan_bursts(rng: random.Random) -> Trace:
    """A skew, with long runs of keys that are asked for once."""
    out: Trace = []
    fresh = 10_000
    for key in _zipf(rng, 4_000, 0.9, 60_000):
        out.append(key)
        if rng.random() < 0.0005:
            out.extend(range(fresh, fresh + 1_500))
            fresh += 1_500
    return out


def loops(rng: random.Random) -> Trace:
    """Rounds over 1,150 to 1,300 keys, now and then interrupted: poison for recency."""
    out: Trace = []
    for _ in range(80):
        out.extend(range(rng.randrange(1_150, 1_300)))
        out.extend(rng.randrange(5_000, 10_000) for _ in range(100))
    return out


def echoes(rng: random.Random) -> Trace:
    """Each key comes back once or twice within a few hundred requests, then never: poison for frequency."""
    pending: dict[int, list[int]] = {}
    out: Trace = []
    fresh = 0
    for step in range(100_000):
        due = pending.pop(step, None)
        if due is None:
            due = [fresh]
            for _ in range(1 if rng.random() < 0.7 else 2):
                pending.setdefault(step + rng.randrange(50, 400), []).append(fresh)
            fresh += 1
        out.extend(due)
    return out


def distant_echoes(rng: random.Random) -> Trace:
    """Every key is asked for three times, each time about six hundred keys later."""
    out: Trace = []
    for first in range(25_000):
        out.append(first)
        out.extend(first - back - rng.randrange(60) for back in (600, 1_200) if first - back >= 60)
    return out


def phases(rng: random.Random) -> Trace:
    """Echoes, a loop, a skew and a scan, one after the other, twice."""
    out: Trace = []
    for _ in range(2):
        base = max(out, default=0) + 1
        out.extend(base + key for key in echoes(rng)[:30_000])
        out.extend(10_000_000 + key for key in loops(rng)[:20_000])
        out.extend(20_000_000 + key for key in _zipf(rng, 4_000, 0.9, 30_000))
    return out


def sessions(rng: random.Random) -> Trace:
    """Users who come, ask for their own handful of keys many times, and leave; plus a shared skew."""
    out: Trace = []
    live: list[list[int]] = []
    fresh = 10_000
    shared = iter(_zipf(rng, 2_000, 0.8, 100_000))
    for key in shared:
        if len(live) < 40 and rng.random() < 0.03:
            live.append([fresh + offset for offset in range(rng.randrange(3, 20))])
            fresh += 20
        if live and rng.random() < 0.5:
            out.append(rng.choice(rng.choice(live)))
            if rng.random() < 0.03:
                live.pop(rng.randrange(len(live)))
        else:
            out.append(key)
    return out


FAMILIES: dict[str, Callable[[random.Random], Trace]] = {
    family.__name__: family
    for family in (zipf, zipf_drift, zipf_jumps, scan_bursts, loops, echoes, distant_echoes, phases, sessions)
}


def synthetic(seed: int) -> Iterator[tuple[str, Trace]]:
    """One trace of each family, the same for the same seed."""
    for name, family in FAMILIES.items():
        dense: dict[int, int] = {}
        yield name, [dense.setdefault(key, len(dense)) for key in family(random.Random(f"{seed}:{name}"))]
