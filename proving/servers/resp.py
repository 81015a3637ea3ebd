"""The least client that can talk to a Redis server: to build topologies and to look at a server from outside."""

from __future__ import annotations

import socket
from typing import Any

import hiredis

Address = str | tuple[str, int]
"""The path of a unix socket, or host and port."""


def open_socket(address: Address, timeout_s: float) -> socket.socket:
    """A connected socket to ``address``."""
    if isinstance(address, tuple):
        return socket.create_connection(address, timeout=timeout_s)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout_s)
    try:
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def call(address: Address, *command: str | bytes | int, password: str | None = None, timeout_s: float = 5.0) -> Any:
    """Sends one command on a connection of its own and gives the decoded reply; an error reply is raised."""
    commands = [command] if password is None else [("AUTH", password), command]
    reader = hiredis.Reader(encoding="utf-8", errors="surrogateescape")
    reply: Any = None
    with open_socket(address, timeout_s) as connection:
        for words in commands:
            connection.sendall(hiredis.pack_command(tuple(words)))  # type: ignore[arg-type]  # its stub says one word
            reply = _next_reply(connection, reader)
    return reply


def _next_reply(connection: socket.socket, reader: hiredis.Reader) -> Any:
    while (reply := reader.gets()) is False:
        data = connection.recv(65536)
        if not data:
            raise ConnectionResetError("the server closed the connection")
        reader.feed(data)
    if isinstance(reply, hiredis.ReplyError):
        raise reply
    return reply
