"""Answers of embedding providers, as one checked vector for each text."""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

_LARGEST_FLOAT32: Final = 3.4028235677973366e38
"""From here on a number becomes infinite as a float32."""
_SHOWN: Final = 40
_SHAPES: Final = (
    "return a list with one vector for each text in their order (None for one that could not be made), "
    "or the provider's own answer with its .data"
)


@dataclass(slots=True)
class Vectors:
    """Vectors by position, and why some of them are none.

    A vector is a row of finite numbers that a float32 can hold, at least one.

    Attributes:
        good: The vectors that may be kept, by position.
        faults: The faults of the others, by position, in words that name position and text.
    """

    good: dict[int, Any] = field(default_factory=dict)
    faults: dict[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, made: Sequence[Any], texts: Sequence[str]) -> Vectors:
        """Sorts the items made for texts; ``None`` is in neither heap."""
        vectors = cls()
        for position, one in enumerate(made):
            if one is None:
                continue
            try:
                vectors.good[position] = _vector(one)
            except ValueError as error:
                vectors.faults[position] = _fault(position, texts, str(error))
        return vectors

    @property
    def usual(self) -> int:
        """The length that most of the good ones have; 0 if there are none."""
        lengths = Counter(len(vector) for vector in self.good.values())
        return lengths.most_common(1)[0][0] if lengths else 0

    def agrees(self, length: int | None) -> bool:
        """Returns whether at least one has this length, or no length is known."""
        return length is None or any(len(vector) == length for vector in self.good.values())

    def keep(self, length: int, texts: Sequence[str]) -> None:
        """Keeps those of one length as good."""
        for position, vector in list(self.good.items()):
            if len(vector) != length:
                del self.good[position]
                self.faults[position] = _fault(position, texts, f"it has {len(vector)} numbers and not {length}")


def list_vectors(answer: Any, texts: Sequence[str]) -> list[Any]:
    """Returns the provider's item for each text, in the order of the texts; ``None`` for one that it left out.

    Takes a list, an array, the answer of OpenAI and of those that speak like it (an object or a dict with ``data``,
    of items with ``index`` and ``embedding``), and a dict or an object with ``embeddings``.

    Raises:
        TypeError: It is none of these.
        ValueError: Another number of vectors than texts, or positions that are no order.
    """
    made = _rows(answer)
    indexed = [_attribute(one, "index") for one in made]
    if made and all(isinstance(index, int) and not isinstance(index, bool) for index in indexed):
        return _in_order(made, indexed, texts)
    if len(made) != len(texts):
        msg = (
            f"the embedding provider got {len(texts)} texts and returned {len(made)} embeddings: return one for each "
            "in their order, None for those it could not make"
        )
        raise ValueError(msg)
    return [_bare(one) for one in made]


def _fault(position: int, texts: Sequence[str], words: str) -> str:
    text = texts[position]
    shown = repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
    return f"the embedding of text {position}, {shown}, is no vector: {words}"


def _rows(answer: Any) -> list[Any]:
    """Returns the items of an answer, one for each text that it speaks of."""
    if hasattr(answer, "__aiter__"):
        if hasattr(answer, "aclose"):
            msg = f"the embedding provider is an async generator, which makes no answer at once: {_SHAPES}"
        else:
            msg = f"the embedding provider returned a {type(answer).__name__}, to be read with async for: {_SHAPES}"
        raise TypeError(msg)
    if answer is None or isinstance(answer, str | bytes | bytearray | int | float):
        msg = f"the embedding provider returned {type(answer).__name__}, not vectors: {_SHAPES}"
        raise TypeError(msg)
    if hasattr(answer, "dtype"):  # an array has .data too, and it is something else
        return list(answer)
    for name in ("embeddings", "data"):
        rows = answer.get(name) if isinstance(answer, Mapping) else getattr(answer, name, None)
        if rows is not None and not callable(rows):
            rows = getattr(rows, "float_", None) or rows  # Cohere has one list for each kind of number
            return _rows(rows) if rows is not answer else list(rows)
    if isinstance(answer, Mapping) or not isinstance(answer, Iterable):
        msg = f"the embedding provider returned a {type(answer).__name__} without data or embeddings: {_SHAPES}"
        raise TypeError(msg)
    return list(answer)


