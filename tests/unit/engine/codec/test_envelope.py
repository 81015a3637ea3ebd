"""The header: every field, every limit, and a format that does not move."""

import msgspec
import pytest

from alacena.engine.base.errors import DecodeError, UsageError
from alacena.engine.codec import EntryError, Envelope
from alacena.engine.codec.envelope import MAX_HEADER_BYTES, header, pack, pack_plain, unpack
from alacena.engine.codec.integrity import Mac, crc

DIGEST = bytes(range(16))
SMALL = Envelope(key_digest=DIGEST, replication_id=b"replica1", created_ms=1_700_000_000_000)
FULL = Envelope(
    key_digest=DIGEST,
    replication_id=b"replica1",
    created_ms=1_700_000_000_000,
    fresh_until_ms=1_700_000_060_000,
    expires_ms=2**64 - 1,
    load_ms=2**32 - 1,
    cost=2_400,
    stamps=(b"tenant 1", b"type   1", b"collect1"),
    tags=(("doc:d1", b"stamp  1"), ("ñ" * 127, b"stamp  2")),
    not_found=False,
    codec=1,
    compression=2,
    encryption=1,
    key_id=65535,
)
MAC = Mac(b"k" * 32)
VERSION_ONE = (
    "a14c4301054c33100000000000000000000000000000010201030200ffff000098010000070000007265706c69636131"
    "000102030405060708090a0b0c0d0e0f0068e5cf8b0100006052e6cf8b010000ffffffffffffffff6009000000000000"
    "ffffffff0000000074656e616e7420317479706520202031636f6c6c6563743106646f633a64317374616d70202031fe"
    "c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1"
    "c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1"
    "c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1"
    "c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1"
    "c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1"
    "c3b1c3b1c3b1c3b1c3b1c3b1c3b17374616d7020203200007061796c6f6164"
)
WITH_A_VERSION = (
    "a14c43016e432d070000000000000000000000000200010201030200ffff4000d8010000070000007265706c69636131"
    "000102030405060708090a0b0c0d0e0f0068e5cf8b0100006052e6cf8b010000ffffffffffffffff0000000000000000"
    "ffffffff0000000074656e616e7420317479706520202031636f6c6c6563743106646f633a64317374616d70202031fe"
    "c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1"
    "c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1"
    "c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1"
    "c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1"
    "c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1c3b1"
    "c3b1c3b1c3b1c3b1c3b1c3b1c3b17374616d702020327676767676767676767676767676767676767676767676767676"
    "767676767676767676767676767676767676767676767676767676767676767676767676767600007061796c6f6164"
)


def reason_of(data, *, key_digest=DIGEST, check=crc):
    with pytest.raises(EntryError) as caught:
        unpack(data, key_digest=key_digest, check=check)
    assert isinstance(caught.value, DecodeError)
    return caught.value.reason


@pytest.mark.parametrize("check", [crc, MAC], ids=["crc", "mac"])
@pytest.mark.parametrize("envelope", [SMALL, FULL], ids=["small", "full"])
@pytest.mark.parametrize("payload", [b"", b"x", b"p" * 6168])
def test_an_entry_comes_back(envelope, payload, check):
    data = pack(envelope, payload, check=check)
    back, view = unpack(data, key_digest=DIGEST, check=check)
    assert back == envelope
    assert view == payload
    assert view.readonly
    assert (len(data) - len(payload)) % 8 == 0


def test_the_payload_is_a_view_on_the_entry():
    data = pack(SMALL, b"payload")
    _, view = unpack(data, key_digest=DIGEST)
    assert view.obj is data


def test_a_writer_may_stamp_last():
    late = pack(FULL, b"x", stamps=[b"other  1"])
    assert unpack(late, key_digest=DIGEST)[0].stamps == (b"other  1",)
    early, stamped = header(FULL, 1, stamps=()), header(FULL, 1)
    assert early[84:90] == stamped[84 + 24 : 90 + 24]


def test_version_one_does_not_move():
    data = pack(FULL, b"payload")
    assert data.hex() == VERSION_ONE


def test_an_entry_with_the_version_of_its_source_is_read_without_it():
    envelope, payload = unpack(bytes.fromhex(WITH_A_VERSION), key_digest=DIGEST)
    assert envelope == msgspec.structs.replace(FULL, cost=0)
    assert payload == b"payload"


