"""The twin of the script on sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alacena.engine.remote.local.twins.twin_server import TwinServer, twin

if TYPE_CHECKING:
    from alacena.engine.remote.backend import Reply


@twin
def set_add(server: TwinServer, keys: list[bytes], args: list[bytes]) -> Reply:
    """Adds members, with expiry."""
    ttl_ms, *members = args
    added = sum(server.call("SADD", keys[0], member) for member in members)
    if ttl_ms != b"0":
        server.call("PEXPIRE", keys[0], ttl_ms)
    return added
