"""What a server checks before it runs a command, and the keyspace that it runs it on."""

from __future__ import annotations

from typing import Any

from alacena.engine.base.errors import ServerReplyError
from alacena.engine.remote.local.keyspace import COMMANDS, Keyspace
from tests.simulator.connection_commands import CONNECTION_COMMANDS

_SHRINKING = frozenset(
    b"DEL UNLINK EXPIRE PEXPIRE EXPIREAT PEXPIREAT PERSIST FLUSHALL FLUSHDB LPOP RPOP GETDEL HDEL SREM ZREM".split()
)


class ServerKeyspace(Keyspace):
    """A keyspace that tells of reads that failed too: a server tracks a key that holds another type than asked for."""

    def execute(self, words: list[bytes]) -> Any:
        """Run one command given as its words."""
        try:
            return super().execute(words)
        except ServerReplyError as error:
            command = COMMANDS.get(words[0].upper())
            if error.code == "WRONGTYPE" and command is not None and command.reads and self.on_read is not None:
                for key in command.keys(words[1:]):
                    self.on_read(key)
            raise


def check_form(words: list[bytes]) -> None:
    """See that the command is known and has as many words as it needs.

    Raises:
        ServerReplyError: It is not, or has not.
    """
    name = words[0].upper()
    if name in CONNECTION_COMMANDS:
        return
    command = COMMANDS.get(name)
    if command is None:
        raise ServerReplyError(f"ERR unknown command '{words[0].decode(errors='replace')}', with args beginning with: ")
    given = len(words) - 1
    if given < command.at_least or (command.at_most is not None and given > command.at_most):
        raise ServerReplyError(f"ERR wrong number of arguments for '{name.decode().lower()}' command")


def check_allowed(words: list[bytes], *, replica: bool, roomy: bool, refusal: str | None = None) -> None:
    """See that the server's role, memory and disk allow the command.

    Raises:
        ServerReplyError: ``READONLY``, ``OOM``, or the ``refusal`` that writes get now.
    """
    name = words[0].upper()
    command = COMMANDS.get(name)
    writes = name in {b"EVAL", b"EVALSHA", b"FLUSHALL", b"FLUSHDB"} or (
        command is not None and not command.reads and any(True for _ in command.keys(words[1:]))
    )
    if writes and replica:
        raise ServerReplyError("READONLY You can't write against a read only replica.")
    if writes and refusal is not None:
        raise ServerReplyError(refusal)
    if writes and not roomy and name not in _SHRINKING:
        raise ServerReplyError("OOM command not allowed when used memory > 'maxmemory'.")
