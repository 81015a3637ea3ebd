"""A Redis or Valkey of one's own. For scripts that replay what a stranger saw; the tests take it from `proving.servers`."""

from proving.servers.redis_server import RedisServer

__all__ = ["RedisServer"]
