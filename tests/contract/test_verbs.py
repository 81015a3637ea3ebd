"""What every verb promises, whichever face it is called on and whatever is behind memory."""

import asyncio
import datetime as dt
import decimal
import uuid

import numpy as np
import pytest

from alacena.engine import EncodeError, InvalidKeyError, MissingTenantError
from tests.waiting import until

VALUES = [
    0, 0.0, "", b"", [], {}, False, True, (), set(), frozenset(), -1, 2**70, 1e300, 1j, "text", "\ud800", "é🙂", b"\0\xff",
    [1, [2, {"a": (3,)}]], {"a": {"b": [None]}}, {1: "int key", (1, 2): "tuple key"}, {1, "a"}, bytearray(b"x"),
    dt.datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC), dt.date(2024, 1, 2), dt.time(3, 4), dt.timedelta(days=1.5),
    decimal.Decimal("1.10"), uuid.UUID(int=7), "x" * 100_000,
]  # fmt: skip
READS = [{"use_memory": True}, {"use_memory": False}]


@pytest.fixture
def tenant():
    return "acme"


async def test_values_come_back_equal_and_with_their_types(face, tenant):
    for number, value in enumerate(VALUES):
        assert await face.set("note", f"n{number}", value, tenant) is True
        for how in READS:
            found = await face.get("note", f"n{number}", tenant, **how)
            assert (type(found), found) == (type(value), value)


async def test_arrays_come_back_read_only_with_dtype_and_shape(face, tenant):
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    await face.set("note", "n", array, tenant)
    for how in READS:
        found = await face.get("note", "n", tenant, **how)
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)
        assert not found.flags.writeable


async def test_a_miss_is_none_or_the_default(face, tenant):
    for how in READS:
        assert await face.get("note", "n", tenant, **how) is None
        assert await face.get("note", "n", tenant, default="d", **how) == "d"
    await face.set("note", "n", 0, tenant)
    assert await face.get("note", "n", tenant, default="d") == 0


async def test_what_is_set_again_replaces(face, tenant):
    for value in (1, [2], "three"):
        await face.set("note", "n", value, tenant)
        for how in READS:
            assert await face.get("note", "n", tenant, **how) == value


async def test_tenants_types_ids_and_scopes_are_apart(face, tenant):
    scopes = [
        {},
        {"agent_id": "a"},
        {"conversation_id": "a"},
        {"collection_id": "a"},
        {"agent_id": "a", "collection_id": "a"},
    ]
    places = [
        (t, i, w, s) for t in ("note", "note2") for i in ("a", "a:b") for w in (tenant, "rival") for s in range(5)
    ]
    for number, (data_type, one, whose, scope) in enumerate(places):
        await face.set(data_type, one, number, whose, **scopes[scope])
    for how in READS:
        for number, (data_type, one, whose, scope) in enumerate(places):
            assert await face.get(data_type, one, whose, **scopes[scope], **how) == number


async def test_a_read_widens_its_scope_most_specific_first_and_can_be_told_not_to(face, tenant):
    scope = {"agent_id": "a", "collection_id": "c"}
    await face.set("note", "n", "tenant's", tenant)
    for how in READS:
        assert await face.get("note", "n", tenant, **scope, **how) == "tenant's"
        assert await face.get("note", "n", tenant, search_hierarchy=False, **scope, **how) is None
    await face.set("note", "n", "collection's", tenant, collection_id="c")
    for how in READS:
        assert await face.get("note", "n", tenant, **scope, **how) == "collection's"
    await face.set("note", "n", "agent's", tenant, agent_id="a")
    await face.set("note", "n", "both's", tenant, **scope)
    for how in READS:
        assert await face.get("note", "n", tenant, **scope, **how) == "both's"
        assert await face.get("note", "n", tenant, agent_id="other", **how) == "tenant's"


async def test_delete_removes_the_one_entry_named_and_says_whether_it_was_there(face, tenant):
    await face.set("note", "n", 1, tenant)
    await face.set("note", "n", 2, tenant, agent_id="a")
    await face.set("note", "m", 3, tenant)
    assert await face.delete("note", "n", tenant) is True
    assert await face.delete("note", "n", tenant) is False
    for how in READS:
        assert await face.get("note", "n", tenant, **how) is None
        assert await face.get("note", "n", tenant, agent_id="a", **how) == 2
        assert await face.get("note", "m", tenant, **how) == 3
    await face.set("note", "n", 4, tenant)
    assert await face.get("note", "n", tenant) == 4


