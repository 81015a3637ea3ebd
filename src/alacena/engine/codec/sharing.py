"""Values that may be handed to every caller as they are, and the bytes that a value holds."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import sys
import types
import uuid
import weakref
from decimal import Decimal
from gc import get_referents
from itertools import chain
from typing import Any, Final

import msgspec

from alacena.engine.codec import arrays

_FROZEN: Final = frozenset(
    {
        str, bytes, int, float, complex, bool, type(None),
        dt.datetime, dt.date, dt.time, dt.timedelta, dt.timezone,
        Decimal, uuid.UUID, range,
    }
)  # fmt: skip

_TREES: Final = frozenset({dict, list, tuple, set, frozenset})

_CONTAINERS: Final = frozenset({dict, list, set, bytearray})
"""What anybody can change, whatever is in it."""

_OF_THE_PROGRAM: Final = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.CodeType,
    weakref.ref,
    enum.Enum,
)
"""Objects that exist once however many values refer to them: they are nobody's weight."""


def is_immutable(value: object) -> bool:
    """Returns whether ``value`` cannot be changed, so that every caller may have the same object.

    True for strings, bytes, numbers, ``None``, dates, decimals, UUIDs, enum members, tuples, frozensets, named tuples,
    frozen dataclasses and frozen structs all of whose parts are immutable too, and numpy scalars and read-only arrays.
    Subclasses of built-in types count as mutable: they may carry attributes.
    """
    if type(value) in _FROZEN:
        return True
    if type(value) in _CONTAINERS:
        return False
    # A list and not recursion: tuples may be nested deeper than the interpreter's stack.
    todo = [value]
    seen: set[int] = set()
    while todo:
        item = todo.pop()
        if type(item) in _FROZEN or id(item) in seen:
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


def size_of(value: object) -> int:
    """Returns bytes that ``value`` and everything reached from it occupy in this process.

    An object that is reached by several ways counts once, cycles end, and the buffers of arrays count as a whole, even where the
    array shows a part of one. Classes, functions, modules and enum members belong to the program, not to the value.

    Cost: about 0.1 µs for a string or bytes, 0.5 µs for an array, 0.3 µs for each element of a tree.
    """
    if type(value) in _FROZEN:
        return sys.getsizeof(value)
    if arrays.is_array(value) and (size := _size_of_array(value)):
        return size
    # It holds the objects and not their ids alone: the id of an object that is gone may be given to the next.
    seen: dict[int, object] = {}
    level = [value]
    total = 0
    while level:
        fresh = dict(zip(map(id, level), level, strict=True))
        for known in fresh.keys() & seen.keys():
            del fresh[known]
        seen |= fresh
        total += sum(map(sys.getsizeof, fresh.values()))
        level = _members([item for item in fresh.values() if type(item) not in _FROZEN])
    return total


def _size_of_array(array: Any) -> int:
    """Returns the array, and the holder of its buffer; 0 if it holds objects, which have to be followed."""
    if array.dtype.hasobject:
        return 0
    total, holder = 0, array
    while holder is not None:
        total += sys.getsizeof(holder)
        holder = holder.obj if type(holder) is memoryview else getattr(holder, "base", None)
    return total


def _members(holders: list[Any]) -> list[Any]:
    """Returns all that these objects refer to. The collector does not show a dict's keys where all are strings."""
    trees = [item for item in holders if type(item) in _TREES]
    members = get_referents(*trees)
    members.extend(chain.from_iterable([item for item in trees if type(item) is dict]))
    if len(trees) < len(holders):
        for item in holders:
            if type(item) not in _TREES:
                members.extend(_members_of_object(item))
    return members


def _members_of_object(value: Any) -> list[Any]:
    if arrays.is_array(value):
        # The collector does not see what an array of objects refers to.
        inner = value.ravel().tolist() if value.dtype.hasobject else []
        return inner if value.base is None else [*inner, value.base]
    if type(value) is memoryview:
        return [value.obj]
    if isinstance(value, _OF_THE_PROGRAM):
        return []
    members = get_referents(value)
    members.extend(key for item in members if type(item) is dict for key in item)
    return [item for item in members if not isinstance(item, _OF_THE_PROGRAM)]
