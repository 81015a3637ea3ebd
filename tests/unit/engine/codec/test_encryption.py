"""Only the tenant's key, only under the header it was written with."""

import sys

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from alacena.engine.base.environment import SystemEnvironment
from alacena.engine.base.errors import UsageError
from alacena.engine.codec import EntryError, Keyring, encryption
from alacena.engine.codec.encryption import OVERHEAD_BYTES, derive

OLD, NEW = bytes(range(32)), bytes(range(32, 64))


class Counting(SystemEnvironment):
    def __init__(self):
        super().__init__()
        self.given = 0

    def token(self, size):
        self.given += 1
        return self.given.to_bytes(size, "big")


def test_a_payload_comes_back_and_is_not_to_be_seen():
    ring = Keyring({1: OLD}, 1)
    stored = ring.encrypt(b"secret payload", tenant="acme", header=b"h")
    assert b"secret" not in stored
    assert len(stored) == len(b"secret payload") + OVERHEAD_BYTES
    assert ring.decrypt(memoryview(stored), key_id=1, tenant="acme", header=b"h") == b"secret payload"


def test_every_nonce_comes_from_the_environment_and_differs():
    environment = Counting()
    ring = Keyring({1: OLD}, 1, environment)
    first, second = (ring.encrypt(b"same", tenant="a", header=b"") for _ in range(2))
    assert first[:12] != second[:12]
    assert first[12:] != second[12:]
    assert environment.given == 2


@pytest.mark.parametrize(
    "change",
    [{"tenant": "other"}, {"header": b"i"}, {"key_id": 2}, {"key_id": 3}],
    ids=["tenant", "header", "another key", "unknown key"],
)
def test_another_tenant_header_or_key_cannot_read(change):
    ring = Keyring({1: OLD, 2: NEW}, 1)
    stored = ring.encrypt(b"secret", tenant="acme", header=b"h")
    with pytest.raises(EntryError) as caught:
        ring.decrypt(stored, **{"key_id": 1, "tenant": "acme", "header": b"h", **change})
    assert caught.value.reason == "cipher"


def test_a_flipped_or_cut_payload_cannot_be_read():
    ring = Keyring({1: OLD}, 1)
    stored = ring.encrypt(b"secret", tenant="acme", header=b"h")
    for position in range(len(stored)):
        changed = bytearray(stored)
        changed[position] ^= 1
        for data in (bytes(changed), stored[:position]):
            with pytest.raises(EntryError):
                ring.decrypt(data, key_id=1, tenant="acme", header=b"h")


def test_rotation_reads_the_old_key_and_writes_with_the_new_one():
    before = Keyring({1: OLD}, 1)
    after = Keyring({1: OLD, 2: NEW}, 2)
    stored = before.encrypt(b"x", tenant="a", header=b"")
    assert after.decrypt(stored, key_id=1, tenant="a", header=b"") == b"x"
    assert after.current == 2
    fresh = after.encrypt(b"x", tenant="a", header=b"")
    assert Keyring({2: NEW}, 2).decrypt(fresh, key_id=2, tenant="a", header=b"") == b"x"


def test_the_format_is_plain_aes_gcm_under_the_derived_key():
    stored = Keyring({1: OLD}, 1).encrypt(b"x", tenant="a", header=b"h")
    assert AESGCM(derive(OLD, "a")).decrypt(stored[:12], stored[12:], b"h") == b"x"
    assert derive(OLD, "a").hex() == "15a4f4bafabf58dd0c686e10f5f6061f2ba07965b0345c88eae1fafa357c6992"
    assert len({derive(OLD, "a"), derive(OLD, "b"), derive(NEW, "a"), derive(OLD, "")}) == 4


def test_no_more_than_a_thousand_ciphers_are_kept():
    ring = Keyring({1: OLD}, 1)
    for tenant in range(1100):
        ring.encrypt(b"", tenant=str(tenant), header=b"")
    assert len(ring._ciphers) == 1024
    assert (1, "1099", False) in ring._ciphers


@pytest.mark.parametrize(
    ("keys", "current"), [({}, 1), ({1: OLD}, 2), ({0: OLD}, 0), ({65536: OLD}, 65536), ({1: b"short"}, 1)]
)
def test_a_ring_that_cannot_work_is_a_usage_error(keys, current):
    with pytest.raises(UsageError):
        Keyring(keys, current)


def test_without_the_library_a_ring_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(UsageError, match=r"alacena\[crypto\]"):
        encryption.Keyring({1: OLD}, 1)
