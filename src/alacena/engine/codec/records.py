"""Records: instances of one class taken apart and rebuilt, by the names of their fields or by a pair of functions."""

from __future__ import annotations

import dataclasses
import enum
import sys
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from alacena.engine.base.errors import DecodeError, EncodeError, UsageError, show
from alacena.engine.codec.attributes import put_beside, read_beside, read_none

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


_BESIDE: Final = "+"
"""How the name of an attribute that is no field begins in an entry. No field is called so: versions of the class that do
not know the attribute leave it out."""


def _require(field: str) -> object:
    raise LookupError(field)


class Record(NamedTuple):
    """The stored form of one class's instances.

    Attributes:
        cls: The class.
        name: Its name in an entry.
        kind: The kind of the class.
        fields: The names of its parts, in the order of their values in an entry.
        dump: Takes an instance apart.
        load: Puts one together.
        default: The value of a field that an entry does not have; `LookupError` if the class has none for it.
        shape: The kind and the fields, as an entry says them.
        beside: Reads the attributes of an instance that are no fields, by name.
        may_refuse: Whether ``load`` runs code of the application, which may refuse what ``dump`` says.
    """

    cls: type
    name: str
    kind: str
    fields: tuple[str, ...]
    dump: Callable[[Any], Sequence[object]]
    load: Callable[[list[Any]], object]
    default: Callable[[str], object]
    shape: str
    beside: Callable[[Any], dict[str, Any]] = read_none
    may_refuse: bool = False

    def shape_with(self, names: Iterable[str]) -> str:
        """Returns the shape of an instance that has attributes of these names beside its fields."""
        return "\0".join((self.shape, *(f"{_BESIDE}{name}" for name in names)))

    def restore(self, shape: object, state: list[Any]) -> object:
        """Returns the instance that an entry describes; fields by name, whatever fields the class had when it was written.

        Raises:
            DecodeError: It was of another kind, or a field without a default is missing.
        """
        own = self.shape
        # An entry may say its fields by a checksum alone: it is read as long as they are the same.
        if len(state) == len(self.fields) and (shape == own or shape == zlib.crc32(own.encode())):
            return self.load(state)
        kind, *fields = shape.split("\0") if isinstance(shape, str) else ("",)
        if kind != self.kind or len(fields) != len(state):
            raise DecodeError(
                f"the class registered as {self.name!r} was of another kind, or had other fields, when this entry was written"
            )
        given = dict(zip(fields, state, strict=True))
        try:
            value = self.load([given[f] if f in given else self.default(f) for f in self.fields])
        except LookupError as missing:
            raise DecodeError(
                f"the class registered as {self.name!r} had other fields when this entry was written: give "
                f"{missing} a default"
            ) from missing
        if self.beside is not read_none:
            put_beside(value, {f.removeprefix(_BESIDE): given[f] for f in fields if f.startswith(_BESIDE)})
        return value


def _record(
    cls: type,
    name: str,
    kind: str,
    fields: tuple[str, ...],
    dump: Callable[[Any], Sequence[object]],
    load: Callable[[list[Any]], object],
    default: Callable[[str], object] = _require,
    beside: Callable[[Any], dict[str, Any]] = read_none,
) -> Record:
    return Record(cls, name, kind, fields, dump, load, default, "\0".join((kind, *fields)), beside)


def record_of(
    cls: Any,
    name: str | None = None,
    dump: Callable[[Any], object] | None = None,
    load: Callable[[Any], object] | None = None,
) -> Record:
    """Makes the record of a class.

    Raises:
        UsageError: The class is not of a kind that can be taken apart, and no functions are given that do.
    """
    if not isinstance(cls, type):
        raise UsageError(f"register() takes a class, not {show(cls)}")
    name = name or f"{cls.__module__}.{cls.__qualname__}"
    if (dump is None) is not (load is None):
        raise UsageError("give both dump= and load=, or neither")
    if dump is not None and load is not None:
        return _of_functions(cls, name, dump, load)
    for is_such, make in _KINDS:
        if is_such(cls):
            return make(cls, name)
    raise UsageError(
        f"{cls!r} is no Enum, dataclass, pydantic model, msgspec.Struct, attrs class or named tuple: "
        "pass dump= and load=, which turn an instance into a storable value and back"
    )


def can_be_taken_apart(cls: Any) -> bool:
    """Returns whether :func:`record_of` needs no functions for a class."""
    return isinstance(cls, type) and any(is_such(cls) for is_such, _ in _KINDS)


def annotations_of(cls: type) -> list[Any]:
    """Returns the types of a class's fields, as far as they can be found out.

    Raises:
        UsageError: A name in them means nothing in the module of the class.
    """
    if is_pydantic(cls):
        return [field.annotation for field in cls.model_fields.values()]  # type: ignore[attr-defined]  # pydantic's
    if issubclass(cls, enum.Enum):
        return []
    import typing

    try:
        return list(typing.get_type_hints(cls).values())
    except NameError as error:
        raise UsageError(
            f"the types of {cls!r} cannot be looked up ({error}): register each class by itself"
        ) from error


def _of_functions(cls: type, name: str, dump: Callable[[Any], object], load: Callable[[Any], object]) -> Record:
    def take_apart(value: object) -> list[object]:
        return [dump(value)]

    def put_together(state: list[Any]) -> object:
        return load(state[0])

    return _record(cls, name, "functions", ("",), take_apart, put_together)


