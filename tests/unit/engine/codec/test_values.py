"""Round trips that a reader can check by eye, refusals, and hostile bytes."""

import datetime as dt
import enum
import math
import re
import subprocess
import sys
import types
import uuid
import zoneinfo
from collections import defaultdict
from decimal import Decimal

import msgspec
import pytest

from alacena.engine.base.errors import DecodeError, EncodeError
from alacena.engine.codec import decode, encode
from alacena.engine.codec.wrapping import MAX_DEPTH, is_plain

NAIVE = dt.datetime(2024, 5, 12, 10, 0, 0, 7)  # noqa: DTZ001 - naive on purpose
MADRID = zoneinfo.ZoneInfo("Europe/Madrid")

EXACT = [
    None, True, False, 0, 1, -1, 2**63, -(2**63), 2**64, -(2**63) - 1, 10**400, -(10**400), 0.0, 1.0, 1e308,
    "", "ñ", "\ud800", "a\udfffb", b"", b"\x00\xff", bytearray(b"ab"), 1 + 2j, complex(0, math.inf),
    [], {}, (), set(), frozenset(), [()], ([],), (1, (2, (3,))), {1, (2, 3)}, frozenset({frozenset({1})}),
    {1: "a"}, {"1": "a"}, {(1, 2): 3}, {None: 0, 1.5: 1, b"k": 2}, {"\ud800": 1, 2**70: [2**80]},
    {frozenset({1}): {(): ()}}, {True: 1}, {dt.date(2024, 1, 1): Decimal("0.10")},
    dt.date(1, 1, 1), dt.date(9999, 12, 31), dt.time(23, 59, 59, 999999), dt.time(1, 2, tzinfo=dt.UTC),
    dt.timedelta(days=-1, microseconds=1), dt.timedelta.max, dt.timedelta.min,
    NAIVE, dt.datetime(2024, 5, 12, tzinfo=dt.UTC),
    NAIVE.min, NAIVE.max,
    dt.datetime(2024, 5, 12, tzinfo=dt.timezone(dt.timedelta(hours=-3, minutes=-30, seconds=5, microseconds=9))),
    dt.datetime(2024, 5, 12, tzinfo=dt.timezone(dt.timedelta(hours=2), "CEST")),
    Decimal("1.10"), Decimal("-0"), Decimal("1E+9999"), Decimal("Infinity"),
    uuid.UUID(int=0), uuid.UUID(int=2**128 - 1),
    {"rows": [{"id": uuid.UUID(int=7), "at": dt.datetime(2024, 5, 12, tzinfo=dt.UTC), "tags": ("a", "b")}] * 3},
]  # fmt: skip


