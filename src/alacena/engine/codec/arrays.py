"""numpy arrays as a small header and their raw buffer, read back without a copy.

Layout, little-endian. The first byte is the one that MessagePack never uses, which tells an array from a tree::

    0   0xC1
    1   version of this layout
    2   kind of the elements (numpy's letter)
    3   "C" or "F": order of the buffer
    4   u16  offset of the buffer, a multiple of 8
    6   u16  length of the dtype's description
    8   u8   number of dimensions
    9   zero
    10  u64 x dimensions: shape
    ..  MessagePack: description of the dtype, then zeros up to the offset
"""

from __future__ import annotations

import re
import struct
import sys
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final

from msgspec import msgpack

from alacena.engine.base.errors import DecodeError, EncodeError

if TYPE_CHECKING:
    from collections.abc import Callable

MARK: Final = 0xC1
"""First byte of an encoded array."""

_VERSION: Final = 1
_HEAD: Final = struct.Struct("<BBssHHBx")
_FLOATS: Final = b"fc"
_WITH_TEXT: Final = frozenset("UV")
"""Kinds of elements that are text, or may have it in a field."""
_KINDS: Final = frozenset("biufcSUVMm")
_BUFFERED_KINDS: Final = frozenset("biufc")
_MAX_HEADER_BYTES: Final = 0xFFF8
_TYPE: Final = re.compile(r"[<>|][biufcSUVMm]\d{1,9}(\[\w{1,20}\])?", re.ASCII)
"""What numpy writes for a type. It reads a small language, with evaluation in it, which hostile bytes never reach."""


@cache
def _numpy() -> Any:
    import numpy as np

    return np


def is_array(value: object) -> bool:
    """Returns whether ``value`` is exactly a ``numpy.ndarray``; numpy is not imported to find out."""
    numpy = sys.modules.get("numpy")
    # Exactly this class: a masked or a record array would come back as a plain one. `getattr`, because a module
    # is in `sys.modules` before it has its names, while it is being imported.
    return numpy is not None and type(value) is getattr(numpy, "ndarray", None)


def is_scalar(value: object) -> bool:
    """Returns whether ``value`` is a numpy scalar; numpy is not imported to find out."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, getattr(numpy, "generic", ()))


def in_c_order(value: Any) -> Any:
    """Returns ``value``; an array that is laid out otherwise, as an equal one in C order."""
    return value.copy(order="C") if is_array(value) and not value.flags.c_contiguous else value


def dump(array: Any) -> bytes:
    """Returns the bytes of an array: one copy of its buffer. An array in neither order is laid out in C order.

    Raises:
        EncodeError: Its elements have no portable bytes: objects, strings of variable length, long doubles.
    """
    flags = array.flags
    in_order = flags.c_contiguous
    order = "F" if flags.f_contiguous and not in_order else "C"
    header = _header(array.dtype, array.dtype.type, array.shape, order)
    # `join` copies the buffer once; `tobytes` and `+` copy it twice. Dates have no buffer in numpy.
    if in_order and array.dtype.kind in _BUFFERED_KINDS:
        return b"".join((header, array.data))
    return header + bytes(array.tobytes(order=order))


def load(data: bytes | memoryview, start: int = 0) -> Any:
    """Returns the array whose bytes are those from ``start`` on: a read-only view on ``data``, which it keeps alive.

    The elements are aligned where ``data`` begins, and the array starts, at a multiple of 8.

    Raises:
        DecodeError: The bytes are not an array's, or numpy is not installed.
    """
    try:
        numpy = _numpy()
    except ImportError as error:
        raise DecodeError("the entry holds a numpy array: pip install 'alacena[numpy]' to read it") from error
    if len(data) < start + _HEAD.size:
        raise DecodeError("the array is truncated")
    # All readers may get this array: over a buffer that can be written to, it must be read-only too.
    if not isinstance(data, bytes):
        data = data.toreadonly()
    offset = start + _HEAD.unpack_from(data, start)[4]
    # Bytes of their own: `_layout` remembers its argument, and a view would keep the whole entry alive.
    dtype, shape, order, length = _layout(bytes(data[start:offset]))
    # numpy refuses a buffer that is too short, and takes one that is too long.
    if len(data) != offset + length:
        raise DecodeError(f"the array should have {length} bytes after its header, not {len(data) - offset}")
    array = numpy.ndarray(shape, dtype, data, offset, None, order)
    if dtype.kind in _WITH_TEXT:
        _check_text(array)
    return array


def _check_text(array: Any) -> None:
    """Refuses code points that no text has: numpy notices them when an element is read, with an error of the interpreter.

    Raises:
        DecodeError: There is one.
    """
    dtype = array.dtype
    if dtype.names is not None:
        for name in dtype.names:
            _check_text(array[name])
    elif dtype.kind == "U" and array.nbytes:
        numpy = _numpy()
        # A copy: the elements of a record's field do not lie side by side, and `frombuffer` wants them so.
        codes = numpy.frombuffer(array.tobytes(), numpy.dtype("u4").newbyteorder(dtype.byteorder))
        if codes.max() > sys.maxunicode:
            raise DecodeError("the array holds bytes that are not text")


def remember_header(decode: Callable[[bytes, int], Any]) -> Callable[[bytes, int], Any]:
    """Returns a ``decode`` for payloads that are mostly arrays alike: it remembers the last one's header."""
    header = b""
    length = -1
    layout: Any = None

    def decode_next(data: bytes, start: int) -> Any:
        nonlocal header, length, layout
        offset = start + len(header)
        if len(data) == offset + length and data[start:offset] == header:
            array_type, shape, dtype, order = layout
            return array_type(shape, dtype, data, offset, None, order)
        value = decode(data, start)
        # Text is left out: the short way would skip the look at its code points.
        if len(data) > start and data[start] == MARK and value.dtype.kind not in _WITH_TEXT:
            length = value.nbytes
            header = data[start : len(data) - length]
            layout = type(value), value.shape, value.dtype, header[3:4].decode()
        return value

    return decode_next


