"""Twins of the scripts on queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alacena.engine.local.twins.registry import Server, twin

if TYPE_CHECKING:
    from alacena.engine.store import Reply

_LAST = b"the lease ran out on the last attempt"


def _forget(server: Server, data: bytes, done: bytes) -> None:
    for old in server.due(done, 20):
        server.call("ZREM", done, old)
        server.call("HDEL", data, b"d:" + old)


def _pairs(words: list[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(words[::2], words[1::2], strict=True))


@twin
def queue_push(server: Server, keys: list[bytes], args: list[bytes]) -> Reply:
    """Put items into a queue, each id once."""
    data, ready, delayed, done = keys
    _forget(server, data, done)
    was_empty = server.call("LLEN", ready) == 0
    added, ring = 0, 0
    for item, when, payload in zip(args[1::3], args[2::3], args[3::3], strict=True):
        due = int(when[1:]) if when[:1] == b"@" else server.now_ms + int(when)
        forget_at = server.call("ZSCORE", done, item)
        if forget_at is not None and forget_at > server.now_ms:
            continue
        if server.call("HSETNX", data, b"v:" + item, b"%d:%b" % (server.now_ms, payload)) == 0:
            ring = ring if server.call("HEXISTS", data, b"n:" + item) else 1
            continue
        added += 1
        if due > server.now_ms:
            server.call("ZADD", delayed, due, item)
            ring = 1 if server.call("ZRANK", delayed, item) == 0 else ring
        else:
            server.call("RPUSH", ready, item)
            ring = 1 if was_empty else ring
    if added:
        server.call("HINCRBY", data, "m:pushed", added)
    if ring:
        server.call("PUBLISH", args[0], "1")
    return [added, ring]


@twin
def queue_reserve(server: Server, keys: list[bytes], args: list[bytes]) -> Reply:
    """Take the next items under a lease."""
    data, ready, delayed, flight, dead = keys
    token, wanted, visibility_ms, limit = args[0], int(args[1]), int(args[2]), int(args[3])
    items = _held(server, data, token, wanted)
    if items:
        return [items, 0]
    for item in server.due(delayed, 100):
        server.call("ZREM", delayed, item)
        server.call("RPUSH", ready, item)
    for item in server.due(flight, 100):
        server.call("ZREM", flight, item)
        _reap(server, data, ready, dead, item, limit)
    for at in range(1, wanted + 1):
        item = server.call("LPOP", ready)
        if item is None:
            break
        slot = b"%b:%d" % (token, at)
        attempt = server.call("HINCRBY", data, b"n:" + item, 1)
        server.call("HSET", data, b"o:" + item, slot, b"k:" + slot, item)
        server.call("ZADD", flight, server.now_ms + visibility_ms, item)
        items.append([item, slot, attempt, server.call("HGET", data, b"v:" + item)])
    if items:
        return [items, 0]
    dues = [due for due in (server.lowest(delayed), server.lowest(flight)) if due is not None]
    return [items, max(int(min(dues)) - server.now_ms, 0) if dues else -1]


def _held(server: Server, data: bytes, token: bytes, wanted: int) -> list[Reply]:
    items = []
    for at in range(1, wanted + 1):
        slot = b"%b:%d" % (token, at)
        item = server.call("HGET", data, b"k:" + slot)
        if item is not None:
            attempt = server.number("HGET", data, b"n:" + item)
            items.append([item, slot, attempt, server.call("HGET", data, b"v:" + item)])
    return items


def _reap(server: Server, data: bytes, ready: bytes, dead: bytes, item: bytes, limit: int) -> None:
    server.call("HDEL", data, b"k:" + server.call("HGET", data, b"o:" + item), b"o:" + item)
    if server.number("HGET", data, b"n:" + item) >= limit:
        if server.call("HGET", data, b"x:" + item) is None:
            server.call("HSET", data, b"x:" + item, _LAST)
        server.call("ZADD", dead, server.now_ms, item)
    else:
        server.call("RPUSH", ready, item)


def _owns(server: Server, data: bytes, flight: bytes, item: bytes, slot: bytes) -> bool:
    expiry = server.call("ZSCORE", flight, item)
    return expiry is not None and expiry > server.now_ms and server.call("HGET", data, b"o:" + item) == slot


@twin
def queue_ack(server: Server, keys: list[bytes], args: list[bytes]) -> Reply:
    """Finish items for good."""
    data, flight, done = keys
    _forget(server, data, done)
    answers = []
    finished = 0
    for item, slot in _pairs(args[2:]):
        if _owns(server, data, flight, item, slot):
            server.call("ZREM", flight, item)
            server.call("HDEL", data, *(prefix + item for prefix in (b"v:", b"n:", b"o:", b"r:", b"x:")), b"k:" + slot)
            server.call("HSET", data, b"d:" + item, slot)
            remember_ms = int(args[1] if item[:1] == b"~" else args[0])
            server.call("ZADD", done, server.now_ms + remember_ms, item)
            finished += 1
            answers.append(1)
        else:
            answers.append(int(server.call("HGET", data, b"d:" + item) == slot))
    if finished:
        _count(server, data, finished)
    return answers


def _count(server: Server, data: bytes, finished: int) -> None:
    server.call("HINCRBY", data, "m:acked", finished)
    minute = server.now_ms // 60_000
    last = server.number("HGET", data, "m:minute")
    if last != minute:
        before = server.number("HGET", data, "m:this") if last == minute - 1 else 0
        server.call("HSET", data, "m:minute", minute, "m:this", 0, "m:before", before)
    server.call("HINCRBY", data, "m:this", finished)


@twin
def queue_extend(server: Server, keys: list[bytes], args: list[bytes]) -> Reply:
    """Lengthen leases."""
    data, flight = keys
    answers = []
    for item, slot in _pairs(args[1:]):
        owns = _owns(server, data, flight, item, slot)
        if owns:
            server.call("ZADD", flight, server.now_ms + int(args[0]), item)
        answers.append(int(owns))
    return answers


@twin
def queue_nack(server: Server, keys: list[bytes], args: list[bytes]) -> Reply:
    """Give an item back."""
    data, ready, delayed, flight, dead = keys
    channel, item, slot, delay_ms, reason, limit, uncounted = args
    given_back = server.call("HGET", data, b"r:" + item)
    if given_back is not None and given_back[1:] == slot:
        return int(given_back[:1])
    if not _owns(server, data, flight, item, slot):
        return 0
    server.call("ZREM", flight, item)
    server.call("HDEL", data, b"k:" + slot, b"o:" + item)
    if reason:
        server.call("HSET", data, b"x:" + item, reason)
    attempts = server.call("HINCRBY", data, b"n:" + item, -1 if uncounted == b"1" else 0)
    if attempts >= int(limit):
        state = 3
        server.call("ZADD", dead, server.now_ms, item)
    elif int(delay_ms) > 0:
        state = 2
        server.call("ZADD", delayed, server.now_ms + int(delay_ms), item)
    else:
        state = 1
        server.call("RPUSH", ready, item)
    server.call("HSET", data, b"r:" + item, b"%d%b" % (state, slot))
    if state < 3:
        server.call("PUBLISH", channel, "1")
    return state


@twin
def queue_dead(server: Server, keys: list[bytes], args: list[bytes]) -> Reply:
    """Read the dead letters, oldest first."""
    data, dead = keys
    rows = []
    for item, died_ms in server.call("ZRANGE", dead, 0, int(args[0]) - 1, "WITHSCORES"):
        attempts, reason, record = server.call("HMGET", data, b"n:" + item, b"x:" + item, b"v:" + item)
        rows.append([item, int(died_ms), int(attempts or 0), reason or b"", record])
    return rows


@twin
def queue_replay(server: Server, keys: list[bytes], args: list[bytes]) -> Reply:
    """Make dead letters ready again."""
    data, ready, dead = keys
    replayed = 0
    for item in args[1:] or server.call("ZRANGE", dead, 0, 999):
        if server.call("ZREM", dead, item):
            server.call("HDEL", data, *(prefix + item for prefix in (b"n:", b"r:", b"x:")))
            server.call("RPUSH", ready, item)
            replayed += 1
    if replayed:
        server.call("PUBLISH", args[0], "1")
    return replayed


@twin
def queue_discard(server: Server, keys: list[bytes], args: list[bytes]) -> Reply:
    """Forget dead letters for good."""
    data, dead = keys
    discarded = 0
    for item in args or server.call("ZRANGE", dead, 0, 999):
        if server.call("ZREM", dead, item):
            server.call("HDEL", data, *(prefix + item for prefix in (b"v:", b"n:", b"r:", b"x:")))
            discarded += 1
    if discarded:
        server.call("HINCRBY", data, "m:acked", discarded)
        server.call("HINCRBY", data, "m:discarded", discarded)
    return discarded


@twin
def queue_stats(server: Server, keys: list[bytes], args: list[bytes]) -> Reply:  # noqa: ARG001 - a twin's shape
    """Count a queue's items by state."""
    data, ready, delayed, flight, dead = keys

    def total(name: str) -> int:
        return server.number("HGET", data, f"m:{name}")

    first = server.call("LINDEX", ready, 0)
    pushed_at = b"" if first is None else server.call("HGET", data, b"v:" + first).partition(b":")[0]
    held = [server.call("LLEN", ready), *(server.call("ZCARD", key) for key in (delayed, flight, dead))]
    rates = [total("minute"), total("this"), total("before")]
    return [total("pushed"), *held, total("acked"), total("discarded"), server.now_ms, *rates, pushed_at]
