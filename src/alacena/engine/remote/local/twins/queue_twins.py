"""Twins of the scripts on queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alacena.engine.remote.local.twins.twin_server import TwinServer, twin

if TYPE_CHECKING:
    from alacena.engine.remote.backend import Reply

_LAST = b"the lease ran out on the last attempt"


_FORGET_MS = 86_400_000


def _now(server: TwinServer, data: bytes) -> tuple[int, int]:
    now, ahead = server.own_clock(data, server.now_ms, "m:")
    _keep_clock(server, data, ahead)
    return now, ahead


def _keep_clock(server: TwinServer, data: bytes, ahead: int) -> None:
    # Only for a queue that there is: its clock alone would make one.
    if server.call("EXISTS", data):
        server.keep_clock(data, server.now_ms, ahead, "m:")


def _forget(server: TwinServer, data: bytes, done: bytes, now: int) -> None:
    for old in server.due(done, 20, now):
        server.call("ZREM", done, old)
        server.call("HDEL", data, b"d:" + old)


def _forget_if_empty(server: TwinServer, keys: list[bytes]) -> None:
    """Forgets an empty queue after a day, with its counters."""
    held = server.call("LLEN", keys[1]) + sum(server.call("ZCARD", key) for key in keys[2:5])
    for key in (keys[0], keys[5]):
        if held:
            server.call("PERSIST", key)
        else:
            server.call("PEXPIRE", key, _FORGET_MS)


def _pairs(words: list[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(words[::2], words[1::2], strict=True))


@twin
def queue_push(server: TwinServer, keys: list[bytes], args: list[bytes]) -> Reply:
    """Puts items into a queue, each id once; a dead letter is taken in anew if it is told to."""
    data, ready, *_, done = keys
    channel, revive, token = args[:3]
    now, ahead = server.own_clock(data, server.now_ms, "m:")
    _forget(server, data, done, now)
    # Asked before anything is pushed: consumers sleep only while nothing is ready.
    was_empty = server.call("LLEN", ready) == 0
    added, ring, codes = 0, 0, []
    for item, when, payload in zip(args[3::3], args[4::3], args[5::3], strict=True):
        code, is_new = _push_code(server, keys, item, now, revive, token)
        codes.append(code)
        if is_new:
            added += code == 1
            record = b"%d.%d%b:%b" % (server.now_ms, code, token, payload)
            ring = _take_in(server, keys, item, record, when, now, ahead, was_empty=was_empty) or ring
        elif code < 3 and not server.call("HEXISTS", data, b"n:" + item):
            ring = 1
    if added:
        server.call("HINCRBY", data, "m:pushed", added)
    _keep_clock(server, data, ahead)
    _forget_if_empty(server, keys)
    if ring:
        server.call("PUBLISH", channel, "1")
    return [ring, codes]


def _push_code(
    server: TwinServer, keys: list[bytes], item: bytes, now: int, revive: bytes, token: bytes
) -> tuple[int, bool]:
    """Returns an item's fate (known, taken, revived, dead or settled), and whether it is put in."""
    forget_at = server.call("ZSCORE", keys[5], item)
    if forget_at is not None and forget_at > now:
        return 4, False
    known = server.call("HGET", keys[0], b"v:" + item)
    if known is None:
        return 1, True
    if server.call("ZSCORE", keys[4], item) is not None:
        return (2, True) if revive == b"1" else (3, False)
    mark = known.partition(b":")[0].partition(b".")[2]
    return (int(mark[:1]) if mark[1:] == token else 0), False


def _take_in(
    server: TwinServer,
    keys: list[bytes],
    item: bytes,
    record: bytes,
    when: bytes,
    now: int,
    ahead: int,
    *,
    was_empty: bool,
) -> int:
    """Makes an item ready or delayed; 1 if a consumer should be told."""
    data, ready, delayed, _, dead, _ = keys
    server.call("ZREM", dead, item)
    server.call("HDEL", data, *(prefix + item for prefix in (b"n:", b"r:", b"x:")))
    server.call("HSET", data, b"v:" + item, record)
    at = when[1:] if when[:1] == b"@" else None
    due = now + int(when) if at is None else int(at) + ahead
    if due <= now:
        server.call("RPUSH", ready, item)
        return int(was_empty)
    if at is not None:
        server.call("HSET", data, b"w:" + item, at)
    server.call("ZADD", delayed, due, item)
    return int(server.call("ZRANK", delayed, item) == 0)


