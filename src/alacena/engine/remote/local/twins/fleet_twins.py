"""Twins of the scripts on the fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alacena.engine.remote.local.twins.twin_server import TwinServer, twin

if TYPE_CHECKING:
    from alacena.engine.remote.backend import Reply


@twin
def fleet_publish(server: TwinServer, keys: list[bytes], args: list[bytes]) -> Reply:
    """Notes a process and its counts, and takes the questions that wait for it."""
    name, snapshot, kept_ms, listed_ms, locks, held_ms = args
    now = server.now_ms
    server.call("ZADD", keys[0], now, name)
    server.call("ZREMRANGEBYSCORE", keys[0], "-inf", now - int(listed_ms))
    server.call("PEXPIRE", keys[0], listed_ms)
    server.call("SET", keys[1], snapshot, "PX", kept_ms)
    server.call("ZREMRANGEBYSCORE", keys[3], "-inf", now)
    if held_ms == b"0":
        server.call("ZREM", keys[3], name)
        server.call("DEL", keys[4])
    else:
        server.call("ZADD", keys[3], now + int(held_ms), name)
        server.call("SET", keys[4], locks, "PX", held_ms)
    questions = server.call("LRANGE", keys[2], 0, -1)
    server.call("DEL", keys[2])
    return questions


@twin
def fleet_list(server: TwinServer, keys: list[bytes], args: list[bytes]) -> Reply:
    """Lists the processes that were heard last."""
    now = server.now_ms
    found: list[Reply] = [now]
    for name in reversed(server.call("ZRANGE", keys[0], -int(args[0]), -1)):
        heard = int(float(server.call("ZSCORE", keys[0], name)))
        if heard > now - int(args[1]):
            found += [name, heard]
    return found


@twin
def fleet_ask(server: TwinServer, keys: list[bytes], args: list[bytes]) -> Reply:
    """Puts a question into the inbox of a process."""
    if server.number("LLEN", keys[0]) >= int(args[2]):
        return 0
    server.call("RPUSH", keys[0], args[0])
    server.call("PEXPIRE", keys[0], args[1])
    return 1
