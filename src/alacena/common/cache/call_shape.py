"""The identity of a call: its function's name, its object and its arguments, equal in every process."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from hashlib import blake2b
from types import CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final

from alacena.engine import EncodeError
from alacena.engine.base.errors import ArgumentError, InvalidKeyError, show, text_of
from alacena.engine.base.scope import identifier
from alacena.engine.codec import identity
from alacena.engine.codec.attributes import is_derived, slots_of
from alacena.engine.codec.immutability import is_immutable

if TYPE_CHECKING:
    from collections.abc import Callable

_DIGEST_BYTES: Final = 20
_REMEDY: Final = "__cache_key__"
_OBJECT_NAMES: Final = frozenset({"self", "cls"})


class CallShape:
    """The shape of one function's calls, which tells them apart.

    Args:
        function: The function, or a ``functools.partial`` of one; bound arguments count too.
        resolve_ellipsis: Parameters that are no part of a call's identity.

    Attributes:
        name: The module and qualified name of the function.
        signature: The parameters that callers may pass.

    Raises:
        TypeError: It is not a coroutine function, or its signature cannot be read.
    """

    def __init__(self, function: Callable[..., Any], resolve_ellipsis: frozenset[str]) -> None:
        _check(function)
        target: Any = function
        while isinstance(target, functools.partial):
            target = target.func
        self.name = f"{target.__module__}.{target.__qualname__}"
        self.function = function
        self.signature = inspect.signature(function)
        # Callers see the parameters that a partial leaves open. The identity counts those that it binds as well.
        self._whole = inspect.signature(target)
        self._left_out = resolve_ellipsis
        self._more = next((p.name for p in self._whole.parameters.values() if p.kind is p.VAR_KEYWORD), None)
        self._captured = _find_captured(target)
        # Of a method that is decorated as one object has it, the object is no argument of any call, and still counts.
        is_bound = isinstance(target, MethodType) and not _OBJECT_NAMES & resolve_ellipsis
        self._bound_to: Any = target.__self__ if is_bound else None

    @property
    def first(self) -> str | None:
        """The name of the first parameter, which a method's object is bound to."""
        return next(iter(self.signature.parameters), None)

    def takes(self, name: str) -> bool:
        """Returns whether a call may name this parameter: it has it, or takes any."""
        return self._more is not None or name in self._whole.parameters

    def note_class(self, owner: type) -> None:
        """Notes the class that the function is a method of: a nested one counts by the values that its functions hold."""
        found: list[Any] = []
        for name, value in sorted(vars(owner).items()) if "<locals>" in owner.__qualname__ else ():
            if type(value) is FunctionType and (captured := _find_captured(value)) is not None:
                found.append([name, captured])
            elif not name.startswith("__") and is_immutable(value):
                found.append([name, _try_to_tell(value)])
        if found:
            self._captured = identity([self._captured, found])

    def arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a call's value for each parameter, defaults and a partial's own arguments included."""
        bound_args: tuple[Any, ...] = ()
        bound_kwargs: dict[str, Any] = {}
        layer: Any = self.function
        while isinstance(layer, functools.partial):
            # From the outside in: positions bound inside come first, and keywords outside win, as in a call.
            bound_args, bound_kwargs = (*layer.args, *bound_args), {**layer.keywords, **bound_kwargs}
            layer = layer.func
        bound = self._whole.bind(*bound_args, *args, **{**bound_kwargs, **kwargs})
        bound.apply_defaults()
        return dict(bound.arguments)

    def flatten(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns the arguments by name, those too that a ``**kwargs`` takes in."""
        return given if self._more is None else {**given[self._more], **given}

    def digest(self, given: Mapping[str, Any], owner: str | None) -> str:
        """Returns the id of a call.

        Args:
            given: The result of `arguments`.
            owner: The parameter that holds a method's object, or ``None``.

        Raises:
            EncodeError: An argument cannot be part of a key; the message names it and the remedy.
        """
        counted: dict[str, Any] = {}
        for name, value in given.items():
            if name == owner and name not in self._left_out:
                counted[name] = self._object(value)
            elif name == self._more:
                counted[name] = self._encode(name, {k: v for k, v in value.items() if k not in self._left_out})
            elif name not in self._left_out:
                counted[name] = self._encode(name, value)
        return blake2b(identity([self.name, counted, *self._around()]), digest_size=_DIGEST_BYTES).hexdigest()

    def _around(self) -> list[bytes]:
        """Returns the part of the identity that no call changes: the function's object, and the things it was made with."""
        captured = [] if self._captured is None else [self._captured]
        return captured if self._bound_to is None else [*captured, self._object(self._bound_to)]

    def id_of(self, key: Any) -> str:
        """Returns the id of a call for which ``key=`` returned ``key``.

        Raises:
            InvalidKeyError: It is ``None`` or awaitable.
            EncodeError: It is neither an id nor made of values that are equal in every process.
        """
        what = f"{self.name}: key= returned {show(key)}, "
        if key is None or inspect.isawaitable(key):
            if inspect.iscoroutine(key):
                # Never awaited, it would warn at some later point, beside the error that says what is wrong.
                key.close()
            raise InvalidKeyError(
                f"{what}which would be one entry for all calls: write a plain function that returns an id"
            )
        try:
            text = key if isinstance(key, str) else identifier("key", key)
        except InvalidKeyError:
            try:
                text = blake2b(identity(key), digest_size=_DIGEST_BYTES).hexdigest()
            except EncodeError as error:
                raise EncodeError(f"{what}which is no id ({error}): return a string", error.path) from error
        around = self._around()
        if not around:
            return f"{self.name}:{text}"
        return f"{self.name}[{blake2b(b''.join(around), digest_size=8).hexdigest()}]:{text}"

    def _encode(self, name: str, value: Any) -> bytes:
        try:
            return identity(value)
        except EncodeError as error:
            message = f"{self.name}: the argument {name!r} cannot be part of a key ({error}): name it in ignore=, or pass key="
            raise EncodeError(message, error.path) from error

    def _object(self, instance: Any) -> bytes:
        """Returns the identity of a method's object within its class: its ``__cache_key__``, else its fields."""
        if inspect.isclass(instance):
            return identity(instance)
        kind = type(instance)
        stated = getattr(instance, _REMEDY, None)
        if stated is not None:
            return identity([kind, stated() if callable(stated) else stated])
        try:
            return _tell_object(instance)
        except EncodeError as error:
            message = (
                f"{self.name}: two objects of {kind.__qualname__} must not answer for each other, and the fields "
                f"of this one cannot be part of a key ({error}): give the class a {_REMEDY} that tells its objects "
                f"apart, or name {'self' if instance is self._bound_to else self.first!r} in ignore= if all of them give the "
                "same results"
            )
            raise EncodeError(message, error.path) from error


