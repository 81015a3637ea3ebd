"""Answers of Supabase that are one page and not the whole: logged, and not stored."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final

from alacena.common.db.pages import PAGE_ROWS
from alacena.engine.loading.load import LOAD

if TYPE_CHECKING:
    import httpx

_RANGE: Final = re.compile(r"(\d+)-(\d+)/(\d+|\*)")
_MOST_NAMES: Final = 1_000

_log = logging.getLogger("alacena")
_said: set[str] = set()


async def note_truncation(response: httpx.Response) -> None:
    """Looks at the head of an answer: a full page that was not asked for is said, and its load is not stored."""
    request = response.request
    if request.method != "GET" or "/rest/v1/" not in request.url.path or not response.is_success:
        return
    given = _RANGE.fullmatch(response.headers.get("content-range", ""))
    if given is None:
        return
    first, last, total = int(given[1]), int(given[2]), given[3]
    # A full page is the whole if the caller asked for no more, or if the server counted and this row is the last.
    if last - first + 1 != PAGE_ROWS or _read_limit(request) <= PAGE_ROWS or total == str(last + 1):
        return
    if (load := LOAD.get()) is not None:
        load.refuse("truncated")
    table = request.url.path.rpartition("/")[2]
    # Once for each table, as it is read at each request. The names are callers', so their number is bounded.
    if table not in _said and len(_said) < _MOST_NAMES:
        _said.add(table)
        _log.warning(
            "Supabase gave %d rows of %r, which is as many as it gives at once: there may be more. What is made from them "
            "is served and not kept. Read all of them with all_rows() of alacena.common.db, or say how many you want: "
            ".limit(%d)",
            PAGE_ROWS, table, PAGE_ROWS,
        )  # fmt: skip


def _read_limit(request: httpx.Request) -> float:
    """Returns the number of rows that were asked for."""
    limit = request.url.params.get("limit", "")
    if limit.isdecimal():
        return int(limit)
    asked = re.fullmatch(r"(?:items=)?(\d+)-(\d+)", request.headers.get("range", ""))
    return float("inf") if asked is None else int(asked[2]) - int(asked[1]) + 1
