"""One command to a server, without a client. For scripts that replay what a stranger saw; the tests take it from `proving.servers`."""

from proving.servers.resp import call

__all__ = ["call"]
