"""Values that cannot be changed, and so may be handed to every caller as they are."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import Any, Final

import msgspec

from alacena.engine.codec import arrays

FROZEN: Final = frozenset(
    {
        str, bytes, int, float, complex, bool, type(None),
        dt.datetime, dt.date, dt.time, dt.timedelta, dt.timezone,
        Decimal, uuid.UUID, range,
    }
)  # fmt: skip
"""Types whose instances cannot be changed and refer to nothing that can."""

_CONTAINERS: Final = frozenset({dict, list, set, bytearray})
"""What anybody can change, whatever is in it."""


def is_immutable(value: object) -> bool:
    """Returns whether ``value`` cannot be changed, so that every caller may have the same object.

    True for strings, bytes, numbers, ``None``, dates, decimals, UUIDs, enum members, tuples, frozensets, named tuples,
    frozen dataclasses and frozen structs all of whose parts are immutable too, and numpy scalars and read-only arrays.
    Subclasses of built-in types count as mutable: they may carry attributes.
    """
    if type(value) in FROZEN:
        return True
    if type(value) in _CONTAINERS:
        return False
    # A list and not recursion: tuples may be nested deeper than the interpreter's stack.
    todo = [value]
    seen: set[int] = set()
    while todo:
        item = todo.pop()
        if type(item) in FROZEN or id(item) in seen:
            continue
        seen.add(id(item))
        parts = _frozen_parts(item)
        if parts is None:
            return False
        todo.extend(parts)
    return True


def _frozen_parts(value: Any) -> list[object] | None:
    """Returns the parts of a value that cannot be changed itself; ``None`` if it can."""
    kind = type(value)
    if kind is tuple or kind is frozenset or (issubclass(kind, tuple) and _is_named_tuple(kind)):
        return list(value)
    if isinstance(value, enum.Enum):
        return None if isinstance(value, str) else []  # not registered, it comes back from a server as text
    if issubclass(kind, msgspec.Struct):
        fields = kind.__struct_fields__
        return [getattr(value, field) for field in fields] if kind.__struct_config__.frozen else None
    if dataclasses.is_dataclass(kind):
        return _parts_of_dataclass(value)
    if arrays.is_array(value):
        return [] if _is_read_only(value) else None
    # A structured scalar (`V`) can be written to.
    return [] if arrays.is_scalar(value) and value.dtype.kind != "V" else None


def _is_named_tuple(kind: Any) -> bool:
    # A subclass without `__slots__ = ()` has a dict, and so attributes that anybody can change.
    return hasattr(kind, "_fields") and kind.__dictoffset__ == 0


def _parts_of_dataclass(value: Any) -> list[object] | None:
    # Of the class itself and not inherited: instances of an undecorated subclass take new attributes.
    params = vars(type(value)).get("__dataclass_params__")
    if params is None or not params.frozen:
        return None
    fields = [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    # A frozen instance may hold more than its fields, such as the result of a `cached_property`.
    return [*fields, *getattr(value, "__dict__", {}).values()]


def _is_read_only(array: Any) -> bool:
    """Returns whether neither this array nor one that it is a view of can be written to."""
    if array.dtype.hasobject:
        return False
    holder = array
    while arrays.is_array(holder):
        if holder.flags.writeable:
            return False
        holder = holder.base
    return holder is None or isinstance(holder, bytes) or (isinstance(holder, memoryview) and holder.readonly)
