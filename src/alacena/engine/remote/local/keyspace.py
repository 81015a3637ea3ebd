"""One server's keyspace as a plain object: synchronous, deterministic, without network, task or clock of its own.

Commands answer in RESP3 shapes and refuse with the server's own error codes. Commands that the library does not use are left out.
Modelled after the documented behaviour of Redis 7 and Valkey 9, and held to it by a differential test.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from alacena.engine.base.errors import ServerReplyError
from alacena.engine.remote.local.sorted_set import SortedSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from alacena.engine.remote.backend import Reply

Value: TypeAlias = "bytes | dict[bytes, bytes] | deque[bytes] | SetMembers | SortedSet"
V = TypeVar("V", bytes, dict[bytes, bytes], "deque[bytes]", "SetMembers", SortedSet)

OK: Final = b"OK"

_LEAST_NOTED: Final = 64
"""Deadlines that are over for other reasons and may wait to be cleared away, whatever there is."""


class SetMembers(dict[bytes, None]):
    """A set whose order is that of insertion, so that a replay enumerates it alike."""


TYPE_NAMES: Final[dict[type, bytes]] = {
    bytes: b"string",
    dict: b"hash",
    deque: b"list",
    SetMembers: b"set",
    SortedSet: b"zset",
}


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its function, its least number of words, and where its keys are.

    Attributes:
        run: The function; gets the keyspace and the words after the name.
        at_least: Words needed after the name.
        at_most: Words allowed after the name; ``None`` if there is no limit.
        reads: True if it only reads.
        keys: Picks the keys out of the words.
    """

    run: Callable[[Keyspace, list[bytes]], Reply]
    at_least: int
    at_most: int | None
    reads: bool
    keys: Callable[[list[bytes]], Iterable[bytes]]


COMMANDS: dict[bytes, Command] = {}
"""Every command known, by its name in capitals. The modules beside this one fill it."""


def first_key(words: list[bytes]) -> Iterable[bytes]:
    """Returns the first word: the one key."""
    return words[:1]


def all_keys(words: list[bytes]) -> Iterable[bytes]:
    """Returns all words: each is a key."""
    return words


def no_keys(words: list[bytes]) -> Iterable[bytes]:  # noqa: ARG001 - one of a family
    """Returns nothing: no word is a key."""
    return ()


def command(
    name: str,
    at_least: int,
    at_most: int | None = -1,
    *,
    reads: bool = False,
    keys: Callable[[list[bytes]], Iterable[bytes]] = first_key,
) -> Callable[[Callable[[Keyspace, list[bytes]], Reply]], Callable[[Keyspace, list[bytes]], Reply]]:
    """Enters a function as the command ``name``. ``at_most`` left out: exactly ``at_least`` words."""

    def enter(run: Callable[[Keyspace, list[bytes]], Reply]) -> Callable[[Keyspace, list[bytes]], Reply]:
        most = at_least if at_most == -1 else at_most
        COMMANDS[name.encode()] = Command(run, at_least, most, reads, keys)
        return run

    return enter


