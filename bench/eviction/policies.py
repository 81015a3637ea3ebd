"""Published eviction policies in their plainest form, to compare with. Each answers: hits of a trace at a capacity.

Sources: S3-FIFO (Yang et al., SOSP 2023), SIEVE (Zhang et al., NSDI 2024), ARC (Megiddo and Modha, FAST 2003),
W-TinyLFU (Einziger, Friedman and Manes, ACM ToS 2017), the optimum (Belady, 1966).
"""

from __future__ import annotations

import heapq
import random
from collections import OrderedDict, deque
from collections.abc import Callable

from bench.eviction.traces import Trace

Policy = Callable[[Trace, int], int]


def lru(trace: Trace, capacity: int) -> int:
    """Least recently used."""
    kept: OrderedDict[int, None] = OrderedDict()
    hits = 0
    for key in trace:
        if key in kept:
            hits += 1
            kept.move_to_end(key)
        else:
            kept[key] = None
            if len(kept) > capacity:
                kept.popitem(last=False)
    return hits


def lfu(trace: Trace, capacity: int) -> int:
    """Least frequently used among the resident; the least recent of equals goes."""
    count: dict[int, int] = {}
    buckets: dict[int, OrderedDict[int, None]] = {}
    hits = least = 0
    for key in trace:
        seen = count.get(key, 0)
        if seen:
            hits += 1
            del buckets[seen][key]
            if not buckets[seen] and least == seen:
                least = seen + 1
        else:
            if len(count) >= capacity:
                victim, _ = buckets[least].popitem(last=False)
                del count[victim]
            least = 1
        count[key] = seen + 1
        buckets.setdefault(seen + 1, OrderedDict())[key] = None
    return hits


def sieve(trace: Trace, capacity: int) -> int:
    """A queue in order of arrival and a hand that passes over what was asked for since it came by."""
    newer: dict[int, int | None] = {}
    older: dict[int, int | None] = {}
    visited: dict[int, bool] = {}
    newest: int | None = None
    oldest: int | None = None
    hand: int | None = None
    hits = 0
    for key in trace:
        if key in visited:
            hits += 1
            visited[key] = True
            continue
        if len(visited) >= capacity:
            at = hand if hand is not None else oldest
            while at is not None and visited[at]:
                visited[at] = False
                at = newer[at] if newer[at] is not None else oldest
            assert at is not None
            before, after = older.pop(at), newer.pop(at)
            hand = after
            if before is None:
                oldest = after
            else:
                newer[before] = after
            if after is None:
                newest = before
            else:
                older[after] = before
            del visited[at]
        visited[key] = False
        older[key], newer[key] = newest, None
        if newest is None:
            oldest = key
        else:
            newer[newest] = key
        newest = key
    return hits


