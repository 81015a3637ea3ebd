"""A cluster, and servers behind Sentinel, for scripts that replay a stranger's case; tests take them from `proving.servers`."""

from proving.servers.topology import RedisCluster, RedisSentinel

__all__ = ["RedisCluster", "RedisSentinel"]
