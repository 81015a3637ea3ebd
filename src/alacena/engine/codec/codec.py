"""The codec: encodes values and seals them into entries, opens entries and decodes their values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from alacena.engine.base.errors import DecodeError, EncodeError
from alacena.engine.codec import arrays, compression, encryption
from alacena.engine.codec.canonical import canonical
from alacena.engine.codec.entry_error import EntryError
from alacena.engine.codec.envelope import (
    MAX_HEADER_BYTES,
    Envelope,
    PlainEntry,
    header,
    open_all_plain,
    open_plain,
    pack,
    pack_plain,
    slice_authenticated,
    unpack,
)
from alacena.engine.codec.integrity import Mac, crc
from alacena.engine.codec.values import ValueCodec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from alacena.engine.codec.encryption import Keyring
    from alacena.engine.codec.integrity import IntegrityCheck
    from alacena.engine.codec.registry import Registry

NO_CODEC: Final = 0
"""Id of the codec of an entry without a value."""

# MessagePack puts at most five bytes before text or bytes: the type, and a length of 32 bits.
_TEXT_HEADER_BYTES: Final = 5

MSGPACK: Final = 1
"""Id of the only codec so far: MessagePack with extensions, or a raw array."""


class Encoded(msgspec.Struct, frozen=True, gc=False):
    """A value as it will be stored, before encryption. Nothing about a key or a tenant is in it.

    Attributes:
        payload: The bytes.
        codec: Id of the codec; 0 for `NOTHING`.
        compression: Id of the compression.
    """

    payload: bytes | memoryview
    codec: int = MSGPACK
    compression: int = compression.NONE


NOTHING: Final = Encoded(b"", codec=NO_CODEC)
"""The payload of an entry that says that the source has nothing."""


def _open_nothing(data: bytes, identity: bytes, stamps: bytes) -> None:
    """Returns nothing: entries that are encrypted or carry a MAC take the long way."""


class Codec:
    """Encodes values and seals them into entries; opens entries and decodes their values.

    Args:
        registry: The classes of the application that may be stored. Left out: the process-wide registry.
        compress_over_bytes: Payloads longer than this are compressed where that saves a tenth; ``None`` = never.
            Arrays of floats never are.
        max_value_bytes: The longest encoded value, before compression, that is written or read.
        integrity_key: 16 to 64 secret bytes, the same in every process: entries then carry a MAC, and a writer to
            the server without the key writes misses. ``None``: a CRC-32, against accidents.
        keyring: Payloads are then encrypted, and entries that are not encrypted are refused.

    Attributes:
        open_plain: The short way into an entry; see :func:`alacena.engine.codec.envelope.open_plain`. With a key, there is none.
        compress_over_bytes: Up to so many bytes, a payload is packed as it is.
        is_plain: Whether entries are neither encrypted nor carry a MAC: those without tags are sealed by :meth:`seal_plain`.

    Everything runs on the caller's thread. Cost: a small value takes about 3 µs to encode and seal, and as much to
    open. The scan of types makes encoding a tree cost about 5 times a bare msgspec call; decoding costs the bare call.
    Per KB, compression adds up to 3 µs, a MAC 1 µs, encryption 0.3 µs.
    """

    def __init__(
        self,
        *,
        registry: Registry | None = None,
        compress_over_bytes: int | None = 4096,
        max_value_bytes: int = 16 * 1024 * 1024,
        integrity_key: bytes | None = None,
        keyring: Keyring | None = None,
    ) -> None:
        self._registry = registry
        self._values = ValueCodec(registry)
        self.compress_over_bytes = max_value_bytes if compress_over_bytes is None else compress_over_bytes
        self._max_value_bytes = max_value_bytes
        self._short_text = max_value_bytes - _TEXT_HEADER_BYTES
        self._check: IntegrityCheck = crc if integrity_key is None else Mac(integrity_key)
        self._keyring = keyring
        self.is_plain = keyring is None and integrity_key is None
        # The function itself, chosen once: a method that asks `is_plain` would ask it again for each hit.
        self.open_plain: Callable[[bytes, bytes, bytes], PlainEntry | None] = (
            open_plain if self.is_plain else _open_nothing
        )

    def encode(self, value: object) -> bytes:
        """Returns the value's payload, neither compressed nor encrypted: memory keeps mutable values in this form.

        Raises:
            EncodeError: It holds something that cannot be stored, or is larger than ``max_value_bytes``.
        """
        return self._check_size(self._values.encode(value))

    def encode_unsure(self, values: Sequence[Any]) -> list[bytes | None]:
        """Returns the payload of each value as :meth:`encode` does; ``None`` for one of which :meth:`is_sure`.

        Raises:
            EncodeError: As for :meth:`encode`, of the first that cannot be stored.
        """
        is_sure = [self.is_sure(value) for value in values]
        if all(is_sure):
            return [None] * len(values)
        encoded = iter(
            self._values.encode_all([value for value, sure in zip(values, is_sure, strict=True) if not sure])
        )
        return [None if sure else self._check_size(next(encoded)) for sure in is_sure]

    def _check_size(self, payload: bytes) -> bytes:
        if len(payload) > self._max_value_bytes:
            raise EncodeError(
                f"$: the value takes {len(payload)} bytes, more than max_value_bytes={self._max_value_bytes}: "
                "split it, or raise the limit"
            )
        return payload

    def is_sure(self, value: object) -> bool:
        """Returns whether a value is certain to be encoded without a fault, so that this may wait until bytes are asked for."""
        kind = type(value)
        if kind is str:
            # Only ASCII has one byte a character. Of other text the length tells neither how many bytes it takes
            # nor whether UTF-8 can hold it.
            return len(value) <= self._short_text and value.isascii()  # type: ignore[arg-type, attr-defined]
        return kind is bytes and len(value) <= self._short_text  # type: ignore[arg-type]

    def canonical(self, value: object) -> bytes:
        """As `encode`, with the same bytes for all equal values, in every process.

        Raises:
            EncodeError: It holds something that cannot be stored.
        """
        return canonical(value, self._registry)

    def pack(self, payload: bytes) -> Encoded:
        """Returns a payload as it will be stored, compressed where that pays."""
        if len(payload) > self.compress_over_bytes and arrays.worth_compressing(payload):
            packed, how = compression.compress(payload)
            return Encoded(packed, compression=how)
        return Encoded(payload)

    def seal(
        self, envelope: Envelope, encoded: Encoded, *, tenant: str, stamps: Sequence[bytes] | None = None
    ) -> bytes:
        """Returns the entry to store: the envelope with this codec's ids, and the payload, encrypted if there is a keyring.

        Args:
            envelope: The header of the entry. Its ids of codec, compression and encryption are overwritten.
            encoded: The result of `encode`, or `NOTHING`, which sets ``not_found``.
            tenant: The tenant of the key.
            stamps: Instead of the envelope's, for a writer that learns them last.

        Raises:
            UsageError: A field of the envelope does not fit into the header.
        """
        ring = self._keyring
        envelope = replace(
            envelope,
            stamps=envelope.stamps if stamps is None else tuple(stamps),
            not_found=encoded.codec == NO_CODEC,
            codec=encoded.codec,
            compression=encoded.compression,
            encryption=encryption.NONE if ring is None else encryption.AES_GCM,
            key_id=0 if ring is None else ring.current,
        )
        payload = encoded.payload
        if ring is not None:
            # The header is authenticated with the payload, so it says the length that the payload has once encrypted.
            body = header(envelope, len(payload) + encryption.OVERHEAD_BYTES)
            payload = ring.encrypt(payload, tenant=tenant, header=body)
        return pack(envelope, payload, check=self._check)

    seal_plain = staticmethod(pack_plain)
    """Seals without tags and keys: does what :meth:`seal` does, by a shorter way."""

    def open(self, data: bytes | memoryview, *, key_digest: bytes, tenant: str) -> tuple[Envelope, bytes | memoryview]:
        """Returns the envelope and the payload of an entry, decrypted and decompressed; see :meth:`decode`.

        Args:
            data: The server's answer. The payload may be a view on it.
            key_digest: Digest of the full key that was asked for.
            tenant: The tenant of the key.

        Raises:
            EntryError: The entry must not be used; ``reason`` says why.
        """
        # Before the check, which reads every byte on the caller's thread.
        if len(data) > self._max_value_bytes + MAX_HEADER_BYTES + encryption.OVERHEAD_BYTES:
            raise EntryError(f"the entry has {len(data)} bytes, more than max_value_bytes allows", "size")
        envelope, payload = unpack(data, key_digest=key_digest, check=self._check)
        # Before any field is believed, even if there is no value: anybody can compute a CRC, but not the tag of the
        # cipher, which covers the header.
        plain = self._decrypt(envelope, payload, data, tenant)
        # Before the codec is asked, which is 0 for an entry without a value.
        if envelope.not_found:
            return envelope, b""
        if envelope.codec != MSGPACK:
            raise EntryError(f"the codec {envelope.codec} is unknown to this release", "value")
        return envelope, compression.decompress(plain, envelope.compression, max_bytes=self._max_value_bytes)

    def _decrypt(
        self, envelope: Envelope, payload: memoryview, data: bytes | memoryview, tenant: str
    ) -> bytes | memoryview:
        ring = self._keyring
        if ring is None and envelope.encryption == encryption.NONE:
            return payload
        # With a keyring, an entry in the clear is refused too: anybody who can write to the server could make one.
        if ring is None or envelope.encryption != encryption.AES_GCM:
            raise EntryError("the entry is encrypted and there is no keyring, or the other way round", "cipher")
        body = slice_authenticated(data, len(payload))
        return ring.decrypt(payload, key_id=envelope.key_id, tenant=tenant, header=body)

    def open_all_plain(
        self, entries: Sequence[bytes], identities: Sequence[bytes], stamps: bytes
    ) -> list[tuple[int, int, int, int, int] | None]:
        """Returns the short way into many entries; see :func:`alacena.engine.codec.envelope.open_all_plain`."""
        return open_all_plain(entries, identities, stamps) if self.open_plain is open_plain else [None] * len(entries)

    def decoder(self) -> Callable[[bytes, int], Any]:
        """:meth:`decode` for a batch, of which most may be arrays alike."""
        return arrays.remember_header(self.decode)

    def decode(self, payload: bytes | memoryview, start: int = 0) -> Any:
        """Returns the value of a payload, which begins at ``start``. An array by itself is a read-only view on it.

        Raises:
            EntryError: The payload is broken, or holds a class that is not known here.
        """
        try:
            return self._values.decode(payload, start)
        except DecodeError as error:
            raise EntryError(str(error), "value") from error
