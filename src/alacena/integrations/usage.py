"""Usage of providers in one normal form, for adapters and prices: see `alacena.common.usage`."""

from __future__ import annotations

from alacena.common.usage import TokenCounts, read_usage

__all__ = ["TokenCounts", "read_usage"]
