"""Objects of the application's own classes: all of one comes back, or it is refused while somebody has it in hand."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import msgspec
import pydantic
import pytest

from alacena import CacheManager, DecodeError, EncodeError, get_with_cache_aside, invalidate_document_update, register
from alacena.engine.codec import Registry, ValueCodec, decode, encode
from alacena.engine.codec.canonical import identity

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alacena.engine import Cache


@dataclasses.dataclass
class Question:
    text: str

    def __post_init__(self) -> None:
        self.words = self.text.split()

    @functools.cached_property
    def length(self) -> int:
        return len(self.words)


class Doubled(msgspec.Struct):
    text: str

    def __post_init__(self) -> None:
        self.text = f"query: {self.text}"


class Noted(msgspec.Struct, dict=True):
    page: int


class Sourced(msgspec.Struct, dict=True):
    document_id: str


class _Span(NamedTuple):
    start: int
    end: int


class Span(_Span):
    """A named tuple with room for attributes."""


@attrs.define
class Passage:
    text: str
    _score: float = 0.5
    tags: list[str] = attrs.field(factory=list)


@attrs.frozen(slots=False, cache_hash=True)
class Frozen:
    text: str


class Base:
    __slots__ = ("origin",)


@dataclasses.dataclass
class Row(Base):
    __slots__ = ("key",)
    key: int


class Tags(pydantic.RootModel[list[str]]):
    pass


class Link(pydantic.BaseModel):
    url: pydantic.HttpUrl


for one in (Question, Doubled, Noted, Span, Row, Tags, Link, Passage, Frozen, Sourced):
    register(one, f"whole.{one.__name__}")


def with_attribute(value: Any, **attributes: Any) -> Any:
    for name, item in attributes.items():
        setattr(value, name, item)
    return value


MAKES: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    # lovasoa/marshmallow_dataclass 89, in its kind: what `__post_init__` makes was not there on a hit.
    "a dataclass with an attribute that is no field": (lambda: Question("how much is it"), ("words", "length")),
    # msgspec/msgspec 673: the constructor runs its hook again, here on what it had made.
    "a struct whose hook changes a field": (lambda: Doubled("rent"), ("text",)),
    "a struct with a dict": (lambda: with_attribute(Noted(1), note="n"), ("page", "note")),
    "a named tuple with attributes": (lambda: with_attribute(Span(1, 2), label="L"), ("start", "label")),
    "a dataclass with a slot that is no field": (lambda: with_attribute(Row(1), origin="web"), ("key", "origin")),
    # Classes of attrs were refused, one by one, as values and as arguments.
    "a class of attrs": (lambda: Passage("a", 0.9, ["x"]), ("text", "_score", "tags")),
    "a frozen class of attrs": (lambda: Frozen("a"), ("text",)),
    # pydantic/pydantic 1679 and 7622 in their kind: a model that is one value has less state than others.
    "a model that is one value": (lambda: Tags(["a", "b"]), ("root",)),
    # redis/redis-om-python 571: a model with a URL was no value.
    "a model with a URL": (lambda: Link(url=pydantic.HttpUrl("https://example.org/a")), ("url",)),
}


@pytest.mark.parametrize("form", MAKES)
async def test_all_of_an_object_comes_back(open_cache: Callable[..., Awaitable[Cache]], form: str) -> None:
    """What a first reader, who had made the object, could read of it, was gone or changed for all later ones."""
    make, names = MAKES[form]
    value = make()
    cache = await open_cache()
    other = await open_cache() if cache.url else cache
    await cache.set("thing", "1", [value], "acme")
    for _ in range(2):
        [back] = await other.get("thing", "1", "acme")
        assert back == value
        assert type(back) is type(value)
        assert {name: getattr(back, name, None) for name in names} == {name: getattr(value, name) for name in names}


async def test_an_object_ends_with_the_document_that_an_attribute_of_it_names(manager: type[CacheManager]) -> None:
    """HKUDS/LightRAG 1041 in its kind: what it is made from stood in an attribute that is no field."""
    for value in (
        with_attribute(Question("q"), document_id="d1"),
        with_attribute(Noted(1), document_id="d1"),
        with_attribute(Sourced("d1"), note="n"),
    ):
        await CacheManager.set("thing", "1", value, "acme")
        assert (await invalidate_document_update("acme", "d1"))["dependents"] == 1
        assert await manager.get("thing", "1", "acme") is None


def test_versions_of_a_class_read_one_anothers_attributes() -> None:
    """A rolling deploy: an attribute that became a field is read as the field, and one that is unknown is left out."""

    def codec_of(cls: type) -> ValueCodec:
        registry = Registry()
        registry.register(cls, "note")
        return ValueCodec(registry)

    @dataclasses.dataclass
    class Before:
        text: str

    @dataclasses.dataclass
    class After:
        text: str
        score: float = 0.5

    @dataclasses.dataclass(slots=True)
    class Slotted:
        text: str

    before, after, slotted = codec_of(Before), codec_of(After), codec_of(Slotted)
    written = before.encode(with_attribute(Before("a"), mood="good"))
    assert vars(before.decode(written)) == {"text": "a", "mood": "good"}
    assert after.decode(written).score == 0.5
    assert slotted.decode(written) == Slotted("a")
    assert before.decode(after.encode(After("b", 0.9))) == Before("b")


def test_what_an_object_holds_beside_its_fields_tells_it_apart() -> None:
    """As python-cachier/cachier 134: one call answered for another, whose argument differed in what was no field."""
    fast, slow = (with_attribute(Question("q"), mode=mode) for mode in ("fast", "slow"))
    assert identity(fast) != identity(slow)
    assert identity(fast) == identity(with_attribute(Question("q"), mode="fast"))
    # A client beside the fields has no form in a key, and keeps nobody from calling.
    assert identity(with_attribute(Question("q"), client=object())) == identity(
        with_attribute(Question("q"), client=object())
    )


def test_classes_of_attrs_are_arguments_and_have_defaults() -> None:
    """As for a dataclass: told apart by their fields, and read by a version of the class that has more of them."""
    assert identity(Passage("a")) == identity(Passage("a")) != identity(Passage("b"))

    def codec_of(cls: type) -> ValueCodec:
        registry = Registry()
        registry.register(cls, "passage")
        return ValueCodec(registry)

    @attrs.define
    class Before:
        text: str

    @attrs.define
    class After:
        text: str
        score: float = 0.5
        tags: list[str] = attrs.field(factory=list)

    assert codec_of(After).decode(codec_of(Before).encode(Before("a"))) == After("a")

    frozen = Frozen("a")
    assert hash(frozen) == hash(decode(encode(frozen)))
    assert vars(decode(encode(frozen)))["_attrs_cached_hash"] is None

    @attrs.define
    class Demanding:
        text: str
        score: float

    with pytest.raises(DecodeError, match="give score a default"):
        codec_of(Demanding).decode(codec_of(Before).encode(Before("a")))


class Interval(msgspec.Struct):
    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")


class Pair:
    def __init__(self, left: int, right: int) -> None:
        self.left, self.right = left, right


register(Interval, "whole.Interval")
register(Pair, "whole.Pair", dump=vars, load=Pair)  # type: ignore[arg-type]  # the mistake: it takes two


def make_invalid() -> Interval:
    value = Interval(1, 2)
    value.low = 5
    return value


@pytest.mark.parametrize("make", [make_invalid, lambda: Pair(1, 2)], ids=["a struct", "functions"])
async def test_what_cannot_be_read_back_is_not_stored(manager: type[CacheManager], make: Callable[[], Any]) -> None:
    """stanfordnlp/dspy 10373: what was stored and could not be read back failed the second call, and all who shared the first."""
    with pytest.raises(EncodeError, match=r"it cannot be read back .*whole\.(Interval|Pair)"):
        await CacheManager.set("thing", "1", {"value": make()}, "acme")
    assert await CacheManager.get("thing", "1", "acme") is None

    started = asyncio.Event()

    async def source() -> Any:
        await started.wait()
        return {"value": make()}

    async with asyncio.TaskGroup() as group:
        readers = [
            group.create_task(get_with_cache_aside("thing", "1", "acme", generate_func=source)) for _ in range(2)
        ]
        started.set()
    for value, metrics in (reader.result() for reader in readers):
        assert type(value["value"]) is type(make())
        assert metrics["stored"] is False


CELL = """
    import dataclasses
    from alacena import register

    @register
    @dataclasses.dataclass
    class Hit:
        text: str
