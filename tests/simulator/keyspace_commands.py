"""Commands that the keyspace of the library does not need: the cache's scripts run them on a server, or tests send them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alacena.engine.base.errors import ServerReplyError
from alacena.engine.remote.local.key_commands import type_name
from alacena.engine.remote.local.keyspace import OK, Keyspace, command, integer, no_keys
from alacena.engine.remote.local.sorted_set import SortedSet
from alacena.engine.remote.local.sorted_set_commands import parse_bound

if TYPE_CHECKING:
    from alacena.engine.remote.backend import Reply


@command("STRLEN", 1, reads=True)
def strlen(space: Keyspace, words: list[bytes]) -> Reply:
    """Return the length in bytes."""
    return len(space.get(words[0], bytes) or b"")


@command("GETRANGE", 3, reads=True)
def getrange(space: Keyspace, words: list[bytes]) -> Reply:
    """Return a part of the value, both ends included; negative positions count from the end."""
    value = space.get(words[0], bytes) or b""
    start, end = integer(words[1]), integer(words[2])
    if start < 0 and end < 0 and start > end:
        return b""
    start = max(len(value) + start if start < 0 else start, 0)
    end = max(len(value) + end if end < 0 else end, 0)
    return value[start : end + 1]


@command("APPEND", 2)
def append(space: Keyspace, words: list[bytes]) -> Reply:
    """Append, keeping the expiry; return the length."""
    key, tail = words
    value = (space.get(key, bytes) or b"") + tail
    space.put(key, value, space.deadline_ms(key))
    return len(value)


@command("MSET", 2, None, keys=lambda words: words[::2])
def mset(space: Keyspace, words: list[bytes]) -> Reply:
    """Set several keys."""
    if len(words) % 2:
        raise ServerReplyError("ERR wrong number of arguments for 'mset' command")
    for key, value in zip(words[::2], words[1::2], strict=True):
        space.put(key, value)
    return OK


@command("ZCOUNT", 3, reads=True)
def zcount(space: Keyspace, words: list[bytes]) -> Reply:
    """Return how many members have a score in a range."""
    low, high = parse_bound(words[1]), parse_bound(words[2])
    members = space.get(words[0], SortedSet)
    if members is None:
        return 0
    start, stop = members.span(low[0], high[0], above_low=low[1], below_high=high[1])
    return stop - start


@command("TYPE", 1, reads=True)
def type_(space: Keyspace, words: list[bytes]) -> Reply:
    """Return the type of a key's value."""
    return type_name(space, words[0])


@command("FLUSHALL", 0, 1, keys=no_keys)
def flushall(space: Keyspace, words: list[bytes]) -> Reply:
    """Delete everything."""
    for key in list(space.names()):
        space.delete(key)
    return OK