@twin
def queue_reserve(server: TwinServer, keys: list[bytes], args: list[bytes]) -> Reply:
    """Takes the next items under a lease."""
    data, ready, delayed, flight, dead, _ = keys
    token, wanted, visibility_ms, limit, room = args[0], *(int(word) for word in args[1:])
    now, ahead = _now(server, data)
    items = _list_held(server, data, token, wanted)
    if items:
        return [items, 0]
    for item in server.due(delayed, 100, now):
        _become_ready(server, keys, item, ahead)
    for item in server.due(flight, 100, now):
        server.call("ZREM", flight, item)
        _reap(server, data, ready, dead, item, limit)
    for at in range(1, wanted + 1):
        item = server.call("LINDEX", ready, 0)
        record = b"" if item is None else server.call("HGET", data, b"v:" + item)
        room -= len(record)
        # Looked at before it is taken: what has no room left stays first in line. One item always fits.
        if item is None or (at > 1 and room < 0):
            break
        server.call("LPOP", ready)
        slot = b"%b:%d" % (token, at)
        attempt = server.call("HINCRBY", data, b"n:" + item, 1)
        server.call("HSET", data, b"o:" + item, slot, b"k:" + slot, item)
        server.call("ZADD", flight, now + visibility_ms, item)
        items.append([item, slot, attempt, record])
    if items:
        server.call("PERSIST", data)
        return [items, 0]
    dues = [due for due in (server.lowest(delayed), server.lowest(flight)) if due is not None]
    return [items, max(int(min(dues)) - now, 0) if dues else -1]


def _become_ready(server: TwinServer, keys: list[bytes], item: bytes, ahead: int) -> None:
    data, ready, delayed, *_ = keys
    at = server.number("HGET", data, b"w:" + item)
    if at > server.now_ms:
        server.call("ZADD", delayed, at + ahead, item)
        return
    server.call("HDEL", data, b"w:" + item)
    server.call("ZREM", delayed, item)
    server.call("RPUSH", ready, item)


@twin
def queue_return(server: TwinServer, keys: list[bytes], args: list[bytes]) -> Reply:
    """Gives back the unseen items of a token."""
    data, ready, _, flight, *_ = keys
    channel, token, wanted = args
    returned = 0
    # Backwards, because each goes to the head: they come out again in their old order.
    for at in range(int(wanted), 0, -1):
        slot = b"%b:%d" % (token, at)
        item = server.call("HGET", data, b"k:" + slot)
        if item is not None:
            server.call("ZREM", flight, item)
            server.call("HDEL", data, b"k:" + slot, b"o:" + item)
            server.call("HINCRBY", data, b"n:" + item, -1)
            server.call("LPUSH", ready, item)
            returned += 1
    if returned:
        server.call("PUBLISH", channel, "1")
    return returned


def _list_held(server: TwinServer, data: bytes, token: bytes, wanted: int) -> list[Reply]:
    items = []
    for at in range(1, wanted + 1):
        slot = b"%b:%d" % (token, at)
        item = server.call("HGET", data, b"k:" + slot)
        if item is not None:
            attempt = server.number("HGET", data, b"n:" + item)
            items.append([item, slot, attempt, server.call("HGET", data, b"v:" + item)])
    return items


def _reap(server: TwinServer, data: bytes, ready: bytes, dead: bytes, item: bytes, limit: int) -> None:
    server.call("HDEL", data, b"k:" + server.call("HGET", data, b"o:" + item), b"o:" + item)
    if server.number("HGET", data, b"n:" + item) >= limit:
        # The words of an earlier attempt are not why this one failed: its process may have been killed.
        before = server.call("HGET", data, b"x:" + item)
        server.call("HSET", data, b"x:" + item, _LAST if before is None else _LAST + b"; an earlier one: " + before)
        server.call("ZADD", dead, server.now_ms, item)
    else:
        server.call("RPUSH", ready, item)


def _owns(server: TwinServer, data: bytes, flight: bytes, item: bytes, slot: bytes, now: int) -> bool:
    expiry = server.call("ZSCORE", flight, item)
    # Both: a lease that has run out may not have been reaped yet, and an item that was reaped may be another's by now.
    return expiry is not None and expiry > now and server.call("HGET", data, b"o:" + item) == slot


@twin
def queue_ack(server: TwinServer, keys: list[bytes], args: list[bytes]) -> Reply:
    """Finishes items for good."""
    data, _, _, flight, _, done = keys
    now, _ = _now(server, data)
    _forget(server, data, done, now)
    answers = []
    finished = 0
    for item, slot in _pairs(args[2:]):
        if _owns(server, data, flight, item, slot, now):
            server.call("ZREM", flight, item)
            server.call("HDEL", data, *(prefix + item for prefix in (b"v:", b"n:", b"o:", b"r:", b"x:")), b"k:" + slot)
            server.call("HSET", data, b"d:" + item, slot)
            remember_ms = int(args[1] if item[:1] == b"~" else args[0])
            server.call("ZADD", done, now + remember_ms, item)
            finished += 1
            answers.append(1)
        else:
            answers.append(int(server.call("HGET", data, b"d:" + item) == slot))
    if finished:
        _count(server, data, finished)
    _forget_if_empty(server, keys)
    return answers


