"""The server's half of the Redis protocol: commands in, replies and pushes out."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from alacena.engine.base.errors import ServerReplyError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_BULK_BYTES = 512 * 1024 * 1024


class ProtocolError(Exception):
    """The client sent something that is not a command."""


class Status(bytes):
    """A reply that goes out as a simple string."""

    __slots__ = ()


class Push(list[Any]):
    """An out-of-band message, which needs RESP3 (RESP2 subscribers get it as an array)."""


class CommandParser:
    """Cuts a byte stream into commands, wherever the stream was split."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[list[bytes]]:
        """Take bytes; gives the commands that are complete now, one after the other.

        Raises:
            ProtocolError: What follows the commands given so far is no command.
        """
        self._buffer += data
        while (parsed := self._parse(0)) is not None:
            words, end = parsed
            del self._buffer[:end]
            if words:
                yield words

    def _parse(self, position: int) -> tuple[list[bytes], int] | None:
        head = self._line(position)
        if head is None:
            return None
        line, position = head
        if line[:1] != b"*":
            return line.split(), position
        words: list[bytes] = []
        for _ in range(_number(line)):
            head = self._line(position)
            if head is None:
                return None
            line, position = head
            if line[:1] != b"$":
                raise ProtocolError(f"expected '$', got {line[:1]!r}")
            end = position + _number(line)
            if len(self._buffer) < end + 2:
                return None
            words.append(bytes(self._buffer[position:end]))
            position = end + 2
        return words, position

    def _line(self, position: int) -> tuple[bytes, int] | None:
        end = self._buffer.find(b"\r\n", position)
        return None if end < 0 else (bytes(self._buffer[position:end]), end + 2)


def _number(line: bytes) -> int:
    try:
        number = int(line[1:])
    except ValueError:
        raise ProtocolError("invalid length") from None
    if not 0 <= number <= _MAX_BULK_BYTES:
        raise ProtocolError("invalid length")
    return number


def encode(value: Any, version: int) -> bytes:
    """A reply as bytes of RESP2 or RESP3."""
    if isinstance(value, bytes):
        return b"+%b\r\n" % value if isinstance(value, Status) else b"$%d\r\n%b\r\n" % (len(value), value)
    if value is None:
        return b"_\r\n" if version == 3 else b"$-1\r\n"
    if isinstance(value, bool | int):
        return b":%d\r\n" % value
    if isinstance(value, ServerReplyError):
        return b"-%b\r\n" % str(value).encode()
    return _encode_rest(value, version)


def _encode_rest(value: Any, version: int) -> bytes:
    if isinstance(value, float):
        text = repr(value).encode()
        return b",%b\r\n" % text if version == 3 else b"$%d\r\n%b\r\n" % (len(text), text)
    if isinstance(value, str):
        return encode(value.encode(), version)
    if isinstance(value, dict):
        items = [item for pair in value.items() for item in pair]
        head = b"%%%d\r\n" % len(value) if version == 3 else b"*%d\r\n" % len(items)
    elif isinstance(value, set | frozenset):
        items = sorted(value)
        head = b"~%d\r\n" % len(items) if version == 3 else b"*%d\r\n" % len(items)
    elif isinstance(value, list | tuple | deque):
        items = list(value)
        mark = b">" if isinstance(value, Push) and version == 3 else b"*"
        head = b"%b%d\r\n" % (mark, len(items))
    else:
        raise TypeError(f"a reply cannot hold {type(value).__name__}")
    return head + b"".join(encode(item, version) for item in items)
