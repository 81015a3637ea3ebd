"""The bytes that a value holds in this process."""

from __future__ import annotations

import enum
import sys
import types
import weakref
from gc import get_referents
from itertools import chain
from typing import Any, Final

from alacena.engine.codec import arrays
from alacena.engine.codec.immutability import FROZEN

_TREES: Final = frozenset({dict, list, tuple, set, frozenset})

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


def size_of(value: object) -> int:
    """Returns bytes that ``value`` and everything reached from it occupy in this process.

    An object that is reached by several ways counts once, cycles end, and the buffers of arrays count as a whole, even where the
    array shows a part of one. Classes, functions, modules and enum members belong to the program, not to the value.

    Cost: about 0.1 µs for a string or bytes, 0.5 µs for an array, 0.3 µs for each element of a tree.
    """
    if type(value) in FROZEN:
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
        level = _members([item for item in fresh.values() if type(item) not in FROZEN])
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
