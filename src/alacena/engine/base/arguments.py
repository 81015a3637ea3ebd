"""Checks of arguments that verbs of several rooms take: each names the argument and the remedy."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from numbers import Integral
from typing import Any

from alacena.engine.base.errors import ArgumentError, InvalidKeyError, show
from alacena.engine.base.scope import identifier
from alacena.engine.base.ttl import is_finite, real_number


def list_of(given: Iterable[Any], name: str, elements: str) -> list[Any]:
    """Returns the elements of an argument that takes several, each once gone through.

    Args:
        given: The argument.
        name: Its name.
        elements: Its elements, in the plural, for the message.

    Raises:
        ArgumentError: It is no collection, or a text, the letters of which would be taken for its elements.
    """
    # By the iterator and not by the method: an array of no dimensions has the one, and cannot be gone through.
    found = None
    if not isinstance(given, str | bytes | bytearray):
        with suppress(TypeError):
            found = iter(given)
    if found is None:
        raise ArgumentError(f"{name} must be a list of {elements}, not {show(given)}")
    return list(found)


def copy_mapping(given: Mapping[Any, Any], name: str, contents: str) -> dict[Any, Any]:
    """Returns a copy of a mapping, or of a row that has keys as one has.

    Args:
        given: The argument.
        name: Its name.
        contents: Its contents, such as ``"tokens by kind"``, for the message.

    Raises:
        ArgumentError: It is neither.
    """
    # A row of a database has keys and is no Mapping; a class of mappings has them too, and no contents.
    if isinstance(given, type) or not hasattr(given, "keys"):
        raise ArgumentError(f"{name} must be a mapping of {contents}, not {show(given)}")
    return dict(given)


def finite_seconds(given: float, name: str) -> float:
    """Returns a duration that ends.

    Raises:
        ArgumentError: It is no finite number above 0.
    """
    number = real_number(given)
    if number is None or not is_finite(number) or number <= 0:
        raise ArgumentError(f"{name} must be a number of seconds above 0, not {show(given)}")
    return number


def check_callable(given: object, name: str, form: str) -> None:
    """Refuses an argument that cannot be called.

    Args:
        given: The argument.
        name: Its name.
        form: The function that is wanted, such as ``"async def provider(texts)"``, for the message.

    Raises:
        ArgumentError: It cannot be called.
    """
    if not callable(given):
        if inspect.iscoroutine(given):
            given.close()  # It would be reported as never awaited, far from here.
        raise ArgumentError(
            f"{name} must be a function, such as `{form}`: pass it without calling it, not {show(given)}"
        )


def has_method(given: object, method: str) -> bool:
    """Returns whether an object can be asked for a method of its own."""
    # A class has the method too, and would be called without its instance.
    return not isinstance(given, type) and callable(getattr(given, method, None))


def check_part(given: object, name: str, method: str, kind: str) -> None:
    """Refuses an object of another kind than the one that is needed.

    Args:
        given: The argument.
        name: Its name.
        method: The method that tells the kind.
        kind: The kind, such as ``"an open Cache"``, for the message.

    Raises:
        ArgumentError: It has no such method. The message shows its type alone: it may be a secret in the wrong place.
    """
    if not has_method(given, method):
        found = f"the class {given.__name__}" if isinstance(given, type) else f"a {type(given).__name__}"
        raise ArgumentError(f"{name} must be {kind}, not {found}")


def check_values(values: object) -> None:
    """Refuses values of many entries that do not name the entry of each.

    Raises:
        ArgumentError: They are no mapping.
    """
    if not isinstance(values, Mapping):
        raise ArgumentError(f"set_many takes a mapping of values by id, not {type(values).__name__}")


def milliseconds(seconds: float, name: str, *, least: int = 1) -> int:
    """Returns a duration for the server, in whole milliseconds.

    Raises:
        ArgumentError: It is not a finite number of at least ``least`` milliseconds.
    """
    number = real_number(seconds)
    # NaN compares false to everything: only a negated range refuses it.
    if number is None or not 0 <= number < 10**11:
        raise ArgumentError(f"{name} must be a number of seconds, not {show(seconds)}")
    whole = round(number * 1000)
    if whole < least:
        raise ArgumentError(f"{name} must be at least {least / 1000} s, not {show(seconds)}")
    return whole


def wait_seconds(wait_s: float, name: str = "wait_s") -> float:
    """Returns the length of a wait: 0 or less is not at all.

    Raises:
        ArgumentError: It is no number of seconds.
    """
    number = real_number(wait_s)
    if number is None or math.isnan(number):
        raise ArgumentError(f"{name} must be a number of seconds, not {show(wait_s)}")
    return number


def text_id(name: str, value: object) -> str:
    """Returns an id that is sent to the server as it is.

    Raises:
        InvalidKeyError: It is blank, of a type that has no single text form, or no UTF-8 can carry it.
    """
    text = identifier(name, value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidKeyError(f"{name} holds a lone surrogate, which no UTF-8 carries: {show(text)}") from None
    return text


def exact(given: Any, name: str, *, least: int | None = None, most: int | None = None) -> int:
    """Returns an amount that the server counts exactly.

    Raises:
        ArgumentError: It is not an integer, leaves ±(2^53 - 1), or is less than ``least`` or above ``most``.
    """
    if isinstance(given, bool) or not isinstance(given, Integral):
        # One kind of error for bad amounts.
        raise ArgumentError(
            f"{name} must be an integer, not {show(given)}: count in the smallest unit (tokens, cents, millionths)"
        )
    # Before abs(): that of numpy's least int64 is negative again, and would pass the bound.
    amount = int(given)
    if abs(amount) >= 2**53:
        raise ArgumentError(f"{name} must lie within ±(2**53 - 1), not {show(amount)}")
    if most is not None and not (least or 0) <= amount <= most:
        raise ArgumentError(f"{name} must be from {least or 0} to {most}, not {amount}")
    if least is not None and amount < least:
        raise ArgumentError(f"{name} must be at least {least}, not {amount}")
    return amount
