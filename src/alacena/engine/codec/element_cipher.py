"""Elements of queues, lists, sets and flags under a keyring: each bound to its tenant and to the key that holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alacena.engine.codec.entry_error import EntryError

if TYPE_CHECKING:
    from alacena.engine.codec.encryption import Keyring

_HEAD: Final = b"\xc1\xe1"
"""No value begins so: MessagePack never uses the first byte, and an array continues it otherwise."""

_ID_BYTES: Final = 2
_START: Final = len(_HEAD) + _ID_BYTES
_PURPOSE: Final = b"alacena element v1\0"


class ElementCipher:
    """Encrypts the bytes of elements.

    Args:
        keyring: The keys.
        refuse_plain: Whether an element that is not encrypted is refused. It may have been written before there was a
            keyring; or by a writer to the server without the key.
    """

    def __init__(self, keyring: Keyring, *, refuse_plain: bool) -> None:
        self._keyring = keyring
        self._refuse_plain = refuse_plain

    def seal(self, payload: bytes, tenant: str, place: str) -> bytes:
        """Returns the encrypted element; another one each time."""
        head = _HEAD + self._keyring.current.to_bytes(_ID_BYTES, "little")
        return head + self._keyring.encrypt(payload, tenant=tenant, header=_bind(head, place))

    def seal_alike(self, payload: bytes, tenant: str, place: str) -> list[bytes]:
        """Returns the encrypted members of a set that equal a payload: by the current key first, then by those before it.

        The same bytes each time, so that the server can tell equal members; it learns that they are equal, and no more.
        """
        ring = self._keyring
        # The order matters: the first form is the one that is added, the others are only looked for.
        ids = [ring.current, *(key_id for key_id in ring.ids if key_id != ring.current)]
        heads = [_HEAD + key_id.to_bytes(_ID_BYTES, "little") for key_id in ids]
        sealed = [
            head + ring.encrypt_alike(payload, key_id=key_id, tenant=tenant, header=_bind(head, place))
            for key_id, head in zip(ids, heads, strict=True)
        ]
        # A member that was added before there was a keyring is in the clear: it must be found and removed too.
        return sealed if self._refuse_plain else [*sealed, payload]

    def open(self, raw: bytes, tenant: str, place: str, *, alike: bool) -> bytes:
        """Returns the payload of an element.

        Raises:
            EntryError: It is another tenant's, of another object, tampered with, of a key that is not on the ring, or
                not encrypted at all while that is refused.
        """
        if not raw.startswith(_HEAD):
            if self._refuse_plain:
                raise EntryError("the element is not encrypted, and integrity_key refuses such", "cipher")
            return raw
        head, key_id = raw[:_START], int.from_bytes(raw[len(_HEAD) : _START], "little")
        decrypt = self._keyring.decrypt_alike if alike else self._keyring.decrypt
        return decrypt(raw[_START:], key_id=key_id, tenant=tenant, header=_bind(head, place))


def _bind(head: bytes, place: str) -> bytes:
    # All parts but the last have a fixed length, so two different bindings never have the same bytes.
    return _PURPOSE + head + place.encode("utf-8", "surrogatepass")