"""


def run(cell: str, names: dict[str, Any]) -> None:
    exec(compile(textwrap.dedent(cell), "cell", "exec", dont_inherit=True), names)


def test_a_class_may_be_defined_again() -> None:
    """A notebook's cell, a script of streamlit, a reload: the second run failed, as the name stood for another class."""
    names: dict[str, Any] = {"__name__": "a_notebook"}
    run(CELL, names)
    before = names["Hit"]("a")
    written = encode(before)
    run(f"{CELL}        score: float = 0.5\n", names)
    assert decode(written) == names["Hit"]("a", 0.5)
    # An object of the class before, such as one that a session keeps, comes back as one of the class now.
    assert decode(encode(before)) == names["Hit"]("a", 0.5)


def test_classes_that_a_function_makes_are_not_one() -> None:
    """Of these, several are in use at the same time: each needs a name of its own."""

    def make() -> Any:
        @dataclasses.dataclass
        class Local:
            text: str

        return Local

    registry = Registry()
    registry.register(make())
    with pytest.raises(Exception, match=r"register .* under another"):
        registry.register(make())


def test_an_attribute_that_cannot_be_stored_is_named_with_the_way_out() -> None:
    """It was left out, and the first use of it on a hit failed."""
    with pytest.raises(EncodeError, match=r"\$\.client: .* or make the attribute a cached_property") as failed:
        encode(with_attribute(Question("q"), client=object()))
    assert failed.value.path == "$.client"


@pytest.mark.parametrize("value", [pydantic.SecretStr("hunter2"), Pair(1, 2).__dict__.keys()], ids=["secret", "keys"])
def test_the_advice_for_a_class_of_no_known_kind_can_be_followed(value: Any) -> None:
    """The line that it named was refused in turn: such a class needs two functions."""
    with pytest.raises(EncodeError, match=r"alacena\.register\(\w+, dump=\.\.\., load=\.\.\.\)") as failed:
        encode([value])
    assert "hunter2" not in str(failed.value)