def s3fifo(trace: Trace, capacity: int) -> int:  # noqa: C901 - the paper's cases, side by side
    """Three queues: a tenth for the new, the rest for what was asked for again, ghosts of the rejected."""
    small_room = max(1, capacity // 10)
    main_room = max(1, capacity - small_room)
    freq: dict[int, int] = {}
    small: deque[int] = deque()
    main: deque[int] = deque()
    ghosts: OrderedDict[int, None] = OrderedDict()
    hits = 0

    def evict() -> None:
        while len(small) >= small_room and small:
            key = small.popleft()
            if freq[key] > 1:
                freq[key] = 0
                main.append(key)
                if len(main) > main_room:
                    evict_main()
                    return
            else:
                del freq[key]
                ghosts[key] = None
                if len(ghosts) > main_room:
                    ghosts.popitem(last=False)
                return
        evict_main()

    def evict_main() -> None:
        while main:
            key = main.popleft()
            if not freq[key]:
                del freq[key]
                return
            freq[key] -= 1
            main.append(key)

    for key in trace:
        if key in freq:
            hits += 1
            freq[key] = min(3, freq[key] + 1)
            continue
        while len(freq) >= capacity:
            evict()
        freq[key] = 0
        if key in ghosts:
            del ghosts[key]
            main.append(key)
        else:
            small.append(key)
    return hits


def arc(trace: Trace, capacity: int) -> int:  # noqa: C901 - the paper's cases, side by side
    """Two LRU lists, their ghosts, and a border that each ghost hit moves."""
    once: OrderedDict[int, None] = OrderedDict()
    often: OrderedDict[int, None] = OrderedDict()
    once_ghosts: OrderedDict[int, None] = OrderedDict()
    often_ghosts: OrderedDict[int, None] = OrderedDict()
    target = 0.0
    hits = 0

    def replace(key: int) -> None:
        if once and (len(once) > target or (key in often_ghosts and len(once) == target)):
            once_ghosts[once.popitem(last=False)[0]] = None
        elif often:
            often_ghosts[often.popitem(last=False)[0]] = None

    for key in trace:
        if key in once:
            hits += 1
            del once[key]
            often[key] = None
        elif key in often:
            hits += 1
            often.move_to_end(key)
        elif key in once_ghosts:
            target = min(capacity, target + max(1.0, len(often_ghosts) / len(once_ghosts)))
            replace(key)
            del once_ghosts[key]
            often[key] = None
        elif key in often_ghosts:
            target = max(0.0, target - max(1.0, len(once_ghosts) / len(often_ghosts)))
            replace(key)
            del often_ghosts[key]
            often[key] = None
        else:
            if len(once) + len(once_ghosts) == capacity:
                if len(once) < capacity:
                    once_ghosts.popitem(last=False)
                    replace(key)
                else:
                    once.popitem(last=False)
            elif len(once) + len(often) + len(once_ghosts) + len(often_ghosts) >= capacity:
                if len(once) + len(often) + len(once_ghosts) + len(often_ghosts) >= 2 * capacity:
                    often_ghosts.popitem(last=False)
                replace(key)
            once[key] = None
    return hits


class _Sketch:
    """Count-min with four rows of counters up to 15, all halved after ten capacities of additions."""

    def __init__(self, capacity: int, keys: int) -> None:
        width = 1 << max(4, (capacity * 4 - 1).bit_length())
        rng = random.Random(7)
        self.cells = [0] * width
        self.places = [tuple(rng.randrange(width) for _ in range(4)) for _ in range(keys)]
        self.additions = 0
        self.period = 10 * capacity

    def add(self, key: int) -> None:
        cells = self.cells
        for place in self.places[key]:
            if cells[place] < 15:
                cells[place] += 1
        self.additions += 1
        if self.additions >= self.period:
            self.additions //= 2
            self.cells = [cell >> 1 for cell in cells]

    def count(self, key: int) -> int:
        cells = self.cells
        a, b, c, d = self.places[key]
        return min(cells[a], cells[b], cells[c], cells[d])


def w_tinylfu(trace: Trace, capacity: int) -> int:
    """A window of one hundredth, a segmented LRU for the rest, and a sketch at the door between them."""
    window_room = max(1, capacity // 100)
    main_room = capacity - window_room
    protected_room = main_room * 8 // 10
    sketch = _Sketch(capacity, max(trace) + 1)
    rng = random.Random(11)
    window: OrderedDict[int, None] = OrderedDict()
    probation: OrderedDict[int, None] = OrderedDict()
    protected: OrderedDict[int, None] = OrderedDict()
    hits = 0
    for key in trace:
        sketch.add(key)
        if key in window:
            hits += 1
            window.move_to_end(key)
        elif key in protected:
            hits += 1
            protected.move_to_end(key)
        elif key in probation:
            hits += 1
            del probation[key]
            protected[key] = None
            if len(protected) > protected_room:
                probation[protected.popitem(last=False)[0]] = None
        else:
            window[key] = None
            if len(window) <= window_room:
                continue
            candidate, _ = window.popitem(last=False)
            probation[candidate] = None
            if len(probation) + len(protected) > main_room:
                victim = next(iter(probation))
                mine, theirs = sketch.count(candidate), sketch.count(victim)
                wins = mine > theirs or (mine > 5 and rng.random() < 1 / 128)
                del probation[victim if wins else candidate]
    return hits


def theine(trace: Trace, capacity: int) -> int:
    """The Python package of that name: W-TinyLFU with an adaptive window."""
    from theine import Cache

    cache: Cache[int, int] = Cache(capacity)
    hits = 0
    for key in trace:
        if cache.get(key)[1]:
            hits += 1
        else:
            cache.set(key, key)
    cache.close()
    return hits


def belady(trace: Trace, capacity: int) -> int:
    """The optimum, which knows the future: evicts what is asked for last."""
    never = len(trace)
    following = [never] * len(trace)
    last: dict[int, int] = {}
    for position in range(len(trace) - 1, -1, -1):
        following[position] = last.get(trace[position], never)
        last[trace[position]] = position
    kept: dict[int, int] = {}
    heap: list[tuple[int, int]] = []
    hits = 0
    for position, key in enumerate(trace):
        if key in kept:
            hits += 1
        kept[key] = following[position]
        heapq.heappush(heap, (-following[position], key))
        while len(kept) > capacity:
            use, victim = heapq.heappop(heap)
            if kept.get(victim) == -use:
                del kept[victim]
    return hits


ONLINE: dict[str, Policy] = {
    "LRU": lru,
    "LFU": lfu,
    "SIEVE": sieve,
    "ARC": arc,
    "S3-FIFO": s3fifo,
    "W-TinyLFU": w_tinylfu,
    "theine": theine,
}
