"""Every row of a query, though the server gives a page at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

from alacena.common.db.truncation import PAGE_ROWS


async def all_rows(query: Callable[[], Any], *, page_rows: int = PAGE_ROWS) -> list[Any]:
    """Returns every row of a query: Supabase gives 1,000 at most for one request, and does not say that there are more.

    Usage::

        rows = await all_rows(lambda: client.table("chunks").select("*").eq("document_id", one).order("id"))

    Cost: one request a page, and one that finds the end.

    Args:
        query: Makes the query anew for each page. It must have an order that is the same each time.
        page_rows: How many rows to ask for at once.

    Raises:
        ValueError: ``page_rows`` is less than 1.
    """
    if page_rows < 1:
        msg = f"page_rows must be at least 1, not {page_rows}"
        raise ValueError(msg)
    rows: list[Any] = []
    # Only an empty page is the end: a server whose own limit is lower gives fewer rows than asked for, and has more. So
    # the next page begins behind the rows that have come, not behind those that were asked for.
    while page := (await query().range(len(rows), len(rows) + page_rows - 1).execute()).data:
        rows += page
    return rows
