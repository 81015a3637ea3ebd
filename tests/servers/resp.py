"""One command to a server, for scripts that replay a stranger's case; tests take it from `proving.servers`."""

from proving.servers.resp import call

__all__ = ["call"]