INVALIDATIONS = {
    "a resource at every scope": (("note", "n"), {}, {"t:m", "t:other", "r"}),
    "a resource of an agent": (("note", "n"), {"agent_id": "a"}, {"t", "t:c", "t:m", "t:other", "r"}),
    "a type": (("note",), {}, {"t:other", "r"}),
    "a type, with a star": (("note", "*"), {}, {"t:other", "r"}),
    "a tenant": ((), {}, {"r"}),
    "an agent": ((), {"agent_id": "a"}, {"t", "t:c", "t:m", "t:other", "r"}),
    "a collection": ((), {"collection_id": "c"}, {"t", "t:a", "t:m", "t:other", "r"}),
    "a tag": ((), {"tags": ["red"]}, {"t", "t:a", "t:c", "t:other", "r"}),
    "a document": ((), {"document_id": "d"}, {"t", "t:a", "t:c", "t:m", "r"}),
    "nothing that is there": (("absent",), {}, {"t", "t:a", "t:c", "t:m", "t:other", "r"}),
}


@pytest.mark.parametrize("case", INVALIDATIONS)
async def test_an_invalidation_ends_what_it_covers_and_nothing_else(face, tenant, case):
    places = {
        "t": ("note", "n", tenant, {}),
        "t:a": ("note", "n", tenant, {"agent_id": "a"}),
        "t:c": ("note", "n", tenant, {"collection_id": "c"}),
        "t:m": ("note", "m", tenant, {}),
        "t:other": ("other", "n", tenant, {}),
        "r": ("note", "n", "rival", {}),
    }
    what, options, left = INVALIDATIONS[case]
    for name, (data_type, one, whose, scope) in places.items():
        tags = ["red"] if name == "t:m" else []
        value = {"document_id": "d"} if name == "t:other" else {"name": name}
        if face.name == "Cache":
            documents = ["d"] if name == "t:other" else []
            await face.cache.set(data_type, one, value, whose, tags=tags, document_ids=documents, **scope)
        else:
            await face.set(data_type, one, value, whose, tags=tags, **scope)
    assert await face.invalidate(tenant, *what, **options) > 0
    for how in READS:
        found = {
            name
            for name, (data_type, one, whose, scope) in places.items()
            if await face.get(data_type, one, whose, search_hierarchy=False, **scope, **how) is not None
        }
        assert found == left


async def test_many_at_once(face, tenant):
    assert await face.get_many("note", ["a", "b"], tenant) == {}
    assert await face.set_many("note", {"a": [1], "b": 0, "c": ""}, tenant)
    assert await face.get_many("note", ["c", "a", "absent", "a"], tenant) == {"c": "", "a": [1]}
    assert await face.get("note", "b", tenant) == 0
    assert await face.get_many("note", [], tenant) == {}
    assert await face.get_many("note", ["a"], "rival") == {}


async def test_nothing_of_many_is_stored_where_one_cannot_be(face, tenant):
    for bad in (None, object()):
        with pytest.raises((ValueError, EncodeError)):
            await face.set_many("note", {"a": 1, "b": bad}, tenant)
        assert await face.get_many("note", ["a", "b"], tenant) == {}


async def test_times_to_live(face, tenant):
    await face.set("note", "n", 1, tenant)
    assert 500 < await face.ttl("note", "n", tenant) <= 600.01
    await face.set("note", "n", 1, tenant, ttl=50)
    assert 5 < await face.ttl("note", "n", tenant) <= 50.01
    await face.set("note", "n", 1, tenant, ttl=dt.timedelta(hours=1))
    assert 3500 < await face.ttl("note", "n", tenant) <= 3600.01
    await face.set("note", "n", 1, tenant, ttl=None)
    assert await face.ttl("note", "n", tenant) == -1
    assert await face.ttl("note", "absent", tenant) == -2

    async def found():
        await face.set("note", "n", 1, tenant, ttl=0.3)
        return await face.get("note", "n", tenant) == 1

    async def over():
        return await face.get("note", "n", tenant) is None

    await until(found)
    await until(over)
    for how in READS:
        assert await face.get("note", "n", tenant, **how) is None
    assert await face.ttl("note", "n", tenant) == -2


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), dt.timedelta(0)])
async def test_no_time_at_all_is_refused(face, tenant, ttl):
    with pytest.raises(ValueError, match="ttl"):
        await face.set("note", "n", 1, tenant, ttl=ttl)
    with pytest.raises(ValueError, match="ttl"):
        await face.load("note", "n", tenant, lambda: pytest.fail("the source was asked"), ttl=ttl)


async def test_none_is_no_value(face, tenant):
    with pytest.raises(ValueError, match="None cannot be stored"):
        await face.set("note", "n", None, tenant)


@pytest.mark.parametrize(
    "value", [object(), {"a": [object()]}, lambda: 1, type, iter([1])], ids=lambda value: type(value).__name__
)
async def test_what_cannot_be_stored_is_refused_with_its_path(face, tenant, value):
    with pytest.raises(EncodeError, match=r"^\$"):
        await face.set("note", "n", value, tenant)
    assert await face.get("note", "n", tenant) is None


