"""In which schema a table lives."""

from __future__ import annotations

from alacena.engine.base.errors import ArgumentError, show

PUBLIC_TABLES = frozenset({"auth", "public_sessions", "tenants", "users"})
"""Tables of the whole platform; every other one belongs to the AI services."""
PUBLIC_SCHEMA = "public"
AI_SCHEMA = "ai"


def get_table_name(base_name: str, schema: str | None = None) -> str:
    """Returns the table's name with its schema: ``"documents"`` gives ``"ai.documents"``, ``"tenants"`` ``"public.tenants"``.

    ``get_supabase_client().table(...)`` understands such names.

    Args:
        base_name: The name of the table. One that has a schema already comes back as it is.
        schema: The schema, if it is neither of the two usual ones.

    Raises:
        ValueError: The name or the schema is blank, or no text.
    """
    if not isinstance(base_name, str) or not base_name.strip():
        raise ArgumentError('a table needs a name: get_table_name("documents")')
    if "." in base_name:
        return base_name
    if schema is not None and (not isinstance(schema, str) or not schema.strip()):
        raise ArgumentError(f'schema must be the name of a schema, such as "ai", not {show(schema)}')
    if schema is None:
        schema = PUBLIC_SCHEMA if base_name in PUBLIC_TABLES else AI_SCHEMA
    return f"{schema}.{base_name}"
