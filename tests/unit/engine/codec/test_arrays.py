"""numpy: dtype, shape, order and bits, without a copy where it matters."""

import sys

import numpy as np
import pytest

from alacena.engine.base.errors import DecodeError, EncodeError
from alacena.engine.codec import Codec, arrays, decode, encode

RECORD = np.dtype([("id", "<i4"), ("vector", "<f4", (3,)), ("inner", [("when", "<M8[ms]"), ("name", "<U5")])])
ALIGNED = np.dtype({"names": ["a", "b"], "formats": ["u1", ">f8"], "offsets": [0, 8], "itemsize": 24})

ARRAYS = [
    np.arange(1536, dtype="float32"),
    np.array([1.5, np.nan, -0.0, np.inf], dtype=">f8"),
    np.arange(24, dtype="int16").reshape(2, 3, 4),
    np.asfortranarray(np.arange(6, dtype="uint8").reshape(2, 3)),
    np.array(3.5), np.array([], dtype="float16"), np.zeros((0, 4), dtype="complex64"), np.zeros((3, 0, 2), order="F"),
    np.array([True, False]), np.array(["a", "ñandú"]), np.array([b"a", b"bcd"]), np.zeros(3, dtype="V7"),
    np.array(["2024-01-01", "NaT"], dtype="M8[D]"), np.array([1, 2], dtype="m8[us]"),
    np.asfortranarray(np.zeros((2, 2), dtype="M8[s]")),
    np.zeros(4, dtype=RECORD), np.zeros(2, dtype=ALIGNED), np.zeros((1,) * 20, dtype="i1"),
]  # fmt: skip


def same_array(back, array):
    assert type(back) is np.ndarray
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.flags.f_contiguous == array.flags.f_contiguous
    assert back.tobytes() == array.tobytes()
    assert not back.flags.writeable


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype.str}{array.shape}")
def test_an_array_comes_back_bit_by_bit_alone_and_inside_a_tree(array):
    same_array(decode(encode(array)), array)
    same_array(decode(encode({"a": [1, array]}))["a"][1], array)


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype.str}{array.shape}")
def test_an_array_is_read_out_of_the_middle_of_an_entry_without_a_copy(array):
    data = b"a header" * 5 + encode(array)
    back = arrays.load(data, 40)
    same_array(back, array)
    assert back.base is data
    for cut in (data[:-1], data[:45]) if array.nbytes else (data[:45],):
        with pytest.raises(DecodeError):
            arrays.load(cut, 40)


def test_what_is_remembered_of_one_array_is_never_taken_for_another():
    rest = [*ARRAYS, *ARRAYS[::-1], *(array for array in ARRAYS for _ in range(2)), "text", {"a": ARRAYS[0]}, b"", 7]
    decode_next = arrays.remember_header(Codec().decode)
    for value in rest:
        data = b"a header" * 5 + encode(value)
        back = decode_next(data, 40)
        if isinstance(value, np.ndarray):
            same_array(back, value)
            assert back.base is data
        elif isinstance(value, dict):
            same_array(back["a"], value["a"])
        else:
            assert back == value
    for broken in (data[:40], b"a header" * 5 + encode(ARRAYS[0])[:-1], b"a header" * 5 + b"\xc1" * 9):
        with pytest.raises(DecodeError):
            decode_next(broken, 40)


def test_a_slice_is_stored_without_what_it_skips():
    array = np.arange(100, dtype="f4")[::7]
    back = decode(encode(array))
    assert back.tolist() == array.tolist()
    assert len(encode(array)) < 100


def test_an_embedding_is_decoded_without_a_copy_aligned_and_read_only():
    array = np.arange(1536, dtype="float32")
    data = encode(array)
    back = decode(data)
    assert len(data) - array.nbytes <= 24
    assert np.shares_memory(back, np.frombuffer(data, "u1"))
    assert back.flags.aligned
    assert back.ctypes.data % 8 == 0
    with pytest.raises(ValueError, match="read-only"):
        back[0] = 1