def dump_scalar(value: Any) -> bytes:
    """Returns the bytes of a numpy scalar: those of an array without dimensions."""
    array = _numpy().asarray(value)
    # numpy drops zero characters at the end of text: a scalar that would come back shorter is refused.
    if type(array[()]) is not type(value) or array.tobytes() != _numpy().asarray(array[()]).tobytes():
        raise EncodeError(f"{type(value).__name__} cannot be stored as a numpy scalar: pass value.item()")
    return dump(array)


def load_scalar(data: bytes | memoryview) -> Any:
    """Returns the numpy scalar whose bytes these are."""
    return load(data)[()]


def worth_compressing(payload: bytes | memoryview) -> bool:
    """Returns whether compression may pay: floats are noise to a compressor, and embeddings are most of what is stored."""
    return payload[0] != MARK or bytes(payload[2:3]) not in _FLOATS


@lru_cache(maxsize=512)
def _header(dtype: Any, element: type, shape: tuple[int, ...], order: str) -> bytes:
    # The elements' type is an argument so that the cache tells by it too: `numpy.record` hides behind an equal dtype.
    _require_portable(dtype)
    described = describe(dtype)
    rebuilt = _build(described)
    # Equality does not suffice: a dtype of `numpy.record` equals a plain one, and would come back as that.
    if rebuilt != dtype or rebuilt.type is not element:
        raise EncodeError(f"the dtype {dtype} cannot be described: cast the array to a plain dtype")
    text = msgpack.encode(described)
    body = struct.pack(f"<{len(shape)}Q", *shape) + text
    offset = -(-(_HEAD.size + len(body)) // 8) * 8
    if offset > _MAX_HEADER_BYTES:
        raise EncodeError(f"the dtype {dtype} has too many fields: store the columns as arrays of their own")
    head = _HEAD.pack(MARK, _VERSION, dtype.kind.encode(), order.encode(), offset, len(text), len(shape))
    return (head + body).ljust(offset, b"\0")


@lru_cache(maxsize=512)
def _layout(header: bytes) -> tuple[Any, tuple[int, ...], str, int]:
    if len(header) < _HEAD.size:
        raise DecodeError("the header of the array is truncated")
    mark, version, _, order, offset, described, dimensions = _HEAD.unpack_from(header)
    start = _HEAD.size + 8 * dimensions
    end = start + described
    if (mark, version) != (MARK, _VERSION) or offset != len(header) or offset % 8 or end > offset:
        raise DecodeError("this is not the header of an array that this release can read")
    shape = struct.unpack_from(f"<{dimensions}Q", header, _HEAD.size)
    try:
        # The dtype is judged as on writing: bytes may name one that no writer stores, such as a long double.
        dtype = _build(msgpack.decode(header[start:end]))
        _require_portable(dtype)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DecodeError("the array's dtype is unknown here") from error
    # In Python's own integers: numpy's wrap, and a shape of hostile size would pass for a small one.
    count = 1
    for extent in shape:
        count *= extent
    return dtype, shape, "F" if order == b"F" else "C", count * dtype.itemsize


def describe(dtype: Any) -> object:
    """Returns a dtype as plain data: numpy's own string, a record's fields, or base and shape of a sub-array."""
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return [describe(base), list(shape)]
    if dtype.names is None:
        return dtype.str
    fields = [dtype.fields[name] for name in dtype.names]
    return {
        "names": list(dtype.names),
        "formats": [describe(field[0]) for field in fields],
        "offsets": [field[1] for field in fields],
        "itemsize": dtype.itemsize,
    }


def _build(described: Any) -> Any:
    numpy = _numpy()
    if isinstance(described, str):
        if not _TYPE.fullmatch(described):
            raise ValueError(f"{described!r} is no type of elements")
        return numpy.dtype(described)
    if isinstance(described, list):
        base, shape = described
        return numpy.dtype((_build(base), tuple(shape)))
    return numpy.dtype({**described, "formats": [_build(item) for item in described["formats"]]})


def _require_portable(dtype: Any) -> None:
    if dtype.subdtype is not None:
        _require_portable(dtype.subdtype[0])
    elif dtype.names is not None:
        for name in dtype.names:
            _require_portable(dtype.fields[name][0])
    elif dtype.hasobject or dtype.kind not in _KINDS:
        raise EncodeError(f"an array of dtype {dtype} has no bytes of its own: pass array.tolist()")
    # A long double is refused only if it is longer than a double: on some platforms it is not.
    elif dtype.char in "gG" and dtype.itemsize > _numpy().dtype("d" if dtype.char == "g" else "D").itemsize:
        raise EncodeError(f"{dtype} differs between machines: cast the array to float64 or complex128")