def _in_order(made: Sequence[Any], indexed: Sequence[int], texts: Sequence[str]) -> list[Any]:
    """Returns the items by their own index: providers answer in any order."""
    if len(set(indexed)) < len(indexed) or not all(0 <= index < len(texts) for index in indexed):
        msg = (
            f"the embedding provider got {len(texts)} texts and returned {len(made)} embeddings whose index is no "
            "order of them: return [item.embedding for item in response.data], if that is their order"
        )
        raise ValueError(msg)
    by_index = dict(zip(indexed, made, strict=True))
    return [_bare(by_index[index]) if index in by_index else None for index in range(len(texts))]


def _bare(one: Any) -> Any:
    """Returns the numbers of one item: the item itself, or its field ``embedding`` or ``values``."""
    for name in ("embedding", "values"):
        numbers = _attribute(one, name)
        if numbers is not None and not callable(numbers):
            return numbers
    return one


def _attribute(one: Any, name: str) -> Any:
    if isinstance(one, Mapping):
        return one.get(name)
    if isinstance(one, str | bytes | list | tuple) or hasattr(one, "dtype"):
        return None  # a list has a method index, and an array whatever its library likes
    found = getattr(one, name, None)
    return None if callable(found) else found


def _vector(one: Any) -> Any:
    """Returns a vector as it is kept: a float32 array that is never written to; without numpy, a list of floats.

    Raises:
        ValueError: It is none; the words hold no numbers of it.
    """
    if isinstance(one, str | bytes):
        one = _decode(one)
    for name in ("to_numpy", "to_list"):
        if hasattr(one, name) and not hasattr(one, "dtype"):
            one = getattr(one, name)()
            break
    try:
        import numpy as np
    except ImportError:
        return _plain_vector(one)
    array = _float32(one, np)
    if array is None:
        raise ValueError(_NO_NUMBERS)
    if array.ndim != 1:
        raise ValueError(_ONE_NUMBER if array.ndim == 0 else f"it has {array.ndim} dimensions and not one")
    if not array.size:
        raise ValueError(_EMPTY)
    # After the conversion: a double that no float32 can hold has become infinite by now.
    if not np.isfinite(array).all():
        raise ValueError(_NOT_FINITE)
    array.setflags(write=False)
    return array


def _float32(one: Any, np: Any) -> Any:
    """Returns the numbers as a float32 array of their own; ``None`` if they are no numbers."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            given = np.asarray(one)
            # A copy even of float32: it is made read-only, and the provider's own array must stay writable.
            return np.array(given, dtype=np.float32) if given.dtype.kind in "fiu" else None
    except (TypeError, ValueError, OverflowError):
        return None


_NO_NUMBERS: Final = "it is not a row of numbers"
_ONE_NUMBER: Final = "it is one number"
_EMPTY: Final = "it is empty"
_NOT_FINITE: Final = "it holds a number that is not finite, or that no float32 can hold"


def _plain_vector(one: Any) -> list[float]:
    if isinstance(one, Mapping | str | bytes) or not isinstance(one, Iterable):
        raise ValueError(_ONE_NUMBER if isinstance(one, int | float) else _NO_NUMBERS)  # noqa: TRY004 - one kind of fault
    given = list(one)
    if not given:
        raise ValueError(_EMPTY)
    try:
        numbers = [float(number) for number in given]
    except (TypeError, ValueError, OverflowError):
        raise ValueError(_NO_NUMBERS) from None
    # float() takes "1" and True, which numpy's kinds rule out: what is a vector must not depend on numpy.
    if any(isinstance(number, str | bytes | bool) for number in given):
        raise ValueError(_NO_NUMBERS)
    if not all(math.isfinite(number) and abs(number) < _LARGEST_FLOAT32 for number in numbers):
        raise ValueError(_NOT_FINITE)
    return numbers


def _decode(text: str | bytes) -> list[float]:
    """Returns the numbers of ``encoding_format="base64"``: little-endian float32."""
    try:
        raw = base64.b64decode(text, validate=True)
        return list(struct.unpack(f"<{len(raw) // 4}f", raw))
    except (binascii.Error, ValueError, struct.error):
        raise ValueError("it is text, and no base64 of float32 numbers") from None
