"""Every row of a query, though the server gives a page at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

from alacena.common.db.truncation import PAGE_ROWS
from alacena.engine.base.arguments import check_callable, exact


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
    check_callable(query, "query", 'lambda: client.table("chunks").select("*").order("id")')
    page_rows = exact(page_rows, "page_rows", least=1)
    rows: list[Any] = []
    # Only an empty page is the end: a server whose own limit is lower gives fewer rows than asked for, and has more. So
    # the next page begins behind the rows that have come, not behind those that were asked for.
    while page := (await query().range(len(rows), len(rows) + page_rows - 1).execute()).data:
        rows += page
    return rows
