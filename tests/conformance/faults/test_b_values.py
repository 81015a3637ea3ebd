"""B: values keep their types, and a miss is only None."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from alacena import (
    TTL_PERMANENT,
    CacheManager,
    deserialize_from_cache,
    estimate_object_size,
    get_with_cache_aside,
    serialize_for_cache,
)
from alacena.engine.base.errors import EncodeError

if TYPE_CHECKING:
    from alacena.engine import Cache

pytestmark = pytest.mark.usefixtures("cache")

FALSY = ["", 0, 0.0, False, [], {}, (), set(), b""]
STRINGS = ["42", "true", "False", "None", "3.5", '{"a":1}', "[1]", "null", "\x00", "ñ 🎉"]
TYPED = [
    42,
    True,
    3.5,
    -(2**70),
    b"\xff\x00",
    (1, (2,)),
    {1, 2},
    frozenset({"a"}),
    {"row": [1, None, {"deep": ()}]},
    {1: "int key", "1": "str key"},
    datetime(2024, 5, 1, 12, 30, tzinfo=UTC),
    date(2024, 5, 1),
    timedelta(seconds=1.5),
    Decimal("1.10"),
    UUID(int=7),
    float("inf"),
]


def same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("value", FALSY, ids=lambda value: type(value).__name__)
async def test_b1_falsy_values_are_values(value: Any) -> None:
    calls = []

    async def fetch() -> Any:
        calls.append("fetch")
        return value

    async def generate() -> Any:
        raise AssertionError

    for expected in ("supabase", "cache"):
        got, metrics = await get_with_cache_aside("document", "d", "t", fetch, generate)
        assert same(got, value)
        assert metrics["source"] == expected
    assert same(await CacheManager.get("document", "d", "t", use_memory=False, default="miss"), value)
    assert calls == ["fetch"]


async def test_b2_arrays_are_values_too() -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.zeros((2, 3), dtype="float32")
    for expected in ("generation", "cache"):
        got, metrics = await get_with_cache_aside("embedding", "e", "t", None, lambda: array)
        assert metrics["source"] == expected
        assert got.dtype == array.dtype
        assert (got == array).all()


@pytest.mark.parametrize("value", [*FALSY, *STRINGS, *TYPED], ids=lambda value: type(value).__name__)
async def test_b3_types_are_the_same_from_memory_and_from_redis(value: Any) -> None:
    assert await CacheManager.set("document", "d", value, "t")
    assert same(await CacheManager.get("document", "d", "t"), value)
    assert same(await CacheManager.get("document", "d", "t", use_memory=False), value)


async def test_b4_a_row_with_a_date_stays_a_row_and_what_cannot_be_stored_says_where() -> None:
    row = {"id": UUID(int=1), "created": datetime(2024, 5, 1, tzinfo=UTC), "tags": {"a"}, "blob": b"\x00"}
    await CacheManager.set("document", "d", row, "t")
    got = await CacheManager.get("document", "d", "t", use_memory=False)
    assert got == row
    assert type(got["tags"]) is set
    with pytest.raises(EncodeError, match="rows") as error:
        await CacheManager.set("document", "d", {"rows": [object()]}, "t")
    assert "rows" in error.value.path


async def test_b5_objects_come_back_as_objects_or_are_not_cached() -> None:
    class Agent:
        def __init__(self) -> None:
            self.state = "ready"

    calls = []

    def load() -> Agent:
        calls.append(1)
        return Agent()

    for _ in range(2):
        agent, _ = await get_with_cache_aside("agent", "a", "t", load)
        assert agent.state == "ready"
    assert len(calls) == 2


async def test_b6_a_serializer_of_ones_own_produces_hits() -> None:
    import json

    calls = []

    async def fetch() -> Any:
        calls.append(1)
        return SimpleNamespace(a=[1])

    def dump(value: SimpleNamespace) -> str:
        return json.dumps(vars(value))

    def load(text: str) -> SimpleNamespace:
        assert isinstance(text, str)
        return SimpleNamespace(**json.loads(text))

    for expected in ("supabase", "cache"):
        got, metrics = await get_with_cache_aside("x", "d", "t", fetch, serializer=dump, deserializer=load)
        assert got == SimpleNamespace(a=[1])
        assert metrics["source"] == expected
    assert calls == [1]


async def test_b7_what_callers_change_does_not_change_the_cache() -> None:
    mine = {"messages": [1]}
    await CacheManager.set("document", "d", mine, "t")
    mine["messages"].append(2)
    first = await CacheManager.get("document", "d", "t")
    first["messages"].append(3)
    assert await CacheManager.get("document", "d", "t") == {"messages": [1]}

    async def fetch() -> list[int]:
        return shared

    shared = [1]
    loaded, _ = await get_with_cache_aside("document", "e", "t", fetch)
    loaded.append(2)
    again, _ = await get_with_cache_aside("document", "e", "t", fetch)
    assert again == [1]


def test_b8_sizes_are_deep() -> None:
    assert estimate_object_size({"text": "x" * 100_000}) > 100_000
    numpy = pytest.importorskip("numpy")
    assert estimate_object_size([numpy.zeros(1000)]) > 8000


async def test_b9_a_value_that_cannot_be_stored_is_served_and_not_counted_as_stored() -> None:
    store = SimpleNamespace(index=object())
    for _ in range(2):
        got, metrics = await get_with_cache_aside("vector_store", "v", "t", lambda: store)
        assert got is store
        assert metrics["source"] == "supabase"
        assert metrics["cache_hit"] is False


@pytest.mark.parametrize("ttl", [0, -1, -0.5, float("nan"), timedelta(0)])
async def test_b10_a_ttl_that_is_no_time_is_refused(ttl: Any) -> None:
    with pytest.raises(ValueError, match="ttl"):
        await CacheManager.set("document", "d", 1, "t", ttl=ttl)
    with pytest.raises(ValueError, match="ttl"):
        await get_with_cache_aside("document", "d", "t", lambda: 1, ttl=ttl)


async def test_b10_ttls_mean_what_they_say(cache: Cache) -> None:
    await CacheManager.set("document", "permanent", 1, "t", ttl=TTL_PERMANENT)
    await CacheManager.set("document", "float", 1, "t", ttl=90.5)
    await CacheManager.set("document", "delta", 1, "t", ttl=timedelta(minutes=2))
    await CacheManager.set("query_result", "default", 1, "t")
    await get_with_cache_aside("query_result", "aside", "t", lambda: 1, ttl=None)
    assert await CacheManager.ttl("document", "permanent", "t") == -1
    assert await CacheManager.ttl("document", "nothing", "t") == -2
    assert 85 < await CacheManager.ttl("document", "float", "t") <= 91
    assert 115 < await CacheManager.ttl("document", "delta", "t") <= 120
    assert 295 < await CacheManager.ttl("query_result", "default", "t") <= 300
    assert 295 < await CacheManager.ttl("query_result", "aside", "t") <= 300


@pytest.mark.parametrize("value", [*FALSY, *STRINGS, *TYPED], ids=lambda value: type(value).__name__)
def test_serialized_values_come_back_with_their_type_with_and_without_a_data_type(value: Any) -> None:
    assert same(deserialize_from_cache(serialize_for_cache(value)), value)
    assert same(deserialize_from_cache(serialize_for_cache(value, "query_result"), "query_result"), value)
