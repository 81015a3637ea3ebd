"""The classes of the application whose instances may be stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args

from alacena.engine.base.errors import DecodeError, UsageError
from alacena.engine.codec.frameworks import find_class, find_name
from alacena.engine.codec.records import annotations_of, can_be_taken_apart, record_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from alacena.engine.codec.records import Record

C = TypeVar("C", bound=type)


class Registry:
    """Classes by the name that stands for them in an entry. Only registered classes are ever instantiated.

    An entry holds the registered name, and the fields by name. So two versions of a class read one another's entries and
    jobs, as they must while a new one is deployed: a field that an entry does not have gets its default, and one that the
    class does not have is left out. A field without a default that is missing is a `DecodeError`. Give the class a new
    name when a field keeps its name and changes its meaning.

    Classes of the standard library, of openai, langchain-core, llama-index-core, pgvector and asyncpg that hold data need
    no registration: see `alacena.engine.codec.frameworks`.

    Dataclasses and pydantic models are restored as they were, without running ``__init__``, ``__post_init__`` or
    validators again. A ``msgspec.Struct`` is built through its constructor, the only way that it offers, and then given
    its fields as they were. Attributes that are not fields of a dataclass, a struct or a named tuple are stored too, except
    those that the class makes of the fields when they are first asked for (a ``cached_property``).
    """

    def __init__(self) -> None:
        self._by_class: dict[type, Record] = {}
        self._by_name: dict[str, Record] = {}
        self._by_place: dict[tuple[str, str], Record] = {}
        self._known: dict[type, Record] = {}

    def register(
        self,
        cls: C,
        name: str | None = None,
        *,
        dump: Callable[[Any], object] | None = None,
        load: Callable[[Any], object] | None = None,
        deep: bool = False,
    ) -> C:
        """Allows instances of exactly ``cls`` (not of its subclasses) to be stored. Usable as a class decorator.

        Args:
            cls: An ``Enum``, dataclass, pydantic model, ``msgspec.Struct``, class of attrs or named tuple; any class at all
                with ``dump`` and ``load``.
            name: The name of the class in entries; every process must use the same. Left out: its module and
                qualified name, so that moving the class turns its entries into misses.
            dump: Takes an instance, returns a value that can be stored.
            load: Takes that value, returns the instance. Raise ``ValueError`` for a value that means nothing.
            deep: Register the classes that the types of its fields name too, and those that theirs name, each under its
                module and qualified name.

        Returns:
            ``cls`` itself.

        Raises:
            UsageError: The name belongs to another class, the class has another name, or it is not of a kind that can
                be taken apart. A class that is defined anew, as by a cell of a notebook that is run again, takes the place
                of the one before it, whose instances come back as its own.
        """
        record = record_of(cls, name, dump, load)
        if load is not None:
            record = record._replace(may_refuse=True)
        known = self._by_name.get(record.name)
        if known is not None and known.cls is not cls and not _is_defined_anew(known.cls, cls):
            raise UsageError(
                f"the name {record.name!r} already stands for {known.cls!r}: "
                f"register {cls!r} under another, with register(cls, name='...')"
            )
        other = self._by_class.get(cls)
        if other is not None and other.name != record.name:
            raise UsageError(f"{cls!r} is already registered as {other.name!r}: a class has one name")
        # Only after both checks: a class that is refused must stay unknown.
        if known is not None:
            # A script that is run again and again defines its classes each time: nobody else may keep them all alive.
            self._by_class.pop(known.cls, None)
        self._by_name[record.name] = self._by_class[cls] = record
        self._by_place[cls.__module__, cls.__qualname__] = record
        if deep:
            self._register_below(cls)
        return cls

    def _register_below(self, cls: type) -> None:
        todo = annotations_of(cls)
        while todo:
            found = todo.pop()
            todo += get_args(found)
            # Types may name one another in a circle, and a class that has a name keeps it.
            if can_be_taken_apart(found) and found not in self._by_class:
                self.register(found)
                todo += annotations_of(found)

    def of(self, cls: type) -> Record | None:
        """Returns the record of exactly this class, or ``None``."""
        record = self._by_class.get(cls) or self._known.get(cls)
        if record is None and (record := find_class(cls)) is not None:
            self._known[cls] = record
        return record or self._of_one_before(cls)

    def _of_one_before(self, cls: type) -> Record | None:
        """Returns the record of a class in whose place one has been registered that was defined anew."""
        newer = self._by_place.get((cls.__module__, cls.__qualname__))
        if newer is None or not _is_defined_anew(newer.cls, cls):
            return None
        if newer.kind == "functions":
            return newer
        return record_of(cls, newer.name) if can_be_taken_apart(cls) else None

    def restore(self, name: object, shape: object, state: list[Any]) -> object:
        """Returns the instance that an entry describes.

        Raises:
            DecodeError: No class has this name here, or it needs a field that the entry does not have.
        """
        record = (self._by_name.get(name) or find_name(name)) if isinstance(name, str) else None
        if record is None:
            raise DecodeError(f"no class is registered as {name!r} in this process: register it before reading")
        return record.restore(shape, state)


def _is_defined_anew(one: type, other: type) -> bool:
    """Returns whether two classes are one definition that was run twice: a module holds only one under its name."""
    # Of classes that functions make, several are in use at the same time.
    names = {(cls.__module__, cls.__qualname__) for cls in (one, other)}
    return len(names) == 1 and "<locals>" not in one.__qualname__


default_registry: Final = Registry()
"""The registry of every codec that was not given one."""

register: Final = default_registry.register
"""Register a class for the whole process. See `Registry.register`."""
