"""What frameworks, drivers and the standard library return, as values of the cache."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import ipaddress
import subprocess
import sys
import zoneinfo
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg
import msgspec
import numpy as np
import pgvector
import pydantic
import pytest
from openai.types.chat import ChatCompletion

from alacena import get_with_cache_aside
from alacena.coordination.element_codec import Unreadable
from alacena.engine import Cache, DecodeError, EncodeError, Keyring, UsageError
from alacena.engine.codec import Registry, ValueCodec, decode, encode, register

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alacena import CacheManager


class Role(str, enum.Enum):  # noqa: UP042 - not the same as a StrEnum
    USER = "user"


class Text(str):
    __slots__ = ()


class Order(pydantic.BaseModel):
    at: dt.datetime
    until: dt.time | None = None


register(Order, "tests.Order")


class Summer(dt.tzinfo):
    """A zone of another make, such as dateutil's: two offsets."""

    def utcoffset(self, when: dt.datetime | None) -> dt.timedelta | None:
        return None if when is None else dt.timedelta(hours=2 if 4 <= when.month <= 10 else 1)

    def dst(self, when: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(0)


COMPLETION = ChatCompletion.model_validate(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt",
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "message": {
                    "role": "assistant",
                    "content": "30 days",
                    "tool_calls": [
                        {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                    ],
                },
            }
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "not_known_yet": 1},
    }
)

EQUAL_IN_TYPE: tuple[Any, ...] = (
    collections.OrderedDict([("b", 1), ("a", 2)]),
    collections.defaultdict(list, {"a": [1]}),
    collections.defaultdict(None, {"a": 1}),
    collections.Counter("abca"),
    collections.deque([1, 2], maxlen=3),
    ipaddress.ip_address("10.0.0.1"),
    ipaddress.ip_network("10.0.0.0/8"),
    ipaddress.ip_interface("::1/128"),
    COMPLETION,
    [COMPLETION, {"nested": COMPLETION.choices[0]}],
    pgvector.Vector([1.0, 2.5]),
    pgvector.HalfVector([1.0, 2.5]),
    pgvector.SparseVector({0: 1.0, 3: 2.0}, 5),
    asyncpg.Range(1, 5),
    asyncpg.Range(empty=True),
    asyncpg.Point(1, 2),
    asyncpg.Box((1, 2), (3, 4)),
    asyncpg.Path((1, 2), (3, 4), is_closed=True),
    asyncpg.Polygon((1, 2), (3, 4), (5, 6)),
    asyncpg.Circle((1, 2), 3),
    asyncpg.BitString("0101"),
)


@pytest.mark.parametrize("value", EQUAL_IN_TYPE, ids=lambda one: f"{type(one).__name__}")
async def test_it_comes_back_equal_with_its_type(open_cache: Callable[..., Awaitable[Cache]], value: Any) -> None:
    """langchain-ai/langchain#27264, MagicStack/asyncpg#451: what frameworks and drivers return was never kept."""
    cache = await open_cache()
    other = await open_cache() if cache.url else cache
    await cache.set("thing", "1", {"value": value}, "acme")
    back = (await other.get("thing", "1", "acme"))["value"]
    assert back == value
    assert type(back) is type(value)
    if " at 0x" not in repr(value):
        assert repr(back) == repr(value)


def test_objects_of_langchain_and_llama_index_come_back_equal() -> None:
    """langchain-ai/langchain#29003, #29940, run-llama/llama_index#10494."""
    documents = pytest.importorskip("langchain_core.documents")
    messages = pytest.importorskip("langchain_core.messages")
    schema = pytest.importorskip("llama_index.core.schema")
    answer = messages.AIMessage(content="30 days", tool_calls=[{"name": "f", "args": {}, "id": "1"}])
    page = documents.Document(page_content="x", metadata={"page": 1})
    node = schema.TextNode(text="clause 4", metadata={"page": 1, "at": dt.datetime(2024, 1, 1, tzinfo=dt.UTC)})
    node.relationships[schema.NodeRelationship.SOURCE] = schema.RelatedNodeInfo(node_id="d1")
    for value in (answer, [page], [schema.NodeWithScore(node=node, score=0.5)]):
        assert decode(encode(value)) == value
    text = answer.text
    assert decode(encode({"answer": text})) == {"answer": "30 days"}
    assert type(decode(encode(text))) is str


