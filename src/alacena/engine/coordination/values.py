"""How elements become bytes and come back. The cache injects its typed codec; by itself this is plain MessagePack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from alacena.engine.errors import DecodeError, EncodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True)
class Elements:
    """A pair of functions between values and bytes.

    Attributes:
        encode: Raises :class:`~alacena.engine.errors.EncodeError` for what cannot be stored.
        decode: Raises :class:`~alacena.engine.errors.DecodeError` for bytes that it did not write.
    """

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for an element that cannot be read here, among others that can.

    Attributes:
        position: Its place in the answer, from 0.
        reason: Why it cannot be read.
        raw: Its bytes.
    """

    position: int
    reason: str
    raw: bytes


def all_read(elements: Elements, rows: Sequence[bytes]) -> list[Any]:
    """The values of rows, with an :class:`Unreadable` in place of each that cannot be read."""
    values: list[Any] = []
    for position, row in enumerate(rows):
        try:
            values.append(elements.decode(row))
        except DecodeError as error:
            values.append(Unreadable(position, str(error), row))
    return values


def _encode(value: Any) -> bytes:
    try:
        return msgspec.msgpack.encode(value)
    except (TypeError, OverflowError) as error:
        raise EncodeError(f"{type(value).__name__} cannot be stored: {error}") from error


def _decode(raw: bytes) -> Any:
    try:
        return msgspec.msgpack.decode(raw)
    except msgspec.DecodeError as error:
        raise DecodeError(f"not an element of ours: {error}") from error


MSGPACK: Final = Elements(_encode, _decode)
"""Plain MessagePack: scalars, lists and dictionaries come back as they went in; tuples come back as lists."""
