"""Totals of tokens, read back from the server's counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

Dimension = Literal["model", "token_type", "operation"]


@dataclass(frozen=True, slots=True)
class TotalRow:
    """Tokens and calls of one model, type and operation.

    Attributes:
        saved: True for what the cache saved.
        model: Of which model.
        token_type: Of which type.
        operation: Of which operation.
        tokens: How many tokens.
        calls: In how many calls.
    """

    saved: bool
    model: str
    token_type: str
    operation: str
    tokens: int
    calls: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Totals of one tenant over one day, one month, or ever.

    Attributes:
        rows: One for each model, type and operation, used and saved apart.
    """

    rows: tuple[TotalRow, ...]

    @property
    def used(self) -> int:
        """Tokens that were used."""
        return sum(row.tokens for row in self.rows if not row.saved)

    @property
    def saved(self) -> int:
        """Tokens that the cache saved."""
        return sum(row.tokens for row in self.rows if row.saved)

    @property
    def calls(self) -> int:
        """Calls that used tokens."""
        return sum(row.calls for row in self.rows if not row.saved)

    def by(self, dimension: Dimension) -> dict[str, int]:
        """Tokens used, by model, type or operation."""
        sums: dict[str, int] = {}
        for row in self.rows:
            if not row.saved:
                name = getattr(row, dimension)
                sums[name] = sums.get(name, 0) + row.tokens
        return sums


def totals_from(fields: Mapping[bytes, bytes]) -> Totals:
    """Read the fields of one hash of totals: ``t:`` tokens and ``c:`` calls, by JSON of what they are totals of."""
    rows = []
    for name in sorted(field[2:] for field in fields if field[:2] == b"t:"):
        saved, model, token_type, operation = msgspec.json.decode(name)
        tokens, calls = int(fields[b"t:" + name]), int(fields[b"c:" + name])
        rows.append(TotalRow(saved, model, token_type, operation, tokens, calls))
    return Totals(tuple(rows))
