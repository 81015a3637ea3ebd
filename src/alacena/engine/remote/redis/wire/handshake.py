"""The handshake of a connection: the socket, then ``HELLO``."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from alacena.engine.base.errors import BackendUnavailableError, OutcomeUnknownError, ServerReplyError
from alacena.engine.remote.redis.wire.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from alacena.engine.remote.redis.endpoint import Address, ServerAccess
    from alacena.engine.remote.redis.wire.command import Command, Reply

_NO_RESP3: Final = "the server does not speak RESP3: Redis 6 or newer, or Valkey, is needed"
_CALLED: Final = re.compile(r"\[Errno (\d+)\] Connect call failed")
_NUMERIC: Final = re.compile(r"[0-9.]+|.*:.*").fullmatch
_NEXT_ADDRESS_S: Final = 0.25
"""How long an address of a name is alone in being tried, as RFC 8305 has it."""
_NO_HANDSHAKE: Final = "it does not answer in TLS: if it speaks none, write redis:// in place of rediss:// in its URL"
_HUNG_UP: Final = "the server closed the connection"
_NO_WORD: Final = "if it speaks TLS, write rediss:// in place of redis:// in its URL"
_AUTHORITY: Final = "name the file of the authority that signed its certificate with ?ssl_ca_certs="
_NAMED: Final = "write a host that its certificate names"

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

    Of a name with several addresses each is tried, a moment after the one before: one that swallows everything, such as
    an IPv6 address where no IPv6 leads, must not use up the whole time.

    Raises:
        OSError: It cannot be opened; its text says where to, and why.
    """
    loop = asyncio.get_running_loop()
    try:
        if address.path is not None:
            await loop.create_unix_connection(factory, address.path)
            return
        where = await _find(address)
        # asyncio refuses a `server_hostname` without TLS.
        name = address.host if access.tls is not None else None
        try:
            await loop.create_connection(factory, **where, ssl=access.tls, server_hostname=name)
        except asyncio.CancelledError as error:
            # A time limit gives a TimeoutError without a word: a server that speaks no TLS waits for the end of a line.
            if access.tls is not None:
                error.add_note(_NO_HANDSHAKE)
            raise
    except ssl.SSLCertVerificationError as error:
        raise ConnectionError(f"{address} cannot be reached: {_words_of_verification(error)}") from error
    except (TimeoutError, ssl.SSLError):  # these say in words what is wrong
        raise
    except OSError as error:
        # asyncio says numbers and tuples of it.
        number = _CALLED.search(str(error))
        why = os.strerror(int(number[1])) if number else error.strerror or str(error)
        raise ConnectionError(f"{address} cannot be reached: {why}") from error


def words_of_timeout(error: TimeoutError, otherwise: str) -> str:
    """Returns what is known of an opening that took too long."""
    return " ".join(getattr(error.__cause__, "__notes__", ())) or str(error) or otherwise


def _words_of_verification(error: ssl.SSLCertVerificationError) -> str:
    said = f"certificate verify failed: {error.verify_message.rstrip('.')}"
    if "mismatch" in said:
        return f"{said}: {_NAMED}"
    return f"{said}: {_AUTHORITY}" if "issuer" in said or "self" in said else said


async def _find(address: Address) -> dict[str, Any]:
    """Returns the place of a server for ``create_connection``: of a name with several addresses, the one that answers."""
    if not _NUMERIC(address.host):
        found = await asyncio.get_running_loop().getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        places = list(dict.fromkeys((family, kind, protocol, place) for family, kind, protocol, _, place in found))
        if len(places) > 1:
            return {"sock": await _connect_to_one(places)}
    return {"host": address.host, "port": address.port}


async def _connect_to_one(places: Sequence[tuple[int, int, int, Any]]) -> socket.socket:
    """Returns a socket that is connected to the first of some addresses that answers.

    Raises:
        OSError: None can be reached; the error of the last one.
    """
    trying: set[asyncio.Task[socket.socket]] = set()
    left = list(places)
    try:
        error: BaseException | None = None
        while left or trying:
            if left:
                trying.add(asyncio.ensure_future(_connect_to(*left.pop(0))))
            over, _ = await asyncio.wait(
                trying, timeout=_NEXT_ADDRESS_S if left else None, return_when=asyncio.FIRST_COMPLETED
            )
            for one in over:
                error = one.exception()
                if error is None:
                    trying.discard(one)
                    return one.result()
            trying -= over
        assert error is not None
        raise error
    finally:
        for one in trying:
            one.cancel()
            one.add_done_callback(_close_unused)


async def _connect_to(family: int, kind: int, protocol: int, place: Any) -> socket.socket:
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setblocking(False)  # noqa: FBT003 - as sockets have it
        await asyncio.get_running_loop().sock_connect(opened, place)
    except (OSError, asyncio.CancelledError):
        opened.close()
        raise
    return opened


def _close_unused(task: asyncio.Task[socket.socket]) -> None:
    """Closes the socket of an address that answered, too, a moment after another one."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def greet(connection: Connection, access: ServerAccess, *, timeout_s: float) -> Greeting:
    """Switches to RESP3, log in, name the connection and choose the database, in one round trip.

    Raises:
        ServerReplyError: The server refused: wrong password, unknown user, no such database, or older than RESP3.
        BackendError: It did not answer.
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
    try:
        return await connection.exchange(commands, settle=_read_greeting, timeout_s=timeout_s)
    except OutcomeUnknownError as error:
        # Redis says why it hangs up, unless it waits for TLS and this is none.
        if access.tls is None and _HUNG_UP in str(error):
            raise BackendUnavailableError(f"{error}: {_NO_WORD}") from error
        raise


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
