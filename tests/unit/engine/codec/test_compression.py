"""Smaller where it pays; bounded whatever the bytes claim."""

import struct
import subprocess
import sys
import zlib

import pytest
from backports import zstd

from alacena.engine.codec import EntryError, compression
from alacena.engine.codec.compression import MAX_RATIO, NONE, ZLIB, ZSTD, compress, decompress

TEXT = " ".join(f"word{i * i % 997}" for i in range(2000)).encode()
LIMIT = 1 << 20


@pytest.fixture
def no_zstd(monkeypatch):
    monkeypatch.setattr(compression, "_zstd", lambda: None)


def declared(size, packed):
    return struct.pack("<Q", size) + packed


def reason_of(stored, how, max_bytes=LIMIT):
    with pytest.raises(EntryError) as caught:
        decompress(stored, how, max_bytes=max_bytes)
    return caught.value.reason


def test_text_comes_back():
    stored, how = compress(TEXT)
    assert how == ZSTD
    assert len(stored) < 0.9 * len(TEXT)
    assert decompress(stored, how, max_bytes=LIMIT) == TEXT
    assert decompress(memoryview(stored), how, max_bytes=len(TEXT)) == TEXT


def test_zlib_stands_in_for_zstd_and_is_read_by_everybody(no_zstd):
    stored, how = compress(TEXT)
    assert how == ZLIB
    assert decompress(stored, how, max_bytes=LIMIT) == TEXT


def test_reading_zstd_without_its_library_names_the_extra(monkeypatch):
    stored, how = compress(TEXT)
    monkeypatch.setattr(compression, "_zstd", lambda: None)
    with pytest.raises(EntryError, match=r"alacena\[zstd\]") as caught:
        decompress(stored, how, max_bytes=LIMIT)
    assert caught.value.reason == "compression"


def test_what_does_not_save_a_tenth_is_stored_as_it_is():
    import random

    noise = random.Random(5).randbytes(20_000)
    assert compress(noise) == (noise, NONE)
    assert decompress(noise, NONE, max_bytes=LIMIT) is noise


def test_what_shrinks_beyond_the_ratio_is_stored_as_it_is():
    zeros = bytes(10_000_000)
    assert compress(zeros) == (zeros, NONE)


@pytest.mark.parametrize(("how", "pack"), [(ZLIB, zlib.compress), (ZSTD, zstd.compress)])
def test_a_bomb_is_refused_by_what_it_declares_and_by_what_it_holds(how, pack):
    bomb = pack(bytes(100_000_000))
    assert reason_of(declared(100_000_000, bomb), how) == "size"
    assert reason_of(declared(100_000_000, bomb), how, max_bytes=1 << 30) == "compression"
    assert reason_of(declared(min(LIMIT, len(bomb) * MAX_RATIO), bomb), how) == "compression"
    assert reason_of(declared(10, bomb), how) == "compression"
    assert reason_of(declared(2**64 - 1, bomb), how) == "size"


@pytest.mark.parametrize(("how", "pack"), [(ZLIB, zlib.compress), (ZSTD, zstd.compress)])
def test_a_broken_stream_is_an_entry_error(how, pack):
    packed = pack(TEXT)
    assert reason_of(b"1234567", how) == "truncated"
    assert reason_of(declared(len(TEXT), packed[:-1]), how) == "compression"
    assert reason_of(declared(len(TEXT), packed + b"x"), how) == "compression"
    assert reason_of(declared(len(TEXT) - 1, packed), how) == "compression"
    assert reason_of(declared(len(TEXT) + 1, packed), how) == "compression"
    assert reason_of(declared(len(TEXT), b"x" * 50), how) == "compression"
    assert reason_of(declared(len(TEXT), b"x" * 50), 9) == "compression"


def test_a_frame_that_asks_for_a_huge_window_is_refused():
    options = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.content_size_flag: 0}
    stream = zstd.ZstdCompressor(options=options)
    packed = stream.compress(bytes(range(256)) * 100) + stream.flush()
    assert reason_of(declared(25_600, packed), ZSTD) == "compression"


SCRIPT = """
import resource, struct, sys
from backports import zstd
import zlib
from alacena.engine.codec import EntryError, compression
streams = []
for how, stream in ((1, zlib.compressobj(1)), (2, zstd.ZstdCompressor(level=1))):
    packed = b"".join(stream.compress(bytes(1 << 20)) for _ in range(1000)) + stream.flush()
    streams.append((how, packed))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for how, packed in streams:
    for declared in (1, 1000, 1 << 24, 1000 << 20):
        try:
            compression.decompress(struct.pack("<Q", declared) + packed, how, max_bytes=1 << 24)
        except EntryError:
            continue
        raise SystemExit("accepted")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_gigabyte_in_a_few_kilobytes_costs_no_more_than_the_limit():
    import os

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, env=environment)
    grown_mib = int(done.stdout)
    sys.stdout.write(f"resident memory grew by {grown_mib} MiB\n")
    assert grown_mib <= 64
