"""Queries that a source returned in place of their rows."""

from __future__ import annotations

from typing import Any, Final

_QUERIES: Final = ("postgrest.", "supabase.", "storage3.")


def execute_query(value: Any, source: object) -> Any:
    """Returns the result of a source, if it is a value.

    Args:
        value: The result of the source.
        source: The source.

    Raises:
        TypeError: It is a query of Supabase's that was not executed.
    """
    if type(value).__module__.startswith(_QUERIES) and callable(getattr(value, "execute", None)):
        msg = f"{function_name(source)} returned a query that was not executed: write `(await query.execute()).data` in it"
        raise TypeError(msg)
    return value


def function_name(function: object) -> str:
    """Returns the name of a source in messages."""
    return str(getattr(function, "__qualname__", None) or repr(function))
