"""Classes of the application: restored exactly, refused where they changed."""

import dataclasses
import enum
import functools
import zlib
from typing import NamedTuple

import msgspec
import pydantic
import pytest

from alacena.engine.base.errors import DecodeError, EncodeError, UsageError
from alacena.engine.codec import Registry, ValueCodec, default_registry, register


class Status(enum.Enum):
    DRAFT = "draft"
    DONE = "done"
    ALSO_DONE = "done"  # noqa: PIE796 - an alias is what it is about


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Level(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass
class Chunk:
    id: str
    scores: tuple[float, ...]
    parent: "Chunk | None" = None
    total: float = dataclasses.field(init=False)

    def __post_init__(self):
        self.total = sum(self.scores)

    @functools.cached_property
    def first(self):
        return self.scores[0]


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: int


class Row(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    status: Status


class Pair(NamedTuple):
    left: object
    right: object


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    name: str = pydantic.Field(alias="n")
    status: Status
    limits: set[int] = {1}
    _private: int = pydantic.PrivateAttr(default=3)


class Money:
    def __init__(self, cents):
        self.cents = cents

    def __eq__(self, other):
        return type(other) is Money and other.cents == self.cents

    __hash__ = None


def everything() -> Registry:
    registry = Registry()
    for cls in (Status, Right, Level, Chunk, Point, Row, Pair, Model):
        registry.register(cls)
    registry.register(Money, "money", dump=lambda money: money.cents, load=Money)
    return registry


INSTANCES = [
    Status.DRAFT, Status.ALSO_DONE, Right.READ | Right.WRITE, Right(0), Level.LOW, Point(1, 2),
    Chunk("c", (1.0, 2.0), Chunk("p", ())),
    Row(id=1, status=Status.DONE), Pair((1,), {2}), Money(5),
    Model(n="a", status=Status.DONE, other=(1, 2)),
    {Point(1, 2): [Status.DONE, (Level.LOW, {Right.READ})]},
]  # fmt: skip


@pytest.mark.parametrize("value", INSTANCES, ids=lambda value: type(value).__name__)
def test_an_instance_comes_back_equal_and_of_its_class(value):
    codec = ValueCodec(everything())
    back = codec.decode(codec.encode([value]))[0]
    assert type(back) is type(value)
    assert back == value


def test_an_enum_member_comes_back_as_the_same_object():
    codec = ValueCodec(everything())
    assert codec.decode(codec.encode(Status.DONE)) is Status.DONE


def test_a_pydantic_model_keeps_what_was_set_its_extras_and_its_private_attributes():
    codec = ValueCodec(everything())
    model = Model(n="a", status=Status.DRAFT, other=1)
    model._private = 9
    back = codec.decode(codec.encode(model))
    assert back.model_fields_set == {"name", "status", "other"}
    assert back.model_extra == {"other": 1}
    assert back._private == 9


def test_a_field_that_init_computes_is_restored_without_running_it():
    codec = ValueCodec(everything())
    chunk = Chunk("c", (1.0, 2.0))
    chunk.total = 99.0
    assert chunk.first == 1.0
    assert codec.decode(codec.encode(chunk)).total == 99.0


def test_the_path_of_a_refusal_goes_through_fields():
    codec = ValueCodec(everything())
    chunk = Chunk("c", ())
    chunk.scores = (object(),)
    with pytest.raises(EncodeError) as caught:
        codec.encode({"rows": [Pair(1, {"k": chunk})]})
    assert caught.value.path == "$.rows[0].right.k.scores[0]"


def test_an_unregistered_class_is_refused_with_the_remedy():
    with pytest.raises(EncodeError, match="register"):
        ValueCodec(Registry()).encode(Status.DONE)


def test_a_subclass_of_a_registered_class_is_not_registered():
    class Special(Chunk):
        pass

    with pytest.raises(EncodeError):
        ValueCodec(everything()).encode(Special("c", ()))


def test_an_incomplete_instance_is_refused():
    chunk = Chunk("c", ())
    del chunk.total
    with pytest.raises(EncodeError, match="incomplete"):
        ValueCodec(everything()).encode(chunk)


def test_versions_of_a_class_read_one_another_by_field():
    old, new = Registry(), Registry()

    @dataclasses.dataclass
    class Before:
        a: int
        gone: str = "x"

    @dataclasses.dataclass
    class After:
        b: int = 0
        a: int = 0

    old.register(Before, "thing")
    new.register(After, "thing")
    assert ValueCodec(new).decode(ValueCodec(old).encode(Before(1))) == After(a=1)
    assert ValueCodec(old).decode(ValueCodec(new).encode(After(2, 3))) == Before(3)
    with pytest.raises(DecodeError, match="registered"):
        ValueCodec(Registry()).decode(ValueCodec(old).encode(Before(1)))


def test_an_entry_that_says_its_fields_by_a_digest_is_read_while_they_are_the_same():
    registry = Registry()
    thing = registry.register(msgspec.defstruct("Thing", ["width"]), "thing")
    digest = zlib.crc32(b"struct\0width")
    assert registry.restore("thing", digest, [3]) == thing(3)
    for shape, state in (
        (digest + 1, [3]),
        (digest, [3, 4]),
        ("struct\0width\0x", [3]),
        ("enum\0width", [3]),
        (None, []),
    ):
        with pytest.raises(DecodeError):
            registry.restore("thing", shape, state)


def test_a_renamed_field_turns_entries_into_decode_errors():
    old, new = Registry(), Registry()
    thing = old.register(msgspec.defstruct("Thing", ["width"]), "thing")
    new.register(msgspec.defstruct("Thing", ["height"]), "thing")
    value = ValueCodec(old).encode(thing(3))
    assert ValueCodec(old).decode(value).width == 3
    with pytest.raises(DecodeError, match="other fields"):
        ValueCodec(new).decode(value)


def test_a_member_that_is_gone_is_a_decode_error():
    old, new = Registry(), Registry()
    old.register(Status, "status")
    new.register(enum.Enum("Status", {"OTHER": 1}), "status")
    with pytest.raises(DecodeError):
        ValueCodec(new).decode(ValueCodec(old).encode(Status.DONE))


def test_a_name_stands_for_one_class_and_a_class_has_one_name():
    registry = everything()
    registry.register(Point)
    with pytest.raises(UsageError, match="under another"):
        registry.register(Pair, "money")
    with pytest.raises(UsageError, match="one name"):
        registry.register(Point, "other")
    assert ValueCodec(registry).decode(ValueCodec(registry).encode(Money(1))) == Money(1)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [((Money,), {}), ((3,), {}), ((Money,), {"dump": int}), ((Money,), {"load": Money})],
)
def test_what_cannot_be_taken_apart_is_a_usage_error(arguments, options):
    with pytest.raises(UsageError):
        Registry().register(*arguments, **options)


def test_register_decorates_and_fills_the_process_wide_registry():
    @register
    class Local(enum.Enum):
        A = 1

    assert default_registry.of(Local).cls is Local
    assert ValueCodec().decode(ValueCodec().encode(Local.A)) is Local.A
