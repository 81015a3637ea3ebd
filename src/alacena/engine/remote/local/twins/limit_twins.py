"""Twins of the scripts on rate limits."""

from __future__ import annotations

from math import ceil, floor
from typing import TYPE_CHECKING

from alacena.engine.remote.local.twins.twin_server import TwinServer, twin

if TYPE_CHECKING:
    from alacena.engine.remote.backend import Reply


@twin
def limit_window(server: TwinServer, keys: list[bytes], args: list[bytes]) -> Reply:
    """Returns a sliding window in buckets."""
    limit, window, cost, buckets = (int(word) for word in args)
    width = ceil(window / buckets)
    current = server.now_ms // width
    counted = []
    for name, amount in server.call("HGETALL", keys[0]).items():
        if int(name) < current - buckets:
            server.call("HDEL", keys[0], name)
            continue
        if int(name) > current:
            server.call("HDEL", keys[0], name)
            server.call("HINCRBY", keys[0], current, amount)
            server.call("PEXPIRE", keys[0], window + 2 * width)
        counted.append((min(int(name), current), int(amount)))
    used = sum(amount for _, amount in counted)
    if used + cost <= limit:
        server.call("HINCRBY", keys[0], current, cost)
        server.call("PEXPIRE", keys[0], window + 2 * width)
        return [1, limit - used - cost, 0]
    if cost > limit:
        return [0, limit - used, -1]
    freed = wait = 0
    for bucket, amount in sorted(counted):
        freed += amount
        wait = (bucket + buckets + 1) * width - server.now_ms
        if used - freed + cost <= limit:
            break
    return [0, limit - used, wait]


@twin
def limit_bucket(server: TwinServer, keys: list[bytes], args: list[bytes]) -> Reply:
    """Returns a token bucket as one instant."""
    interval, burst, cost = (float(word) for word in args)
    now = server.now_us
    whole = ceil(burst * interval)
    full_at = max(server.number("GET", keys[0]), now)
    if full_at > now + whole:
        full_at = now + whole
        server.call("SET", keys[0], full_at, "PX", ceil((full_at - now) / 1000) + 1)
    room = now + whole - full_at
    need = ceil(cost * interval)
    if cost > burst:
        return [0, floor(room / interval), -1]
    if need > room:
        return [0, floor(room / interval), ceil((need - room) / 1000)]
    after = full_at + need
    server.call("SET", keys[0], after, "PX", ceil((after - now) / 1000) + 1)
    return [1, floor((room - need) / interval), 0]
