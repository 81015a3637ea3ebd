"""Removals that no server has confirmed yet, and which reads they bar.

A removal may fail because the server is away, because it refuses writes (a full disk, too few replicas, a missing right)
or because its answer is lost. In each case the old value may still be there. So nothing that an owed removal covers is
taken from the server or from memory until the removal is confirmed.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from alacena.engine.base.keys import EntryKey
    from alacena.engine.remote.redis.wire import Command

_MOST_OF_A_BUCKET: Final = 4_096
"""Above so many, all of a tenant's bucket is owed instead."""
_MOST_BUCKETS: Final = 16_384
"""Above so many buckets, everything is owed instead."""
_MOST: Final = 65_536
"""Above so many removals, they are owed bucket by bucket instead."""
_AT_ONCE: Final = 500
"""Few enough to be answered in time: what was confirmed stays confirmed, however large the rest."""


class OwedRemovals:
    """Owed removals: names of generations and keys of entries, by the bucket (the hash tag) that they lie in.

    They are bounded: many removals of one bucket become the end of the bucket's tenant generation, and many
    buckets become the end of every tenant generation of the namespace.

    Args:
        namespace: The first part of every key.
    """

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._entries, self._leases = f"{namespace}:e:", f"{namespace}:l:"
        self._serial = count(1)
        self._buckets: dict[str, dict[str, int]] = {}
        self._whole: dict[str, int] = {}
        self._everything = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count + len(self._whole) + bool(self._everything)

    def __bool__(self) -> bool:
        return bool(self._count or self._whole or self._everything)

    def __contains__(self, name: object) -> bool:
        """Returns whether a generation or an entry is covered by an owed removal."""
        if self._everything:
            return True
        text = name.decode() if isinstance(name, bytes) else str(name)
        bucket = _bucket(text)
        return bucket in self._whole or text in self._buckets.get(bucket, ())

    def readable(self, keys: Sequence[EntryKey], values: Sequence[bytes | None]) -> Sequence[bytes | None]:
        """Returns the values of entries, the first of ``values``; an entry with an owed removal is not there."""
        if not self:
            return values[: len(keys)]
        return [None if key.entry in self else value for key, value in zip(keys, values, strict=False)]

    @property
    def owes_everything(self) -> bool:
        """Whether everything counts as owed: more buckets were concerned than are remembered."""
        return bool(self._everything)

    def add(self, name: str) -> str:
        """Notes that a generation or an entry must go. Returns what is owed for it: the same, or what covers it."""
        if self._everything:
            # A serial of its own: the scan that is under way may be past this name's bucket, and must not settle it.
            self._everything = next(self._serial)
            return ""
        bucket = _bucket(name)
        names = self._buckets.setdefault(bucket, {})
        if bucket not in self._whole:
            self._count += name not in names
            # 1. The payment of this name is on its way to the server.
            # 2. The name comes to be owed again, because of a value that is stored behind the payment.
            # 3. The payment's confirmation must not settle both: it carries the older serial.
            names[name] = next(self._serial)
            if len(names) <= _MOST_OF_A_BUCKET and self._count <= _MOST:
                return name
        # A bucket that is owed as a whole gets here too: its serial is renewed, for the same reason.
        for wide in [bucket] if self._count <= _MOST else list(self._buckets):
            self._widen(wide)
        if len(self._whole) > _MOST_BUCKETS:
            self._whole.clear()
            self._everything = next(self._serial)
            return ""
        return self._tenant_generation(bucket)

    def by_bucket(self) -> Iterator[tuple[str, Mapping[str, int]]]:
        """Yields the names to remove: one bucket's names in each step, with the serial numbers to settle them by."""
        for bucket in list(self._whole):
            # Looked up anew in each step: between two of them the caller awaits, and removals are settled and widened
            # meanwhile.
            if bucket in self._whole:
                yield bucket, {self._tenant_generation(bucket): self._whole[bucket]}
        for bucket in list(self._buckets):
            owed = list(self._buckets.get(bucket, {}).items())
            for at in range(0, len(owed), _AT_ONCE):
                yield bucket, dict(owed[at : at + _AT_ONCE])

    def command(self, verb: str, bucket: str, names: Mapping[str, int]) -> Command:
        """Returns the one command that removes them: entries with their leases, and the bucket's journal.

        The journal does not name the owed removals: a reading that remembers it is refused, as if any had ended.
        """
        keys: dict[str, None] = {}
        for name in names:
            # By the head: a generation of a type called "e" holds the letter of entries too.
            if name.startswith(self._entries):
                keys[self._leases + name[len(self._entries) :]] = None
            keys[name] = None
        # The tenant's generation needs no journal: it is a stamp of each lease and of each reading in its bucket.
        if keys.keys() - {self._tenant_generation(bucket)}:
            keys[f"{self._namespace}:g:{bucket}:j"] = None
        return (verb, *keys)

    def settle(self, bucket: str, names: Mapping[str, int]) -> None:
        """Notes that the removals are confirmed, but for those that came to be owed again meanwhile."""
        owed = self._buckets.get(bucket, {})
        whole = self._tenant_generation(bucket)
        for name, serial in names.items():
            if owed.get(name) == serial:
                del owed[name]
                self._count -= 1
            elif name == whole and self._whole.get(bucket) == serial:
                del self._whole[bucket]
        if not owed:
            self._buckets.pop(bucket, None)

    @property
    def serial(self) -> int:
        """Stands for "everything", as it is owed now; 0 while it is not."""
        return self._everything

    def settle_everything(self, serial: int) -> None:
        """Notes that every tenant generation has been ended, unless more came to be owed meanwhile."""
        if self._everything == serial:
            self._everything = 0

    def _widen(self, bucket: str) -> None:
        self._count -= len(self._buckets.pop(bucket, ()))
        self._whole[bucket] = next(self._serial)

    def _tenant_generation(self, bucket: str) -> str:
        return f"{self._namespace}:g:{bucket}:t"


def _bucket(name: str) -> str:
    """Returns the hash tag, braces included: parts of keys are escaped, so the first braces are the tag's."""
    return name[name.index("{") : name.index("}") + 1]
