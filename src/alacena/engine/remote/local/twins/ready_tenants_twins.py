"""Twins of the scripts on rosters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alacena.engine.remote.local.twins.twin_server import TwinServer, twin

if TYPE_CHECKING:
    from alacena.engine.remote.backend import Reply

_FORGET_MS = 7_776_000_000


def _expire(server: TwinServer, keys: list[bytes]) -> None:
    for key in keys:
        server.call("PEXPIRE", key, _FORGET_MS)


@twin
def ready_tenants_announce(server: TwinServer, keys: list[bytes], args: list[bytes]) -> Reply:
    """Says that a member may have work."""
    member, has_work, channel, *listed = args
    now, ahead = server.own_clock(keys[2], server.now_us)
    server.keep_clock(keys[2], server.now_us, ahead)
    if has_work == b"1":
        server.call("ZADD", keys[0], now, member)
        server.call("HSET", keys[1], member, now)
        server.call("PUBLISH", channel, "1")
    else:
        # `NX`: its turn may have been put off, and to say that it exists is no reason to bring that forward.
        server.call("ZADD", keys[0], "NX", now, member)
    if listed:
        name, most = listed
        server.call("ZADD", keys[3], server.now_us, name)
        server.call("ZREMRANGEBYSCORE", keys[3], "-inf", server.now_us - _FORGET_MS * 1000)
        over = server.call("ZCARD", keys[3]) - int(most)
        if over > 0:
            server.call("ZPOPMIN", keys[3], over)
    _expire(server, keys)
    return 1


@twin
def ready_tenants_turns(server: TwinServer, keys: list[bytes], args: list[bytes]) -> Reply:
    """Takes the members that are due."""
    now, ahead = server.own_clock(keys[2], server.now_us)
    turns = []
    for at, member in enumerate(server.due(keys[0], int(args[0]), now), 1):
        server.call("ZADD", keys[0], now + at, member)
        turns.append([member, server.call("HGET", keys[1], member) or b"0"])
    soonest = server.lowest(keys[0])
    if soonest is not None:
        server.keep_clock(keys[2], server.now_us, ahead)
        _expire(server, keys)
    # Rounded up: whoever wakes a moment early finds that it is nobody's turn.
    left = -1 if soonest is None else max(-((now - int(soonest)) // 1000), 0)
    return [turns, left]


@twin
def ready_tenants_park(server: TwinServer, keys: list[bytes], args: list[bytes]) -> Reply:
    """Puts a member's next turn off, or strike it off."""
    member, mark, pause_ms = args
    # 1. A worker has the member's turn and finds no work.
    # 2. Work comes: the member announces itself, which changes the mark.
    # 3. Put off now, the member would keep that work waiting.
    if (server.call("HGET", keys[1], member) or b"0") != mark:
        return 0
    if pause_ms == b"-1":
        server.call("HDEL", keys[1], member)
        return server.call("ZREM", keys[0], member)
    now, ahead = server.own_clock(keys[2], server.now_us)
    server.keep_clock(keys[2], server.now_us, ahead)
    server.call("ZADD", keys[0], now + int(pause_ms) * 1000, member)
    _expire(server, keys)
    return 1
