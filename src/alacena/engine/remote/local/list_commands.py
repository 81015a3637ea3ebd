"""Commands on lists."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from alacena.engine.base.errors import ServerReplyError
from alacena.engine.remote.local.keyspace import Keyspace, command, integer

if TYPE_CHECKING:
    from alacena.engine.remote.backend import Reply


def bounds(start: int, stop: int, length: int) -> tuple[int, int]:
    """Turns the server's inclusive, possibly negative indices into a half-open range."""
    first = max(start + length, 0) if start < 0 else start
    last = stop + length if stop < 0 else min(stop, length - 1)
    return (0, 0) if first > last or first >= length else (first, last + 1)


@command("RPUSH", 2, None)
def rpush(space: Keyspace, words: list[bytes]) -> Reply:
    """Appends; returns the length."""
    items = space.get_or_create(words[0], deque)
    items.extend(words[1:])
    space.mark_changed(words[0])
    return len(items)


@command("LPUSH", 2, None)
def lpush(space: Keyspace, words: list[bytes]) -> Reply:
    """Puts before the first; returns the length."""
    items = space.get_or_create(words[0], deque)
    # Reversed, as on the server: the last word becomes the first element.
    items.extendleft(words[1:])
    space.mark_changed(words[0])
    return len(items)


@command("LPOP", 1, 2)
def lpop(space: Keyspace, words: list[bytes]) -> Reply:
    """Takes the first, or the first so many."""
    return _pop(space, words, left=True)


def _pop(space: Keyspace, words: list[bytes], *, left: bool) -> Reply:
    wrong = "ERR value is out of range, must be positive"
    count = integer(words[1], wrong) if len(words) > 1 else None
    if count is not None and count < 0:
        raise ServerReplyError(wrong)
    items = space.get(words[0], deque)
    if items is None:
        return None
    if count == 0:
        return []
    taken = [items.popleft() if left else items.pop() for _ in range(min(count or 1, len(items)))]
    space.mark_changed(words[0])
    return taken[0] if count is None else taken


@command("LLEN", 1, reads=True)
def llen(space: Keyspace, words: list[bytes]) -> Reply:
    """Returns the length."""
    return len(space.get(words[0], deque) or ())


@command("LRANGE", 3, reads=True)
def lrange(space: Keyspace, words: list[bytes]) -> Reply:
    """Returns a part of the list, both ends included."""
    start, stop = integer(words[1]), integer(words[2])
    items = space.get(words[0], deque) or deque()
    return list(islice(items, *bounds(start, stop, len(items))))


@command("LINDEX", 2, reads=True)
def lindex(space: Keyspace, words: list[bytes]) -> Reply:
    """Returns one element, or null."""
    index = integer(words[1])
    items = space.get(words[0], deque) or deque()
    return items[index] if -len(items) <= index < len(items) else None