def name_of(value):
    """A test's name that is the same in every process: a representation without addresses."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


@pytest.mark.parametrize("value", EXACT, ids=name_of)
def test_a_value_comes_back_equal_and_of_the_same_type(value):
    back = decode(encode(value))
    assert type(back) is type(value)
    assert back == value
    assert repr(back) == repr(value)


def test_equal_keys_and_numbers_of_other_types_keep_theirs():
    back = decode(encode([True, 1, 1.0, "1", b"1", Decimal(1), {1: 0}, {1.0: 0}, {True: 0}]))
    assert [type(item) for item in back[:6]] == [bool, int, float, str, bytes, Decimal]
    assert [type(next(iter(item))) for item in back[6:]] == [int, float, bool]


class DriversUUID(uuid.UUID):
    """As a database driver has one, for speed."""


@pytest.mark.parametrize(
    "shape", [lambda u: u, lambda u: [u], lambda u: {"id": u}, lambda u: {u: 1}, lambda u: (u, {u})]
)
def test_a_drivers_own_uuid_comes_back_as_the_plain_one_that_it_equals(shape):
    plain, own = uuid.UUID(int=7), DriversUUID(int=7)
    assert encode(shape(own)) == encode(shape(plain))
    assert repr(decode(encode(shape(own)))) == repr(shape(plain))


def test_asyncpgs_uuid_is_stored_as_a_plain_one():
    pgproto = pytest.importorskip("asyncpg.pgproto.pgproto")
    plain = uuid.UUID(int=2**128 - 1)
    own = pgproto.UUID(str(plain))
    assert type(own) is not uuid.UUID
    back = decode(encode({"id": own}))
    assert type(back["id"]) is uuid.UUID
    assert back == {"id": own}


def test_nan_and_infinities_and_the_sign_of_zero_survive():
    nan, positive, negative, zero = decode(encode([math.nan, math.inf, -math.inf, -0.0]))
    assert math.isnan(nan)
    assert (positive, negative) == (math.inf, -math.inf)
    assert math.copysign(1, zero) == -1
    assert str(decode(encode(Decimal("sNaN123")))) == "sNaN123"


@pytest.mark.parametrize("fold", [0, 1])
def test_the_fold_of_an_ambiguous_hour_is_kept(fold):
    value = dt.datetime(2024, 10, 27, 2, 30, tzinfo=MADRID, fold=fold)
    back = decode(encode(value))
    assert (back.fold, back.utcoffset(), back.tzinfo) == (fold, value.utcoffset(), MADRID)
    assert decode(encode(value.replace(tzinfo=None))).fold == fold
    assert decode(encode(dt.time(2, 30, fold=fold))).fold == fold


def test_the_name_of_a_fixed_zone_is_kept():
    zone = decode(encode(dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(0), "Z")))).tzinfo
    assert zone.tzname(None) == "Z"


def test_the_order_of_a_dict_is_kept():
    assert list(decode(encode({"b": (), "a": 1}))) == ["b", "a"]
    assert list(decode(encode({2: "b", 1: "a"}))) == [2, 1]


def test_a_plain_tree_is_what_msgspec_alone_would_write_and_read():
    tree = {"id": "d1", "chunks": [{"n": i, "text": "x", "ok": None, "raw": b"r", 3: 0.5} for i in range(20)]}
    assert encode(tree) == msgspec.msgpack.encode(tree)
    assert decode(encode(tree)) == tree


class Text(str):
    pass


def test_text_of_another_class_is_text():
    assert repr(decode(encode({Text("b"): [Text("a")]}))) == "{'b': ['a']}"


class Whole(int):
    pass


class Colour(enum.IntEnum):
    RED = 1


class Zone(dt.tzinfo):
    def utcoffset(self, when):
        return None


class Plain(msgspec.Struct):
    a: int


class Tagged(str):
    def __init__(self, _):
        self.tag = 1


class Moment(dt.datetime):
    """Says more than a plain one: where it came from."""

    def __init__(self, *_):
        self.source = "gps"


UNSUPPORTED = [
    Tagged("a"), Whole(1), Colour.RED, defaultdict(lambda: 1), memoryview(b"a"), object(), ..., Moment(2024, 1, 1),
    range(3), iter([]), len, Plain(1), types.SimpleNamespace(a=1), msgspec.Raw(b"\xc0"), msgspec.msgpack.Ext(1, b""),
    dt.datetime(2024, 1, 1, tzinfo=Zone()),
]  # fmt: skip


@pytest.mark.parametrize("value", UNSUPPORTED, ids=name_of)
@pytest.mark.parametrize(
    ("wrap", "path"),
    [
        (lambda value: value, "$"),
        (lambda value: {"rows": [0, 1, 2, {"created": value}]}, "$.rows[3].created"),
        (lambda value: {"rows": ({"a key": [value]},)}, "$.rows[0]['a key'][0]"),
        (lambda value: [2**90, {7: value}], "$[1][7]"),
    ],
)
def test_what_cannot_come_back_is_refused_with_its_path(value, wrap, path):
    with pytest.raises(EncodeError) as caught:
        encode(wrap(value))
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path}: ")
    assert not str(caught.value).endswith(".")


def test_an_unsupported_key_is_refused_with_its_path():
    with pytest.raises(EncodeError) as caught:
        encode({"a": {Tagged("b"): 1}})
    assert caught.value.path == "$.a.<key 'b'>"
    with pytest.raises(EncodeError, match="subclass of str"):
        encode({Tagged("b"): 1})


def test_a_member_of_a_set_is_named_by_its_place():
    with pytest.raises(EncodeError) as caught:
        encode({"s": {Whole(5)}})
    assert caught.value.path == "$.s{0}"


@pytest.mark.parametrize("make", [lambda inner: [inner], lambda inner: {"a": inner}, lambda inner: (inner,)])
def test_depth_is_limited_when_writing(make):
    value = 0
    for _ in range(MAX_DEPTH):
        value = make(value)
    assert decode(encode(value)) == value
    with pytest.raises(EncodeError, match="levels"):
        encode(make(value))


def test_a_value_that_contains_itself_is_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(EncodeError, match="contains itself"):
        encode(loop)
    mixed = {"t": ()}
    mixed["t"] = (mixed,)
    with pytest.raises(EncodeError, match="contains itself"):
        encode(mixed)


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_value_that_multiplies_itself_is_refused_before_it_grows(kind):
    value = kind([0] * 1000)
    for _ in range(5):
        value = kind([value] * 1000)
    with pytest.raises(EncodeError, match="elements"):
        encode(value)


def test_the_scan_sees_the_keys_that_are_not_all_strings():
    assert is_plain({"a": 1, 2: 3})
    assert not is_plain({"a": 1, Text("b"): 2})
    assert not is_plain([{"a": {(): 1}}])


HOSTILE = [
    b"", b"\xc1", b"\xc1\x01", b"\xc1" * 64, b"\xc0\xc0", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff\x01", b"\x91" * 100_000 + b"\xc0",
    b"\x81\xa1a" * 100_000 + b"\xc0",
    b"\xa1\xff", b"\x81\x80\x00", b"\xd4\x7f\x00", b"\xd4\x01\xc0", b"\xd4\x02\x91", b"\xd5\x02\x91\x90",
    b"\xd4\x04\xc0",
    b"\xd5\x04\x91\x01", b"\xd4\x09\x00", b"\xd4\x0d\x78", b"\xd4\x0e\x00", b"\xd4\x1e\x90", b"\xd4\x14\x00",
    b"\xd6\x0a\x00\x00\x00\x00", b"\xd6\x0a\xff\xff\xff\xff",
]  # fmt: skip


@pytest.mark.parametrize("data", HOSTILE, ids=lambda data: data[:8].hex())
def test_hostile_bytes_are_decode_errors(data):
    with pytest.raises(DecodeError):
        decode(data)


def test_deeply_nested_extensions_are_decode_errors():
    data = b"\xc0"
    for _ in range(2000):
        data = msgspec.msgpack.encode(msgspec.msgpack.Ext(1, b"\x91" + data))
    with pytest.raises(DecodeError):
        decode(data)


def test_an_unknown_time_zone_is_a_decode_error_that_says_so():
    data = encode(dt.datetime(2024, 1, 1, tzinfo=MADRID)).replace(b"Europe/Madrid", b"Europe/Madrix")
    with pytest.raises(DecodeError, match="tzdata"):
        decode(data)


def test_importing_the_codec_imports_no_optional_library():
    script = (
        "import sys, alacena.engine.codec as c; c.decode(c.encode([1, {(1,): {2}}]));"
        "print(sorted({'numpy', 'pydantic', 'cryptography', 'backports.zstd', 'pickle'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=_environment()
    )
    assert done.stdout.strip() == "[]"


def _environment():
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
