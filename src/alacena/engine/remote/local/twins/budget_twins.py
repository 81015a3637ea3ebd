"""Twins of the scripts on budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alacena.engine.remote.local.twins.twin_server import MOST_EXACT, TwinServer, refuse, twin

if TYPE_CHECKING:
    from alacena.engine.remote.backend import Reply

_FREED_AT_ONCE = 500


def _now(server: TwinServer, data: bytes) -> tuple[int, int]:
    now, ahead = server.own_clock(data, server.now_ms)
    if server.call("EXISTS", data):
        server.keep_clock(data, server.now_ms, ahead)
    return now, ahead


def _free(server: TwinServer, data: bytes, opened: bytes, now: int) -> bool:
    """Frees reservations that ran out, up to a bound; True if there is more."""
    expired = server.due(opened, _FREED_AT_ONCE + 1, now)
    for gone in expired[:_FREED_AT_ONCE]:
        server.call("HINCRBY", data, "reserved", -server.number("HGET", data, b"a:" + gone))
        server.call("HDEL", data, b"a:" + gone)
        server.call("ZREM", opened, gone)
    return len(expired) > _FREED_AT_ONCE


def _forget(server: TwinServer, data: bytes, done: bytes, now: int) -> None:
    for old in server.due(done, 20, now):
        server.call("ZREM", done, old)
        server.call("HDEL", data, b"s:" + old)


def _keep(server: TwinServer, keys: list[bytes], keep_ms: bytes) -> None:
    for key in keys:
        if keep_ms == b"0":
            server.call("PERSIST", key)
        else:
            server.call("PEXPIRE", key, keep_ms)


@twin
def budget_reserve(server: TwinServer, keys: list[bytes], args: list[bytes]) -> Reply:
    """Sets an amount aside if it fits."""
    data, opened, done = keys
    limit, reservation, amount, ttl_ms = int(args[0]), args[1], int(args[2]), int(args[3])
    now, ahead = _now(server, data)
    has_more = _free(server, data, opened, now)
    _forget(server, data, done, now)
    taken = server.number("HGET", data, "spent") + server.number("HGET", data, "reserved")
    known = server.call("HGET", data, b"a:" + reservation)
    if known is not None:
        if int(known) != amount:
            raise refuse(f"IDEMCONFLICT the id holds a reservation of {known.decode()}")
        return [2, limit - taken, 0]
    # The instant is asked too: `_forget` clears away a few at a time, and one that is over may still stand here.
    settled = server.call("ZSCORE", done, reservation)
    if settled is not None and settled > now:
        raise refuse("NOTOWNER the reservation was settled")
    if taken + amount > limit:
        soonest = server.lowest(opened)
        left = -1 if soonest is None else max(int(soonest) - now, 0)
        return [3, limit - taken, 0] if has_more else [0, limit - taken, left]
    server.call("HDEL", data, b"s:" + reservation)
    server.call("ZREM", done, reservation)
    server.call("HSET", data, b"a:" + reservation, amount)
    server.call("HINCRBY", data, "reserved", amount)
    server.call("ZADD", opened, now + ttl_ms, reservation)
    # Once more: `_now` keeps it only where there is a budget, and this may be its first reservation.
    server.keep_clock(data, server.now_ms, ahead)
    _keep(server, keys, args[4])
    return [1, limit - taken - amount, 0]


@twin
def budget_settle(server: TwinServer, keys: list[bytes], args: list[bytes]) -> Reply:
    """Turns a reservation into the amount really spent."""
    data, opened, done = keys
    reservation, actual, remember_ms, keep_ms = args
    now, ahead = _now(server, data)
    _forget(server, data, done, now)
    settled = server.call("HGET", data, b"s:" + reservation)
    if settled is not None:
        before, _, late = settled.partition(b":")
        if before != actual:
            raise refuse(f"IDEMCONFLICT it was settled at {before.decode()}")
        was_late = int(late or 0)
    else:
        was_late = _settle(server, data, opened, reservation, actual, now)
        server.call("HSET", data, b"s:" + reservation, b"%b:%d" % (actual, was_late))
        server.call("ZADD", done, now + int(remember_ms), reservation)
        server.keep_clock(data, server.now_ms, ahead)
        _keep(server, keys, keep_ms)
    return [server.number("HGET", data, "spent"), server.number("HGET", data, "reserved"), was_late]


def _settle(server: TwinServer, data: bytes, opened: bytes, reservation: bytes, actual: bytes, now: int) -> int:
    taken = server.number("HGET", data, "spent") + server.number("HGET", data, "reserved")
    # Before anything is written: what a script has done is not taken back when it refuses.
    if taken + int(actual) > MOST_EXACT:
        raise refuse("OVERFLOW what was spent would leave the range of exact integers")
    expiry = server.call("ZSCORE", opened, reservation)
    server.call("HINCRBY", data, "reserved", -server.number("HGET", data, b"a:" + reservation))
    server.call("HINCRBY", data, "spent", actual)
    server.call("HDEL", data, b"a:" + reservation)
    server.call("ZREM", opened, reservation)
    return int(expiry is None or expiry <= now)


@twin
def budget_extend(server: TwinServer, keys: list[bytes], args: list[bytes]) -> Reply:
    """Lengthens a reservation that has not run out."""
    data, opened, _ = keys
    now, _ = _now(server, data)
    expiry = server.call("ZSCORE", opened, args[0])
    if expiry is None or expiry <= now:
        return 0
    server.call("ZADD", opened, now + int(args[1]), args[0])
    _keep(server, keys, args[2])
    return 1


@twin
def budget_state(server: TwinServer, keys: list[bytes], args: list[bytes]) -> Reply:  # noqa: ARG001 - a twin's shape
    """Reads a budget, after expired reservations were freed."""
    data, opened, _ = keys
    now, _ = _now(server, data)
    has_more = _free(server, data, opened, now)
    spent, reserved = server.number("HGET", data, "spent"), server.number("HGET", data, "reserved")
    return [spent, reserved, server.call("ZCARD", opened), int(has_more)]
