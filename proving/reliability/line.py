"""A plain connection to a server that stays open, for whoever has to be quick."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Self

import hiredis

if TYPE_CHECKING:
    from proving.servers.redis_server import RedisServer


class Line:
    """One blocking connection.

    Attributes:
        client_id: How the server calls it.
    """

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._reader = hiredis.Reader(encoding="utf-8", errors="surrogateescape")

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(self._server.socket_path))
        self.client_id: int = self.ask("CLIENT", "ID")
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, *command: Any) -> Any:
        """One command, and its answer.

        Raises:
            hiredis.ReplyError: What the server refused.
        """
        self._socket.sendall(hiredis.pack_command(command))
        while (answer := self._reader.gets()) is False:
            self._reader.feed(self._socket.recv(1 << 16))
        if isinstance(answer, hiredis.ReplyError):
            raise answer
        return answer
