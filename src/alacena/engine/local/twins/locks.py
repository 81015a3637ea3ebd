"""Twins of the scripts on locks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alacena.engine.local.twins.registry import Server, twin

if TYPE_CHECKING:
    from alacena.engine.store import Reply


def _strike_off(server: Server, keys: list[bytes], spared: bytes | None) -> int:
    passed = 0
    for gone in server.due(keys[3], 100):
        if gone != spared:
            passed += server.call("ZREM", keys[2], gone)
            server.call("ZREM", keys[3], gone)
    return passed


def _ring_first(server: Server, keys: list[bytes], head_ms: bytes, prefix: bytes, own: bytes | None) -> bytes | None:
    """Ring the first in line that listens, unless that is whoever asks; the others are passed over."""
    while (head := server.first(keys[2])) not in {None, own} and not server.call("PUBLISH", prefix + head, "1"):
        server.call("ZREM", keys[2], head)
        server.call("ZREM", keys[3], head)
    if head not in {None, own}:
        deadline = server.now_ms + int(head_ms)
        if server.call("ZSCORE", keys[3], head) > deadline:
            server.call("ZADD", keys[3], deadline, head)
    return head


@twin
def lock_acquire(server: Server, keys: list[bytes], args: list[bytes]) -> Reply:
    """Take a lock, or stand in line for it. A store in this process has one history, in which no fence is lost."""
    token, ttl_ms, waiter_ms, head_ms, prefix = args
    passed = _strike_off(server, keys, token)
    owner = server.call("GET", keys[0])
    if owner == token:
        server.call("PEXPIRE", keys[0], ttl_ms)
        return [1, server.number("HGET", keys[1], "f")]
    head = _ring_first(server, keys, head_ms, prefix, token) if owner is None or passed else None
    if owner is None and head in {None, token}:
        fence = max(server.number("HGET", keys[1], "f") + 1, server.now_us)
        server.call("SET", keys[0], token, "PX", ttl_ms)
        server.call("HSET", keys[1], "f", fence)
        server.call("ZREM", keys[2], token)
        server.call("ZREM", keys[3], token)
        _ring_first(server, keys, head_ms, prefix, token)
        return [1, fence]
    if waiter_ms == b"0":
        return [0, server.call("PTTL", keys[0]), -1]
    if server.call("ZSCORE", keys[2], token) is None:
        last = server.call("ZRANGE", keys[2], -1, -1, "WITHSCORES")
        server.call("ZADD", keys[2], max(server.now_us, int(last[0][1]) + 1 if last else 0), token)
    rank = server.call("ZRANK", keys[2], token)
    server.call("ZADD", keys[3], server.now_ms + int(waiter_ms if rank else head_ms), token)
    return [0, server.call("PTTL", keys[0]), rank]


@twin
def lock_release(server: Server, keys: list[bytes], args: list[bytes]) -> Reply:
    """Give a lock back, or leave the line for it."""
    token, head_ms, prefix = args
    left = _strike_off(server, keys, None)
    left += server.call("ZREM", keys[2], token)
    server.call("ZREM", keys[3], token)
    held = 0
    if server.call("GET", keys[0]) == token:
        server.call("DEL", keys[0])
        server.call("HSET", keys[1], "r", token)
        held = 1
    if held + left > 0:
        _ring_first(server, keys, head_ms, prefix, None)
    return held or int(server.call("HGET", keys[1], "r") == token)


@twin
def lock_renew(server: Server, keys: list[bytes], args: list[bytes]) -> Reply:
    """Lengthen a lock's lease for its owner alone."""
    return 0 if server.call("GET", keys[0]) != args[0] else server.call("PEXPIRE", keys[0], args[1])
