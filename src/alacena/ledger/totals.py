"""Totals of tokens, read back from the server's counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import reduce
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from alacena.engine.base.errors import ArgumentError, show
from alacena.ledger.usage import COST, EXACT, money

if TYPE_CHECKING:
    from collections.abc import Mapping

Dimension = Literal["model", "token_type", "operation"]


@dataclass(frozen=True, slots=True)
class TotalRow:
    """Tokens and calls of one model, type and operation.

    Attributes:
        saved: True for tokens that the cache saved.
        model: Of which model.
        token_type: Of which type.
        operation: Of which operation.
        tokens: How many tokens.
        calls: In how many calls.
        parts: Tokens by kind, if that was said: ``"input"``, ``"output"`` and the like.
        cost: Their price, if that was said.
    """

    saved: bool
    model: str
    token_type: str
    operation: str
    tokens: int
    calls: int
    parts: Mapping[str, int] = field(default_factory=dict)
    cost: Decimal = Decimal(0)


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

    @property
    def parts(self) -> dict[str, int]:
        """Tokens used, by kind, of the calls that said so."""
        sums: dict[str, int] = {}
        for row in self.rows:
            for name, amount in ({} if row.saved else row.parts).items():
                sums[name] = sums.get(name, 0) + amount
        return sums

    @property
    def cost(self) -> Decimal:
        """The money spent by the calls that reported a cost."""
        return reduce(EXACT.add, (row.cost for row in self.rows if not row.saved), Decimal(0))

    def by(self, dimension: Dimension) -> dict[str, int]:
        """Returns tokens used, by model, type or operation."""
        sums: dict[str, int] = {}
        for row in self.rows:
            if not row.saved:
                name = getattr(row, dimension)
                sums[name] = sums.get(name, 0) + row.tokens
        return sums


def totals_from(fields: Mapping[bytes, bytes]) -> Totals:
    """Returns the totals that the fields of one hash hold.

    ``t:`` are tokens, ``c:`` calls, and ``p:`` parts, with the part's name behind.
    """
    parts: dict[tuple[Any, ...], dict[str, int]] = {}
    for name, amount in fields.items():
        if name[:2] == b"p:":
            *head, part = msgspec.json.decode(name[2:])
            parts.setdefault(tuple(head), {})[part] = int(amount)
    rows = []
    for name in sorted(name[2:] for name in fields if name[:2] == b"t:"):
        saved, model, token_type, operation = head = tuple(msgspec.json.decode(name))
        tokens, calls = int(fields[b"t:" + name]), int(fields[b"c:" + name])
        named = parts.get(head, {})
        # Money is totalled among the parts, under a name that no part may have.
        cost = money(named.pop(COST, 0))
        rows.append(TotalRow(saved, model, token_type, operation, tokens, calls, named, cost))
    return Totals(tuple(rows))


def day_of(day: date | str) -> str:
    """Returns a day (UTC) as totals are filed by it.

    Raises:
        ValueError: It is no day.
    """
    return _check_name(day, "day", "%Y-%m-%d", "2025-01-31")


def month_of(month: date | str) -> str:
    """Returns a month (UTC) as totals are filed by it.

    Raises:
        ValueError: It is no month.
    """
    return _check_name(month, "month", "%Y-%m", "2025-01")


def _check_name(given: date | str, name: str, form: str, example: str) -> str:
    if isinstance(given, datetime):
        given = given if given.tzinfo is None else given.astimezone(UTC)
    if isinstance(given, date):
        return given.strftime(form).rjust(len(example), "0")
    try:
        # strptime takes '2025-1-3' as well: nothing is filed under that, so it is compared with its full form.
        read = datetime.strptime(given, form).replace(tzinfo=UTC)
    except (TypeError, ValueError):
        read = None
    if read is None or given != read.strftime(form):
        raise ArgumentError(f"{name} must be a date, or text such as {example!r} (UTC), not {show(given)}")
    return given
