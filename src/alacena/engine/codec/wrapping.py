"""Marks values that MessagePack would confuse: a tree goes in, a tree that can be encoded without loss comes out."""

from __future__ import annotations

import datetime as dt
import enum
import re
from gc import get_referents
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from msgspec.msgpack import Ext

from alacena.engine.base.errors import EncodeError, text_of
from alacena.engine.codec import arrays
from alacena.engine.codec.attributes import read_none
from alacena.engine.codec.frameworks import plain
from alacena.engine.codec.records import can_be_taken_apart
from alacena.engine.codec.scalars import DUMPERS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from alacena.engine.codec.records import Record
    from alacena.engine.codec.registry import Registry

MAX_DEPTH: Final = 128
"""Levels of containers that a value may have."""

MAX_ELEMENTS: Final = 1 << 22
"""Elements that a value may have; a part that appears twice counts twice, as it does in the bytes."""

TUPLE, SET, FROZENSET, MAP, ARRAY, NUMPY_SCALAR, REGISTERED = 1, 2, 3, 4, 20, 21, 30

_PLAIN: Final[frozenset[type]] = frozenset({str, int, float, bool, type(None), bytes})
# MessagePack can hold every value of these types. It cannot hold long integers, or text with lone surrogates.
_CERTAIN: Final[frozenset[type]] = _PLAIN - {str, int}
_TREES: Final = frozenset({dict, list})
_INT64: Final = range(-(1 << 63), 1 << 64)
_NAME: Final = re.compile(r"[^\W\d]\w*", re.ASCII)
_LONGEST_KEY: Final = 60

_ADVICE: Final[tuple[tuple[Any, str], ...]] = (
    (enum.Enum, "register its class with alacena.register"),
    (str, "it is a subclass of str with attributes of its own, which would be lost: pass str(value)"),
    (bytes, "it is a subclass of bytes, which would come back as bytes: pass bytes(value)"),
    (int, "it is a subclass of int, which would come back as int: pass int(value)"),
    (float, "it is a subclass of float, which would come back as float: pass float(value)"),
    (dict, "it is a subclass of dict, which would come back as dict: pass dict(value)"),
    (list, "it is a subclass of list, which would come back as list: pass list(value)"),
    (tuple, "register its class, or pass tuple(value)"),
    (
        dt.datetime,
        "a datetime would lose what it says beyond one, or it is NaT: pass value.to_pydatetime(), or None",
    ),
    (dt.date | dt.time, "it has attributes of its own, which would be lost: pass the plain date or time"),
    (
        dt.timedelta,
        "a timedelta would lose what it says beyond one: pass datetime.timedelta(seconds=value.total_seconds())",
    ),
    (memoryview, "pass bytes(value)"),
)
# By their names: a process that has no pandas does not import it for a message.
_FRAMES: Final[dict[tuple[str, str], str]] = {
    ("pandas", "DataFrame"): 'pass value.to_dict("records")',
    ("pandas", "Series"): "pass value.to_list()",
    ("polars", "DataFrame"): "pass value.to_dicts()",
    ("polars", "Series"): "pass value.to_list()",
}


def is_plain(value: object) -> bool:
    """Returns whether MessagePack holds ``value`` as it is: exactly JSON's types and bytes, at every depth.

    Goes through the value a level at a time, with C loops: about 30 ns an element. The garbage collector's view of
    a dict leaves its keys out where all of them are exactly ``str``, and shows them otherwise.

    Raises:
        EncodeError: It is deeper or larger than may be stored.
    """
    if type(value) not in _TREES:
        return type(value) in _PLAIN
    level: list[Any] = [value]
    elements = 0
    for _ in range(MAX_DEPTH):
        # Counted before the level is laid open: a value that multiplies itself at each level would fill memory.
        elements += sum(map(len, level))
        if elements > MAX_ELEMENTS:
            raise _too_large()
        members = get_referents(*level)
        others = set(map(type, members)) - _PLAIN
        if not others:
            return True
        if not others <= _TREES:
            return False
        level = [member for member in members if type(member) in _TREES]
    raise _too_deep()


def _too_large() -> EncodeError:
    return EncodeError(f"it has more than {MAX_ELEMENTS} elements: split it, or store numbers as a numpy array")


def _too_deep() -> EncodeError:
    return EncodeError(f"it has more than {MAX_DEPTH} levels (or contains itself): flatten it")


