"""The wire: one multiplexed RESP3 connection, matched and ordered by its protocol object."""

from alacena.engine.remote.redis.wire.command import Argument, Command, Reply, pack
from alacena.engine.remote.redis.wire.connection import Connection
from alacena.engine.remote.redis.wire.wire_limits import WireLimits

__all__ = ["Argument", "Command", "Connection", "Reply", "WireLimits", "pack"]
