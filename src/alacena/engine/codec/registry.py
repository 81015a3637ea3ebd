"""The classes of the application whose instances may be stored."""

from __future__ import annotations

import dataclasses
import enum
import sys
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import msgspec

from alacena.engine.errors import DecodeError, EncodeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

C = TypeVar("C", bound=type)


class Record(NamedTuple):
    """How the instances of one registered class are taken apart and put together again."""

    cls: type
    name: str
    shape: int
    """CRC-32 of the kind of class and of its field names: an entry of another shape is refused."""
    fields: tuple[str, ...]
    dump: Callable[[Any], Sequence[object]]
    load: Callable[[list[Any]], object]


class Registry:
    """Classes by the name that stands for them in an entry. Only what was registered is ever instantiated.

    An entry holds the registered name, a fingerprint of the field names and the values of the fields. When a field is
    added, renamed or removed, older entries become misses instead of objects of the wrong shape. Give the class a new
    name when a field keeps its name and changes its meaning.

    Dataclasses and pydantic models are restored as they were, without running ``__init__``, ``__post_init__`` or
    validators again. A ``msgspec.Struct`` is built through its constructor, the only way that it offers. Attributes
    that are not fields (a ``cached_property``, for one) are not stored.
    """

    def __init__(self) -> None:
        self._by_class: dict[type, Record] = {}
        self._by_name: dict[str, Record] = {}

    def register(
        self,
        cls: C,
        name: str | None = None,
        *,
        dump: Callable[[Any], object] | None = None,
        load: Callable[[Any], object] | None = None,
    ) -> C:
        """Allow instances of exactly ``cls`` (not of its subclasses) to be stored. Usable as a class decorator.

        Args:
            cls: An ``Enum``, dataclass, pydantic model, ``msgspec.Struct`` or named tuple; any class at all with
                ``dump`` and ``load``.
            name: What stands for the class in entries; every process must use the same. Left out: its module and
                qualified name, so that moving the class turns its entries into misses.
            dump: Takes an instance, returns a value that can be stored.
            load: Takes that value, returns the instance. Raise ``ValueError`` for a value that means nothing.

        Returns:
            ``cls`` itself.

        Raises:
            UsageError: The name belongs to another class, the class has another name, or it is not of a kind that can
                be taken apart.
        """
        record = _record(cls, name, dump, load)
        known = self._by_name.get(record.name)
        if known is not None and known.cls is not cls:
            raise UsageError(
                f"The name {record.name!r} already stands for {known.cls!r}: "
                f"register {cls!r} under another, with register(cls, name='...')."
            )
        other = self._by_class.get(cls)
        if other is not None and other.name != record.name:
            raise UsageError(f"{cls!r} is already registered as {other.name!r}: a class has one name.")
        self._by_name[record.name] = self._by_class[cls] = record
        return cls

    def of(self, cls: type) -> Record | None:
        """The record of exactly this class, or ``None``."""
        return self._by_class.get(cls)

    def restore(self, name: object, shape: object, state: list[Any]) -> object:
        """The instance that an entry describes.

        Raises:
            DecodeError: No class has this name here, or it has other fields by now.
        """
        record = self._by_name.get(name) if isinstance(name, str) else None
        if record is None:
            raise DecodeError(f"No class is registered as {name!r} in this process: register it before reading.")
        if shape != record.shape or len(state) != len(record.fields):
            raise DecodeError(f"The class registered as {name!r} had other fields when this entry was written.")
        return record.load(state)


default_registry: Final = Registry()
"""The registry of every codec that was not given one."""

register: Final = default_registry.register
"""Register a class for the whole process. See `Registry.register`."""


def describe(cls: type) -> Record:
    """Returns how the instances of a class are taken apart, whether it is registered or not.

    Raises:
        UsageError: It is no Enum, dataclass, pydantic model, msgspec.Struct or named tuple.
    """
    return _record(cls, None, None, None)