class Keyspace:
    """Strings, hashes, lists, sets and sorted sets with expiry.

    Single-threaded: a call is atomic, as on the server.

    Args:
        clock: Seconds since the epoch as this server sees them (``TIME``); expiry is counted on it too.
        on_touch: Called with a key after it was changed, deleted, evicted, or found expired.
        on_read: Called with every key that a reading command names, there or not.
        on_publish: Called with channel and message; returns how many listeners got it.

    Attributes:
        on_touch: As above; may be replaced.
        on_read: As above; may be replaced.
        on_publish: As above; may be replaced.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        on_touch: Callable[[bytes], None] | None = None,
        on_read: Callable[[bytes], None] | None = None,
        on_publish: Callable[[bytes, bytes], int] | None = None,
    ) -> None:
        self.clock = clock
        self.on_touch = on_touch
        self.on_read = on_read
        self.on_publish = on_publish
        self._values: dict[bytes, Value] = {}
        self._deadlines_ms: dict[bytes, int] = {}
        self._by_deadline: list[tuple[int, bytes]] = []

    def execute(self, words: list[bytes]) -> Reply:
        """Runs one command given as its words.

        Raises:
            ServerReplyError: The command is unknown, malformed, or meets a key of another type.
        """
        if not words:
            raise ServerReplyError("ERR empty command")
        found = COMMANDS.get(words[0].upper())
        if found is None:
            raise ServerReplyError(f"ERR unknown command '{words[0].decode(errors='replace')}'")
        given = len(words) - 1
        if given < found.at_least or (found.at_most is not None and given > found.at_most):
            name = words[0].lower().decode(errors="replace")
            raise ServerReplyError(f"ERR wrong number of arguments for '{name}' command")
        arguments = words[1:]
        # Told of as read only afterwards: a reading command that finds the key expired drops it, and that end comes
        # first.
        reply = found.run(self, arguments)
        if found.reads and self.on_read is not None:
            for key in found.keys(arguments):
                self.on_read(key)
        return reply

    def now_ms(self) -> int:
        """Returns the server's clock in whole milliseconds."""
        return int(self.clock() * 1000)

    def evict(self, key: bytes) -> bool:
        """Drops a key as a server short of memory does; True if it was there."""
        return self.delete(key)

    def sweep(self, limit: int | None = None) -> int:
        """Deletes expired keys, as the server's background cycle does; returns how many keys that were.

        Args:
            limit: How many deadlines are looked at; left out: all that are over.
        """
        now, gone = self.now_ms(), 0
        while self._by_deadline and now > self._by_deadline[0][0] and limit != 0:
            deadline, key = heapq.heappop(self._by_deadline)
            limit = None if limit is None else limit - 1
            # The heap keeps deadlines that were replaced since: only the one that stands counts.
            if self._deadlines_ms.get(key) == deadline:
                gone += self.delete(key)
        return gone

    def _note_deadline(self, key: bytes, deadline_ms: int) -> None:
        self._deadlines_ms[key] = deadline_ms
        heapq.heappush(self._by_deadline, (deadline_ms, key))
        # Rebuilt when most of it is over: a key that is given a new expiry again and again would let it grow for ever.
        if len(self._by_deadline) > 2 * len(self._deadlines_ms) + _LEAST_NOTED:
            self._by_deadline = [(deadline, key) for key, deadline in self._deadlines_ms.items()]
            heapq.heapify(self._by_deadline)

    def names(self) -> Iterator[bytes]:
        """Returns the keys that have not expired."""
        now = self.now_ms()
        return (key for key in list(self._values) if now <= self._deadlines_ms.get(key, now))

    def __len__(self) -> int:
        return sum(1 for _ in self.names())

    # What commands are made of.

    def peek(self, key: bytes) -> Value | None:
        """Returns the value of a key of any type; ``None`` if it is not there (any more)."""
        deadline = self._deadlines_ms.get(key)
        # `>` here and `<=` in `set_deadline_ms`, as on the server: a key lives to the millisecond of its deadline, but
        # one that is given an expiry of now goes at once.
        if deadline is not None and self.now_ms() > deadline:
            self.delete(key)
            return None
        return self._values.get(key)

    def get(self, key: bytes, kind: type[V]) -> V | None:
        """Returns the value of a key that must be of one type, or ``None``.

        Raises:
            ServerReplyError: ``WRONGTYPE``.
        """
        value = self.peek(key)
        if value is None:
            return None
        # Not `isinstance`: a set is a `dict` here, and must not pass for a hash.
        if type(value) is not kind:
            raise ServerReplyError("WRONGTYPE Operation against a key holding the wrong kind of value")
        return value

    def get_or_create(self, key: bytes, kind: type[V]) -> V:
        """Returns the value of a key that must be of one type; made, empty, if it is not there."""
        value = self.get(key, kind)
        if value is None:
            value = self._values[key] = kind()
        return value

    def put(self, key: bytes, value: Value, deadline_ms: int | None = None) -> None:
        """Replaces a value together with its expiry."""
        self._values[key] = value
        if deadline_ms is None:
            self._deadlines_ms.pop(key, None)
        else:
            self._note_deadline(key, deadline_ms)
        self.notify_changed(key)

    def delete(self, key: bytes) -> bool:
        """Deletes a key; True if it was there."""
        self._deadlines_ms.pop(key, None)
        if self._values.pop(key, None) is None:
            return False
        self.notify_changed(key)
        return True

    def mark_changed(self, key: bytes) -> None:
        """Says that a container was changed in place; an empty one ceases to exist."""
        if not self._values.get(key):
            self.delete(key)
        else:
            self.notify_changed(key)

    def notify_changed(self, key: bytes) -> None:
        """Tells the followers of changes."""
        if self.on_touch is not None:
            self.on_touch(key)

    def deadline_ms(self, key: bytes) -> int | None:
        """Returns the instant at which a key expires, in milliseconds of the server's clock; ``None`` if never."""
        return self._deadlines_ms.get(key)

    def set_deadline_ms(self, key: bytes, deadline_ms: int | None) -> None:
        """Gives a key that exists another expiry, or none."""
        if deadline_ms is None:
            self._deadlines_ms.pop(key, None)
        elif deadline_ms <= self.now_ms():
            self.delete(key)
            return
        else:
            self._note_deadline(key, deadline_ms)
        self.notify_changed(key)


def integer(word: bytes, error: str = "ERR value is not an integer or out of range") -> int:
    """Returns a word as a signed 64-bit integer.

    Raises:
        ServerReplyError: It is none.
    """
    digits = word[1:] if word[:1] == b"-" else word
    # The server takes no leading zeros, no `-0`, no `+`, no blanks and no underscores; `int` takes all of these.
    if not digits.isdigit() or (len(digits) > 1 and digits[:1] == b"0") or word == b"-0":
        raise ServerReplyError(error)
    number = int(word)
    if not -(2**63) <= number < 2**63:
        raise ServerReplyError(error)
    return number


def parse_float(word: bytes, error: str = "ERR value is not a valid float") -> float:
    """Returns a word as a float, infinities included.

    Raises:
        ServerReplyError: It is none, or not a number.
    """
    try:
        number = float(word)
    except ValueError:
        raise ServerReplyError(error) from None
    # NaN is the one number that is not equal to itself. `float` takes it, and blanks and underscores as well.
    if number != number or word.strip() != word or b"_" in word:
        raise ServerReplyError(error)
    return number


def syntax_error() -> ServerReplyError:
    """Returns the refusal of options that make no sense together."""
    return ServerReplyError("ERR syntax error")
