"""Payloads that only their tenant's key can read: AES-256-GCM with a key derived for each tenant (extra ``crypto``).

A tenant's key is HKDF-SHA256 (RFC 5869) of a master key and the tenant's name, so nothing has to be stored for each
tenant, and losing one derived key exposes one tenant. The entry's header is authenticated together with the payload:
neither can be put into another entry.

Nonces are random 96-bit numbers. NIST SP 800-38D allows 2**32 of them under one key: add a master key before any
tenant has had that many entries written.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from alacena.engine.base.arguments import check_part
from alacena.engine.base.environment import SystemEnvironment
from alacena.engine.base.errors import UsageError
from alacena.engine.codec.entry_error import EntryError

if TYPE_CHECKING:
    from alacena.engine.base.environment import Environment

NONE: Final = 0
AES_GCM: Final = 1

OVERHEAD_BYTES: Final = 28
"""What encryption adds to a payload: the nonce before it and the tag after it."""

_NONCE_BYTES: Final = 12
_MASTER_BYTES: Final = 32
_MAX_KEY_ID: Final = 0xFFFF
_CIPHERS_KEPT: Final = 1024
_PURPOSE: Final = b"alacena entry v1\0"
_SET_PURPOSE: Final = b"alacena set member v1\0"


class Keyring:
    """Master keys by id: one that writes, and all those that may still be read.

    Rotation: add the new key everywhere, then make it the current one, and remove the old one when its entries have
    expired. Removing a key makes its entries unreadable, which erases them.

    Args:
        keys: Master keys of 32 random bytes each, by an id from 1 to 65535 that never gets another key.
        current: The id of the key that writes.
        environment: Where nonces come from.

    Raises:
        UsageError: A key or id is not as described, or ``cryptography`` is not installed.
    """

    def __init__(self, keys: Mapping[int, bytes], current: int, environment: Environment | None = None) -> None:
        # Of a mapping that was written the wrong way round, the ids are the keys: only an id that is a number is shown.
        if not isinstance(keys, Mapping) or not all(type(key_id) is int for key_id in keys):
            raise UsageError(
                f"the master keys must be a mapping of ids, whole numbers, to keys of {_MASTER_BYTES} bytes, as in "
                f"{{1: secrets.token_bytes({_MASTER_BYTES})}}"
            )
        for key_id, master in keys.items():
            if (
                not 0 < key_id <= _MAX_KEY_ID
                or not isinstance(master, bytes | bytearray)
                or len(master) != _MASTER_BYTES
            ):
                raise UsageError(
                    f"master key {key_id!r} is refused: ids go from 1 to {_MAX_KEY_ID}, "
                    f"keys have {_MASTER_BYTES} random bytes (secrets.token_bytes({_MASTER_BYTES}))"
                )
        if type(current) is not int or current not in keys:
            named = repr(current) if type(current) is int else "(not an id)"
            raise UsageError(f"the current key {named} is not among the keys given: {sorted(keys)}")
        if environment is not None:
            check_part(environment, "environment", "token", "an Environment, such as SystemEnvironment()")
        self.current: Final = current
        # A copy: a key that the caller adds to its own mapping later would not have been checked.
        self._keys: Final = dict(keys)
        self._token = (environment or SystemEnvironment()).token
        self._aead = _aead()
        self._ciphers: OrderedDict[tuple[int, str, bool], Any] = OrderedDict()

    def encrypt(self, payload: bytes | memoryview, *, tenant: str, header: bytes) -> bytes:
        """Returns nonce, ciphertext and tag of a payload, under the current key; ``header`` is authenticated with it.

        Cost: about 3 µs, and 25 µs more for the first entry of a tenant.
        """
        nonce = self._token(_NONCE_BYTES)
        sealed: bytes = self._cipher(self.current, tenant).encrypt(nonce, bytes(payload), header)
        return nonce + sealed

    def decrypt(self, stored: bytes | memoryview, *, key_id: int, tenant: str, header: bytes) -> bytes:
        """Returns the payload that `encrypt` was given.

        Raises:
            EntryError: Another tenant's, tampered with, or of a key that is not on this ring.
        """
        # Imported here: the codec must be importable without this optional library.
        from cryptography.exceptions import InvalidTag

        self._check(key_id)
        if len(stored) < OVERHEAD_BYTES:
            raise EntryError("the encrypted payload is truncated", "truncated")
        view = memoryview(stored)
        cipher = self._cipher(key_id, tenant)
        try:
            payload: bytes = cipher.decrypt(bytes(view[:_NONCE_BYTES]), bytes(view[_NONCE_BYTES:]), header)
        except InvalidTag:
            raise EntryError("the payload is not what its tenant's key encrypted", "cipher") from None
        return payload

    @property
    def ids(self) -> tuple[int, ...]:
        """The ids of the keys on this ring."""
        return tuple(self._keys)

    def encrypt_alike(self, payload: bytes, *, key_id: int, tenant: str, header: bytes) -> bytes:
        """Returns tag and ciphertext of a payload, the same each time (AES-SIV, RFC 5297): equal payloads can be told."""
        sealed: bytes = self._cipher(key_id, tenant, alike=True).encrypt(payload, [header])
        return sealed

    def decrypt_alike(self, stored: bytes | memoryview, *, key_id: int, tenant: str, header: bytes) -> bytes:
        """Returns the payload that `encrypt_alike` was given.

        Raises:
            EntryError: Another tenant's, tampered with, or of a key that is not on this ring.
        """
        from cryptography.exceptions import InvalidTag

        self._check(key_id)
        try:
            payload: bytes = self._cipher(key_id, tenant, alike=True).decrypt(bytes(stored), [header])
        except (InvalidTag, ValueError):
            raise EntryError("the payload is not what its tenant's key encrypted", "cipher") from None
        return payload

    def _check(self, key_id: int) -> None:
        if key_id not in self._keys:
            raise EntryError(f"the entry was encrypted with master key {key_id}, which is not on this ring", "cipher")

    def _cipher(self, key_id: int, tenant: str, *, alike: bool = False) -> Any:
        """Returns the cipher of one tenant; the ones used last are kept."""
        ciphers = self._ciphers
        name = (key_id, tenant, alike)
        cipher = ciphers.get(name)
        if cipher is None:
            master = self._keys[key_id]
            cipher = ciphers[name] = _siv(master, tenant) if alike else self._aead(derive(master, tenant))
            # Not an `lru_cache` on the method: that would keep each ring alive, with its keys.
            if len(ciphers) > _CIPHERS_KEPT:
                ciphers.popitem(last=False)
        else:
            ciphers.move_to_end(name)
        return cipher


def _siv(master: bytes, tenant: str) -> Any:
    """Returns the cipher for members of a tenant's sets. AES-SIV wants two keys in one."""
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

    # A key for this purpose alone: one key never serves two algorithms.
    return AESSIV(derive(master, tenant, _SET_PURPOSE, 2 * _MASTER_BYTES))


def derive(master: bytes, tenant: str, purpose: bytes = _PURPOSE, size: int = _MASTER_BYTES) -> bytes:
    """Returns the key of one tenant for one purpose."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    # Each purpose ends in a zero byte, so that none is the beginning of another, whatever the tenant is called.
    # Tenants whose names differ in lone surrogates have different keys: `replace` would give them one.
    info = purpose + tenant.encode("utf-8", "surrogatepass")
    return HKDF(algorithm=SHA256(), length=size, salt=None, info=info).derive(master)


def _aead() -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise UsageError("a keyring needs the library cryptography: pip install 'alacena[crypto]'") from error
    return AESGCM