async def test_text_that_adds_nothing_is_kept_as_text(manager: type[CacheManager]) -> None:
    """langchain-ai/deepagents#207: ``.text`` prints and behaves as a str, and was never cached."""
    for value in (Text("30 days"), Role.USER):
        calls = []

        def source(value: str = value, calls: list[int] = calls) -> dict[str, str]:
            calls.append(1)
            return {"answer": value}

        for _ in range(3):
            answer, _ = await get_with_cache_aside("answer", str(type(value)), "acme", source)
            assert answer == {"answer": value}
        assert calls == [1]
        await manager.set("answer", "itself", value, "acme")
        back = [await manager.get("answer", "itself", "acme", use_memory=where) for where in (True, False)]
        assert [type(one) for one in back] == [str, str]


@pytest.mark.parametrize(
    "moment",
    [
        Order.model_validate_json('{"at": "2024-05-01T10:00:00+02:00"}').at,
        Order.model_validate_json('{"at": "2024-05-01T10:00:00Z"}').at,
        dt.datetime(2024, 7, 1, tzinfo=Summer()),
        dt.datetime(2024, 1, 1, tzinfo=Summer()),
    ],
    ids=str,
)
def test_a_moment_with_a_zone_of_another_make_is_the_same_moment(moment: dt.datetime) -> None:
    """pydantic/pydantic-core#589 and #545: ``TzInfo`` cannot be copied; dateutil's and boto3's zones are alike."""
    back = decode(encode([moment]))[0]
    assert back == moment
    assert back.utcoffset() == moment.utcoffset()
    assert back.replace(tzinfo=None) == moment.replace(tzinfo=None)


class Stamp(dt.datetime):
    """As pandas' and pendulum's: equal to the plain one."""


class Fine(dt.datetime):
    """As pandas' with nanoseconds: not equal to any plain one."""

    __slots__ = ("nanosecond",)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fine) and super().__eq__(other)

    __hash__ = dt.datetime.__hash__


class Nothing(dt.datetime):
    """As pandas' NaT."""

    __slots__ = ()
    year = property(lambda _: float("nan"))  # type: ignore[assignment]


class Day(dt.date):
    pass


class Hour(dt.time):
    pass


class Span(dt.timedelta):
    pass


class Zone(zoneinfo.ZoneInfo):
    """As pendulum's."""


