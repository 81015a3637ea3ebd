"""Elements as bytes, and back. The cache injects its typed codec; by itself this is plain MessagePack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from alacena.engine.base.errors import DecodeError, EncodeError
from alacena.engine.base.scope import tenant_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from alacena.engine.codec.element_cipher import ElementCipher


@dataclass(frozen=True, slots=True)
class Elements:
    """A pair of functions between values and bytes.

    Attributes:
        encode: Raises :class:`~alacena.engine.base.errors.EncodeError` for a value that cannot be stored.
        decode: Raises :class:`~alacena.engine.base.errors.DecodeError` for bytes that it did not write.
        canonical: As ``encode``, with the same bytes for all equal values, in every process.
        cipher: Encrypts encoded elements; ``None``: nothing does.
    """

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    canonical: Callable[[Any], bytes]
    cipher: ElementCipher | None = None

    def of(self, tenant_id: str, place: str) -> Elements:
        """Returns the elements of one object, encrypted for it if there is a cipher."""
        cipher = self.cipher
        if cipher is None:
            return self
        tenant, encode, decode = tenant_text(tenant_id), self.encode, self.decode
        # Without the cipher, because the two functions apply it already.
        return Elements(
            lambda value: cipher.seal(encode(value), tenant, place),
            lambda raw: decode(cipher.open(raw, tenant, place, alike=False)),
            self.canonical,
        )

    def members(self, tenant_id: str, place: str) -> Members:
        """Returns the members of one set."""
        return Members(self, tenant_text(tenant_id), place)


class Members:
    """Members of one set as bytes: equal members have equal bytes, so that the server can compare them.

    Args:
        elements: How values become bytes.
        tenant: The tenant of the set.
        place: The set's key.
    """

    def __init__(self, elements: Elements, tenant: str, place: str) -> None:
        self._elements = elements
        self._where = (tenant, place)

    def encode(self, value: Any) -> bytes:
        """Returns the bytes under which a value is added."""
        return self.forms(value)[0]

    def forms(self, value: Any) -> list[bytes]:
        """Returns all bytes under which a value may be a member: those of earlier keys, and of before there were keys, too."""
        payload = self._elements.canonical(value)
        cipher = self._elements.cipher
        return [payload] if cipher is None else cipher.seal_alike(payload, *self._where)

    def decode(self, raw: bytes) -> Any:
        """Returns the value of a member."""
        cipher = self._elements.cipher
        return self._elements.decode(raw if cipher is None else cipher.open(raw, *self._where, alike=True))


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


def all_read(decode: Callable[[bytes], Any], rows: Sequence[bytes]) -> list[Any]:
    """Returns the values of rows, with an :class:`Unreadable` in place of each that cannot be read."""
    values: list[Any] = []
    for position, row in enumerate(rows):
        try:
            values.append(decode(row))
        except DecodeError as error:
            values.append(Unreadable(position, str(error), row))
    return values


def _encode(value: Any) -> bytes:
    try:
        # In one order: this function is ``canonical``, too, and the server compares members by their bytes.
        return msgspec.msgpack.encode(value, order="deterministic")
    except (TypeError, OverflowError) as error:
        raise EncodeError(f"{type(value).__name__} cannot be stored: {error}") from error


def _decode(raw: bytes) -> Any:
    try:
        return msgspec.msgpack.decode(raw)
    except msgspec.DecodeError as error:
        raise DecodeError(f"these bytes are no element that was written here: {error}") from error


MSGPACK: Final = Elements(_encode, _decode, _encode)
"""Plain MessagePack: scalars, lists and dictionaries come back as they went in; tuples come back as lists."""
