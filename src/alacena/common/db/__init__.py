"""The source of truth behind the cache, in the guide's dialect: ``get_supabase_client()`` and its settings."""

from __future__ import annotations

from alacena.common.db.pages import all_rows
from alacena.common.db.supabase import close_supabase_clients, configure_supabase, get_supabase_client
from alacena.common.db.tables import get_table_name

__all__ = ["all_rows", "close_supabase_clients", "configure_supabase", "get_supabase_client", "get_table_name"]
