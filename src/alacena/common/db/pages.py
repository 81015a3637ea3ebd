"""Every row of a query, though the server gives a page at a time; and how large a page is."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

from alacena.engine.base.arguments import check_callable, exact
from alacena.engine.base.errors import ArgumentError

PAGE_ROWS: Final = 1_000
"""How many rows Supabase gives at most for one request, unless the project says otherwise."""


async def all_rows(query: Callable[[], Any], *, page_rows: int = PAGE_ROWS) -> list[Any]:
    """Returns every row of a query: Supabase gives 1,000 at most for one request, and does not say that there are more.

    Usage::

        rows = await all_rows(lambda: client.table("chunks").select("*").eq("document_id", one).order("id"))

    Cost: one request a page, and one that finds the end.

    Args:
        query: Makes the query anew for each page. It must have an order that is the same each time. With a limit or a
            range of its own, the rows within that are all.
        page_rows: How many rows to ask for at once.

    Raises:
        ValueError: ``page_rows`` is less than 1, or the query gives no list of rows.
    """
    check_callable(query, "query", 'lambda: client.table("chunks").select("*").order("id")')
    page_rows = exact(page_rows, "page_rows", least=1)
    rows: list[Any] = []
    made = query()
    first, most = _own_range(made)
    # Only an empty page is the end: a server whose own limit is lower gives fewer rows than asked for, and has more. So
    # the next page begins behind the rows that have come, not behind those that were asked for.
    while most is None or len(rows) < most:
        size = page_rows if most is None else min(page_rows, most - len(rows))
        start = first + len(rows)
        last, made = made, query()
        if made is last:
            raise ArgumentError("query must make the query anew each time: the pages of one query add up in it")
        page = (await _of_rows(made).range(start, start + size - 1).execute()).data
        if not isinstance(page, list):
            raise ArgumentError(f"{_NO_ROWS}; this one gave a {type(page).__name__}")
        if not page:
            break
        rows += page
    return rows


_NO_ROWS: Final = (
    "query must make a query that gives a list of rows, without .single(), .maybe_single(), .csv(), .explain() and "
    ".execute(): all_rows() executes it"
)


def _of_rows(made: Any) -> Any:
    if not callable(getattr(made, "range", None)) or not callable(getattr(made, "execute", None)):
        if inspect.iscoroutine(made):
            made.close()
        raise ArgumentError(f"{_NO_ROWS}; this one made a {type(made).__name__}")
    return made


def _own_range(made: Any) -> tuple[int, int | None]:
    """Returns the first row that a query asks for by itself, and how many: pages are parts of that."""
    params = getattr(getattr(_of_rows(made), "request", None), "params", None) or {}
    first, most = str(params.get("offset", "")), str(params.get("limit", ""))
    return int(first) if first.isdecimal() else 0, int(most) if most.isdecimal() else None