def test_what_is_no_entry_is_foreign_or_of_another_version():
    data = pack(SMALL, b"x")
    assert reason_of(b"\x80\x04\x95" + data[3:]) == "foreign"
    assert reason_of(b'{"a": 1}') == "foreign"
    assert reason_of(data[:3] + b"\x02" + data[4:]) == "version"
    assert reason_of(b"") == reason_of(data[:2]) == reason_of(data[:3]) == reason_of(data[:50]) == "truncated"
    assert reason_of(data + b"\0") == "truncated"


def test_a_sound_entry_of_another_key_raises_the_alarm():
    assert reason_of(pack(SMALL, b"x"), key_digest=b"another key's 16") == "key"
    assert reason_of(pack(SMALL, b"x", check=MAC), key_digest=b"another key's 16", check=MAC) == "key"


def test_the_reader_decides_which_check_there_is():
    assert reason_of(pack(SMALL, b"x"), check=MAC) == "checksum"
    assert reason_of(pack(SMALL, b"x", check=MAC)) == "checksum"
    assert reason_of(pack(SMALL, b"x", check=MAC), check=Mac(b"other key, 16 by")) == "checksum"


@pytest.mark.parametrize("position", [20, 25, 26, 32])
@pytest.mark.parametrize("value", [4, 7, 90, 255])
def test_a_header_that_contradicts_itself_is_refused_even_with_a_good_check(position, value):
    body = bytearray(pack(FULL, b"payload" * 50)[20:])
    body[position - 20] = value
    forged = b"\xa1LC\x01" + crc(bytes(body)) + bytes(body)
    reasons, envelope = [], None
    try:
        envelope, _ = unpack(forged, key_digest=DIGEST)
    except EntryError as error:
        reasons.append(error.reason)
    assert reasons in (["version"], ["truncated"], [])
    if not reasons:
        assert position == 25, "an inner length may only move the border between two inner fields"
        assert envelope != FULL


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("key_digest", b"short"), ("replication_id", b"123456789"), ("created_ms", -1), ("expires_ms", 2**64),
        ("load_ms", 2**32), ("cost", -1), ("cost", 2**64), ("cost", None),
        ("stamps", (b"short",)), ("stamps", (b"12345678",) * 256),
        ("tags", (("", b"12345678"),)), ("tags", (("t" * 256, b"12345678"),)), ("tags", (("t", b"1"),)),
        ("tags", (("t", b"12345678"),) * 1025), ("key_id", 65536), ("codec", 256), ("load_ms", 1.5),
    ],
)  # fmt: skip
def test_a_field_that_does_not_fit_is_a_usage_error(field, value):
    with pytest.raises(UsageError):
        pack(msgspec.structs.replace(FULL, **{field: value}), b"")


def test_the_largest_header_fits_its_bound():
    tags = tuple((f"{i:255}", b"12345678") for i in range(1024))
    largest = msgspec.structs.replace(FULL, stamps=(b"12345678",) * 255, tags=tags)
    data = pack(largest, b"")
    assert unpack(data, key_digest=DIGEST)[0] == largest
    assert len(data) <= MAX_HEADER_BYTES


@pytest.mark.parametrize("size", [0, 15, 65])
def test_an_integrity_key_of_the_wrong_length_is_a_usage_error(size):
    with pytest.raises(UsageError, match="16 to 64"):
        Mac(b"k" * size)


def test_checks_do_not_depend_on_how_the_bytes_are_cut():
    assert crc(b"ab", b"c") == crc(b"abc") == (0x352441C2).to_bytes(16, "little")
    assert MAC(b"ab", b"c") == MAC(b"abc")


@pytest.mark.parametrize("codec", [0, 1])
@pytest.mark.parametrize("stamps", [(), (b"tenant 1",), (b"tenant 1", b"type   1", b"collect1")])
@pytest.mark.parametrize("payload", [b"", b"p" * 61, memoryview(b"view")])
def test_the_shorter_way_packs_the_same_bytes(codec, stamps, payload):
    envelope = Envelope(
        key_digest=DIGEST,
        replication_id=b"replica1",
        created_ms=7,
        fresh_until_ms=2**41,
        expires_ms=2**42,
        load_ms=2**32 - 1,
        cost=7,
        stamps=stamps,
        not_found=not codec,
        codec=codec,
        compression=2,
    )
    plain = pack_plain(b"replica1", DIGEST, b"".join(stamps), (7, 2**41, 2**42), 2**32 - 1, 7, codec, 2, payload)
    assert plain == pack(envelope, payload)
