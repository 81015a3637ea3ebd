"""Commands on keys of any type, and on the server itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from alacena.engine.base.errors import ServerReplyError
from alacena.engine.remote.local.keyspace import (
    TYPE_NAMES,
    Keyspace,
    all_keys,
    command,
    integer,
    no_keys,
    syntax_error,
)

if TYPE_CHECKING:
    from alacena.engine.remote.backend import Reply


@command("DEL", 1, None, keys=all_keys)
def del_(space: Keyspace, words: list[bytes]) -> Reply:
    """Deletes keys; returns how many were there."""
    return sum(space.peek(key) is not None and space.delete(key) for key in words)


@command("UNLINK", 1, None, keys=all_keys)
def unlink(space: Keyspace, words: list[bytes]) -> Reply:
    """Deletes keys; returns how many were there."""
    return del_(space, words)


@command("EXISTS", 1, None, reads=True, keys=all_keys)
def exists(space: Keyspace, words: list[bytes]) -> Reply:
    """Returns how many of the keys named are there, counted as often as named."""
    return sum(space.peek(key) is not None for key in words)


def type_name(space: Keyspace, key: bytes) -> bytes:
    """Returns the type of a key's value, ``none`` if there is no such key."""
    value = space.peek(key)
    return b"none" if value is None else TYPE_NAMES[type(value)]


@command("PTTL", 1, reads=True)
def pttl(space: Keyspace, words: list[bytes]) -> Reply:
    """Returns milliseconds left; -1 if it does not expire, -2 if it is not there."""
    if space.peek(words[0]) is None:
        return -2
    deadline = space.deadline_ms(words[0])
    return -1 if deadline is None else max(deadline - space.now_ms(), 0)


def _allows(condition: bytes, old: int | None, new: int) -> bool:
    if condition == b"NX":
        return old is None
    if condition == b"XX":
        return old is not None
    # A key without an expiry counts as one that lives for ever: nothing is longer, and everything is shorter.
    if condition == b"GT":
        return old is not None and new > old
    return condition != b"LT" or old is None or new < old


@command("PEXPIRE", 2, 3)
def pexpire(space: Keyspace, words: list[bytes]) -> Reply:
    """Expires after so many milliseconds; 1 if it will."""
    deadline = space.now_ms() + integer(words[1])
    condition = words[2].upper() if len(words) > 2 else b""
    if condition not in {b"", b"NX", b"XX", b"GT", b"LT"}:
        raise ServerReplyError(f"ERR Unsupported option {words[2].decode(errors='replace')}")
    if space.peek(words[0]) is None or not _allows(condition, space.deadline_ms(words[0]), deadline):
        return 0
    space.set_deadline_ms(words[0], deadline)
    return 1


@command("PERSIST", 1)
def persist(space: Keyspace, words: list[bytes]) -> Reply:
    """Takes the expiry away; 1 if there was one."""
    if space.peek(words[0]) is None or space.deadline_ms(words[0]) is None:
        return 0
    space.set_deadline_ms(words[0], None)
    return 1


@command("SCAN", 1, None, reads=True, keys=no_keys)
def scan(space: Keyspace, words: list[bytes]) -> Reply:
    """Returns all keys in one page, with MATCH, COUNT and TYPE."""
    if integer(words[0], "ERR invalid cursor") != 0:
        return [b"0", []]
    options = words[1:]
    if len(options) % 2:
        raise syntax_error()
    named = {name.upper(): value for name, value in zip(options[::2], options[1::2], strict=True)}
    if not named.keys() <= {b"MATCH", b"COUNT", b"TYPE"}:
        raise syntax_error()
    match = _glob(named.get(b"MATCH", b"*")).fullmatch
    found = [key for key in space.names() if match(key)]
    if b"TYPE" in named:
        found = [key for key in found if type_name(space, key) == named[b"TYPE"].lower()]
    return [b"0", found]


def _glob(pattern: bytes) -> re.Pattern[bytes]:
    """Returns the server's glob as an expression: ``*``, ``?``, ``[a-c]``, ``[^a]`` and the backslash."""
    tokens = re.findall(rb"\\.|\[\^?(?:\\.|[^\]])*\]|.", pattern, re.DOTALL)
    return re.compile(b"".join(map(_glob_token, tokens)), re.DOTALL)


def _glob_token(token: bytes) -> bytes:
    if token == b"*":
        return b".*"
    if token == b"?":
        return b"."
    if token[:1] == b"[" and len(token) > 2:
        return token
    return re.escape(token[1:] if token[:1] == b"\\" and len(token) > 1 else token)


@command("TIME", 0, reads=True, keys=no_keys)
def time_(space: Keyspace, words: list[bytes]) -> Reply:  # noqa: ARG001 - every command has this shape
    """Returns the server's clock: seconds and microseconds."""
    micros = int(space.clock() * 1_000_000)
    return [b"%d" % (micros // 1_000_000), b"%d" % (micros % 1_000_000)]


@command("PING", 0, 1, keys=no_keys)
def ping(space: Keyspace, words: list[bytes]) -> Reply:  # noqa: ARG001 - every command has this shape
    """Returns ``PONG``, or the word given."""
    return words[0] if words else b"PONG"


@command("PUBLISH", 2, keys=no_keys)
def publish(space: Keyspace, words: list[bytes]) -> Reply:
    """Rings the listeners of a channel; returns how many there are."""
    return space.on_publish(words[0], words[1]) if space.on_publish is not None else 0