class Wrapper:
    """One pass over one value.

    Args:
        registry: The classes that may be stored.
        encode: Encodes a wrapped tree.
        careful: Look at every string and integer too. Only needed when encoding failed without.
    """

    def __init__(self, registry: Registry, encode: Callable[[object], bytes], *, careful: bool) -> None:
        self._registry = registry
        self._encode = encode
        self._leaves = _CERTAIN if careful else _PLAIN
        self._left = MAX_ELEMENTS
        self.may_refuse: set[str] = set()
        """The names of the classes in it that may refuse to be read back."""

    def wrap(self, value: Any, depth: int = 0) -> object:
        """Returns ``value`` itself if it needs no mark, else its stand-in.

        Raises:
            EncodeError: Something in it cannot be stored; its ``path`` starts below this value.
        """
        kind = type(value)
        if kind in self._leaves:
            return value
        if depth >= MAX_DEPTH:
            raise _too_deep()
        if kind is dict:
            return self._wrap_dict(value, depth)
        if kind is list:
            return self._wrap_items(value, depth)
        if kind is tuple:
            return Ext(TUPLE, self._encode(self._wrap_items(value, depth)))
        if kind is set or kind is frozenset:
            return Ext(SET if kind is set else FROZENSET, self._encode(self._wrap_items(value, depth, "{{{}}}")))
        if (kind is int and value in _INT64) or (kind is str and _is_utf8(value)):
            return value
        return self._wrap_leaf(value, kind, depth)

    def _wrap_leaf(self, value: Any, kind: type, depth: int) -> object:
        dumper = DUMPERS.get(kind)
        if dumper is not None:
            code, dump = dumper
            return Ext(code, dump(value))
        # Before all that it resembles: a registered subclass of UUID or str comes back as its own class.
        record = self._registry.of(kind)
        if record is not None:
            return self._wrap_registered(value, record, depth)
        if isinstance(value, UUID):
            # A database driver's own UUID says nothing that a plain one does not, and is equal to it.
            code, dump = DUMPERS[UUID]
            return Ext(code, dump(value))
        if arrays.is_array(value):
            return Ext(ARRAY, arrays.dump(value))
        if arrays.is_scalar(value):
            return Ext(NUMPY_SCALAR, arrays.dump_scalar(value))
        bare = plain(value)
        if bare is not value:
            return self.wrap(bare, depth)
        raise EncodeError(f"a value of type {kind.__module__}.{kind.__qualname__} cannot be stored: {_advice(value)}")

    def _wrap_items(self, items: Collection[Any], depth: int, segment: str = "[{}]") -> list[object]:
        self._count(items)
        # The `try` is around the loop and not in it: how many items are done tells which one failed.
        leaves, wrap, wrapped = self._leaves, self.wrap, list[object]()
        try:
            for item in items:
                wrapped.append(item if type(item) in leaves else wrap(item, depth + 1))
        except EncodeError as error:
            raise _below(segment.format(len(wrapped)), error) from error.__cause__
        return wrapped

    def _wrap_dict(self, items: Mapping[Any, Any], depth: int) -> object:
        self._count(items)
        leaves, wrap = self._leaves, self.wrap
        values = list[object]()
        try:
            for item in items.values():
                values.append(item if type(item) in leaves else wrap(item, depth + 1))
        except EncodeError as error:
            raise _below(_segment([*items][len(values)]), error) from error.__cause__
        keys = self._wrap_keys(items, depth)
        if any(type(key) is Ext for key in keys):
            return Ext(MAP, self._encode([part for pair in zip(keys, values, strict=True) for part in pair]))
        return dict(zip(keys, values, strict=True))

    def _wrap_keys(self, keys: Iterable[Any], depth: int) -> list[object]:
        leaves, wrap, wrapped = self._leaves, self.wrap, list[object]()
        try:
            for key in keys:
                wrapped.append(key if type(key) in leaves else wrap(key, depth + 1))
        except EncodeError as error:
            raise _below(f".<key {_short([*keys][len(wrapped)])}>", error) from error.__cause__
        return wrapped

    def _wrap_registered(self, value: object, record: Record, depth: int) -> Ext:
        try:
            state = list(record.dump(value))
        except (AttributeError, KeyError) as error:
            raise EncodeError(f"this {record.name} is incomplete: {error}") from error
        if record.may_refuse:
            self.may_refuse.add(record.name)
        beside = record.beside(value) if record.beside is not read_none else {}
        wrapped: list[object] = [record.name, record.shape_with(beside) if beside else record.shape]
        self._count(state)
        leaves, wrap = self._leaves, self.wrap
        try:
            for item in state:
                one = item if type(item) in leaves else wrap(item, depth + 1)
                wrapped.append(one)
            if beside:
                self._count(beside)
                for item in beside.values():
                    wrapped.append(self._wrap_beside(item, depth + 1))  # noqa: PERF401
        except EncodeError as error:
            # The name and the shape stand before the fields.
            field = (*record.fields, *beside)[len(wrapped) - 2]
            raise _below(f".{field}" if field else "", error) from error.__cause__
        return Ext(REGISTERED, self._encode(wrapped))

    def _wrap_beside(self, value: Any, depth: int) -> object:
        """Returns the stand-in of an attribute that is no field of its object's class."""
        try:
            return self.wrap(value, depth)
        except EncodeError as error:
            raise EncodeError(
                f"{error}, or make the attribute a cached_property, which is not stored", error.path
            ) from error.__cause__

    def _count(self, items: Collection[object]) -> None:
        self._left -= len(items)
        if self._left < 0:
            raise _too_large()


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _below(segment: str, error: EncodeError) -> EncodeError:
    return EncodeError(str(error), segment + error.path.removeprefix("$"))


def _segment(key: object) -> str:
    if isinstance(key, str) and _NAME.fullmatch(key):
        return f".{key}"
    return f"[{_short(key)}]"


def _short(key: object) -> str:
    text = text_of(key, repr)
    return text if len(text) <= _LONGEST_KEY else text[: _LONGEST_KEY - 1] + "…"


def _advice(value: object) -> str:
    for kind, advice in _ADVICE:
        if isinstance(value, kind):
            return advice
    kind = type(value)
    frame = _FRAMES.get((kind.__module__.partition(".")[0], kind.__name__))
    more = "" if can_be_taken_apart(kind) else ", dump=..., load=..."
    return frame or f"register its class with alacena.register({kind.__name__}{more}), or turn it into plain data"
