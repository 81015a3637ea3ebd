"""No change to an entry goes unnoticed: every bit flipped, every length cut, every pair spliced."""

import os
import sys

import msgspec
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from alacena.engine.codec import NOTHING, Codec, EntryError, Envelope, Keyring
from alacena.engine.codec.envelope import pack, unpack

SEED = int(os.environ.get("TESTS_SEED", "20250512"))
EXAMPLES = int(os.environ.get("TESTS_EXAMPLES", "200"))
steady = settings(max_examples=EXAMPLES, deadline=None, database=None)

DIGEST = b"digest of a key."
PLAIN = Envelope(key_digest=DIGEST, replication_id=b"replica1", created_ms=1)
TAGGED = msgspec.structs.replace(
    PLAIN, stamps=(b"stamp  1", b"stamp  2"), tags=(("doc:1", b"stamp  3"),), cost=7, expires_ms=9
)
CODECS = {
    "crc": Codec(compress_over_bytes=60),
    "mac": Codec(compress_over_bytes=60, integrity_key=b"an integrity key"),
    "encrypted": Codec(keyring=Keyring({1: bytes(32)}, 1)),
}
VALUES = [{"id": "d1", "n": [1, 2.5, None]}, (1, {2, 3}), "abc " * 40, b""]


def samples(codec):
    entries = [
        codec.seal(envelope, codec.pack(codec.encode(value)), tenant="acme")
        for envelope in (PLAIN, TAGGED)
        for value in VALUES
    ]
    return [*entries, codec.seal(TAGGED, NOTHING, tenant="acme")]


def refuse(codec, data):
    """Open what must not open. Anything but an `EntryError` fails the test."""
    with pytest.raises(EntryError) as caught:
        codec.open(data, key_digest=DIGEST, tenant="acme")
    return caught.value.reason


def test_the_short_way_into_many_gives_what_the_long_way_gives_or_nothing():
    codec, stamps, identity = Codec(compress_over_bytes=60), TAGGED.stamps, b"replica1" + DIGEST
    plain = msgspec.structs.replace(PLAIN, stamps=stamps, fresh_until_ms=5, expires_ms=9, cost=7, load_ms=3)
    entry = codec.seal(plain, codec.pack(codec.encode(VALUES[0])), tenant="acme")
    flipped = [bytes(b ^ (at == place) for at, b in enumerate(entry)) for place in range(len(entry))]
    cut = [entry[:length] for length in range(len(entry))]
    others = [s for c in CODECS.values() for s in samples(c)]
    entries = [entry, *flipped, *cut, *others, entry]
    first, *between, last = codec.open_all_plain(entries, [identity] * len(entries), b"".join(stamps))
    assert first == last
    assert first[:4] == (5, 9, 7, 3)
    assert codec.decode(entry, first[4]) == VALUES[0]
    assert codec.open_plain(entry, identity, b"".join(stamps))[:4] == first[:4]
    assert between == [None] * len(between)
    assert codec.open_all_plain([entry], [b"replica2" + DIGEST], b"".join(stamps)) == [None]
    assert codec.open_all_plain([entry], [identity], b"".join(stamps[:1])) == [None]
    assert codec.open_all_plain([entry], [identity], bytes(8 * 17)) == [None]
    assert CODECS["mac"].open_all_plain([entry], [identity], b"".join(stamps)) == [None]


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_every_flipped_bit_is_noticed(codec):
    reasons = {}
    for entry in samples(codec):
        for position in range(len(entry)):
            for bit in range(8):
                changed = bytearray(entry)
                changed[position] ^= 1 << bit
                reason = refuse(codec, bytes(changed))
                reasons[reason] = reasons.get(reason, 0) + 1
    sys.stdout.write(f"{sum(reasons.values())} flips: {reasons}\n")
    assert set(reasons) == {"foreign", "version", "truncated", "checksum"}


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_every_cut_and_every_extension_is_noticed(codec):
    for entry in samples(codec):
        for size in range(len(entry)):
            assert refuse(codec, entry[:size]) == "truncated"
        assert refuse(codec, entry + b"\0") == "truncated"
        assert refuse(codec, entry + entry) == "truncated"


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_every_splice_of_two_entries_is_noticed(codec):
    entries = samples(codec)
    for first in entries:
        for second in entries:
            for cut in range(1, min(len(first), len(second))):
                spliced = first[:cut] + second[cut:]
                if spliced not in (first, second):
                    refuse(codec, spliced)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@seed(SEED)
@steady
@given(draw=st.data())
def test_any_damage_is_noticed(codec, draw):
    entry = draw.draw(st.sampled_from(samples(codec)))
    start = draw.draw(st.integers(0, len(entry)))
    end = draw.draw(st.integers(start, len(entry)))
    damaged = entry[:start] + draw.draw(st.binary(max_size=40)) + entry[end:]
    if damaged != entry:
        refuse(codec, damaged)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_a_swap_between_keys_raises_the_alarm(codec):
    other = msgspec.structs.replace(TAGGED, key_digest=b"digest of b key.")
    for value in VALUES:
        assert refuse(codec, codec.seal(other, codec.pack(codec.encode(value)), tenant="acme")) == "key"


STAMP = st.binary(min_size=8, max_size=8)
ENVELOPES = st.builds(
    Envelope,
    key_digest=st.just(DIGEST),
    replication_id=STAMP,
    created_ms=st.integers(0, 2**64 - 1),
    fresh_until_ms=st.integers(0, 2**64 - 1),
    expires_ms=st.integers(0, 2**64 - 1),
    load_ms=st.integers(0, 2**32 - 1),
    cost=st.integers(0, 2**64 - 1),
    stamps=st.lists(STAMP, max_size=6).map(tuple),
    tags=st.lists(st.tuples(st.text(st.characters(codec="utf-8"), min_size=1, max_size=60), STAMP), max_size=5).map(
        tuple
    ),
    not_found=st.booleans(),
    codec=st.integers(0, 255),
    compression=st.integers(0, 255),
    encryption=st.integers(0, 255),
    key_id=st.integers(0, 65535),
)


@seed(SEED + 1)
@steady
@given(envelope=ENVELOPES, payload=st.binary(max_size=100))
def test_every_header_comes_back(envelope, payload):
    data = pack(envelope, payload)
    back, view = unpack(data, key_digest=DIGEST)
    assert back == envelope
    assert view == payload
    assert (len(data) - len(payload)) % 8 == 0
