"""The bounds of the memory tier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from alacena.engine.base.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBounds:
    """The bounds of the memory tier's contents, and the shares of its tenants.

    Attributes:
        max_bytes: Bound of the bytes of all entries together, each counted as its ``size`` plus ``ENTRY_BYTES``.
        max_entries: Bound of how many there are; ``None`` = as many as the bytes allow.
        max_entry_ratio: An entry that takes a larger part of ``max_bytes`` is not kept.
        weights: Shares by tenant, if they differ: twice the weight guarantees twice the bytes. A tenant that is not listed
            has weight 1.

    Raises:
        SettingsError: A bound or the ratio makes no sense.
    """

    max_bytes: int
    max_entries: int | None = None
    max_entry_ratio: float = 0.125
    weights: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if self.max_bytes < 1:
            raise SettingsError(f"memory max_bytes must be at least 1, not {self.max_bytes}")
        if self.max_entries is not None and self.max_entries < 1:
            raise SettingsError(f"memory max_entries must be at least 1, or None for no bound, not {self.max_entries}")
        if not 0.0 < self.max_entry_ratio <= 1.0:
            raise SettingsError(f"memory max_entry_ratio must be above 0 and at most 1, not {self.max_entry_ratio}")
