"""The entry of the remote tier: a versioned header, then the payload.

Layout, little-endian::

    0    4s   magic and version
    4    16s  check of everything from byte 20 on (`alacena.engine.codec.integrity`)
    20   u16  flags
    22   u8   codec
    23   u8   compression
    24   u8   encryption
    25   u8   number of stamps
    26   u16  number of tags
    28   u16  id of the encryption key
    30   u16  zero, not read
    32   u32  offset of the payload, a multiple of 8
    36   u32  length of the payload
    40   8s   replication id
    48   16s  digest of the full key
    64   u64  created, fresh until, expires: milliseconds since the epoch on the server's clock, 0 = never
    88   u64  the cost of the load, in millionths of a dollar, 0 = nothing or unknown
    96   u32  milliseconds that the load took
    100  u32  zero
    104  8s   x stamps
    ..   tags: u8 length, name, 8s stamp
    ..   zeros up to the payload

Everything up to 104 has a fixed size, the stamps follow, and nothing after them depends on them: an entry is stamped as
late as its writer likes. The bytes before the check are constant, so the check covers all that varies.
"""

from __future__ import annotations

from hmac import compare_digest
from struct import Struct
from struct import error as StructError  # noqa: N812 - a class that struct spells like a function
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from zlib import crc32

import msgspec

from alacena.engine.base.errors import UsageError
from alacena.engine.base.keys import MAX_TAG_BYTES, MOST_TAGS
from alacena.engine.codec.entry_error import EntryError
from alacena.engine.codec.integrity import CHECK_BYTES, crc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alacena.engine.codec.integrity import IntegrityCheck

STAMP_BYTES: Final = 8
DIGEST_BYTES: Final = 16

_MAGIC: Final = b"\xa1LC"
_VERSION: Final = 1
_PREFIX: Final = _MAGIC + bytes([_VERSION])
_BODY: Final = len(_PREFIX) + CHECK_BYTES
_FIELDS: Final = Struct("<HBBBBHHHII8s16sQQQQI4x")
_FIXED: Final = _BODY + _FIELDS.size
FIXED_BYTES: Final = _FIXED
_NOT_FOUND: Final = 1
# An entry may carry 2, which said that its cost is known: it is read all the same.
_KNOWN_FLAGS: Final = _NOT_FOUND | 2
_MAX_STAMPS: Final = 255

MAX_HEADER_BYTES: Final = _FIXED + _MAX_STAMPS * STAMP_BYTES + MOST_TAGS * (1 + MAX_TAG_BYTES + STAMP_BYTES) + 8


