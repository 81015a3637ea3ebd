"""The rows and tables that a statement of SQLAlchemy changes, beyond the rows that a session knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from alacena.integrations.requirement import require_extra

with require_extra("alacena.integrations.sqlalchemy", "sqlalchemy", ("sqlalchemy", "2.0.30", "3")):
    from sqlalchemy import inspect, select
    from sqlalchemy.sql.elements import BindParameter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sqlalchemy.orm import Mapper, ORMExecuteState

MOST_DOCUMENTS: Final = 1_000
_BY_DATABASE: Final = frozenset({"CASCADE", "SET NULL", "SET DEFAULT"})


def tables_of(model: type) -> Iterator[Any]:
    """Yields the tables that hold the rows of a mapped class and its subclasses."""
    mapper: Mapper[Any] = inspect(model)
    for one in mapper.self_and_descendants:
        yield from one.tables


def tables_below(table: Any, handled: Iterable[Any] = ()) -> set[Any]:
    """Returns the tables that the database itself changes if a row of a table is deleted.

    Args:
        table: The table.
        handled: Tables that the session changes itself.
    """
    below: set[Any] = set()
    over, left = set(handled), [table]
    while left:
        above = left.pop()
        for other in table.metadata.tables.values():
            if other in below or other in over:
                continue
            # By name: a statement of mapped classes has a table of its own make.
            if any(
                key.target_fullname.rpartition(".")[0] == above.key and str(key.ondelete).upper() in _BY_DATABASE
                for key in other.foreign_keys
            ):
                below.add(other)
                left.append(other)
    return below


def tables_of_session(row: object) -> set[Any]:
    """Returns the tables that the session changes itself if it deletes a row: it has loaded them."""
    relations = inspect(type(row)).relationships
    return {table for one in relations if one.uselist and not one.passive_deletes for table in one.mapper.tables}


def documents_changed(state: ORMExecuteState, column: Any) -> set[str] | None:
    """Returns the documents of the rows that a statement meets; ``None`` if they cannot be told, or are too many.

    Args:
        state: An update, a delete or an insert, before it runs.
        column: The column that names a row's document.
    """
    statement: Any = state.statement
    if state.is_insert:
        given = _find_given(state, column)
        # A plain insert changes no row that was there.
        return given if given is not None or getattr(statement, "_post_values_clause", None) is not None else set()
    if isinstance(state.parameters, list):  # rows by their primary keys
        return _find_given(state, column)
    if column.table.key != statement.table.key:
        # A table of a subclass: the key that it shares with its parent's is the document's, or nothing here is.
        column = next((one for one in statement.table.columns if one.references(column)), None)
        if column is None:
            return None
    query: Any = select(column).where(*statement._where_criteria).distinct().limit(MOST_DOCUMENTS + 1)
    met = {str(one) for one in state.session.execute(query, state.parameters or {}).scalars() if one is not None}
    return met if len(met) <= MOST_DOCUMENTS else None


def _find_given(state: ORMExecuteState, column: Any) -> set[str] | None:
    """Returns the values that a statement gives a column; ``None`` if it gives none."""
    statement: Any = state.statement
    rows: list[Mapping[Any, Any]] = []
    parameters: Any = state.parameters
    if parameters:
        rows += parameters if isinstance(parameters, list | tuple) else [parameters]
    if getattr(statement, "_values", None):
        rows.append(statement._values)
    for several in getattr(statement, "_multi_values", ()):
        rows += several
    found: set[str] = set()
    for row in rows:
        values = [
            value for name, value in row.items() if name == column.key or getattr(name, "key", None) == column.key
        ]
        values = [value.value if isinstance(value, BindParameter) else value for value in values]
        if not values or any(hasattr(value, "compile") for value in values):
            return None
        found.update(str(value) for value in values if value is not None)
    return found if rows and len(found) <= MOST_DOCUMENTS else None
