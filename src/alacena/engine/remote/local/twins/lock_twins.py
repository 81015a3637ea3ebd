"""Twins of the scripts on locks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alacena.engine.remote.local.twins.twin_server import TwinServer, twin

if TYPE_CHECKING:
    from alacena.engine.remote.backend import Reply


_FORGET_MS = 86_400_000


def _strike_off(server: TwinServer, keys: list[bytes], spared: bytes | None) -> int:
    passed = 0
    for gone in server.due(keys[3], 100):
        # Whoever asks is alive, whatever its deadline says: it keeps its place in line.
        if gone != spared:
            passed += server.call("ZREM", keys[2], gone)
            server.call("ZREM", keys[3], gone)
    return passed


def _ring_first(
    server: TwinServer, keys: list[bytes], head_ms: bytes, prefix: bytes, own: bytes | None
) -> bytes | None:
    """Rings the first in line that listens, unless that is the asking one; the others are passed over."""
    # `PUBLISH` says how many listen: with none, that waiter has died or lost its connection.
    while (head := server.first(keys[2])) not in {None, own} and not server.call("PUBLISH", prefix + head, "1"):
        server.call("ZREM", keys[2], head)
        server.call("ZREM", keys[3], head)
    if head not in {None, own}:
        deadline = server.now_ms + int(head_ms)
        # Only ever shortened: a ring must not prolong the life of a waiter that gives no sign.
        if server.call("ZSCORE", keys[3], head) > deadline:
            server.call("ZADD", keys[3], deadline, head)
    return head


def _keep_state(server: TwinServer, state: bytes, fence: int, ttl_ms: bytes, token: bytes) -> None:
    server.call("HSET", state, "f", fence, "t", b"%b:%b" % (ttl_ms, token))
    _expire_state(server, state, fence, int(ttl_ms))


def _expire_state(server: TwinServer, state: bytes, fence: int, ttl_ms: int) -> None:
    """Keeps the state for a day longer than the clock needs to reach its fence."""
    server.call("PEXPIRE", state, max(-(-fence // 1000) - server.now_ms, 0) + ttl_ms + _FORGET_MS)


@twin
def lock_acquire(server: TwinServer, keys: list[bytes], args: list[bytes]) -> Reply:
    """Takes a lock, or stands in line for it. A store in this process has one history, in which no fence is lost."""
    token, ttl_ms, waiter_ms, head_ms, prefix = args
    passed = _strike_off(server, keys, token)
    owner = server.call("GET", keys[0])
    # Asked again, perhaps because the first reply was lost: it is answered alike.
    if owner == token:
        server.call("PEXPIRE", keys[0], ttl_ms)
        fence = server.number("HGET", keys[1], "f") or server.now_us
        _keep_state(server, keys[1], fence, ttl_ms, token)
        return [1, fence]
    most, _, by = (server.call("HGET", keys[1], "t") or b"").partition(b":")
    if most and by == owner and server.call("PTTL", keys[0]) > int(most):
        server.call("PEXPIRE", keys[0], most)
    head = _ring_first(server, keys, head_ms, prefix, token) if owner is None or passed else None
    if owner is None and head in {None, token}:
        # The count, because the clock may be set back; the clock, because the count is forgotten with an unused lock's
        # state.
        fence = max(server.number("HGET", keys[1], "f") + 1, server.now_us)
        server.call("SET", keys[0], token, "PX", ttl_ms)
        _keep_state(server, keys[1], fence, ttl_ms, token)
        server.call("ZREM", keys[2], token)
        server.call("ZREM", keys[3], token)
        _ring_first(server, keys, head_ms, prefix, token)
        return [1, fence]
    if waiter_ms == b"0":
        return [0, server.call("PTTL", keys[0]), -1]
    if server.call("ZSCORE", keys[2], token) is None:
        last = server.call("ZRANGE", keys[2], -1, -1, "WITHSCORES")
        # Behind the last in line, whatever the clock says: nobody may come before those who came earlier.
        server.call("ZADD", keys[2], max(server.now_us, int(last[0][1]) + 1 if last else 0), token)
    rank = server.call("ZRANK", keys[2], token)
    # The first in line must show sooner that it lives: all the others wait behind it.
    server.call("ZADD", keys[3], server.now_ms + int(waiter_ms if rank else head_ms), token)
    for key in keys[2:]:
        server.call("PEXPIRE", key, int(waiter_ms) + 60_000)
    return [0, server.call("PTTL", keys[0]), rank]


@twin
def lock_release(server: TwinServer, keys: list[bytes], args: list[bytes]) -> Reply:
    """Gives a lock back, or leaves the line for it."""
    token, head_ms, prefix = args
    left = _strike_off(server, keys, None)
    left += server.call("ZREM", keys[2], token)
    server.call("ZREM", keys[3], token)
    held = 0
    if server.call("GET", keys[0]) == token:
        server.call("DEL", keys[0])
        server.call("HSET", keys[1], "r", token)
        if server.call("PTTL", keys[1]) == -1:
            _expire_state(server, keys[1], server.number("HGET", keys[1], "f"), 0)
        held = 1
    if held + left > 0:
        _ring_first(server, keys, head_ms, prefix, None)
    return held or int(server.call("HGET", keys[1], "r") == token)


@twin
def lock_renew(server: TwinServer, keys: list[bytes], args: list[bytes]) -> Reply:
    """Lengthens a lock's lease for its owner alone."""
    if server.call("GET", keys[0]) != args[0]:
        return 0
    fence = server.call("HGET", keys[1], "f")
    if fence is not None:
        server.call("HSET", keys[1], "t", b"%b:%b" % (args[1], args[0]))
        _expire_state(server, keys[1], int(fence), int(args[1]))
    return server.call("PEXPIRE", keys[0], args[1])
