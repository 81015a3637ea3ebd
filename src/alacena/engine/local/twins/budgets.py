"""Twins of the scripts on budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alacena.engine.local.twins.registry import Server, refuse, twin

if TYPE_CHECKING:
    from alacena.engine.store import Reply


@twin
def budget_reserve(server: Server, keys: list[bytes], args: list[bytes]) -> Reply:
    """Set an amount aside if it fits."""
    data, opened = keys[0], keys[1]
    limit, reservation, amount, ttl_ms = int(args[0]), args[1], int(args[2]), int(args[3])
    for gone in server.due(opened, 100):
        server.call("HINCRBY", data, "reserved", -server.number("HGET", data, b"a:" + gone))
        server.call("HDEL", data, b"a:" + gone)
        server.call("ZREM", opened, gone)
    taken = server.number("HGET", data, "spent") + server.number("HGET", data, "reserved")
    known = server.call("HGET", data, b"a:" + reservation)
    if known is not None:
        if int(known) != amount:
            raise refuse(f"IDEMCONFLICT the id holds a reservation of {known.decode()}")
        return [1, limit - taken, 0]
    if server.call("HEXISTS", data, b"s:" + reservation):
        raise refuse("NOTOWNER the reservation was settled")
    if taken + amount > limit:
        soonest = server.lowest(opened)
        return [0, limit - taken, -1 if soonest is None else max(int(soonest) - server.now_ms, 0)]
    server.call("HSET", data, b"a:" + reservation, amount)
    server.call("HINCRBY", data, "reserved", amount)
    server.call("ZADD", opened, server.now_ms + ttl_ms, reservation)
    return [1, limit - taken - amount, 0]


@twin
def budget_settle(server: Server, keys: list[bytes], args: list[bytes]) -> Reply:
    """Turn a reservation into what was really spent."""
    data, opened, done = keys
    reservation, actual, remember_ms = args
    for old in server.due(done, 20):
        server.call("ZREM", done, old)
        server.call("HDEL", data, b"s:" + old)
    settled = server.call("HGET", data, b"s:" + reservation)
    if settled is not None and settled != actual:
        raise refuse(f"IDEMCONFLICT it was settled at {settled.decode()}")
    if settled is None:
        _settle(server, data, opened, reservation, actual)
        server.call("HSET", data, b"s:" + reservation, actual)
        server.call("ZADD", done, server.now_ms + int(remember_ms), reservation)
    return [server.number("HGET", data, "spent"), server.number("HGET", data, "reserved")]


def _settle(server: Server, data: bytes, opened: bytes, reservation: bytes, actual: bytes) -> None:
    expiry = server.call("ZSCORE", opened, reservation)
    if expiry is None or expiry <= server.now_ms:
        raise refuse("NOTOWNER the reservation ran out")
    amount = server.number("HGET", data, b"a:" + reservation)
    if int(actual) > amount:
        raise refuse(f"OVERFLOW the reservation is of {amount}")
    server.call("HINCRBY", data, "reserved", -amount)
    server.call("HINCRBY", data, "spent", actual)
    server.call("HDEL", data, b"a:" + reservation)
    server.call("ZREM", opened, reservation)


@twin
def budget_extend(server: Server, keys: list[bytes], args: list[bytes]) -> Reply:
    """Lengthen a reservation that has not run out."""
    expiry = server.call("ZSCORE", keys[0], args[0])
    if expiry is None or expiry <= server.now_ms:
        return 0
    server.call("ZADD", keys[0], server.now_ms + int(args[1]), args[0])
    return 1


@twin
def budget_state(server: Server, keys: list[bytes], args: list[bytes]) -> Reply:  # noqa: ARG001 - a twin's shape
    """Read a budget."""
    data, opened = keys
    expired = server.due(opened)
    freed = sum(server.number("HGET", data, b"a:" + old) for old in expired)
    reserved = server.number("HGET", data, "reserved") - freed
    return [server.number("HGET", data, "spent"), reserved, server.call("ZCARD", opened) - len(expired)]
