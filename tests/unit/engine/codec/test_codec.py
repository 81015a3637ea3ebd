"""The whole way: value, entry, value."""

import datetime as dt

import msgspec
import numpy as np
import pytest

from alacena.engine.base.errors import EncodeError
from alacena.engine.codec import NOTHING, Codec, EntryError, Envelope, Keyring, Registry, compression
from alacena.engine.codec.envelope import pack, unpack

DIGEST = b"digest of a key."
ENVELOPE = Envelope(key_digest=DIGEST, replication_id=b"replica1", created_ms=1, stamps=(b"stamp  1",))
TREE = {"id": "d1", "text": "lorem ipsum " * 1000, "at": dt.datetime(2024, 1, 1, tzinfo=dt.UTC), "t": (1, 2)}
KEY = b"an integrity key"
MASTER = bytes(32)

CODECS = {
    "crc": Codec(),
    "mac": Codec(integrity_key=KEY),
    "encrypted": Codec(keyring=Keyring({1: MASTER}, 1)),
    "all": Codec(keyring=Keyring({1: MASTER}, 1), integrity_key=KEY, compress_over_bytes=100),
    "uncompressed": Codec(compress_over_bytes=None),
}


def open_(codec, data, tenant="acme", digest=DIGEST):
    envelope, payload = codec.open(data, key_digest=digest, tenant=tenant)
    return envelope, None if envelope.not_found else codec.decode(payload)


def seal(codec, value, tenant="acme"):
    return codec.seal(ENVELOPE, codec.pack(codec.encode(value)), tenant=tenant)


def reason_of(codec, data, **options):
    with pytest.raises(EntryError) as caught:
        open_(codec, data, **options)
    return caught.value.reason


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("value", [None, 0, "", {}, TREE, b"x" * 5000, [1, (2,)]], ids=lambda value: str(value)[:12])
def test_a_value_goes_through_an_entry(codec, value):
    envelope, back = open_(codec, seal(codec, value))
    assert back == value
    assert type(back) is type(value)
    assert not envelope.not_found
    assert envelope.stamps == (b"stamp  1",)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_nothing_is_not_none(codec):
    envelope, back = open_(codec, codec.seal(ENVELOPE, NOTHING, tenant="acme"))
    assert back is None
    assert envelope.not_found
    assert not open_(codec, seal(codec, None))[0].not_found


def test_a_long_text_is_compressed_and_an_embedding_never():
    codec = CODECS["crc"]
    assert codec.pack(codec.encode(TREE)).compression == compression.ZSTD
    assert codec.pack(codec.encode({"t": "short"})).compression == compression.NONE
    assert codec.pack(codec.encode(np.zeros(4096, dtype="f4"))).compression == compression.NONE
    assert codec.pack(codec.encode(np.zeros(4096, dtype="i4") + np.arange(4096) % 7)).compression == compression.ZSTD
    assert CODECS["uncompressed"].pack(CODECS["uncompressed"].encode(TREE)).compression == compression.NONE


def test_an_embedding_is_a_view_on_the_entry():
    codec = CODECS["mac"]
    array = np.arange(1536, dtype="f4")
    data = seal(codec, array)
    _, back = open_(codec, data)
    assert np.shares_memory(back, np.frombuffer(data, "u1"))
    assert back.flags.aligned
    assert (back == array).all()
    assert len(data) - array.nbytes <= 144


def test_a_writer_may_stamp_last_and_encryption_covers_the_stamps():
    codec = CODECS["encrypted"]
    data = codec.seal(ENVELOPE, codec.pack(codec.encode(1)), tenant="acme", stamps=[b"late   1"])
    assert open_(codec, data)[0].stamps == (b"late   1",)
    envelope, payload = unpack(data, key_digest=DIGEST)
    moved = pack(msgspec.structs.replace(envelope, stamps=(b"other  1",)), payload)
    assert reason_of(codec, moved) == "cipher"


def test_an_entry_opens_under_its_own_key_only():
    for codec in CODECS.values():
        assert reason_of(codec, seal(codec, 1), digest=b"digest of b key.") == "key"


def test_a_payload_moved_to_another_tenant_or_key_does_not_open():
    codec = CODECS["encrypted"]
    data = seal(codec, "secret of acme")
    assert reason_of(codec, data, tenant="rival") == "cipher"
    envelope, payload = unpack(data, key_digest=DIGEST)
    stolen = pack(msgspec.structs.replace(envelope, key_digest=b"digest of b key."), payload)
    assert reason_of(codec, stolen, digest=b"digest of b key.") == "cipher"
    emptied = pack(msgspec.structs.replace(envelope, not_found=True), payload)
    assert reason_of(codec, emptied) == "cipher"


def test_encryption_can_be_neither_taken_away_nor_slipped_in():
    plain, encrypted = CODECS["crc"], CODECS["encrypted"]
    assert reason_of(encrypted, seal(plain, 1)) == "cipher"
    assert reason_of(plain, seal(encrypted, 1)) == "cipher"
    assert reason_of(CODECS["mac"], seal(plain, 1)) == "checksum"
    assert reason_of(Codec(keyring=Keyring({2: MASTER}, 2)), seal(encrypted, 1)) == "cipher"


def test_values_and_entries_beyond_the_limit_are_refused():
    small = Codec(max_value_bytes=1000)
    with pytest.raises(EncodeError, match="max_value_bytes=1000"):
        small.encode("x" * 1000)
    assert reason_of(small, seal(Codec(), "x" * 5000)) == "size"
    huge = b"\xa1LC\x01" + bytes(2_000_000)
    assert reason_of(small, huge) == "size"


def test_an_unknown_codec_or_class_is_a_value_error_of_the_entry():
    import enum

    codec = CODECS["crc"]
    unknown = pack(msgspec.structs.replace(ENVELOPE, codec=9), b"\xc0")
    assert reason_of(codec, unknown) == "value"
    registry = Registry()
    colour = registry.register(enum.Enum("Colour", "RED"), "colour")
    other = Codec(registry=registry)
    data = seal(other, colour.RED)
    assert open_(other, data)[1] is colour.RED
    assert reason_of(codec, data) == "value"
    assert codec.decode(b"\xc0") is None


@pytest.mark.parametrize(
    "value", ["", "a", "a" * 95, "a" * 96, "é", "\ud800", 1, b"a" * 95, b"a" * 96, ["a"]], ids=repr
)
def test_what_is_sure_is_encoded_without_a_fault(value):
    codec = Codec(max_value_bytes=100)
    if codec.is_sure(value):
        assert codec.decode(codec.encode(value)) == value
    assert codec.is_sure(value) == (isinstance(value, str | bytes) and value.isascii() and len(value) <= 95)
