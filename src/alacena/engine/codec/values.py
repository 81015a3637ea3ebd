"""Values to bytes and back: equal in value *and* in type, at every depth.

Storable are: ``None``, ``bool``, ``int`` of any size, ``float``, ``complex``, ``str`` (lone surrogates too),
``bytes``, ``bytearray``, ``list``, ``tuple``, ``set``, ``frozenset``, ``dict`` with any storable hashable keys,
``datetime`` (naive, ``timezone``, ``ZoneInfo``; the fold is kept), ``date``, ``time``, ``timedelta``, ``Decimal``,
``UUID``, numpy arrays and scalars, and the classes of a `Registry`. Everything else, subclasses of these types
included, is an `EncodeError`: nothing turns into something similar on its way through Redis. Two exceptions: numpy
arrays come back read-only, and what a database driver or a framework derives from ``UUID``, ``datetime``, ``date``,
``time`` or ``timedelta`` comes back as the plain one that it equals; unless it says more than that one.

The bytes are MessagePack. JSON's types and bytes are encoded and decoded by one call into C; before that, a scan
makes sure that it applies, because the encoder would take a tuple for a list and a datetime for a string without a
word. The other types travel as MessagePack extensions. An array that is a value by itself is its raw buffer behind a
small header (`alacena.engine.codec.arrays`), decoded without a copy.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import msgpack

from alacena.engine.base.errors import DecodeError, EncodeError
from alacena.engine.codec import arrays
from alacena.engine.codec.registry import default_registry
from alacena.engine.codec.scalars import LOADERS
from alacena.engine.codec.wrapping import (
    ARRAY,
    FROZENSET,
    MAP,
    NUMPY_SCALAR,
    REGISTERED,
    SET,
    TUPLE,
    Wrapper,
    is_plain,
)

if TYPE_CHECKING:
    from alacena.engine.codec.registry import Registry

_BROKEN: Final = (
    msgspec.MsgspecError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)
"""What decoding hostile bytes, or bytes of a class that changed, may raise on its way."""


class ValueCodec:
    """Turns values into bytes and back, with the classes of one registry.

    Args:
        registry: The classes of the application that may be stored. Left out: the process-wide registry.
    """

    def __init__(self, registry: Registry | None = None) -> None:
        self._registry = default_registry if registry is None else registry
        self._encode = msgpack.Encoder().encode
        self._decode = msgpack.Decoder(ext_hook=self._restore).decode
        self._decode_list = msgpack.Decoder(list, ext_hook=self._restore).decode

    def encode(self, value: object) -> bytes:
        """Returns the bytes of ``value``, which must not change meanwhile.

        Raises:
            EncodeError: It holds something that cannot be stored (the message and ``path`` say where, and what to do),
                or it is too deep or too large.
        """
        try:
            if is_plain(value):
                return self._encode(value)
            if arrays.is_array(value):
                return arrays.dump(value)
            # Without care first: a look at every string and integer would cost all values what few of them need.
            return self._prove(value, careful=False)
        except (OverflowError, UnicodeEncodeError):
            return self._encode_carefully(value)
        except EncodeError as error:
            raise locate(error) from error.__cause__

    def encode_all(self, values: list[Any]) -> list[bytes]:
        """Returns the bytes of each of several values, as :meth:`encode` does: for less, if all of them are plain.

        Raises:
            EncodeError: As for :meth:`encode`, of the first that cannot be stored.
        """
        try:
            if is_plain(values):
                return list(map(self._encode, values))
        # Together they may be too large, or one of them cannot be stored: that is found out one by one.
        except (OverflowError, UnicodeEncodeError, EncodeError):
            pass
        return list(map(self.encode, values))

    def _encode_carefully(self, value: object) -> bytes:
        """Encodes a value that holds an integer beyond 64 bits, or a string that UTF-8 cannot hold."""
        try:
            return self._prove(value, careful=True)
        except EncodeError as error:
            raise locate(error) from error.__cause__

    def _prove(self, value: object, *, careful: bool) -> bytes:
        """Encodes a value, and reads it back if it holds a class whose own code may refuse to be."""
        wrapper = Wrapper(self._registry, self._encode, careful=careful)
        data = self._encode(wrapper.wrap(value))
        if wrapper.may_refuse:
            # A later reader has no value in hand any more: a fault must be found while the caller has.
            try:
                self.decode(data)
            except DecodeError as error:
                names = ", ".join(sorted(wrapper.may_refuse))
                raise EncodeError(
                    f"it cannot be read back ({error}): see `load=` or `__post_init__` of {names}"
                ) from error
        return data

    def decode(self, data: bytes | memoryview, start: int = 0) -> Any:
        """Returns the value whose bytes are those from ``start`` on.

        A hostile tree costs no more memory than about 80 bytes for each of its own (an empty dict is one byte long),
        whatever sizes it declares, and no more depth than the interpreter's recursion limit.

        Raises:
            DecodeError: They are foreign bytes, or of a class that changed or is not registered.
        """
        try:
            if len(data) > start and data[start] == arrays.MARK:
                return arrays.load(data, start)
            return self._decode(memoryview(data)[start:] if start else data)
        except DecodeError:
            raise
        except _BROKEN as error:
            raise DecodeError(f"these bytes hold no value: {error}") from error

    def _restore(self, code: int, data: memoryview) -> object:
        load = LOADERS.get(code)
        if load is not None:
            return load(data)
        if code in (ARRAY, NUMPY_SCALAR):
            # A copy of its own aligns the elements and lets go of the rest of the tree.
            own = bytes(data)
            return arrays.load(own) if code == ARRAY else arrays.load_scalar(own)
        return self._restore_container(code, self._decode_list(data))

    def _restore_container(self, code: int, items: list[Any]) -> object:
        if code == TUPLE:
            return tuple(items)
        if code == SET:
            return set(items)
        if code == FROZENSET:
            return frozenset(items)
        if code == MAP:
            return dict(zip(items[::2], items[1::2], strict=True))
        if code == REGISTERED:
            name, shape, *state = items
            return self._registry.restore(name, shape, state)
        raise DecodeError(f"the extension {code} is unknown to this release")


def locate(error: EncodeError) -> EncodeError:
    """Returns the error with the whole path from the value's root in its message."""
    path = error.path if error.path.startswith("$") else "$" + error.path
    return EncodeError(f"{path}: {error}", path)


_default: Final = ValueCodec()
encode: Final = _default.encode
"""Encode with the process-wide registry. See `ValueCodec.encode`."""
decode: Final = _default.decode
"""Decode with the process-wide registry. See `ValueCodec.decode`."""
