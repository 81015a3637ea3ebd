"""A small exact model of the server, in this process: the store of memory-only mode and of the simulator."""

from alacena.engine.remote.local import generic, hashes, lists, sets, sorted_sets, strings
from alacena.engine.remote.local.keyspace import COMMANDS, Keyspace

__all__ = ["COMMANDS", "Keyspace", "generic", "hashes", "lists", "sets", "sorted_sets", "strings"]
