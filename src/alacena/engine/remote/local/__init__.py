"""A small exact model of the server, in this process: the store of memory-only mode and of the simulator."""

from alacena.engine.remote.local import (
    hash_commands,
    key_commands,
    list_commands,
    set_commands,
    sorted_set_commands,
    string_commands,
)
from alacena.engine.remote.local.keyspace import COMMANDS, Keyspace

__all__ = [
    "COMMANDS",
    "Keyspace",
    "hash_commands",
    "key_commands",
    "list_commands",
    "set_commands",
    "sorted_set_commands",
    "string_commands",
]