def _find_captured(function: Any) -> bytes | None:
    """Returns the identity of a nested function's closure; ``None`` if that is nothing.

    It tells the functions apart that one factory makes for each model, prompt or function that it wraps. Unchangeable
    values count as they were when the function was decorated; functions count by their names and by kind made
    with themselves; anything else by its class alone: a counter, a client or a list may change.
    """
    found: list[bytes] = []
    todo, seen = [function], set[int]()
    while todo:
        part = todo.pop(0)
        kind = type(part)  # not isinstance: a proxy of a request that is not there yet raises if it is asked
        if issubclass(kind, functools.partial):
            todo += [part.func, *part.args, *part.keywords.values()]
            continue
        if issubclass(kind, MethodType):
            todo += [part.__func__] if part is function else [type(part.__self__), part.__func__]
            continue
        if issubclass(kind, FunctionType):
            if id(part) in seen:  # one may refer to itself
                continue
            seen.add(id(part))
            todo += [content for cell in part.__closure__ or () for content in _contents(cell)]
            if part is getattr(function, "__func__", function):
                continue  # its name and its arguments are in each key
            todo += [*(part.__defaults__ or ()), *(part.__kwdefaults__ or {}).values()]
        try:
            found.append(identity(_stand_in(part)))
        except EncodeError:  # nothing that has one form in every process
            continue
    return identity(found) if found else None


