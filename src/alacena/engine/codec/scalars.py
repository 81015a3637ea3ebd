"""Leaves that MessagePack has no type for: dates, decimals, UUIDs, integers beyond 64 bits, and the like."""

from __future__ import annotations

import datetime as dt
import struct
import uuid
import zoneinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from msgspec import msgpack

from alacena.engine.base.errors import DecodeError, EncodeError

if TYPE_CHECKING:
    from collections.abc import Callable

_DATETIME: Final = struct.Struct("<HBBBBBIB")
_TIME: Final = struct.Struct("<BBBIB")
_DATE: Final = struct.Struct("<I")
_TIMEDELTA: Final = struct.Struct("<iII")
_COMPLEX: Final = struct.Struct("<dd")
_MICROSECOND: Final = dt.timedelta(microseconds=1)


def _dump_zone(value: dt.datetime | dt.time) -> bytes:
    """Returns the zone of a value: by its name or offset; of another make, the offset that it has at this value."""
    zone = value.tzinfo
    if zone is None:
        return b""
    if type(zone) is dt.timezone:
        offset, name = zone.utcoffset(None), zone.tzname(None)
        given = [] if name == dt.timezone(offset).tzname(None) else [name]
        return msgpack.encode([offset // _MICROSECOND, *given])
    # A zone that was read from a file has no key: another process could not find it by name.
    if isinstance(zone, zoneinfo.ZoneInfo) and zone.key is not None:
        return msgpack.encode(zone.key)
    at = value.utcoffset()
    if at is None:
        raise EncodeError(
            f"a time zone of type {type(zone).__qualname__} has no offset at this value: "
            "use zoneinfo.ZoneInfo or value.astimezone(datetime.timezone.utc)"
        )
    return msgpack.encode([at // _MICROSECOND])


def _load_zone(data: memoryview) -> dt.tzinfo | None:
    if not data:
        return None
    described = msgpack.decode(data)
    if isinstance(described, str):
        try:
            # A hostile name may be that of a directory: the error is then the file system's own.
            return zoneinfo.ZoneInfo(described)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise DecodeError(f"the time zone {described!r} is unknown on this machine: install tzdata") from error
    offset, *name = described
    return dt.timezone(offset * _MICROSECOND, *name)


def _dump_datetime(value: dt.datetime) -> bytes:
    moment = (value.year, value.month, value.day, value.hour, value.minute, value.second)
    return _DATETIME.pack(*moment, value.microsecond, value.fold) + _dump_zone(value)


def _load_datetime(data: memoryview) -> dt.datetime:
    year, month, day, hour, minute, second, micros, fold = _DATETIME.unpack_from(data)
    zone = _load_zone(data[_DATETIME.size :])
    return dt.datetime(year, month, day, hour, minute, second, micros, tzinfo=zone, fold=fold)


def _dump_time(value: dt.time) -> bytes:
    moment = (value.hour, value.minute, value.second, value.microsecond)
    return _TIME.pack(*moment, value.fold) + _dump_zone(value)


def _load_time(data: memoryview) -> dt.time:
    hour, minute, second, micros, fold = _TIME.unpack_from(data)
    return dt.time(hour, minute, second, micros, tzinfo=_load_zone(data[_TIME.size :]), fold=fold)


def plain_time(value: Any) -> Any:
    """Returns the date, time or duration of the standard library that a driver's or framework's own says no more than.

    The object itself if there is none: it is finer than a microsecond, is no moment at all (``NaT``), counts in months, or
    has attributes of its own.
    """
    if not isinstance(value, dt.date | dt.time | dt.timedelta) or getattr(value, "__dict__", None):
        return value
    try:
        # `NaT` is a datetime whose year is no number.
        bare = _bare_time(value)
    except (TypeError, ValueError):
        return value
    # The comparison finds what the fields do not say, such as nanoseconds.
    return bare if bare == value else value


def _bare_time(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        moment = (value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond)
        return dt.datetime(*moment, tzinfo=value.tzinfo, fold=value.fold)
    if isinstance(value, dt.date):
        return dt.date(value.year, value.month, value.day)
    if isinstance(value, dt.time):
        return dt.time(value.hour, value.minute, value.second, value.microsecond, tzinfo=value.tzinfo, fold=value.fold)
    return dt.timedelta(value.days, value.seconds, value.microseconds)


def _dump_int(value: int) -> bytes:
    # At least one bit more than the number has, for its sign.
    return value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)


def _load_int(data: memoryview) -> int:
    return int.from_bytes(data, "little", signed=True)


def _dump_decimal(value: Decimal) -> bytes:
    # Text keeps trailing zeros and what a NaN carries, and no context rounds it.
    return str(value).encode()


def _load_decimal(data: memoryview) -> Decimal:
    return Decimal(str(data, "ascii"))


# The codes stand in stored entries: a code that is given to another type reads them as that type.
DUMPERS: Final[dict[type, tuple[int, Callable[[Any], bytes]]]] = {
    int: (5, _dump_int),
    str: (6, lambda value: value.encode("utf-8", "surrogatepass")),
    complex: (7, lambda value: _COMPLEX.pack(value.real, value.imag)),
    bytearray: (8, bytes),
    dt.datetime: (9, _dump_datetime),
    dt.date: (10, lambda value: _DATE.pack(value.toordinal())),
    dt.time: (11, _dump_time),
    dt.timedelta: (12, lambda value: _TIMEDELTA.pack(value.days, value.seconds, value.microseconds)),
    Decimal: (13, _dump_decimal),
    uuid.UUID: (14, lambda value: value.bytes),
}
"""Extension code and dumper by exact type. ``int`` and ``str`` only where MessagePack cannot hold them."""

LOADERS: Final[dict[int, Callable[[memoryview], object]]] = {
    5: _load_int,
    6: lambda data: str(data, "utf-8", "surrogatepass"),
    7: lambda data: complex(*_COMPLEX.unpack(data)),
    8: bytearray,
    9: _load_datetime,
    10: lambda data: dt.date.fromordinal(_DATE.unpack(data)[0]),
    11: _load_time,
    12: lambda data: dt.timedelta(*_TIMEDELTA.unpack(data)),
    13: _load_decimal,
    14: lambda data: uuid.UUID(bytes=bytes(data)),
}
"""Loader by extension code."""
