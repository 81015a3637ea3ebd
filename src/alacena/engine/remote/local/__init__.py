"""A small exact model of the server, in this process: what memory-only mode and the simulator store things in."""

from alacena.engine.remote.local import generic, hashes, lists, sets, sorted_sets, strings
from alacena.engine.remote.local.keyspace import COMMANDS, Keyspace

__all__ = ["COMMANDS", "Keyspace", "generic", "hashes", "lists", "sets", "sorted_sets", "strings"]