def _stand_in(part: Any) -> Any:
    """Returns the identity of a thing that a function was made with."""
    kind = type(part)
    try:
        if issubclass(kind, type) or is_immutable(part):
            return part
        if (arguments := getattr(part, "__args__", None)) and not issubclass(kind, FunctionType):
            return [
                getattr(part, "__origin__", kind),
                [_stand_in(one) for one in arguments],
            ]  # a generic class for one type
        module, name = str(getattr(part, "__module__", "")), str(part.__qualname__)
    except Exception:  # noqa: BLE001 - an object that answers to any name, or whose own code fails
        return kind
    if issubclass(kind, FunctionType) and name.endswith("<lambda>"):
        return [module, name, _tell_code(part.__code__)]  # all lambdas of one place have one name
    return [kind, module, name]


def _tell_code(code: CodeType) -> list[Any]:
    constants = [_tell_code(one) if isinstance(one, CodeType) else one for one in code.co_consts]
    return [code.co_code, code.co_names, code.co_varnames, constants]


def _contents(cell: Any) -> list[Any]:
    try:
        return [cell.cell_contents]
    except ValueError:  # the name is bound later
        return []


_BUILT_IN: Final[tuple[Any, ...]] = (str, bytes, bytearray, int, float, complex, dict, list, tuple, set, frozenset)


def _tell_object(instance: Any) -> bytes:
    """Returns the identity of an object by its class, its contents, and its attributes.

    Raises:
        EncodeError: An attribute has no form that is the same in every process. Of a class with declared fields only these
            are asked for: of anything else that it was given, the class counts.
    """
    kind = type(instance)
    state = _state(instance)
    try:
        fields = identity([kind, instance])
    except EncodeError:
        held = [base(instance) for base in _BUILT_IN if isinstance(instance, base)][:1]
        return identity([kind, held, state])
    declared = _list_declared(kind)
    # Of a class that was registered with a `dump`, that says what its objects are.
    more = [[name, _try_to_tell(value)] for name, value in sorted(state.items()) if declared and name not in declared]
    return identity([fields, more]) if more else fields


def _try_to_tell(value: Any) -> bytes:
    try:
        return identity(value)
    except EncodeError:
        return identity(_stand_in(value))


def _list_declared(kind: type) -> frozenset[str]:
    """Returns the fields that a dataclass, a model, a struct or a named tuple declares."""
    holders = ("__dataclass_fields__", "__pydantic_fields__", "__struct_fields__", "_fields")
    found = (getattr(kind, holder, None) for holder in holders)
    return frozenset(name for names in found if isinstance(names, Mapping | tuple) for name in names)


def _state(instance: Any) -> dict[str, Any]:
    """Returns the attributes of an object, without those that it makes of the others when they are first asked for."""
    kind = type(instance)
    state = {name: getattr(instance, name) for name in slots_of(kind) if hasattr(instance, name)}
    state |= getattr(instance, "__dict__", {})
    if "__orig_class__" in state:  # Repo[User] and Repo[Order] are objects of one class
        state["__orig_class__"] = _stand_in(state["__orig_class__"])
    return {
        name: value for name, value in state.items() if not (name.startswith("__pydantic") or is_derived(kind, name))
    }


def _check(function: Any) -> None:
    if isinstance(function, classmethod | staticmethod | property):
        kind = type(function).__name__
        raise ArgumentError(f"write @{kind} above @cached(...), not below: @cached takes the function itself")
    target = function
    while isinstance(target, functools.partial):
        target = target.func
    if not callable(target):
        raise ArgumentError(f"@cached takes an async function, not {show(function)}")
    name = getattr(target, "__qualname__", None) or text_of(target, repr)
    if inspect.isasyncgenfunction(target) or inspect.isgeneratorfunction(target):
        raise ArgumentError(
            f"{name} is a generator, and its items can be read only once: cache an async function that returns the "
            "whole list, and let the generator yield from that"
        )
    if not inspect.iscoroutinefunction(target):
        raise ArgumentError(
            f"{name} is not async: write `async def`, or wrap it in an async function (asyncio.to_thread)"
        )
    if not hasattr(target, "__qualname__"):
        raise ArgumentError(f"{name} has no name that is the same in every process: wrap it in an async function")
