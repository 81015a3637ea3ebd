"""Commands on sorted sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alacena.engine.base.errors import ServerReplyError
from alacena.engine.remote.local.keyspace import Keyspace, command, integer, parse_float, syntax_error
from alacena.engine.remote.local.list_commands import bounds
from alacena.engine.remote.local.sorted_set import SortedSet

if TYPE_CHECKING:
    from alacena.engine.remote.backend import Reply

_FLAGS = frozenset({b"NX", b"XX", b"GT", b"LT", b"CH"})
_BOUND_ERROR = "ERR min or max is not a float"


@command("ZADD", 3, None)
def zadd(space: Keyspace, words: list[bytes]) -> Reply:
    """Adds or move members; returns how many are new (CH: new or moved)."""
    key, *rest = words
    at = next((i for i, word in enumerate(rest) if word.upper() not in _FLAGS), len(rest))
    flags, pairs = {word.upper() for word in rest[:at]}, rest[at:]
    if not pairs or len(pairs) % 2:
        raise syntax_error()
    if (b"NX" in flags and flags & {b"XX", b"GT", b"LT"}) or {b"GT", b"LT"} <= flags:
        raise ServerReplyError("ERR GT, LT, and/or NX options at the same time are not compatible")
    # All scores are read before anything changes: a word that is no number refuses the command as a whole.
    scored = [(member, parse_float(score)) for score, member in zip(pairs[::2], pairs[1::2], strict=True)]
    members = space.get(key, SortedSet)
    if members is None:
        if b"XX" in flags:
            return 0
        members = space.get_or_create(key, SortedSet)
    added = moved = 0
    for member, score in scored:
        old = members.score(member)
        if _may(flags, old, score):
            added += members.put(member, score)
            moved += old is not None and old != score
    if added or moved or not len(members):
        space.mark_changed(key)
    return added + (moved if b"CH" in flags else 0)


def _may(flags: set[bytes], old: float | None, new: float) -> bool:
    if old is None:
        return b"XX" not in flags
    if b"NX" in flags:
        return False
    return not (b"GT" in flags and new <= old) and not (b"LT" in flags and new >= old)


@command("ZREM", 2, None)
def zrem(space: Keyspace, words: list[bytes]) -> Reply:
    """Removes members; returns how many were there."""
    members = space.get(words[0], SortedSet)
    if members is None:
        return 0
    removed = sum(members.discard(word) for word in words[1:])
    if removed:
        space.mark_changed(words[0])
    return removed


@command("ZSCORE", 2, reads=True)
def zscore(space: Keyspace, words: list[bytes]) -> Reply:
    """Returns the score, or null."""
    members = space.get(words[0], SortedSet)
    return None if members is None else members.score(words[1])


@command("ZRANK", 2, reads=True)
def zrank(space: Keyspace, words: list[bytes]) -> Reply:
    """Returns the rank from the lowest score, or null."""
    members = space.get(words[0], SortedSet)
    return None if members is None else members.rank(words[1])


@command("ZCARD", 1, reads=True)
def zcard(space: Keyspace, words: list[bytes]) -> Reply:
    """Returns how many members there are."""
    members = space.get(words[0], SortedSet)
    return 0 if members is None else len(members)


@command("ZRANGE", 3, 4, reads=True)
def zrange(space: Keyspace, words: list[bytes]) -> Reply:
    """Returns members by rank, both ends included; pairs with WITHSCORES."""
    start, stop = integer(words[1]), integer(words[2])
    with_scores = len(words) > 3
    if with_scores and words[3].upper() != b"WITHSCORES":
        raise syntax_error()
    members = space.get(words[0], SortedSet)
    if members is None:
        return []
    return _list_pairs(members.slice(*bounds(start, stop, len(members))), with_scores=with_scores)


@command("ZRANGEBYSCORE", 3, 7, reads=True)
def zrangebyscore(space: Keyspace, words: list[bytes]) -> Reply:
    """Returns members by score, with WITHSCORES and LIMIT."""
    # Read before the key is looked at: a bad bound is refused even if there is no such key.
    low, high = parse_bound(words[1]), parse_bound(words[2])
    with_scores, offset, count = _range_options(words[3:])
    members = space.get(words[0], SortedSet)
    if members is None or offset < 0:
        return []
    start, stop = members.span(low[0], high[0], above_low=low[1], below_high=high[1])
    start += offset
    stop = stop if count < 0 else min(stop, start + count)
    return _list_pairs(members.slice(start, max(start, stop)), with_scores=with_scores)


def _range_options(words: list[bytes]) -> tuple[bool, int, int]:
    with_scores, offset, count = False, 0, -1
    at = 0
    while at < len(words):
        name = words[at].upper()
        if name == b"WITHSCORES":
            with_scores, at = True, at + 1
        elif name == b"LIMIT" and at + 2 < len(words):
            offset, count, at = integer(words[at + 1]), integer(words[at + 2]), at + 3
        else:
            raise syntax_error()
    return with_scores, offset, count


@command("ZREMRANGEBYSCORE", 3)
def zremrangebyscore(space: Keyspace, words: list[bytes]) -> Reply:
    """Removes members by score; returns how many there were."""
    low, high = parse_bound(words[1]), parse_bound(words[2])
    members = space.get(words[0], SortedSet)
    if members is None:
        return 0
    gone = members.slice(*members.span(low[0], high[0], above_low=low[1], below_high=high[1]))
    for _, member in gone:
        members.discard(member)
    if gone:
        space.mark_changed(words[0])
    return len(gone)


@command("ZPOPMIN", 1, 2)
def zpopmin(space: Keyspace, words: list[bytes]) -> Reply:
    """Takes the members of lowest score: ``[member, score]``, or a list of such pairs where a count is given."""
    wrong = "ERR value is out of range, must be positive"
    count = integer(words[1], wrong) if len(words) > 1 else 1
    if count < 0:
        raise ServerReplyError(wrong)
    members = space.get(words[0], SortedSet)
    if members is None:
        return []
    taken = members.slice(0, count)
    for _, member in taken:
        members.discard(member)
    if taken:
        space.mark_changed(words[0])
    pairs = [[member, score] for score, member in taken]
    return pairs if len(words) > 1 else pairs[0]


def _list_pairs(pairs: list[tuple[float, bytes]], *, with_scores: bool) -> Reply:
    return [[member, score] for score, member in pairs] if with_scores else [member for _, member in pairs]


def parse_bound(word: bytes) -> tuple[float, bool]:
    """Returns a score that ends a range, and whether it is itself outside."""
    outside = word[:1] == b"("
    return parse_float(word[1:] if outside else word, _BOUND_ERROR), outside
