"""How a server short of memory makes room: ``maxmemory`` and its policies, over a keyspace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import random
    from collections.abc import Sized

    from alacena.engine.remote.local.keyspace import Keyspace

Policy = Literal[
    "noeviction",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
]
KEY_BYTES = 64
"""What a key costs beside its name and value."""


class Evictor:
    """Counts what the keys of a keyspace weigh, and evicts when told to make room.

    Args:
        keyspace: What to keep small.
        chance: Chooses among equals.
        policy: ``maxmemory-policy``.
        maxmemory_bytes: The limit; 0 for none.

    Attributes:
        evicted: How many keys were evicted so far.
    """

    def __init__(self, keyspace: Keyspace, chance: random.Random, policy: Policy, maxmemory_bytes: int) -> None:
        self.policy = policy
        self.maxmemory_bytes = maxmemory_bytes
        self.evicted = 0
        self._keyspace = keyspace
        self._chance = chance
        self._total = 0
        self._sizes: dict[bytes, int] = {}
        self._used: dict[bytes, tuple[int, int]] = {}
        self._ticks = 0

    @property
    def used_bytes(self) -> int:
        """What the keys weigh."""
        return self._total

    def changed(self, key: bytes) -> None:
        """Weigh a key again after it changed."""
        value = self._keyspace.peek(key)
        self._total -= self._sizes.pop(key, 0)
        if value is None:
            self._used.pop(key, None)
            return
        self._sizes[key] = len(key) + _weight(value) + KEY_BYTES
        self._total += self._sizes[key]
        self.used(key)

    def used(self, key: bytes) -> None:
        """Note that a key was used, for the LRU and LFU policies."""
        self._ticks += 1
        self._used[key] = (self._ticks, self._used.get(key, (0, 0))[1] + 1)

    def make_room(self) -> bool:
        """Evict until the limit is kept; False if the policy leaves nothing to evict."""
        while self.maxmemory_bytes and self._total > self.maxmemory_bytes:
            victim = self._victim()
            if victim is None:
                return False
            self.evicted += 1
            self._keyspace.evict(victim)
        return True

    def _victim(self) -> bytes | None:
        keys = list(self._sizes)
        if self.policy.startswith("volatile"):
            keys = [key for key in keys if self._keyspace.deadline_ms(key) is not None]
        if not keys or self.policy == "noeviction":
            return None
        if self.policy.endswith("lru"):
            return min(keys, key=lambda key: self._used.get(key, (0, 0))[0])
        if self.policy.endswith("lfu"):
            return min(keys, key=lambda key: self._used.get(key, (0, 0))[1])
        if self.policy.endswith("ttl"):
            return min(keys, key=lambda key: self._keyspace.deadline_ms(key) or 0)
        return self._chance.choice(keys)


def _weight(value: Sized) -> int:
    return len(value) if isinstance(value, bytes) else len(value) * KEY_BYTES
