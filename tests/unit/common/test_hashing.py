"""Ids made of text and structures."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from alacena.common.cache.hashing import generate_resource_id_hash


def test_text_hashes_as_its_sha256() -> None:
    assert generate_resource_id_hash("a:b:5") == hashlib.sha256(b"a:b:5").hexdigest()
    assert len(generate_resource_id_hash("\ud800")) == 64


def test_equal_structures_hash_alike_and_different_ones_do_not() -> None:
    assert generate_resource_id_hash({"a": 1, "b": [2]}) == generate_resource_id_hash({"b": [2], "a": 1})
    assert generate_resource_id_hash({3, 1, 2}) == generate_resource_id_hash({2, 3, 1})
    different = [
        {"a": 1},
        '{"a": 1}',
        '{"a":1}',
        {"dict": {"a": 1}},
        ["a", 1],
        [["a", 1]],
        1,
        "1",
        1.0,
        True,
        None,
        b"1",
        {"bytes": "31"},
        {"1"},
        ["1"],
        Decimal(1),
        UUID(int=1),
        str(UUID(int=1)),
        datetime(2024, 1, 1),  # noqa: DTZ001 - a naive one on purpose
        timedelta(1),
    ]
    assert len({generate_resource_id_hash(one) for one in different}) == len(different)


def test_it_is_the_same_in_every_process() -> None:
    code = (
        "from alacena.common.cache.hashing import generate_resource_id_hash as g; print(g({'x': {'b', 'a'}, 'y': [1]}))"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == generate_resource_id_hash({"y": [1], "x": {"a", "b"}})


@pytest.mark.parametrize("thing", [object(), {1: "a"}, [lambda: 0], {"a": {None: 1}}])
def test_what_has_no_stable_form_is_refused(thing: object) -> None:
    with pytest.raises(TypeError, match="cannot hash"):
        generate_resource_id_hash(thing)
