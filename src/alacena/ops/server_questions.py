"""The servers of a cache, asked questions that no verb of the cache asks: the only module here that knows the engine's inside."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Self

from alacena.engine import AlacenaError, BackendError, BackendUnavailableError, ServerReplyError
from alacena.engine.api.assembly import keys_of
from alacena.engine.base.keys import escape
from alacena.engine.base.server_url import EMBEDDED
from alacena.engine.remote.redis.command_safety import is_forbidden
from alacena.engine.remote.redis.endpoint import Address, Endpoint
from alacena.engine.remote.redis.sentinel import why_not_asked
from alacena.engine.remote.redis.server_facts import NEEDS, SAFE_POLICY, facts
from alacena.engine.remote.redis.slot_map import read_slots
from alacena.engine.remote.redis.wire import Connection
from alacena.engine.remote.redis.wire.handshake import ask_once, greet, open_socket, words_of_timeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from alacena.engine import Settings
    from alacena.engine.remote.redis.endpoint import ServerAccess

__all__ = ["EMBEDDED", "NEEDS", "SAFE_POLICY", "Server", "escape", "facts", "is_forbidden", "keys_of", "servers_of"]

ANSWER_S: Final = 1.0
"""How long an answer may take."""


class Server:
    """One server, over a connection of its own.

    Attributes:
        address: Where it is.
        silent: Whether it has left a question without an answer: it is not asked again.
    """

    def __init__(self, address: Address, access: ServerAccess) -> None:
        self.address = str(address)
        self.silent = False
        self._where = address
        self._access = access
        self._connection = Connection(on_push=lambda _: None)

    async def open(self, timeout_s: float) -> Self:
        """Connects and logs in.

        Raises:
            BackendError: The server refuses us, or does not answer.
            OSError: It is not reached.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await open_socket(lambda: self._connection, self._where, self._access)
                await greet(self._connection, self._access, timeout_s=timeout_s)
        # Before OSError, of which it is one: its own text is empty.
        except TimeoutError as error:
            self.close()
            words = words_of_timeout(error, "")
            known = f": {words}" if words else ""
            raise BackendUnavailableError(f"no answer from {self.address} within {timeout_s:g} s{known}") from None
        except (AlacenaError, OSError):
            self.close()
            raise
        return self

    async def ask(self, *command: str | bytes | int) -> Any:
        """Returns the answer to one command; a refusal is an answer.

        Raises:
            BackendError: There is no answer, or an earlier question had none.
        """
        if self.silent:
            raise BackendUnavailableError(f"{self.address} has stopped answering")
        try:
            return await self._connection.call(*command, timeout_s=ANSWER_S)
        except ServerReplyError as refusal:
            return refusal
        except BackendError:
            self.silent = True
            raise

    async def hears(self, channel: str) -> object:
        """Returns the refusal of a subscription; ``None`` if it was granted. It uses a connection of its own."""
        heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def note(_: list[Any]) -> None:
            if not heard.done():
                heard.set_result(None)

        spare = Server(self._where, self._access)
        spare._connection = Connection(on_push=note)
        try:
            await spare.open(ANSWER_S)
            # In RESP3 a subscription that is granted is told by a push and has no reply: only a refusal is one.
            refused = asyncio.ensure_future(spare.ask("SUBSCRIBE", channel))
            await asyncio.wait((heard, refused), timeout=ANSWER_S, return_when=asyncio.FIRST_COMPLETED)
            refusal = refused.result() if refused.done() and not refused.exception() else None
            refused.cancel()
            await asyncio.gather(refused, return_exceptions=True)
            return refusal
        finally:
            spare.close()

    async def scan(self, pattern: str, most: int) -> tuple[list[str], int, bool]:
        """Looks at ``most`` keys or a few more.

        Returns:
            Those that match, how many were looked at, and whether these were all.
        """
        # SCAN may give a key more than once: a dict keeps each once, in order.
        found: dict[str, None] = {}
        cursor, looked = b"0", 0
        while True:
            reply = await self.ask("SCAN", cursor, "MATCH", pattern, "COUNT", 1_000)
            if isinstance(reply, ServerReplyError):
                raise reply
            cursor, page = reply
            # COUNT is about how many keys are looked at, whether they match or not.
            looked += 1_000
            found.update(dict.fromkeys(key.decode("utf-8", "replace") for key in page))
            if cursor == b"0":
                return list(found), looked, True
            if looked >= most:
                return list(found), looked, False

    def close(self) -> None:
        """Disconnects."""
        self._connection.close()


@asynccontextmanager
async def servers_of(settings: Settings, note: Callable[[str], None] = lambda _: None) -> AsyncIterator[list[Server]]:
    """Gives the servers that hold the keys: one, the master that the sentinels name, or each master of the cluster.

    Args:
        settings: Where they are.
        note: Is told how they were found.

    Raises:
        BackendError: One refuses us, or does not answer.
        OSError: One is not reached.
    """
    endpoint = Endpoint.parse(settings.redis_url or "", client_name=settings.client_name)
    # Less than a check of the doctor may take: its finding then names the server that hangs.
    timeout_s = min(settings.redis_connect_timeout_s, 2.0)
    opened: list[Server] = []
    try:
        for address in await _masters(endpoint, timeout_s, note):
            server = Server(address, endpoint.access)
            opened.append(server)
            await server.open(timeout_s)
        yield opened
    finally:
        for server in opened:
            server.close()


async def _masters(endpoint: Endpoint, timeout_s: float, note: Callable[[str], None]) -> list[Address]:
    if endpoint.kind == "standalone":
        return list(endpoint.addresses)
    is_cluster = endpoint.kind == "cluster"
    access = endpoint.access if is_cluster else endpoint.sentinel_access
    question = ("CLUSTER", "SLOTS") if is_cluster else ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", endpoint.service or "")
    troubles = []
    for address in endpoint.addresses:
        try:
            reply = await ask_once(open_socket, address, access, question, timeout_s=timeout_s)
        except (BackendError, OSError) as error:
            troubles.append(
                f"{address}: {(str(error) or type(error).__name__) if is_cluster else why_not_asked(error)}"
            )
            continue
        if is_cluster and reply:
            try:
                masters = {one.owner for one in read_slots(reply, address)}
            except ValueError as error:
                troubles.append(f"{address}: {error}")
                continue
            note(f"a cluster of {len(masters)} masters, as {address} knows it")
            return sorted(masters, key=str)
        if not is_cluster and reply:
            note(f"the master {endpoint.service!r}, as the sentinel {address} knows it")
            return [Address(reply[0].decode(), int(reply[1]))]
        troubles.append(f"{address}: knows no {'slot' if is_cluster else f'master {endpoint.service!r}'}")
    raise BackendUnavailableError("; ".join(troubles))