@pytest.mark.parametrize(
    ("value", "bare"),
    [
        (Stamp(2024, 5, 1, 10), dt.datetime(2024, 5, 1, 10)),  # noqa: DTZ001 - drivers give such ones
        (Stamp(2024, 5, 1, 10, 0, 0, 7, dt.UTC), dt.datetime(2024, 5, 1, 10, 0, 0, 7, dt.UTC)),
        (
            Stamp(2024, 10, 27, 2, 30, tzinfo=Zone("Europe/Madrid"), fold=1),
            dt.datetime(2024, 10, 27, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Madrid"), fold=1),
        ),
        (Day(2024, 5, 1), dt.date(2024, 5, 1)),
        (Hour(10, 30), dt.time(10, 30)),
        (Span(seconds=5), dt.timedelta(seconds=5)),
    ],
    ids=repr,
)
async def test_a_frameworks_own_moment_is_kept_as_the_plain_one_that_it_equals(
    cache: Cache, value: Any, bare: Any
) -> None:
    """python-pendulum/pendulum 899: rows of pandas or pendulum were loaded anew at each read."""
    await cache.load("row", "r", "acme", lambda: {"at": value})
    for use_memory in (True, False):
        back = (await cache.get("row", "r", "acme", use_memory=use_memory))["at"]
        assert type(back) is type(bare)
        # Moments that came twice, at the end of summer, are equal to none of another zone.
        assert repr(back) == repr(bare)
        assert str(back) == str(value)


@pytest.mark.parametrize("value", [Fine(2024, 5, 1), Nothing(2024, 5, 1)], ids=["nanoseconds", "NaT"])
def test_a_moment_that_a_plain_one_cannot_say_is_refused_with_what_to_write(value: dt.datetime) -> None:
    """python-pendulum/pendulum 899: a part of a microsecond must not be lost in silence."""
    with pytest.raises(EncodeError, match="to_pydatetime"):
        encode([value])
    told = Stamp(2024, 5, 1)
    told.source = "gps"  # type: ignore[attr-defined]
    with pytest.raises(EncodeError, match="would lose"):
        encode([told])


async def test_a_model_with_an_aware_time_stamp_is_kept(open_cache: Callable[..., Awaitable[Cache]]) -> None:
    """pydantic/pydantic-core#589: any model parsed from text with a zone was loaded anew at each read."""
    cache = await open_cache()
    order = Order.model_validate_json('{"at": "2024-05-01T10:00:00Z", "until": "10:00:00+01:00"}')
    await cache.set("order", "1", order, "acme")
    assert await cache.get("order", "1", "acme", use_memory=False) == order
    await cache.queues("orders", tenant_id="acme").push(order)
    [item] = await cache.queues("orders", tenant_id="acme").reserve()
    assert item.value == order
    await item.ack()


@pytest.mark.parametrize(
    ("value", "mend"),
    [
        (collections.defaultdict(lambda: 1), "dict"),
        (type("Tagged", (str,), {})("a"), None),
        (object(), "register"),
        (Fine(2024, 1, 1), "datetime"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_what_cannot_be_kept_is_refused_with_its_place_and_the_mend(value: Any, mend: str | None) -> None:
    if mend is None:
        value.source = "an attribute of its own"
        mend = "str"
    with pytest.raises(EncodeError, match=rf"^\$\.rows\[1\]: .*{mend}"):
        encode({"rows": [1, value]})


def test_a_class_of_the_callers_is_named_with_the_line_that_registers_it() -> None:
    """What a newcomer meets first: his own model, and a frame of pandas, which is no plain data."""

    class Invoice(pydantic.BaseModel):
        number: int

    with pytest.raises(EncodeError, match=r"register its class with alacena\.register\(Invoice\)"):
        encode({"invoices": [Invoice(number=1)]})
    frame = type("DataFrame", (), {"__module__": "pandas.core.frame"})
    with pytest.raises(EncodeError, match=r"pass value\.to_dict\(\"records\"\)"):
        encode(frame())


async def test_a_line_of_the_log_has_one_full_stop(
    manager: type[CacheManager], caplog: pytest.LogCaptureFixture
) -> None:
    await get_with_cache_aside("document", "d1", "acme", generate_func=object)
    assert "plain data. Later ones" in caplog.text


def test_only_classes_that_are_known_are_built_from_bytes() -> None:
    """A hostile entry names a class; nothing is imported for it, and no class that does anything is built."""
    probe = (
        "import sys\n"
        "from alacena.engine.codec import ValueCodec, Registry\n"
        "from alacena.engine.codec.values import decode\n"
        "from alacena.engine import DecodeError\n"
        "from msgspec.msgpack import Ext, encode\n"
        "import asyncio.subprocess\n"
        "for name in ('openai.types.chat.chat_completion.ChatCompletion', 'pgvector.vector.Vector', 'os.system',\n"
        "             'asyncio.subprocess.Process', 'openai.cli._cli.main', 'langchain_core.documents.base.Document'):\n"
        "    for shape in (0, 'functions\\0', 'pydantic\\0id', 'dataclass\\0id'):\n"
        "        try:\n"
        "            decode(encode(Ext(30, encode([name, shape, 'x']))))\n"
        "        except DecodeError: continue\n"
        "        sys.exit(f'{name} was built')\n"
        "assert not {'openai', 'pgvector', 'langchain_core', 'asyncpg', 'pydantic'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_class_of_a_framework_that_does_something_is_not_known() -> None:
    class Client:
        pass

    Client.__module__ = "openai.types"
    with pytest.raises(EncodeError, match="register"):
        encode(Client())


class Leaf(pydantic.BaseModel):
    role: Role = Role.USER


class Point(NamedTuple):
    x: int = 0


@dataclasses.dataclass
class Branch:
    leaves: list[Leaf]
    by_name: dict[str, Point | None]


def test_a_class_is_registered_with_all_that_it_refers_to() -> None:
    """langchain-ai/langchain#27264: eight classes to register one by one, each found out by the next failure."""
    registry = Registry()
    registry.register(Branch, deep=True)
    value = Branch([Leaf()], {"a": Point(1), "b": None})
    back = ValueCodec(registry).decode(ValueCodec(registry).encode(value))
    assert back == value
    assert back.leaves[0].role is Role.USER
    assert type(back.by_name["a"]) is Point
    with pytest.raises(UsageError):
        registry.register(dataclasses.make_dataclass("Broken", [("a", "NoSuchName")]), deep=True)


def _versions(kind: str) -> tuple[Any, Any]:
    if kind == "dataclass":
        return (
            dataclasses.make_dataclass("Job", ["a", ("gone", int, 1)]),
            dataclasses.make_dataclass("Job", ["a", ("new", list, dataclasses.field(default_factory=list))]),
        )
    if kind == "pydantic":
        return (
            pydantic.create_model("Job", a=(Any, ...), gone=(int, 1)),
            pydantic.create_model("Job", a=(Any, ...), new=(list[int], pydantic.Field(default_factory=list))),
        )
    if kind == "struct":
        return (
            msgspec.defstruct("Job", ["a", ("gone", int, 1)]),
            msgspec.defstruct("Job", ["a", ("new", list, msgspec.field(default_factory=list))]),
        )

    class Job(NamedTuple):
        a: Any
        new: list[int] = []  # noqa: RUF012 - a default like any other

    return NamedTuple("Job", [("a", Any), ("gone", int)]), Job


@pytest.mark.parametrize("kind", ["dataclass", "pydantic", "struct", "named tuple"])
def test_a_rolling_deploy_reads_the_jobs_of_both_versions(kind: str) -> None:
    """python-arq/arq#384, rq/rq PR 1428: a field was added to a class that travels in jobs, and the jobs were dead."""
    old, new = Registry(), Registry()
    v1, v2 = _versions(kind)
    old.register(v1, "Job")
    new.register(v2, "Job")
    waiting = ValueCodec(old).encode(v1(a="d1", gone=2))
    read = ValueCodec(new).decode(waiting)
    assert (read.a, read.new) == ("d1", [])
    assert ValueCodec(new).decode(ValueCodec(new).encode(read)) == read
    if kind != "named tuple":
        back = ValueCodec(old).decode(ValueCodec(new).encode(v2(a="d2", new=[1])))
        assert (back.a, back.gone) == ("d2", 1)
    required = Registry()
    required.register(dataclasses.make_dataclass("Job", ["other"]), "Job")
    with pytest.raises(DecodeError):
        ValueCodec(required).decode(waiting)


async def test_a_keyring_covers_queues_lists_sets_and_flags(open_cache: Callable[..., Awaitable[Cache]]) -> None:
    """The promise is "every value on the server"; the payloads of coordination lay there in the clear."""
    pytest.importorskip("cryptography")
    ring = Keyring({1: b"0" * 32}, 1)
    cache = await open_cache(keyring=ring)
    other = await open_cache(keyring=ring) if cache.url else cache
    plain = await open_cache() if cache.url else None
    if plain is not None:
        await plain.lists.rpush("l", {"v": "written before"}, tenant_id="acme")
    await cache.lists.rpush("l", {"v": "secret"}, tenant_id="acme")
    await cache.sets.add("s", "secret", tenant_id="acme")
    await cache.flags.set_nx("f", "secret", tenant_id="acme")
    await cache.queues("q", tenant_id="acme").push({"v": "secret"})
    assert (await other.lists.lrange("l", tenant_id="acme"))[-1] == {"v": "secret"}
    assert await other.sets.add("s", "secret", tenant_id="acme") == 0
    assert await other.sets.contains("s", "secret", tenant_id="acme")
    assert await other.sets.members("s", tenant_id="acme") == ["secret"]
    assert await other.flags.get("f", tenant_id="acme") == "secret"
    [item] = await other.queues("q", tenant_id="acme").reserve()
    assert item.value == {"v": "secret"}
    await item.ack()
    if plain is not None:
        assert (await other.lists.lrange("l", tenant_id="acme"))[0] == {"v": "written before"}
        [unreadable] = await plain.sets.members("s", tenant_id="acme")
        assert isinstance(unreadable, Unreadable)
        assert b"secret" not in unreadable.raw
        strict = await open_cache(keyring=ring, integrity_key="x" * 32)
        with pytest.raises(DecodeError, match="not encrypted"):
            await strict.lists.lpop("l", tenant_id="acme")


async def test_members_of_a_set_are_found_when_the_key_has_changed(open_cache: Callable[..., Awaitable[Cache]]) -> None:
    """Equal members are equal bytes, by the key of their time; a rotation must not hide them."""
    pytest.importorskip("cryptography")
    keys = {1: b"0" * 32, 2: b"1" * 32}
    cache = await open_cache(keyring=Keyring(keys, 1))
    await cache.sets.add("s", "a", tenant_id="acme")
    if cache.url:
        rotated = await open_cache(keyring=Keyring(keys, 2))
        assert await rotated.sets.contains("s", "a", tenant_id="acme")
        assert await rotated.sets.remove("s", "a", tenant_id="acme") == 1
        assert await cache.sets.members("s", tenant_id="acme") == []


def test_numpy_texts_are_as_they_were() -> None:
    assert type(decode(encode({"a": np.str_("x")}))["a"]) is np.str_


class Detached:
    """A row whose session is over: whatever was not loaded raises."""

    @property
    def tenant_id(self) -> str:
        raise RuntimeError("the session is over")

    metadata = node = document_id = tenant_id


class Guarded(dict[str, int]):
    """A mapping whose methods raise."""

    def get(self, *_: Any) -> int:
        raise RuntimeError("not now")

    values = items = __contains__ = get  # type: ignore[assignment]


@pytest.mark.parametrize("make", [Detached, Guarded, lambda: [Detached()], lambda: {"rows": [Guarded(a=1)]}])
async def test_a_value_that_cannot_be_looked_into_reaches_its_caller(manager: type[CacheManager], make: Any) -> None:
    """A detached row of an ORM: the look for its tenant and its document took the loaded value down."""
    value = make()

    async def load() -> Any:
        return value

    got, metrics = await get_with_cache_aside("document", "d1", "acme", load)
    assert type(got) is type(value)
    assert metrics["stored"] is False
    with pytest.raises(EncodeError):
        await manager.set("document", "d1", value, "acme")


@pytest.mark.parametrize("dtype", ["<U2", ">U1", [("a", "<i4"), ("b", "<U3")], [("a", "<U1", (2,))]])
async def test_an_array_of_damaged_text_is_no_value(dtype: Any) -> None:
    """Mutated payloads: a code point beyond the last one was a SystemError when the element was read."""
    array = np.zeros(3, dtype=dtype)
    whole = encode(array)
    assert np.array_equal(decode(whole), array)
    with pytest.raises(DecodeError):
        decode(whole[: -array.nbytes] + b"\xff" * array.nbytes)
    if dtype == ">U1":
        with pytest.raises(DecodeError):
            decode(encode(array[0])[:-4] + b"\xff" * 4)
