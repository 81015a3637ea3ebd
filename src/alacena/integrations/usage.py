"""Usage of providers in one normal form, for adapters and prices: see `alacena.common.token_counts`."""

from __future__ import annotations

import re
from typing import Final

from alacena.common.token_counts import TokenCounts, read_usage

__all__ = ["TokenCounts", "name_of_call", "read_usage"]

_LEAST: Final = 12
_PREFIX: Final = re.compile(r"[A-Za-z]+[-_]")


def name_of_call(response_id: str | None) -> str | None:
    """Returns a provider's id of an answer as the key under which the call counts once; ``None`` if it may name several.

    Local servers count their answers, draw three digits (``chatcmpl-373``), give the second of the day, or nothing: under
    such an id the tokens of most calls would never be counted.
    """
    named = _PREFIX.sub("", response_id or "", count=1)
    return response_id if len(named) >= _LEAST and not named.isdecimal() else None
