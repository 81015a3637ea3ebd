"""A Postgres, for scripts that replay a stranger's case; tests take it from `proving.servers`."""

from proving.servers.postgres import Postgres

__all__ = ["Postgres"]
