"""The handshake of a connection: the socket, then ``HELLO``."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from alacena.engine.base.errors import ServerReplyError
from alacena.engine.remote.redis.wire.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alacena.engine.remote.redis.endpoint import Address, ServerAccess
    from alacena.engine.remote.redis.wire.command import Command, Reply

_NO_RESP3: Final = "the server does not speak RESP3: Redis 6 or newer, or Valkey, is needed"
_CALLED: Final = re.compile(r"\[Errno (\d+)\] Connect call failed")

Opener: TypeAlias = "Callable[[Callable[[], asyncio.Protocol], Address, ServerAccess], Awaitable[object]]"
"""Opens a transport for the protocol that the factory makes; a simulation brings its own."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """The server's answer to ``HELLO``.

    Attributes:
        server: ``redis``, ``valkey`` or another; Valkey may call itself ``redis``.
        version: As the server gives it; Valkey gives the Redis version that it is compatible with unless told
            otherwise. mode: ``standalone``, ``sentinel`` or ``cluster``. role: ``master`` or ``replica``. client_id:
            The connection's number on the server. raw: The whole answer.
    """

    server: str = ""
    version: str = ""
    mode: str = ""
    role: str = ""
    client_id: int = 0
    raw: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, reply: dict[bytes, Any]) -> Greeting:
        """Reads the answer to ``HELLO 3``."""
        raw = {_text(name): _text(value) for name, value in reply.items()}
        return cls(
            server=raw.get("server", ""),
            version=raw.get("version", ""),
            mode=raw.get("mode", ""),
            role=raw.get("role", ""),
            client_id=raw.get("id", 0),
            raw=raw,
        )


async def open_socket(factory: Callable[[], asyncio.Protocol], address: Address, access: ServerAccess) -> None:
    """Opens a TCP, TLS or unix connection of the running loop.

    Raises:
        OSError: It cannot be opened; its text says where to, and why.
    """
    loop = asyncio.get_running_loop()
    try:
        if address.path is not None:
            await loop.create_unix_connection(factory, address.path)
            return
        # asyncio refuses a `server_hostname` without TLS.
        name = address.host if access.tls is not None else None
        await loop.create_connection(factory, address.host, address.port, ssl=access.tls, server_hostname=name)
    except (TimeoutError, ssl.SSLError):  # these say in words what is wrong
        raise
    except OSError as error:
        # What asyncio says of it are numbers and tuples, one for each address of the name.
        numbers = dict.fromkeys(_CALLED.findall(str(error)))
        why = ", ".join(os.strerror(int(number)) for number in numbers) or error.strerror or str(error)
        raise ConnectionError(f"{address} cannot be reached: {why}") from error


async def greet(connection: Connection, access: ServerAccess, *, timeout_s: float) -> Greeting:
    """Switches to RESP3, log in, name the connection and choose the database, in one round trip.

    Raises:
        ServerReplyError: The server refused: wrong password, unknown user, no such database, or older than RESP3.
    """
    credentials = await access.credentials()
    hello: Command = ("HELLO", 3)
    if credentials is not None:
        # Inside `HELLO`: a server that wants a password refuses a `HELLO` without one.
        hello += ("AUTH", *credentials)
    if access.client_name:
        hello += ("SETNAME", access.client_name)
    commands: list[Command] = [hello]
    if access.database:
        commands.append(("SELECT", access.database))
    return await connection.exchange(commands, settle=_read_greeting, timeout_s=timeout_s)


async def ask_once(
    opener: Opener, address: Address, access: ServerAccess, command: Command, *, timeout_s: float
) -> Reply:
    """Sends one command on a connection of its own, for questions such as where the master is.

    Raises:
        BackendError: No answer, or an error for one.
        OSError: No connection.
    """
    connection = Connection()
    try:
        # For all three together: each has a limit of its own, and three in a row would be three times as long.
        async with asyncio.timeout(timeout_s):
            await opener(lambda: connection, address, access)
            await greet(connection, access, timeout_s=timeout_s)
            return await connection.call(*command, timeout_s=timeout_s)
    finally:
        connection.close()


def _read_greeting(replies: list[Reply]) -> Greeting:
    for reply in replies:
        if isinstance(reply, ServerReplyError):
            words = str(reply).lower()
            # Old servers say unknown, proxies such as Envoy unsupported.
            is_strange = reply is replies[0] and ("unknown command" in words or "unsupported" in words)
            if is_strange or reply.code == "NOPROTO":
                raise ServerReplyError(f"ERR {_NO_RESP3} ({reply})") from reply
            raise reply
    # An answer in RESP2 is a list: no push can ever come over such a connection.
    if not isinstance(replies[0], dict):
        raise ServerReplyError(f"ERR {_NO_RESP3}")
    return Greeting.read(cast("dict[bytes, Any]", replies[0]))


def _text(value: object) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
