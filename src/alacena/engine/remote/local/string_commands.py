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


@command("SET", 2, None)
def set_(space: Keyspace, words: list[bytes]) -> Reply:
    """Sets, with NX, XX, GET, KEEPTTL and the four ways to give an expiry."""
    key, value, *options = words
    flags, deadline = _set_options(space, options)
    # Only `GET` asks for the old value's type: a plain `SET` replaces a key of any.
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


@command("INCRBY", 2)
def incrby(space: Keyspace, words: list[bytes]) -> Reply:
    """Adds a number."""
    key, amount = words[0], integer(words[1])
    value = space.get(key, bytes)
    number = (0 if value is None else integer(value)) + amount
    if not -(2**63) <= number < 2**63:
        raise ServerReplyError("ERR increment or decrement would overflow")
    space.put(key, b"%d" % number, space.deadline_ms(key))
    return number
