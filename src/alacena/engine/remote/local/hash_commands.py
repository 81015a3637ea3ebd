"""Commands on hashes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alacena.engine.base.errors import ServerReplyError
from alacena.engine.remote.local.keyspace import Keyspace, command, integer

if TYPE_CHECKING:
    from alacena.engine.remote.backend import Reply


@command("HGET", 2, reads=True)
def hget(space: Keyspace, words: list[bytes]) -> Reply:
    """Returns one field, or null."""
    return (space.get(words[0], dict) or {}).get(words[1])


@command("HMGET", 2, None, reads=True)
def hmget(space: Keyspace, words: list[bytes]) -> Reply:
    """Returns several fields."""
    fields = space.get(words[0], dict) or {}
    return [fields.get(field) for field in words[1:]]


@command("HGETALL", 1, reads=True)
def hgetall(space: Keyspace, words: list[bytes]) -> Reply:
    """Returns all fields."""
    return dict(space.get(words[0], dict) or {})


@command("HEXISTS", 2, reads=True)
def hexists(space: Keyspace, words: list[bytes]) -> Reply:
    """Returns 1 if the field is there."""
    return int(words[1] in (space.get(words[0], dict) or ()))


@command("HSET", 3, None)
def hset(space: Keyspace, words: list[bytes]) -> Reply:
    """Sets fields; returns how many are new."""
    key, *pairs = words
    if len(pairs) % 2:
        raise ServerReplyError("ERR wrong number of arguments for 'hset' command")
    fields = space.get_or_create(key, dict)
    before = len(fields)
    fields.update(zip(pairs[::2], pairs[1::2], strict=True))
    space.mark_changed(key)
    return len(fields) - before


@command("HDEL", 2, None)
def hdel(space: Keyspace, words: list[bytes]) -> Reply:
    """Deletes fields; returns how many were there."""
    key, *names = words
    fields = space.get(key, dict)
    if fields is None:
        return 0
    gone = sum(fields.pop(name, None) is not None for name in names)
    if gone:
        space.mark_changed(key)
    return gone


@command("HINCRBY", 3)
def hincrby(space: Keyspace, words: list[bytes]) -> Reply:
    """Adds to a field."""
    key, field, word = words
    amount = integer(word)
    fields = space.get(key, dict) or {}
    number = integer(fields.get(field, b"0"), "ERR hash value is not an integer") + amount
    if not -(2**63) <= number < 2**63:
        raise ServerReplyError("ERR increment or decrement would overflow")
    # Made only now, when the sum is known to fit: a refusal must leave no empty hash.
    space.get_or_create(key, dict)[field] = b"%d" % number
    space.mark_changed(key)
    return number