def _of_enum(cls: type[enum.Enum], name: str) -> Record:
    # A combination of flags is no declared member: only its value brings it back.
    by_value = issubclass(cls, enum.Flag)

    def dump(member: enum.Enum) -> list[object]:
        if by_value:
            return [member.value]
        # A member that `_missing_` made is not declared: its name would not bring it back.
        if cls.__members__.get(member.name) is not member:
            raise EncodeError(f"{show(member)} is not one of the members that {cls.__qualname__} declares")
        return [member.name]

    def load(state: list[Any]) -> object:
        return cls(state[0]) if by_value else cls[state[0]]

    return _record(cls, name, "enum", ("",), dump, load)


def _of_struct(cls: type[msgspec.Struct], name: str) -> Record:
    fields = cls.__struct_fields__
    defaults = {one.name: one for one in msgspec.structs.fields(cls)}

    def dump(value: msgspec.Struct) -> list[object]:
        return [getattr(value, field) for field in fields]

    has_hook = hasattr(cls, "__post_init__")

    def load(state: list[Any]) -> object:
        given = dict(zip(fields, state, strict=True))
        value = cls(**given)
        if has_hook:
            # It ran when the instance was made: what it has computed of the fields would be computed of the outcome now.
            for field, item in given.items():
                msgspec.structs.force_setattr(value, field, item)
        return value

    def default(field: str) -> object:
        one = defaults[field]
        if one.default is not msgspec.NODEFAULT:
            return one.default
        return one.default_factory() if one.default_factory is not msgspec.NODEFAULT else _require(field)

    record = _record(cls, name, "struct", fields, dump, load, default, read_beside(cls, fields))
    return record._replace(may_refuse=has_hook)


def _loader_past_init(cls: type, fields: tuple[str, ...]) -> Callable[[list[Any]], object]:
    def load(state: list[Any]) -> object:
        # Past `__init__`, which may compute fields anew, and past the `__setattr__` of a frozen class.
        value: object = object.__new__(cls)
        for field, item in zip(fields, state, strict=True):
            object.__setattr__(value, field, item)
        return value

    return load


def _of_dataclass(cls: type, name: str) -> Record:
    declared = {field.name: field for field in dataclasses.fields(cls)}
    fields = tuple(declared)

    def dump(value: object) -> list[object]:
        return [getattr(value, field) for field in fields]

    def default(field: str) -> object:
        one = declared[field]
        if one.default is not dataclasses.MISSING:
            return one.default
        return one.default_factory() if one.default_factory is not dataclasses.MISSING else _require(field)

    load = _loader_past_init(cls, fields)
    return _record(cls, name, "dataclass", fields, dump, load, default, read_beside(cls, fields))


def _of_attrs(cls: Any, name: str) -> Record:
    declared = {field.name: field for field in cls.__attrs_attrs__}
    fields = tuple(declared)

    def dump(value: object) -> list[object]:
        return [getattr(value, field) for field in fields]

    def default(field: str) -> object:
        given = declared[field].default
        if hasattr(given, "takes_self"):  # a factory, which may ask for the instance that is not there yet
            return _require(field) if given.takes_self else given.factory()
        return _require(field) if type(given).__name__ == "_Nothing" else given

    load = _loader_past_init(cls, fields)
    return _record(cls, name, "attrs", fields, dump, load, default, read_beside(cls, fields))


def _of_named_tuple(cls: Any, name: str) -> Record:
    fields: tuple[str, ...] = cls._fields

    def load(state: list[Any]) -> object:
        # Past a `__new__` of the class's own, which may take other arguments.
        restored: object = tuple.__new__(cls, state)
        return restored

    defaults: dict[str, object] = getattr(cls, "_field_defaults", {})
    return _record(cls, name, "named tuple", fields, list, load, defaults.__getitem__, read_beside(cls, fields))


def is_pydantic(cls: type) -> bool:
    """Returns whether ``cls`` is a pydantic model: there is none unless the application has imported pydantic."""
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
        # A model that is one value (`RootModel`) has only the first two of these parts.
        return [*(held[field] for field in declared), *(state.get(part) for part in _PYDANTIC_STATE)]

    def load(state: list[Any]) -> object:
        value: Any = cls.__new__(cls)
        count = len(declared)
        rest = dict(zip(_PYDANTIC_STATE, state[count:], strict=True))
        # Another version of the class may have had more fields. With extras, names that are no fields stay: pydantic
        # counts extras as given.
        if not rest[PYDANTIC_FIELDS_SET] <= known and rest["__pydantic_extra__"] is None:
            rest[PYDANTIC_FIELDS_SET] &= known
        value.__setstate__({"__dict__": dict(zip(declared, state[:count], strict=True)), **rest})
        restored: object = value
        return restored

    def default(field: str) -> object:
        one = cls.model_fields[field]
        return _require(field) if one.is_required() else one.get_default(call_default_factory=True)

    known = frozenset(declared)
    return _record(cls, name, "pydantic", (*declared, *_PYDANTIC_STATE), dump, load, default)


def _is_named_tuple(cls: type) -> bool:
    return issubclass(cls, tuple) and hasattr(cls, "_fields")


_KINDS: Final[tuple[tuple[Callable[[Any], bool], Callable[[Any, str], Record]], ...]] = (
    # First: an enum that mixes in a dataclass or a named tuple must come back as its member.
    (lambda cls: issubclass(cls, enum.Enum), _of_enum),
    (lambda cls: issubclass(cls, msgspec.Struct), _of_struct),
    (is_pydantic, _of_pydantic),
    (dataclasses.is_dataclass, _of_dataclass),
    (lambda cls: "__attrs_attrs__" in vars(cls), _of_attrs),
    (_is_named_tuple, _of_named_tuple),
)
