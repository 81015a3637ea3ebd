"""The attributes that an object has beside the fields of its class."""

from __future__ import annotations

from types import FunctionType, MemberDescriptorType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


_CACHED_HASH: Final = "_attrs_cached_hash"
"""Where attrs keeps the hash of an instance, which is another one in another process; ``None``: it is computed anew."""


def slots_of(kind: type) -> list[str]:
    """Returns the names of the slots of a class and of those that it is derived from."""
    return [name for one in kind.__mro__ for name, slot in vars(one).items() if type(slot) is MemberDescriptorType]


def is_derived(kind: type, name: str) -> bool:
    """Returns whether the class makes an attribute of the others when it is first asked for, as ``cached_property`` does."""
    found = next((vars(one)[name] for one in kind.__mro__ if name in vars(one)), None)
    makes: type = type(found)
    return makes.__name__ == "cached_property" or (
        hasattr(makes, "__get__") and not hasattr(makes, "__set__") and makes is not FunctionType
    )


def read_beside(kind: type, fields: Iterable[str]) -> Callable[[Any], dict[str, Any]]:
    """Returns a function that reads the attributes of an instance that are no fields, in the order of their names.

    Attributes that the class makes of the fields when they are first asked for are left out: they are made anew.
    """
    declared = frozenset(fields)
    all_slots = slots_of(kind)
    slots = tuple(name for name in all_slots if name not in declared)
    has_dict = kind.__dictoffset__ != 0
    if not slots and not has_dict:
        return read_none
    count = len(declared.difference(all_slots))

    def read(value: Any) -> dict[str, Any]:
        held = vars(value) if has_dict else {}
        # Each field is there, or the instance could not be taken apart: so nothing else is.
        if not slots and len(held) == count:
            return {}
        found = held | {name: getattr(value, name) for name in slots if hasattr(value, name)}
        return {
            name: None if name == _CACHED_HASH else found[name]
            for name in sorted(found.keys() - declared)
            # Names of this form are the interpreter's own, such as the parameters that a generic class was given.
            if not (name.startswith("__") and name.endswith("__")) and not is_derived(kind, name)
        }

    return read


def read_none(value: Any) -> dict[str, Any]:  # noqa: ARG001 - of the form of the others
    """Reads no attributes: of classes whose parts say all."""
    return {}


def put_beside(value: Any, attributes: dict[str, Any]) -> None:
    """Gives an instance its attributes that are no fields; those that the class has no room for any more are left out."""
    kind = type(value)
    has_dict, slots = kind.__dictoffset__ != 0, slots_of(kind)
    for name, item in attributes.items():
        if name in slots:
            object.__setattr__(value, name, item)
        elif has_dict:
            vars(value)[name] = item