class Envelope(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The header of an entry, which describes its payload.

    Attributes:
        key_digest: Digest of the full key, tenant included (16 bytes): the entry is this key's and no other's.
        replication_id: The history of the server that the entry was written to (8 bytes).
        created_ms: When it was written, in milliseconds since the epoch on the server's clock.
        fresh_until_ms: When it becomes stale, on the same clock; 0 = never.
        expires_ms: When it is gone, on the same clock; 0 = never.
        load_ms: How long the source took.
        cost: What the load cost, in millionths of a dollar; 0 = nothing, or unknown.
        stamps: Generations of the scopes that the entry is under, 8 bytes each, in canonical order.
        tags: Name and generation (8 bytes) of each tag.
        not_found: The source was asked and has nothing: there is no value, and the payload is empty.
        codec: Id of the payload's codec.
        compression: Id of the payload's compression (`alacena.engine.codec.compression`), 0 = none.
        encryption: Id of the payload's encryption (`alacena.engine.codec.encryption`), 0 = none.
        key_id: Id of the encryption key, 0 = none.
    """

    key_digest: bytes
    replication_id: bytes
    created_ms: int
    fresh_until_ms: int = 0
    expires_ms: int = 0
    load_ms: int = 0
    cost: int = 0
    stamps: tuple[bytes, ...] = ()
    tags: tuple[tuple[str, bytes], ...] = ()
    not_found: bool = False
    codec: int = 0
    compression: int = 0
    encryption: int = 0
    key_id: int = 0


def pack(
    envelope: Envelope,
    payload: bytes | memoryview,
    *,
    stamps: Sequence[bytes] | None = None,
    check: IntegrityCheck = crc,
) -> bytes:
    """Returns the bytes of an entry: one copy of the payload.

    Args:
        envelope: The header's fields.
        payload: The encoded value; empty if nothing was found.
        stamps: Instead of the envelope's, for a writer that learns them last.
        check: `crc`, or the `Mac` of the integrity key.

    Raises:
        UsageError: A field does not fit into the header.
    """
    body = header(envelope, len(payload), stamps=stamps)
    return b"".join((_PREFIX, check(body, payload), body, payload))


def pack_plain(
    replication_id: bytes,
    key_digest: bytes,
    stamped: bytes,
    times_ms: tuple[int, int, int],
    load_ms: int,
    cost: int,
    codec: int,
    compression: int,
    payload: bytes | memoryview,
) -> bytes:
    """Returns the bytes of an entry that has no tags, is not encrypted and is checked by CRC-32.

    The same as :func:`pack` of such an envelope, by a shorter way.

    Args:
        replication_id: As in the envelope.
        key_digest: As in the envelope.
        stamped: The stamps, joined.
        times_ms: When it was written, becomes stale and is gone.
        load_ms: As in the envelope.
        cost: As in the envelope.
        codec: Id of the payload's codec; 0 if nothing was found.
        compression: Id of its compression.
        payload: The encoded value.
    """
    count, start = len(stamped) // STAMP_BYTES, _FIXED + len(stamped)
    body = (
        _FIELDS.pack(
            0 if codec else _NOT_FOUND, codec, compression, 0, count, 0, 0, 0, start, len(payload),
            replication_id, key_digest, *times_ms, cost, load_ms,
        )
        + stamped
    )  # fmt: skip
    check = crc32(payload, crc32(body)).to_bytes(CHECK_BYTES, "little")
    return b"".join((_PREFIX, check, body, payload))


def header(envelope: Envelope, payload_bytes: int, *, stamps: Sequence[bytes] | None = None) -> bytes:
    """Returns the header without magic and check, up to the payload: the part that encryption authenticates."""
    stamps = envelope.stamps if stamps is None else stamps
    stamped = b"".join(stamps)
    if len(stamped) != STAMP_BYTES * len(stamps):
        raise UsageError(f"a generation stamp has {STAMP_BYTES} bytes")
    rest = _tags(envelope.tags)
    offset = -(-(_FIXED + len(stamped) + len(rest)) // 8) * 8
    # `Struct` would cut or pad these without a word.
    if len(envelope.key_digest) != DIGEST_BYTES or len(envelope.replication_id) != STAMP_BYTES:
        raise UsageError(f"a key digest has {DIGEST_BYTES} bytes, a replication id {STAMP_BYTES}")
    try:
        fields = _FIELDS.pack(
            _NOT_FOUND if envelope.not_found else 0,
            envelope.codec,
            envelope.compression,
            envelope.encryption,
            len(stamps),
            len(envelope.tags),
            envelope.key_id,
            0,
            offset,
            payload_bytes,
            envelope.replication_id,
            envelope.key_digest,
            envelope.created_ms,
            envelope.fresh_until_ms,
            envelope.expires_ms,
            envelope.cost,
            envelope.load_ms,
        )
    except StructError as error:
        raise UsageError(f"a field of {envelope!r} does not fit into the header: {error}") from error
    return (fields + stamped + rest).ljust(offset - _BODY, b"\0")


def _tags(tags: tuple[tuple[str, bytes], ...]) -> bytes:
    if not tags:
        return b""
    if len(tags) > MOST_TAGS:
        raise UsageError(f"an entry has at most {MOST_TAGS} tags, not {len(tags)}")
    parts = []
    for tag, stamp in tags:
        name = tag.encode()
        if not 0 < len(name) <= MAX_TAG_BYTES or len(stamp) != STAMP_BYTES:
            raise UsageError(f"a tag has 1 to {MAX_TAG_BYTES} bytes of UTF-8 and a stamp of {STAMP_BYTES}: {tag!r}")
        parts.append(bytes([len(name)]) + name + stamp)
    return b"".join(parts)


def read_length(data: bytes) -> int | None:
    """Returns how long an entry says that it is, read from its first bytes; ``None`` if they are no entry's of this version."""
    if len(data) < _FIXED or not data.startswith(_PREFIX):
        return None
    fields = _FIELDS.unpack_from(data, _BODY)
    return int(fields[8]) + int(fields[9])


def unpack(
    data: bytes | memoryview,
    *,
    key_digest: bytes,
    check: IntegrityCheck = crc,
) -> tuple[Envelope, memoryview]:
    """Returns the header of an entry and a view on its payload, which starts at a multiple of 8.

    The payload is as the check says: untouched, or with a `Mac`, written by an owner of the key.

    Args:
        data: The server's answer.
        key_digest: Digest of the full key that was asked for.
        check: `crc`, or the `Mac` of the integrity key; it must be the writer's.

    Raises:
        EntryError: With ``reason`` ``"foreign"``, ``"version"``, ``"truncated"``, ``"checksum"`` or ``"key"``.
    """
    view = memoryview(data).toreadonly()
    _require_magic(view)
    if len(view) < _FIXED:
        raise EntryError(f"the entry has {len(view)} bytes, fewer than its header", "truncated")
    fields = _FIELDS.unpack_from(view, _BODY)
    offset, length = fields[8], fields[9]
    # Before the check: an entry that was cut off is told as such, and not as one that was changed.
    if len(view) != offset + length:
        raise EntryError(f"the entry has {len(view)} bytes and declares {offset + length}", "truncated")
    # In constant time: how early a comparison ends would tell a forger how much of a MAC is right.
    if not compare_digest(view[len(_PREFIX) : _BODY], check(view[_BODY:])):
        raise EntryError("the entry does not match its check: changed, or sealed with another key", "checksum")
    envelope = _envelope(fields, view)
    # After the check: the reason "key" means a sound entry of another key, which no accident makes.
    if not compare_digest(envelope.key_digest, key_digest):
        raise EntryError("the entry belongs to another key: it was moved", "key")
    return envelope, view[offset:]


# All that a hit needs in one call into C. `28s` is what `_PLAIN` says it must be. Skipped (`x`) are the time of
# writing and the last zeros. Entries with more than 16 stamps take the long way.
_PLAIN_HEADER: Final = tuple(Struct(f"<4sI28sI24s8xQQQI4x{count * STAMP_BYTES}s") for count in range(17))


def _plain(stamps: int) -> bytes:
    """Returns the bytes between the CRC-32 and the payload's length of a plain entry: zeros, its kind, the payload's place."""
    kind = _FIELDS.pack(0, 1, 0, 0, stamps, 0, 0, 0, _FIXED + stamps * STAMP_BYTES, 0, b"", b"", 0, 0, 0, 0, 0)
    return bytes(CHECK_BYTES - 4) + kind[:16]


PlainEntry: TypeAlias = tuple[int, int, int, int, "bytes | memoryview"]
"""Fresh until and expires (milliseconds on the server's clock, 0 = never), cost and milliseconds of the load, and the
payload."""

_SMALL_BYTES: Final = 4096
"""Up to here a copy of the payload is cheaper than a view on it."""

_PLAIN: Final = tuple(_plain(count) for count in range(17))


def open_plain(data: bytes, identity: bytes, stamps: bytes) -> PlainEntry | None:
    """Returns the short way into a plain entry: known codec, no tags, neither compressed nor encrypted, checked by CRC-32.

    Everything that :func:`unpack` checks is checked here, by comparing runs of bytes with the expected ones.

    Args:
        data: The server's answer.
        identity: The replication id and the digest of the key that the entry must carry.
        stamps: The current generations, joined, that it must carry.

    Returns:
        The fields of the entry; ``None`` if the long way has to tell.
    """
    count = len(stamps) // STAMP_BYTES
    start = _FIXED + len(stamps)
    if count >= len(_PLAIN_HEADER) or len(data) < start:
        return None
    prefix, check, meta, length, found, fresh_ms, expires_ms, cost, load_ms, stamped = _PLAIN_HEADER[count].unpack_from(
        data
    )
    if (
        found != identity
        or stamped != stamps
        or meta != _PLAIN[count]
        or prefix != _PREFIX
        or len(data) != start + length
    ):
        return None
    body = (data if len(data) <= _SMALL_BYTES else memoryview(data))[_BODY:]
    # Last, because it reads every byte.
    if crc32(body) != check:
        return None
    return fresh_ms, expires_ms, cost, load_ms, body[start - _BODY :]


def open_all_plain(
    entries: Sequence[bytes], identities: Sequence[bytes], stamps: bytes
) -> list[tuple[int, int, int, int, int] | None]:
    """Returns the same for entries that depend on the same generations, each with its own identity.

    Returns:
        For each the result of :func:`open_plain`, with the place where the payload begins instead of the payload.
    """
    count = len(stamps) // STAMP_BYTES
    if count >= len(_PLAIN_HEADER):
        return [None] * len(entries)
    start, unpack_from, plain = _FIXED + len(stamps), _PLAIN_HEADER[count].unpack_from, _PLAIN[count]
    opened: list[tuple[int, int, int, int, int] | None] = []
    for data, identity in zip(entries, identities, strict=True):
        opened.append(None)
        if len(data) < start:
            continue
        prefix, check, meta, length, found, fresh_ms, expires_ms, cost, load_ms, stamped = unpack_from(data)
        if (
            found == identity
            and stamped == stamps
            and meta == plain
            and prefix == _PREFIX
            and len(data) == start + length
            and crc32(memoryview(data)[_BODY:]) == check
        ):
            opened[-1] = (fresh_ms, expires_ms, cost, load_ms, start)
    return opened


def slice_authenticated(data: bytes | memoryview, payload_bytes: int) -> bytes:
    """Returns the part of an entry that encryption authenticated: the result of `header`."""
    return bytes(memoryview(data)[_BODY : len(data) - payload_bytes])


def _require_magic(view: memoryview) -> None:
    if view[: len(_PREFIX)] == _PREFIX:
        return
    # An entry that is cut off inside the magic begins with as much of it as there is.
    if view[: len(_MAGIC)] != _MAGIC[: len(view)]:
        raise EntryError("these bytes are not an entry of this cache", "foreign")
    if len(view) < len(_PREFIX):
        raise EntryError("the entry is cut off inside its magic", "truncated")
    raise EntryError(f"the entry has version {view[len(_MAGIC)]}, this release knows {_VERSION}", "version")


def _envelope(fields: tuple[Any, ...], view: memoryview) -> Envelope:
    """Returns the envelope of an entry whose check passed: it is still taken for somebody's mistake, never trusted blindly."""
    flags, codec, compression, encryption, stamp_count, tag_count, key_id, _, offset = fields[:9]
    position = _FIXED + stamp_count * STAMP_BYTES
    if flags & ~_KNOWN_FLAGS or offset % 8 or position + tag_count * (2 + STAMP_BYTES) > offset:
        raise EntryError("the header contradicts itself", "version")
    stamps = tuple([bytes(view[at : at + STAMP_BYTES]) for at in range(_FIXED, position, STAMP_BYTES)])
    tags = _read_tags(view, position, tag_count, offset) if tag_count else ()
    return Envelope(
        key_digest=fields[11],
        replication_id=fields[10],
        created_ms=fields[12],
        fresh_until_ms=fields[13],
        expires_ms=fields[14],
        load_ms=fields[16],
        cost=fields[15],
        stamps=stamps,
        tags=tags,
        not_found=bool(flags & _NOT_FOUND),
        codec=codec,
        compression=compression,
        encryption=encryption,
        key_id=key_id,
    )


def _read_tags(view: memoryview, position: int, count: int, end: int) -> tuple[tuple[str, bytes], ...]:
    tags = []
    for _ in range(count):
        # Beyond the end of the tags no length is read: `end` stands for it, which is too long.
        middle = position + 1 + (view[position] if position < end else end)
        if middle + STAMP_BYTES > end:
            raise EntryError("the tags run out of the header", "version")
        try:
            name = str(view[position + 1 : middle], "utf-8")
        except UnicodeDecodeError as error:
            raise EntryError("a tag is not UTF-8", "version") from error
        position = middle + STAMP_BYTES
        tags.append((name, bytes(view[middle:position])))
    return tuple(tags)
