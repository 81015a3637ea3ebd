"""A cluster, and servers behind Sentinel, of one's own. For scripts that replay what a stranger saw; the tests take it from `proving.servers`."""

from proving.servers.topology import RedisCluster, RedisSentinel

__all__ = ["RedisCluster", "RedisSentinel"]
