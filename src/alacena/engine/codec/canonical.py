"""One encoding for all equal values: in it neither the order of a dict nor that of a set counts, in no process."""

from __future__ import annotations

import collections
import datetime as dt
import inspect
import pathlib
import re
import types
import zoneinfo
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from msgspec import msgpack
from msgspec.msgpack import Ext

from alacena.engine.base.errors import EncodeError, UsageError
from alacena.engine.codec import arrays
from alacena.engine.codec.records import PYDANTIC_FIELDS_SET, record_of
from alacena.engine.codec.registry import default_registry
from alacena.engine.codec.values import locate
from alacena.engine.codec.wrapping import FROZENSET, SET, Wrapper

if TYPE_CHECKING:
    from collections.abc import Callable

    from alacena.engine.codec.records import Record
    from alacena.engine.codec.registry import Registry

_CLASS: Final = ("class", "class")
"""How the members of a set begin that stands for a class or a constant: no real set has a member twice."""
_ORDER: Final = msgpack.Encoder().encode

_CONSTANTS: Final[dict[type, Callable[[Any], object]]] = {
    pathlib.PurePath: lambda path: path.as_posix(),
    range: lambda value: (value.start, value.stop, value.step),
    re.Pattern: lambda pattern: (pattern.pattern, pattern.flags),
    Fraction: lambda value: (value.numerator, value.denominator),
    zoneinfo.ZoneInfo: lambda zone: zone.key,
    dt.timezone: lambda zone: (zone.utcoffset(None), zone.tzname(None)),
}
"""Unchangeable objects of the standard library, and what tells them apart from others of their kind."""

_DICTS: Final = frozenset({collections.Counter, collections.defaultdict, types.MappingProxyType})
"""Mappings that equal a dict of the same items, in any order of them."""

_BARE: Final = frozenset({bool, int, float, str, bytes, complex})


class CanonicalWrapper(Wrapper):
    """A wrapper that puts the members of dicts and sets in the order of their bytes."""

    def wrap(self, value: Any, depth: int = 0) -> object:
        """Returns the stand-in of ``value``; see `Wrapper.wrap`."""
        kind = type(value)
        if kind is set or kind is frozenset:
            # By their bytes: members of different types cannot be compared with one another.
            members = sorted(self._wrap_items(value, depth, "{{{}}}"), key=_ORDER)
            return Ext(SET if kind is set else FROZENSET, self._encode(members))
        return super().wrap(value, depth)

    def _wrap_dict(self, items: Any, depth: int) -> object:
        keys = zip(self._wrap_keys(items, depth), items, strict=True)
        return super()._wrap_dict({key: items[key] for _, key in sorted(keys, key=_by_bytes)}, depth)


class IdentityWrapper(CanonicalWrapper):
    """A canonical wrapper for values that are only compared and never read back: it takes more, and tells less apart.

    A set and the equal frozenset are one, and so are a counter (or the like) and the equal dict, a number or text of numpy
    and the equal plain one, and an array and the equal one of another layout. A class stands for itself by its name; a
    path, pattern, range, fraction or time zone for what it says. Dataclasses, enums, named tuples, structs, classes of
    attrs and pydantic models need not be registered; of a model, which fields were given does not count.
    """

    def wrap(self, value: Any, depth: int = 0) -> object:
        """Returns the stand-in of ``value``; see `Wrapper.wrap`."""
        kind = type(value)
        if kind is set:
            return super().wrap(frozenset(value), depth)
        if kind in _DICTS:
            return super().wrap(dict(value), depth)
        value = arrays.in_c_order(value)
        if inspect.isclass(value):
            return Ext(FROZENSET, self._encode([*_CLASS, value.__module__, value.__qualname__]))
        # A moment or a span in numpy's finer units comes out as a bare number, without its unit: 5 years would be 5 days.
        if arrays.is_scalar(value) and value.dtype.kind not in "mM" and type(bare := value.item()) in _BARE:
            return super().wrap(bare, depth)
        return super().wrap(value, depth)

    def _wrap_leaf(self, value: Any, kind: type, depth: int) -> object:
        try:
            return super()._wrap_leaf(value, kind, depth)
        except EncodeError:
            # A registered class is taken apart in one way only: the error is about a part of it.
            if self._registry.of(kind) is not None:
                raise
            # Not by exact type: a path is an instance of a subclass for its platform.
            for constant, parts in _CONSTANTS.items():
                if isinstance(value, constant):
                    name = f"{constant.__module__}.{constant.__qualname__}"
                    return Ext(FROZENSET, self._encode([*_CLASS, name, self.wrap(parts(value), depth + 1)]))
            try:
                record = record_of(kind)
            except UsageError:
                record = None
            if record is None:
                raise
        return self._wrap_registered(value, record, depth)

    def _wrap_beside(self, value: Any, depth: int) -> object:
        # Of an object that is told apart by its fields, anything may be held beside them, such as a client.
        try:
            return self.wrap(value, depth)
        except EncodeError:
            return self.wrap(type(value), depth)

    def _wrap_registered(self, value: object, record: Record, depth: int) -> Ext:
        if PYDANTIC_FIELDS_SET not in record.fields:
            return super()._wrap_registered(value, record, depth)
        at = record.fields.index(PYDANTIC_FIELDS_SET)
        dump = record.dump

        def without_given(model: Any) -> list[object]:
            state = list(dump(model))
            state[at] = None
            return state

        return super()._wrap_registered(value, record._replace(dump=without_given), depth)


def canonical(value: object, registry: Registry | None = None) -> bytes:
    """Returns the bytes of ``value``, the same for all equal values of one type; the codec reads them as its own.

    Raises:
        EncodeError: It holds something that cannot be stored.
    """
    return _encode(CanonicalWrapper, value, registry)


def identity(value: object) -> bytes:
    """Returns bytes that tell ``value`` from every other one: equal for equal values, in every process.

    Raises:
        EncodeError: It holds something that has no such form, such as an object known by its address only.
    """
    return _encode(IdentityWrapper, arrays.in_c_order(value), None)


def _encode(wrapper: Callable[..., Wrapper], value: object, registry: Registry | None) -> bytes:
    if arrays.is_array(value):
        return arrays.dump(value)
    known = default_registry if registry is None else registry
    try:
        try:
            return _ORDER(wrapper(known, _ORDER, careful=False).wrap(value))
        except (OverflowError, UnicodeEncodeError):
            return _ORDER(wrapper(known, _ORDER, careful=True).wrap(value))
    except EncodeError as error:
        raise locate(error) from error.__cause__


def _by_bytes(pair: tuple[object, object]) -> bytes:
    return _ORDER(pair[0])
