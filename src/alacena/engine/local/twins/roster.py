"""Twins of the scripts on rosters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alacena.engine.local.twins.registry import Server, twin

if TYPE_CHECKING:
    from alacena.engine.store import Reply


@twin
def roster_announce(server: Server, keys: list[bytes], args: list[bytes]) -> Reply:
    """Say that a member may have work."""
    member, has_work, channel = args
    if has_work == b"1":
        server.call("ZADD", keys[0], server.now_us, member)
        server.call("HSET", keys[1], member, server.now_us)
        server.call("PUBLISH", channel, "1")
    else:
        server.call("ZADD", keys[0], "NX", server.now_us, member)
    return 1


@twin
def roster_turns(server: Server, keys: list[bytes], args: list[bytes]) -> Reply:
    """Take the members whose turn it is."""
    turns = []
    due = server.call("ZRANGEBYSCORE", keys[0], "-inf", server.now_us, "LIMIT", 0, args[0])
    for at, member in enumerate(due, 1):
        server.call("ZADD", keys[0], server.now_us + at, member)
        turns.append([member, server.call("HGET", keys[1], member) or b"0"])
    soonest = server.lowest(keys[0])
    left = -1 if soonest is None else max(-((server.now_us - int(soonest)) // 1000), 0)
    return [turns, left]


@twin
def roster_park(server: Server, keys: list[bytes], args: list[bytes]) -> Reply:
    """Put a member's next turn off, or strike it off."""
    member, mark, pause_ms = args
    if (server.call("HGET", keys[1], member) or b"0") != mark:
        return 0
    if pause_ms == b"-1":
        return server.call("ZREM", keys[0], member)
    server.call("ZADD", keys[0], server.now_us + int(pause_ms) * 1000, member)
    return 1
