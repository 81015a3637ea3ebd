"""A method that exists on instances and not on the class, as the guide says of lists, sets and counters."""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Never, ParamSpec, TypeVar, cast, overload

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class instance_method(Generic[T, P, R]):  # noqa: N801 - used as a decorator
    """Make a method unreachable on the class: the error there names the remedy.

    Raises:
        AttributeError: The method is taken from the class (so ``hasattr`` on the class is ``False``).
    """

    def __init__(self, function: Callable[Concatenate[T, P], R]) -> None:
        self._function = function
        self.__doc__ = function.__doc__
        self.__wrapped__ = function

    @overload
    def __get__(self, instance: None, owner: type[T]) -> Never: ...
    @overload
    def __get__(self, instance: T, owner: type[T]) -> Callable[P, R]: ...
    def __get__(self, instance: T | None, owner: type[T]) -> Callable[P, R]:
        if instance is None:
            name = self._function.__name__
            msg = f"{owner.__name__}.{name} is an instance method: write {owner.__name__}.get_instance().{name}(...)"
            raise AttributeError(msg, name=name, obj=owner)
        return cast("Callable[P, R]", MethodType(cast("Any", self._function), instance))