@pytest.mark.parametrize("bad", ["", " ", None, 1.5, b"x"], ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("part", ["data_type", "resource_id"])
async def test_a_bad_part_of_a_key_is_named(face, tenant, bad, part):
    parts = {"data_type": "note", "resource_id": "n", "tenant_id": tenant} | {part: bad}
    if face.name == "CacheManager" and bad is None:
        return
    for call in (face.get(**parts), face.set(value=1, **parts), face.delete(**parts)):
        with pytest.raises(InvalidKeyError, match=part):
            await call


async def test_there_is_no_default_tenant(face):
    for call in (
        face.get("note", "n", None),
        face.set("note", "n", 1, None),
        face.delete("note", "n", None),
        face.invalidate(None),
        face.get_many("note", ["n"], None),
        face.set_many("note", {"n": 1}, None),
        face.ttl("note", "n", None),
        face.load("note", "n", None, lambda: 1),
    ):
        with pytest.raises(MissingTenantError):
            await call


@pytest.mark.parametrize("data_type", ["note", "unkept"])
async def test_a_load_asks_the_source_once_and_is_kept(face, tenant, settled, data_type):
    asked = []

    async def load():
        asked.append(1)
        await asyncio.sleep(0)
        return {"a": [1]}

    found = await asyncio.gather(*(face.load(data_type, "n", tenant, load) for _ in range(10)))
    assert found == [{"a": [1]}] * 10
    for value in found:
        value["a"].append("poison")
    await settled()
    assert await face.load(data_type, "n", tenant, load) == {"a": [1]}
    assert await face.get(data_type, "n", tenant, use_memory=False) == {"a": [1]}
    assert asked == [1]


async def test_a_source_that_has_nothing_is_asked_again_or_not_as_the_type_says(face, tenant, settled):
    asked = []

    async def load():
        asked.append(1)

    for data_type, times in (("note", 3), ("negative", 1)):
        asked.clear()
        for _ in range(3):
            assert await face.load(data_type, "n", tenant, load) is None
            await settled()
            assert await face.get(data_type, "n", tenant) is None
        assert len(asked) == times
        await face.set(data_type, "n", 0, tenant)
        assert await face.load(data_type, "n", tenant, load) == 0


async def test_a_sources_error_passes_as_it_is_and_is_not_remembered(face, tenant):
    failure = LookupError("the source's own")

    async def fail():
        raise failure

    with pytest.raises(LookupError) as caught:
        await face.load("note", "n", tenant, fail)
    assert caught.value is failure
    assert await face.load("note", "n", tenant, lambda: "now") == "now"


async def test_a_caller_who_is_cancelled_fails_nobody_else(face, tenant):
    gate, asked = asyncio.Event(), asyncio.Event()

    async def load():
        asked.set()
        await gate.wait()
        return "v"

    loads = [asyncio.create_task(face.load("note", "n", tenant, load)) for _ in range(5)]
    await asked.wait()
    for load_task in loads[:4]:
        load_task.cancel()
    gate.set()
    outcomes = await asyncio.gather(*loads, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes[:4]] == [asyncio.CancelledError] * 4
    assert outcomes[4] == "v"


ENDS = {
    "delete": lambda face, tenant: face.delete("note", "n", tenant),
    "set": lambda face, tenant: face.set("note", "n", "mine", tenant),
    "resource": lambda face, tenant: face.invalidate(tenant, "note", "n"),
    "type": lambda face, tenant: face.invalidate(tenant, "note"),
    "tenant": lambda face, tenant: face.invalidate(tenant),
}


@pytest.mark.parametrize("end", ENDS)
async def test_what_ends_during_a_load_is_served_and_not_kept(face, tenant, settled, end):
    gate, asked = asyncio.Event(), asyncio.Event()

    async def load():
        asked.set()
        await gate.wait()
        return "read before"

    loading = asyncio.create_task(face.load("note", "n", tenant, load))
    await asked.wait()
    await ENDS[end](face, tenant)
    gate.set()
    assert await loading == "read before"
    await settled()
    for how in READS:
        assert await face.get("note", "n", tenant, **how) == ("mine" if end == "set" else None)


async def test_what_is_made_from_a_document_that_ends_during_the_load_is_not_kept(face, tenant, settled):
    gate, asked = asyncio.Event(), asyncio.Event()

    async def load(context):
        asked.set()
        await gate.wait()
        if face.name == "Cache":
            context.depends_on("d")
        return {"document_id": "d", "version": 1}

    source = load if face.name == "Cache" else lambda: load(None)
    loading = asyncio.create_task(face.load("note", "n", tenant, source))
    await asked.wait()
    await face.invalidate(tenant, document_id="d")
    gate.set()
    assert (await loading)["version"] == 1
    await settled()
    for how in READS:
        assert await face.get("note", "n", tenant, **how) is None


async def test_edits_by_a_reader_reach_nobody(face, tenant):
    mine = {"a": [1]}
    await face.set("note", "n", mine, tenant)
    mine["a"].append("poison")
    for how in [*READS, *READS]:
        found = await face.get("note", "n", tenant, **how)
        assert found == {"a": [1]}
        found["a"].append("poison")
    many = await face.get_many("note", ["n"], tenant)
    many["n"]["a"].append("poison")
    assert await face.get_many("note", ["n"], tenant) == {"n": {"a": [1]}}
