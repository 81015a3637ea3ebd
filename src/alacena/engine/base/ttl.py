"""Times to live: left out, without end, or not a time at all."""

from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal
from enum import Enum
from numbers import Real
from typing import Final, Literal, TypeAlias

from alacena.engine.base.errors import ArgumentError, show


class Unset(Enum):
    """The type of :data:`UNSET`."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET
"""Left out, as distinct from ``None``: "the default of the data type" against "never expires"."""

_ORDINARY_S: Final = 1e18

Ttl: TypeAlias = float | timedelta | None
"""Seconds, or a ``timedelta``; ``None`` never expires."""

TtlOrUnset: TypeAlias = Ttl | Literal[Unset.UNSET]


def seconds(ttl: Ttl, name: str = "ttl") -> float | None:
    """Checks a time to live and returns it in seconds. ``name`` is the argument's, for the message.

    Raises:
        ValueError: It is zero, negative or NaN.
        TypeError: It is not a number, a ``timedelta`` or ``None``.
    """
    if ttl is None:
        return None
    if (type(ttl) is float or type(ttl) is int) and 0 < ttl < _ORDINARY_S:  # each write asks: no look at classes for it
        return float(ttl)
    number = real_number(ttl.total_seconds() if isinstance(ttl, timedelta) else ttl)
    if number is None:
        raise ArgumentError(f"{name} must be seconds, a timedelta or None (never expires), not {type(ttl).__name__}")
    # NaN is asked for by itself: every comparison with it is false, so "not number > 0" would do and be tidied away.
    if math.isnan(number) or number <= 0:
        raise ArgumentError(f"{name} must be greater than 0, not {show(ttl)}: use None for what never expires")
    return None if math.isinf(number) else number


def real_number(value: object) -> float | None:
    """Returns a number of any library (numpy's too) as a float; ``None`` if it is none, or a truth value."""
    if isinstance(value, bool) or not isinstance(value, Real | Decimal):
        return None
    try:
        return float(value)
    except ValueError:  # a signalling NaN
        return math.nan
    except OverflowError:
        # A whole number too large for a float is still a time: for ever, as infinity is.
        return math.copysign(math.inf, -1 if value < 0 else 1)


def is_finite(value: object) -> bool:
    """Returns whether this is a number that a float can hold, and neither infinite nor NaN."""
    number = real_number(value)
    return number is not None and math.isfinite(number)


def check_ttl(ttl: TtlOrUnset) -> TtlOrUnset:
    """Returns a time to live that may have been left out, checked and in seconds. Raises like :func:`seconds`."""
    return ttl if ttl is UNSET else seconds(ttl)


def jitter(ttl_s: float | None, ratio: float, chance: float) -> float | None:
    """Shortens a time to live by up to ``ratio`` of itself, so that entries set together do not expire together.

    Args:
        ttl_s: Seconds; ``None`` (never expires) is returned as it is.
        ratio: The largest part that may be taken off, 0 to 1.
        chance: A random number in ``[0, 1)``.
    """
    return None if ttl_s is None else ttl_s * (1.0 - ratio * chance)
