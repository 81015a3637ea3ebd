"""Time that stands still until a test moves it, and entries without ceremony."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import pytest

from alacena.engine.memory import ENTRY_BYTES, MemoryBounds, MemoryEntry, MemoryTier

if TYPE_CHECKING:
    from collections.abc import Callable

    from alacena.engine.base.counts import Counts


class StillEnvironment:
    def __init__(self) -> None:
        self.at = 1_000.0
        self.now: Callable[[], float] = lambda: self.at
        self.wall: Callable[[], float] = lambda: self.at
        self._random = random.Random(1)

    def random(self) -> float:
        return self._random.random()

    def token(self, size: int) -> bytes:
        return self._random.randbytes(size)


@pytest.fixture
def environment() -> StillEnvironment:
    return StillEnvironment()


@pytest.fixture
def new_entry() -> Callable[..., MemoryEntry]:
    def make(resource: object, *, tenant: str = "acme", data_type: str = "document", **fields: Any) -> MemoryEntry:
        fields.setdefault("fresh_until", math.inf)
        fields.setdefault("dead_after", fields["fresh_until"])
        fields["charge"] = fields.pop("size", 100) + ENTRY_BYTES
        fields.setdefault("value", f"value of {resource}")
        wire_key = f"{tenant}:{data_type}:{resource}".encode()
        return MemoryEntry((tenant, data_type, resource), wire_key=wire_key, **fields)

    return make


@pytest.fixture
def new_memory(environment: StillEnvironment) -> Callable[..., MemoryTier]:
    """A tier with room for so many entries of 100 bytes."""

    def make(entries: int, *, counts: Counts | None = None, **bounds: Any) -> MemoryTier:
        bounds.setdefault("max_entry_ratio", 1.0)
        bounds.setdefault("max_bytes", entries * (ENTRY_BYTES + 100))
        return MemoryTier(MemoryBounds(**bounds), environment=environment, counts=counts)

    return make