def _record(
    cls: Any, name: str | None, dump: Callable[[Any], object] | None, load: Callable[[Any], object] | None
) -> Record:
    if not isinstance(cls, type):
        raise UsageError(f"register() takes a class, not {cls!r}.")
    name = name or f"{cls.__module__}.{cls.__qualname__}"
    if (dump is None) is not (load is None):
        raise UsageError("Give both dump= and load=, or neither.")
    if dump is not None and load is not None:
        return _of_functions(cls, name, dump, load)
    if issubclass(cls, enum.Enum):
        return _of_enum(cls, name)
    if issubclass(cls, msgspec.Struct):
        return _of_struct(cls, name)
    if _is_pydantic(cls):
        return _of_pydantic(cls, name)
    if dataclasses.is_dataclass(cls):
        return _of_dataclass(cls, name)
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return _of_named_tuple(cls, name)
    raise UsageError(
        f"{cls!r} is no Enum, dataclass, pydantic model, msgspec.Struct or named tuple: "
        "pass dump= and load=, which turn an instance into a storable value and back."
    )


def _shape(kind: str, fields: Sequence[str]) -> int:
    return zlib.crc32("\0".join((kind, *fields)).encode())


def _of_functions(cls: type, name: str, dump: Callable[[Any], object], load: Callable[[Any], object]) -> Record:
    def take_apart(value: object) -> list[object]:
        return [dump(value)]

    def put_together(state: list[Any]) -> object:
        return load(state[0])

    return Record(cls, name, _shape("functions", ()), ("",), take_apart, put_together)


def _of_enum(cls: type[enum.Enum], name: str) -> Record:
    by_value = issubclass(cls, enum.Flag)

    def dump(member: enum.Enum) -> list[object]:
        if by_value:
            return [member.value]
        if cls.__members__.get(member.name) is not member:
            raise EncodeError(f"{member!r} is not one of the members that {cls.__qualname__} declares")
        return [member.name]

    def load(state: list[Any]) -> object:
        return cls(state[0]) if by_value else cls[state[0]]

    return Record(cls, name, _shape("enum", ()), ("",), dump, load)


def _of_struct(cls: type[msgspec.Struct], name: str) -> Record:
    fields = cls.__struct_fields__

    def dump(value: msgspec.Struct) -> list[object]:
        return [getattr(value, field) for field in fields]

    def load(state: list[Any]) -> object:
        return cls(**dict(zip(fields, state, strict=True)))

    return Record(cls, name, _shape("struct", fields), fields, dump, load)


def _of_dataclass(cls: type, name: str) -> Record:
    fields = tuple(field.name for field in dataclasses.fields(cls))

    def dump(value: object) -> list[object]:
        return [getattr(value, field) for field in fields]

    def load(state: list[Any]) -> object:
        value: object = object.__new__(cls)
        for field, item in zip(fields, state, strict=True):
            object.__setattr__(value, field, item)
        return value

    return Record(cls, name, _shape("dataclass", fields), fields, dump, load)


def _of_named_tuple(cls: Any, name: str) -> Record:
    fields: tuple[str, ...] = cls._fields

    def load(state: list[Any]) -> object:
        restored: object = tuple.__new__(cls, state)
        return restored

    return Record(cls, name, _shape("named tuple", fields), fields, list, load)


def _is_pydantic(cls: type) -> bool:
    """Whether ``cls`` is a pydantic model: there is none unless somebody else has imported pydantic."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and issubclass(cls, pydantic.BaseModel)


PYDANTIC_FIELDS_SET: Final = "__pydantic_fields_set__"
"""The part of a model's state that says which fields were given: equal models may differ in it."""

_PYDANTIC_STATE: Final = ("__pydantic_extra__", PYDANTIC_FIELDS_SET, "__pydantic_private__")


def _of_pydantic(cls: Any, name: str) -> Record:
    declared = tuple(cls.model_fields)

    def dump(value: Any) -> list[object]:
        state = value.__getstate__()
        held = state["__dict__"]
        return [*(held[field] for field in declared), *(state[part] for part in _PYDANTIC_STATE)]

    def load(state: list[Any]) -> object:
        value: Any = cls.__new__(cls)
        count = len(declared)
        rest = dict(zip(_PYDANTIC_STATE, state[count:], strict=True))
        value.__setstate__({"__dict__": dict(zip(declared, state[:count], strict=True)), **rest})
        restored: object = value
        return restored

    fields = (*declared, *_PYDANTIC_STATE)
    return Record(cls, name, _shape("pydantic", fields), fields, dump, load)
