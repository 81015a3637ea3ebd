"""What there is to know about a cache, as rows that any presentation can show."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from alacena.engine import Cache


@dataclass(frozen=True, slots=True)
class Row:
    """One fact.

    Attributes:
        name: What it is about; nested facts are joined by dots.
        value: The fact, as text.
        good: Whether it is as it should be; ``None`` where it is neither good nor bad.
    """

    name: str
    value: str
    good: bool | None = None


_GOOD_WHEN_TRUE = frozenset(
    {"connected", "memory", "no_stale_fill", "lost_state_fails_closed", "valid", "same_history"}
)


def rows(facts: Mapping[str, Any], prefix: str = "") -> Iterator[Row]:
    """Flatten facts into rows, in their order."""
    for name, value in facts.items():
        full = f"{prefix}{name}"
        if hasattr(value, "items"):
            yield from rows(value, f"{full}.")
            continue
        good = value if name in _GOOD_WHEN_TRUE and isinstance(value, bool) else None
        yield Row(full, _text(value), good)


async def guarantee(cache: Cache) -> list[Row]:
    """Which promises hold."""
    return list(rows(cache.guarantee()))


async def explanation(cache: Cache, data_type: str, resource_id: str, tenant_id: str, **scope: str | None) -> list[Row]:
    """Why a read of an entry is what it is."""
    return list(rows(await cache.explain(data_type, resource_id, tenant_id, **scope)))


def migrations() -> list[tuple[str, str]]:
    """The SQL that the ledger and the relays need, as (name, text), in the order in which it is applied."""
    folder = files("alacena").joinpath("sources", "migrations")
    found = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return [(entry.name, entry.read_text("utf-8")) for entry in found]


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
