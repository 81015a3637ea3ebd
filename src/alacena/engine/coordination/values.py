"""How elements become bytes and come back. The cache injects its typed codec; by itself this is plain MessagePack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from alacena.engine.errors import DecodeError, EncodeError

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Elements:
    """A pair of functions between values and bytes.

    Attributes:
        encode: Raises :class:`~alacena.engine.errors.EncodeError` for what cannot be stored.
        decode: Raises :class:`~alacena.engine.errors.DecodeError` for bytes that it did not write.
        canonical: As ``encode``, with the same bytes for all equal values, in every process.
    """

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    canonical: Callable[[Any], bytes]


def _encode(value: Any) -> bytes:
    try:
        return msgspec.msgpack.encode(value, order="deterministic")
    except (TypeError, OverflowError) as error:
        raise EncodeError(f"{type(value).__name__} cannot be stored: {error}") from error


def _decode(raw: bytes) -> Any:
    try:
        return msgspec.msgpack.decode(raw)
    except msgspec.DecodeError as error:
        raise DecodeError(f"not an element of ours: {error}") from error


MSGPACK: Final = Elements(_encode, _decode, _encode)
"""Plain MessagePack: scalars, lists and dictionaries come back as they went in; tuples come back as lists."""
