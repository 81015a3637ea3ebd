"""A Redis or Valkey, for scripts that replay a stranger's case; tests take it from `proving.servers`."""

from proving.servers.redis_server import RedisServer

__all__ = ["RedisServer"]
