"""Commands on strings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alacena.engine.base.errors import ServerReplyError
from alacena.engine.remote.local.keyspace import OK, Keyspace, all_keys, command, integer, syntax_error

if TYPE_CHECKING:
    from alacena.engine.remote.backend import Reply

_LIFETIMES = {b"EX": (1000, False), b"PX": (1, False), b"EXAT": (1000, True), b"PXAT": (1, True)}


@command("GET", 1, reads=True)
def get(space: Keyspace, words: list[bytes]) -> Reply:
    """Returns the value, or null."""
    return space.get(words[0], bytes)


@command("MGET", 1, None, reads=True, keys=all_keys)
def mget(space: Keyspace, words: list[bytes]) -> Reply:
    """Returns the values; null for a key of another type too."""
    values = (space.peek(key) for key in words)
    return [value if type(value) is bytes else None for value in values]


@command("STRLEN", 1, reads=True)
def strlen(space: Keyspace, words: list[bytes]) -> Reply:
    """Returns the length in bytes."""
    return len(space.get(words[0], bytes) or b"")


@command("GETRANGE", 3, reads=True)
def getrange(space: Keyspace, words: list[bytes]) -> Reply:
    """Returns a part of the value, both ends included; negative positions count from the end."""
    value = space.get(words[0], bytes) or b""
    start, end = integer(words[1]), integer(words[2])
    if start < 0 and end < 0 and start > end:
        return b""
    start = max(len(value) + start if start < 0 else start, 0)
    end = max(len(value) + end if end < 0 else end, 0)
    return value[start : end + 1]


@command("APPEND", 2)
def append(space: Keyspace, words: list[bytes]) -> Reply:
    """Appends, keeping the expiry; returns the length."""
    key, tail = words
    value = (space.get(key, bytes) or b"") + tail
    space.put(key, value, space.deadline_ms(key))
    return len(value)


@command("GETDEL", 1)
def getdel(space: Keyspace, words: list[bytes]) -> Reply:
    """Returns the value, which is deleted."""
    value = space.get(words[0], bytes)
    space.delete(words[0])
    return value


@command("SET", 2, None)
def set_(space: Keyspace, words: list[bytes]) -> Reply:
    """Sets, with NX, XX, GET, KEEPTTL and the four ways to give an expiry."""
    key, value, *options = words
    flags, deadline = _set_options(space, options)
    old = space.get(key, bytes) if b"GET" in flags else None
    exists = space.peek(key) is not None
    if (b"NX" in flags and exists) or (b"XX" in flags and not exists):
        return old
    if b"KEEPTTL" in flags:
        deadline = space.deadline_ms(key)
    if deadline is not None and deadline <= space.now_ms():
        space.delete(key)
    else:
        space.put(key, value, deadline)
    return old if b"GET" in flags else OK


def _set_options(space: Keyspace, options: list[bytes]) -> tuple[set[bytes], int | None]:
    flags: set[bytes] = set()
    deadline = None
    words = iter(options)
    for word in words:
        name = word.upper()
        if name in _LIFETIMES and deadline is None and b"KEEPTTL" not in flags:
            amount = next(words, None)
            if amount is None:
                raise syntax_error()
            deadline = _deadline(space, name, amount)
        elif name in {b"NX", b"XX", b"GET"} or (name == b"KEEPTTL" and deadline is None):
            flags.add(name)
        else:
            raise syntax_error()
    if {b"NX", b"XX"} <= flags:
        raise syntax_error()
    return flags, deadline


def _deadline(space: Keyspace, name: bytes, amount: bytes) -> int:
    unit, absolute = _LIFETIMES[name]
    number = integer(amount)
    if number <= 0:
        raise ServerReplyError("ERR invalid expire time in 'set' command")
    return number * unit + (0 if absolute else space.now_ms())


@command("SETNX", 2)
def setnx(space: Keyspace, words: list[bytes]) -> Reply:
    """Sets if there is nothing; 1 if it was set."""
    return int(set_(space, [*words, b"NX"]) is not None)


@command("SETEX", 3)
def setex(space: Keyspace, words: list[bytes]) -> Reply:
    """Sets with an expiry in seconds."""
    return set_(space, [words[0], words[2], b"EX", words[1]])


@command("PSETEX", 3)
def psetex(space: Keyspace, words: list[bytes]) -> Reply:
    """Sets with an expiry in milliseconds."""
    return set_(space, [words[0], words[2], b"PX", words[1]])


@command("MSET", 2, None, keys=lambda words: words[::2])
def mset(space: Keyspace, words: list[bytes]) -> Reply:
    """Sets several keys."""
    if len(words) % 2:
        raise ServerReplyError("ERR wrong number of arguments for 'mset' command")
    for key, value in zip(words[::2], words[1::2], strict=True):
        space.put(key, value)
    return OK


def _add(space: Keyspace, key: bytes, amount: int) -> Reply:
    value = space.get(key, bytes)
    number = (0 if value is None else integer(value)) + amount
    if not -(2**63) <= number < 2**63:
        raise ServerReplyError("ERR increment or decrement would overflow")
    space.put(key, b"%d" % number, space.deadline_ms(key))
    return number


@command("INCR", 1)
def incr(space: Keyspace, words: list[bytes]) -> Reply:
    """Adds one."""
    return _add(space, words[0], 1)


@command("DECR", 1)
def decr(space: Keyspace, words: list[bytes]) -> Reply:
    """Takes one away."""
    return _add(space, words[0], -1)


@command("INCRBY", 2)
def incrby(space: Keyspace, words: list[bytes]) -> Reply:
    """Adds a number."""
    return _add(space, words[0], integer(words[1]))


@command("DECRBY", 2)
def decrby(space: Keyspace, words: list[bytes]) -> Reply:
    """Takes a number away."""
    return _add(space, words[0], -integer(words[1]))