def test_an_array_over_a_writable_buffer_is_read_only_too():
    assert not decode(memoryview(bytearray(encode(np.arange(3))))).flags.writeable


SCALARS = [
    np.float32(1.5), np.float64(2.5), np.int8(-1), np.uint64(2**64 - 1), np.bool_(True), np.complex64(1j), np.str_("ñ"),
    np.bytes_(b"x"), np.datetime64("2024-01-01T00:00", "m"), np.timedelta64(5, "D"), np.float64("nan"), np.str_(""),
]  # fmt: skip


@pytest.mark.parametrize("scalar", SCALARS, ids=lambda value: type(value).__name__)
def test_a_scalar_comes_back_of_its_type(scalar):
    back = decode(encode([scalar]))[0]
    assert type(back) is type(scalar)
    assert back.dtype == scalar.dtype
    assert back.tobytes() == scalar.tobytes()


REFUSED = [
    np.array([object()]), np.array([1], dtype=np.longdouble), np.ma.array([1]), np.zeros(2, dtype=[("a", "O")]),
    np.zeros(2).view(np.recarray), np.str_("a\0"), np.longdouble(1), np.zeros(2, dtype=(np.record, [("a", "i4")])),
]  # fmt: skip


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
def test_what_has_no_portable_bytes_is_refused(value):
    with pytest.raises(EncodeError, match=r"^\$\.v: "):
        encode({"v": value})


def test_strings_of_variable_length_are_refused():
    if not hasattr(np.dtypes, "StringDType"):
        pytest.skip("numpy 1 has no strings of variable length")
    with pytest.raises(EncodeError):
        encode(np.array(["a"], dtype=np.dtypes.StringDType()))


def test_an_array_cut_off_or_extended_is_a_decode_error():
    data = encode(np.arange(5, dtype="f4"))
    for size in range(len(data)):
        with pytest.raises(DecodeError):
            decode(data[:size])
    with pytest.raises(DecodeError):
        decode(data + b"\0")


def test_a_header_that_lies_is_a_decode_error_or_an_array_of_the_same_bytes():
    data = encode(np.arange(4, dtype="f4"))
    for position in range(24):
        for value in range(256):
            changed = data[:position] + bytes([value]) + data[position + 1 :]
            try:
                back = decode(changed)
            except DecodeError:
                continue
            if isinstance(back, np.ndarray):
                assert not back.dtype.hasobject
                assert back.nbytes <= len(data)


@pytest.mark.parametrize("dtype", ["|O", "O", "<f16", "T", "nonsense", ["<f4"], {"names": ["a"]}, 3, None])
def test_a_hostile_dtype_is_a_decode_error(dtype):
    import msgspec

    text = msgspec.msgpack.encode(dtype)
    offset = -(-(10 + 8 + len(text)) // 8) * 8
    head = arrays._HEAD.pack(arrays.MARK, 1, b"f", b"C", offset, len(text), 1) + (1).to_bytes(8, "little") + text
    with pytest.raises(DecodeError):
        decode(head.ljust(offset, b"\0") + b"\0" * 8)


def test_without_numpy_an_array_is_a_decode_error_that_names_the_extra(monkeypatch):
    data = encode(np.arange(3))
    nested = encode([np.arange(3)])
    arrays._numpy.cache_clear()
    monkeypatch.setitem(sys.modules, "numpy", None)
    for payload in (data, nested):
        with pytest.raises(DecodeError, match=r"alacena\[numpy\]"):
            decode(payload)
    assert decode(encode([1, (2,)])) == [1, (2,)]


def test_a_record_array_is_refused_after_a_plain_one_of_the_same_fields() -> None:
    """The dtypes are equal and hash alike: what was said of one must not be remembered for the other."""
    fields = [("a", "i4")]
    arrays.dump(np.zeros(2, dtype=fields))
    with pytest.raises(EncodeError):
        arrays.dump(np.zeros(2, dtype=(np.record, fields)))
