"""Value <-> bytes, and bytes <-> entry of the remote tier.

A value becomes a payload (`values`, with arrays raw and application classes by registration), which may be compressed
and encrypted, and travels in an `Envelope` with a check over all of it. Nothing is pickled, nothing becomes a string
as a last resort, and bytes that cannot be read are a `DecodeError` with a reason: a miss, never a wrong value.
"""

from alacena.engine.codec.canonical import canonical, identity
from alacena.engine.codec.codec import MSGPACK, NOTHING, Codec, Encoded
from alacena.engine.codec.encryption import Keyring
from alacena.engine.codec.entry_error import EntryError
from alacena.engine.codec.envelope import FIXED_BYTES, Envelope, read_length
from alacena.engine.codec.immutability import is_immutable
from alacena.engine.codec.registry import Registry, default_registry, register
from alacena.engine.codec.value_size import size_of
from alacena.engine.codec.values import ValueCodec, decode, encode

__all__ = [
    "FIXED_BYTES",
    "MSGPACK",
    "NOTHING",
    "Codec",
    "Encoded",
    "EntryError",
    "Envelope",
    "Keyring",
    "Registry",
    "ValueCodec",
    "canonical",
    "decode",
    "default_registry",
    "encode",
    "identity",
    "is_immutable",
    "read_length",
    "register",
    "size_of",
]
