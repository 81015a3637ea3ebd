"""A Postgres of one's own. For scripts that replay what a stranger saw; the tests take it from `proving.servers`."""

from proving.servers.postgres import Postgres

__all__ = ["Postgres"]
