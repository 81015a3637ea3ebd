"""What may be shared, and what a value weighs."""

import dataclasses
import datetime as dt
import enum
import sys
import uuid
from collections import deque
from decimal import Decimal
from typing import NamedTuple

import msgspec
import numpy as np
import pytest

from alacena.engine.codec import decode, encode, is_immutable, size_of


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass(frozen=True)
class Frozen:
    a: object


@dataclasses.dataclass
class Open:
    a: object


class FrozenRow(msgspec.Struct, frozen=True):
    a: object


class OpenRow(msgspec.Struct):
    a: object


class Pair(NamedTuple):
    left: object
    right: object


class Text(str):
    pass


def read_only(array):
    array.flags.writeable = False
    return array


class Loose(Frozen):
    pass


def with_attribute():
    value = Frozen(1)
    value.__dict__["extra"] = []
    return value


@pytest.mark.parametrize(
    "value",
    [
        None, True, 1, 1.5, 1j, "a", b"a", Decimal(1), uuid.UUID(int=1), dt.datetime.now(dt.UTC),
        dt.timedelta(1), (), (1, ("a",)), decode(encode(np.arange(3))),
        frozenset({1, (2,)}), Colour.RED, Frozen((1,)), FrozenRow("a"), Pair(1, Frozen(Colour.RED)), np.float32(1),
        read_only(np.arange(3)), decode(encode([np.arange(3)]))[0], (read_only(np.arange(2)),),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_immutable(value):
    assert is_immutable(value)


@pytest.mark.parametrize(
    "value",
    [
        [], {}, set(), bytearray(), ([],), (1, ({},)), (Open(1),), Open(1), Frozen([]), FrozenRow([]),
        OpenRow(1), Pair(1, []), np.arange(3), read_only(np.arange(4)[:2]),
        read_only(np.arange(4).view("u1")),
        read_only(np.array([[1]], dtype=object)), object(), Loose(1), Text("a"), with_attribute(), memoryview(b"a"),
        read_only(np.frombuffer(bytearray(8), "u1")), np.zeros(1, dtype=[("a", "i4")])[0],
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_mutable(value):
    assert not is_immutable(value)


def test_a_tuple_with_a_million_shared_parts_is_looked_at_once():
    value = (1,)
    for _ in range(60):
        value = (value, value)
    assert is_immutable(value)


def test_size_is_that_of_everything_held():
    text = "x" * 100_000
    assert size_of(text) == sys.getsizeof(text)
    assert size_of({"a": text}) == sys.getsizeof({"a": 1}) + sys.getsizeof("a") + sys.getsizeof(text)
    assert size_of([[text]]) >= 100_000
    for holder in (Frozen(text), Open(text), FrozenRow(text), OpenRow(text), Pair(1, text), deque([text]), {text: 1}):
        assert 100_000 < size_of(holder) < 101_500


def test_a_shared_part_counts_once_and_a_cycle_ends():
    text = "x" * 100_000
    assert size_of([text, text, (text, {"k": text})]) < 101_000
    loop = [text]
    loop.append(loop)
    assert size_of(loop) < 101_000


def test_an_array_weighs_its_buffer_even_where_it_shows_a_part_of_it():
    array = np.zeros(100_000, dtype="u1")
    assert 100_000 <= size_of(array) < 100_500
    assert 100_000 <= size_of(array[:1]) < 100_500
    assert 100_000 <= size_of([array, array[:10]]) < 100_800
    decoded = decode(encode(array))
    assert 100_000 <= size_of(decoded) < 100_800
    assert size_of(np.array(["x" * 10_000], dtype=object)) > 10_000


def test_classes_and_functions_belong_to_the_program():
    assert size_of([Open, len, sys, Colour.RED]) < 2_000
