"""Commands on sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alacena.engine.remote.local.keyspace import Keyspace, SetMembers, command

if TYPE_CHECKING:
    from alacena.engine.remote.backend import Reply


@command("SADD", 2, None)
def sadd(space: Keyspace, words: list[bytes]) -> Reply:
    """Adds members; returns how many are new."""
    members = space.get_or_create(words[0], SetMembers)
    before = len(members)
    members.update(dict.fromkeys(words[1:]))
    if len(members) > before:
        space.mark_changed(words[0])
    return len(members) - before


@command("SREM", 2, None)
def srem(space: Keyspace, words: list[bytes]) -> Reply:
    """Removes members; returns how many were there."""
    members = space.get(words[0], SetMembers)
    if members is None:
        return 0
    before = len(members)
    for word in words[1:]:
        members.pop(word, None)
    removed = before - len(members)
    if removed:
        space.mark_changed(words[0])
    return removed


@command("SMEMBERS", 1, reads=True)
def smembers(space: Keyspace, words: list[bytes]) -> Reply:
    """Returns all members."""
    return list(space.get(words[0], SetMembers) or ())


@command("SISMEMBER", 2, reads=True)
def sismember(space: Keyspace, words: list[bytes]) -> Reply:
    """Returns 1 if it is a member."""
    return int(words[1] in (space.get(words[0], SetMembers) or ()))
