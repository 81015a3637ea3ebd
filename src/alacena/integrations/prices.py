"""The cost of a provider's call, by model and date: from a table of your own, or from genai-prices if it is installed.

An unknown price is ``None``, never a guess. Money is a whole number of billionths of a dollar.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import TYPE_CHECKING, Final, Protocol

from alacena.engine.base.arguments import list_of
from alacena.engine.base.errors import ArgumentError, show
from alacena.ledger.usage import EXACT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alacena.integrations.usage import TokenCounts

_NANO: Final = Decimal(1_000_000_000)
_PER: Final = 1_000_000


class Prices(Protocol):
    """Knows the prices of calls."""

    def nanodollars(self, model: str, counts: TokenCounts, *, at: float, url: str) -> int | None:
        """Returns the price of a call, in billionths of a dollar.

        Args:
            model: The model, as the provider's answer names it.
            counts: The tokens used.
            at: When, in seconds since the epoch.
            url: Where it was asked.

        Returns:
            ``None`` if the price is not known.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPrice:
    """Dollars for a million tokens of one model, from a day on.

    Attributes:
        model: The model, exactly as the provider's answer names it.
        since: The first day (UTC) on which the price holds.
        input_usd: For the input.
        output_usd: For the output.
        cache_read_usd: For input that the provider's prompt cache read; ``None``: not known.
        cache_write_usd: For input that it wrote into its prompt cache; ``None``: not known.
        long_cache_write_usd: For the part of that which it keeps for longer; ``None``: not known.
    """

    model: str
    since: date
    input_usd: Decimal
    output_usd: Decimal = Decimal(0)
    cache_read_usd: Decimal | None = None
    cache_write_usd: Decimal | None = None
    long_cache_write_usd: Decimal | None = None

    def nanodollars(self, counts: TokenCounts) -> int | None:
        """Returns the price of these tokens; ``None`` if the price of one kind of them is not known."""
        kinds = (
            (counts.input_tokens, self.input_usd),
            (counts.cache_read_tokens, self.cache_read_usd),
            (counts.cache_write_tokens - counts.long_cache_write_tokens, self.cache_write_usd),
            (counts.long_cache_write_tokens, self.long_cache_write_usd),
            (counts.output_tokens, self.output_usd),
        )
        if any(tokens and usd is None for tokens, usd in kinds):
            return None
        with localcontext(EXACT):
            # Rounded once, at the end: parts that are rounded one by one do not add up.
            return _nano(sum((tokens * (usd or Decimal(0)) for tokens, usd in kinds), Decimal(0)) / _PER)


class PriceTable:
    """Prices that the application states.

    Args:
        rows: In any order; of the rows of a model, the last one that holds on the day counts.
        otherwise: Asked for models that no row names.
    """

    def __init__(self, rows: Iterable[ModelPrice], otherwise: Prices | None = None) -> None:
        self._rows: dict[str, list[ModelPrice]] = {}
        # The newest first: the first row that holds on a day is then the one that counts.
        given = list_of(rows, "rows", "ModelPrice")
        for row in given:
            if not isinstance(row, ModelPrice):
                raise ArgumentError(f"rows must be a list of ModelPrice, and holds {show(row)}")
        for row in sorted(given, key=lambda row: row.since, reverse=True):
            self._rows.setdefault(row.model, []).append(row)
        self._otherwise = otherwise

    def nanodollars(self, model: str, counts: TokenCounts, *, at: float, url: str) -> int | None:
        """Returns the price of a call; ``None`` if it is not known. See :class:`Prices`."""
        day = datetime.fromtimestamp(at, UTC).date()
        rows = self._rows.get(model)
        if rows is None:
            return None if self._otherwise is None else self._otherwise.nanodollars(model, counts, at=at, url=url)
        row = next((row for row in rows if row.since <= day), None)
        return None if row is None else row.nanodollars(counts)


class GenaiPrices:
    """Prices of the package ``genai-prices``, as it has them without a request; by provider, model and date.

    Raises:
        ImportError: It is not installed.
    """

    def __init__(self) -> None:
        try:
            import genai_prices
        except ImportError as error:
            msg = "GenaiPrices needs genai-prices 0.2.3 or newer: pip install 'alacena[prices]'"
            raise ImportError(msg) from error
        self._library = genai_prices

    def nanodollars(self, model: str, counts: TokenCounts, *, at: float, url: str) -> int | None:
        """Returns the price of a call; ``None`` for a provider or a model that the package does not know."""
        usage = self._library.Usage(
            input_tokens=counts.whole_input,
            cache_read_tokens=counts.cache_read_tokens,
            cache_write_tokens=counts.cache_write_tokens,
            cache_write_1h_tokens=counts.long_cache_write_tokens,
            output_tokens=counts.output_tokens,
        )
        try:
            price = self._library.calc_price(
                usage, model, provider_api_url=url, genai_request_timestamp=datetime.fromtimestamp(at, UTC)
            )
        except (LookupError, ValueError):
            return None
        return _nano(price.total_price)


def find_prices() -> Prices:
    """Returns the prices of genai-prices if it is installed, else a table that knows none."""
    try:
        return GenaiPrices()
    except ImportError:
        return PriceTable(())


def _nano(usd: Decimal) -> int:
    return int(EXACT.multiply(usd, _NANO).to_integral_value(ROUND_HALF_UP, EXACT))
