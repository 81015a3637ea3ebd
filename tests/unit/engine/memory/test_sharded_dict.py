"""A dict in parts: it says what a dict says, and none of its parts is large."""

from __future__ import annotations

import random

import pytest

from alacena.engine.memory import sharded_dict
from alacena.engine.memory.sharded_dict import ShardedDict


@pytest.fixture(params=[4, 10_000])
def first(request, monkeypatch) -> int:
    monkeypatch.setattr(sharded_dict, "FIRST", request.param)
    return request.param


@pytest.mark.parametrize("seed", range(3))
def test_it_says_what_a_dict_says(first, seed) -> None:
    table: ShardedDict[tuple[str, int], int] = ShardedDict()
    plain: dict[tuple[str, int], int] = {}
    dice = random.Random(seed)
    for step in range(3_000):
        key = ("t", dice.randrange(300))
        match dice.randrange(6):
            case 0 | 1:
                table[key] = plain[key] = step
            case 2:
                assert table.setdefault(key, step) == plain.setdefault(key, step)
            case 3:
                assert table.pop(key, None) == plain.pop(key, None)
            case 4 if key in plain:
                del table[key], plain[key]
            case _:
                assert table.get(key) == plain.get(key)
                assert (key in table) == (key in plain)
        assert len(table) == len(plain)
    assert dict(table.items()) == plain
    assert sorted(table.values()) == sorted(plain.values())
    assert set(table.keys()) == set(plain) == set(table)
    assert table.keys().isdisjoint([("t", 1_000)])
    assert not table.has_any([("t", 1_000)])
    assert all(table.has_any([("t", 1_000), key]) for key in plain)
    table.add_all(new := {("new", number): number for number in range(10)})
    assert dict(table.items()) == {**plain, **new}


def test_what_is_not_there_cannot_be_removed(first) -> None:
    table: ShardedDict[str, int] = ShardedDict()
    for number in range(10):
        table[str(number)] = number
    assert table["x"] is None
    for wrong in (lambda: table.__delitem__("x"), lambda: table.pop("x")):
        with pytest.raises(KeyError):
            wrong()


def test_no_part_of_a_million_is_large() -> None:
    table: ShardedDict[tuple[str, str, str], int] = ShardedDict()
    for number in range(200_000):
        table["acme", "document", f"d{number}"] = number
    sizes = [len(part) for part in table.parts()]
    assert 0.98 * sharded_dict.FIRST < sizes[0] <= sharded_dict.FIRST
    assert sum(sizes) == len(table) == 200_000
    assert max(sizes[1:]) < 2 * (200_000 - sharded_dict.FIRST) / sharded_dict.SHARDS


def test_emptied_it_hands_its_shards_over(first) -> None:
    table: ShardedDict[int, int] = ShardedDict()
    for number in range(100):
        table[number << 16] = number
    shards = table.empty()
    assert (len(table), list(table), table.get(1 << 16)) == (0, [], None)
    assert sum(len(shard) for shard in shards) == max(0, 100 - first)
    table[7] = 7
    assert list(table.values()) == [7]


def test_a_shard_that_is_nearly_empty_gives_its_room_back(monkeypatch) -> None:
    monkeypatch.setattr(sharded_dict, "FIRST", 0)
    monkeypatch.setattr(sharded_dict, "_SMALL_BYTES", 256)
    table: ShardedDict[str, int] = ShardedDict()
    for number in range(20_000):
        table[str(number)] = number
    full = sum(shard.__sizeof__() for shard in table._shards)
    for number in range(19_900):
        del table[str(number)]
    for _ in range(sharded_dict.SHARDS):
        table.compact()
    assert sum(shard.__sizeof__() for shard in table._shards) < full / 3
    assert sorted(table.values()) == list(range(19_900, 20_000))
