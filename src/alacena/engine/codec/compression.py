"""Payloads made smaller where it pays, and made large again within bounds.

zstd where its library is installed (extra ``zstd``; part of Python from 3.14 on), else zlib at its fastest level, which
every process can read. An entry that was written with zstd is a miss in a process without the library.
"""

from __future__ import annotations

import zlib
from functools import cache
from importlib import import_module
from struct import Struct
from typing import Any, Final

from alacena.engine.codec.entry_error import EntryError

NONE: Final = 0
ZLIB: Final = 1
ZSTD: Final = 2

MAX_RATIO: Final = 1000
"""A payload that shrinks by more than this is stored as it is, so that a reader can refuse whatever claims more."""

_LEAST_SAVING_RATIO: Final = 0.10
_ZLIB_LEVEL: Final = 1
_ZSTD_LEVEL: Final = 1
_SMALLEST_WINDOW_LOG: Final = 10
_DECLARED: Final = Struct("<Q")


@cache
def _zstd() -> Any | None:
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return import_module(name)
        except ImportError:
            continue
    return None


def compress(payload: bytes) -> tuple[bytes, int]:
    """Returns the payload to store and the id of its compression: `NONE` and the payload itself where 10 % is not saved.

    Cost: 1 to 3 µs a KB with zstd, 3 to 15 µs a KB with zlib, on the caller's thread.
    """
    zstd = _zstd()
    packed = zlib.compress(payload, _ZLIB_LEVEL) if zstd is None else zstd.compress(payload, _ZSTD_LEVEL)
    size = _DECLARED.size + len(packed)
    if size > len(payload) * (1 - _LEAST_SAVING_RATIO) or len(payload) > len(packed) * MAX_RATIO:
        return payload, NONE
    return _DECLARED.pack(len(payload)) + packed, ZLIB if zstd is None else ZSTD


def decompress(stored: bytes | memoryview, compression: int, *, max_bytes: int) -> bytes | memoryview:
    """Returns the payload as it was before `compress`.

    The size that the entry declares is refused where it exceeds ``max_bytes`` or `MAX_RATIO`; the stream is then
    decompressed into no more than that, for any content.

    Raises:
        EntryError: A bomb, a broken stream, an unknown compression, or one whose library is not installed.
    """
    if compression == NONE:
        return stored
    if compression not in (ZLIB, ZSTD):
        raise EntryError(f"the compression {compression} is unknown to this release", "compression")
    if len(stored) < _DECLARED.size:
        raise EntryError("the compressed payload is truncated", "truncated")
    declared: int = _DECLARED.unpack_from(stored)[0]
    packed = memoryview(stored)[_DECLARED.size :]
    if declared > max_bytes:
        raise EntryError(f"the entry declares {declared} bytes, more than the {max_bytes} that may be read", "size")
    if declared > len(packed) * MAX_RATIO:
        raise EntryError(f"the entry declares {declared} bytes out of {len(packed)}: a bomb", "compression")
    payload = _inflate(packed, declared) if compression == ZLIB else _unzstd(packed, declared)
    if payload is None or len(payload) != declared:
        raise EntryError("the compressed stream has another length than the entry declares", "compression")
    return payload


def _inflate(packed: memoryview, declared: int) -> bytes | None:
    stream = zlib.decompressobj()
    try:
        # One byte more than declared shows a stream that holds more; and to zlib a bound of 0 means none.
        payload = stream.decompress(packed, declared + 1)
    except zlib.error as error:
        raise EntryError(f"the compressed stream is broken: {error}", "compression") from error
    return payload if stream.eof and not stream.unused_data else None


def _unzstd(packed: memoryview, declared: int) -> bytes | None:
    zstd = _zstd()
    if zstd is None:
        raise EntryError("the entry is compressed with zstd: pip install 'alacena[zstd]' to read it", "compression")
    # A frame names the window that it wants, and that is allocated before a byte comes out. No frame needs a
    # window larger than its content. zstd takes no bound below the smallest.
    window_log = max(_SMALLEST_WINDOW_LOG, declared.bit_length())
    try:
        stream = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: window_log})
        payload: bytes = stream.decompress(packed, declared + 1)
    except (zstd.ZstdError, ValueError) as error:
        raise EntryError(f"the compressed stream is broken: {error}", "compression") from error
    return payload if stream.eof and not stream.unused_data else None