def _count(server: TwinServer, data: bytes, finished: int) -> None:
    server.call("HINCRBY", data, "m:acked", finished)
    minute = server.now_ms // 60_000
    last = server.number("HGET", data, "m:minute")
    if last != minute:
        before = server.number("HGET", data, "m:this") if last == minute - 1 else 0
        server.call("HSET", data, "m:minute", minute, "m:this", 0, "m:before", before)
    server.call("HINCRBY", data, "m:this", finished)


@twin
def queue_extend(server: TwinServer, keys: list[bytes], args: list[bytes]) -> Reply:
    """Lengthens leases."""
    data, _, _, flight, *_ = keys
    now, _ = _now(server, data)
    answers = []
    for item, slot in _pairs(args[1:]):
        owns = _owns(server, data, flight, item, slot, now)
        if owns:
            server.call("ZADD", flight, now + int(args[0]), item)
        answers.append(int(owns))
    return answers


@twin
def queue_nack(server: TwinServer, keys: list[bytes], args: list[bytes]) -> Reply:
    """Gives an item back."""
    data, ready, delayed, flight, dead, _ = keys
    now, _ = _now(server, data)
    channel, item, slot, delay_ms, reason, limit, uncounted = args
    given_back = server.call("HGET", data, b"r:" + item)
    # Before the ownership is asked: given back twice answers alike, and the first time has ended it.
    if given_back is not None and given_back[1:] == slot:
        return int(given_back[:1])
    if not _owns(server, data, flight, item, slot, now):
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
        server.call("ZADD", delayed, now + int(delay_ms), item)
    else:
        state = 1
        server.call("RPUSH", ready, item)
    server.call("HSET", data, b"r:" + item, b"%d%b" % (state, slot))
    if state < 3:
        server.call("PUBLISH", channel, "1")
    return state


@twin
def queue_dead(server: TwinServer, keys: list[bytes], args: list[bytes]) -> Reply:
    """Reads dead letters, oldest first."""
    data, dead = keys[0], keys[4]
    first, wanted, room = (int(word) for word in args)
    rows: list[Reply] = []
    for item, died_ms in server.call("ZRANGE", dead, first, first + wanted - 1, "WITHSCORES"):
        attempts, reason, record = server.call("HMGET", data, b"n:" + item, b"x:" + item, b"v:" + item)
        room -= len(record)
        if rows and room < 0:
            break
        rows.append([item, int(died_ms), int(attempts or 0), reason or b"", record])
    return rows


@twin
def queue_replay(server: TwinServer, keys: list[bytes], args: list[bytes]) -> Reply:
    """Makes dead letters ready again."""
    data, ready, _, _, dead, _ = keys
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
def queue_discard(server: TwinServer, keys: list[bytes], args: list[bytes]) -> Reply:
    """Forgets dead letters for good."""
    data, dead = keys[0], keys[4]
    discarded = 0
    for item in args or server.call("ZRANGE", dead, 0, 999):
        if server.call("ZREM", dead, item):
            server.call("HDEL", data, *(prefix + item for prefix in (b"v:", b"n:", b"r:", b"x:")))
            discarded += 1
    if discarded:
        server.call("HINCRBY", data, "m:acked", discarded)
        server.call("HINCRBY", data, "m:discarded", discarded)
    _forget_if_empty(server, keys)
    return discarded


@twin
def queue_stats(server: TwinServer, keys: list[bytes], args: list[bytes]) -> Reply:  # noqa: ARG001 - a twin's shape
    """Counts a queue's items by state."""
    data, ready, delayed, flight, dead, _ = keys

    def total(name: str) -> int:
        return server.number("HGET", data, f"m:{name}")

    first = server.call("LINDEX", ready, 0)
    pushed_at = b"" if first is None else server.call("HGET", data, b"v:" + first).partition(b":")[0].partition(b".")[0]
    held = [server.call("LLEN", ready), *(server.call("ZCARD", key) for key in (delayed, flight, dead))]
    rates = [total("minute"), total("this"), total("before")]
    return [total("pushed"), *held, total("acked"), total("discarded"), server.now_ms, *rates, pushed_at]
