"""One master, as the sentinels know it, followed through failovers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from alacena.engine.base.errors import BackendError, BackendUnavailableError, ServerReplyError
from alacena.engine.remote.redis.endpoint import Address
from alacena.engine.remote.redis.link import Link
from alacena.engine.remote.redis.link_hooks import Hooks, LinkSettings
from alacena.engine.remote.redis.standalone import Standalone
from alacena.engine.remote.redis.wire.handshake import Opener, ask_once, open_socket

if TYPE_CHECKING:
    from alacena.engine.base.environment import Environment
    from alacena.engine.remote.redis.endpoint import Endpoint
    from alacena.engine.remote.redis.wire import Connection, Reply

_SWITCH = "+switch-master"


class Sentinel(Standalone):
    """A link to the master of the moment, and one to a sentinel that tells of the next.

    A connection to the old master is given up as soon as the sentinels announce another one, also where the old one
    still answers, as it does behind a partition. A server is believed to be the master only if it calls itself
    one.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        environment: Environment,
        hooks: Hooks[Link] | None = None,
        settings: LinkSettings | None = None,
        opener: Opener = open_socket,
        ask_timeout_s: float = 0.5,
    ) -> None:
        self._endpoint = endpoint
        self._opener = opener
        self._ask_timeout_s = ask_timeout_s
        self._sentinels = list(endpoint.addresses)
        settings = replace(settings or LinkSettings(), role="master")
        super().__init__(
            Link(
                self._find_master,
                endpoint.access,
                environment=environment,
                hooks=hooks,
                settings=settings,
                opener=opener,
            )
        )
        self._watch = Link(
            self._next_sentinel,
            endpoint.sentinel_access,
            environment=environment,
            hooks=Hooks(prepare=self._subscribe, on_push=self._on_push, beat=self._compare),
            # Compared once a second, because an announcement may get lost. A sentinel's role is its own, so none is
            # asked for.
            settings=replace(settings, role=None, pace=replace(settings.pace, beat_s=1.0)),
            opener=opener,
        )

    async def open(self, *, timeout_s: float) -> None:
        """Finds the master and connect. See `Topology.open`."""
        self._watch.start()
        await super().open(timeout_s=timeout_s)

    async def close(self) -> None:
        """Disconnects from the master and from the sentinels."""
        await self._watch.close()
        await super().close()

    async def _find_master(self) -> Address:
        """Asks one sentinel after another; the one that knew is asked first the next time."""
        last: Exception | None = None
        unasked = ""
        # A copy: `_next_sentinel` turns the list round while an answer is waited for.
        for sentinel in list(self._sentinels):
            try:
                reply = await ask_once(
                    self._opener,
                    sentinel,
                    self._endpoint.sentinel_access,
                    ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service),
                    timeout_s=self._ask_timeout_s,
                )
            except (BackendError, OSError) as error:
                last, unasked = error, f"; {sentinel} could not be asked: {why_not_asked(error)}"
                continue
            if reply is not None:
                self._sentinels.remove(sentinel)
                self._sentinels.insert(0, sentinel)
                return _address(reply)
        names = ", ".join(map(str, self._sentinels))
        raise BackendUnavailableError(
            f"no sentinel of {names} knows a master called {self._service!r}{unasked}"
        ) from last

    async def _next_sentinel(self) -> Address:
        """Returns a sentinel to watch; if it is lost, the next one."""
        self._sentinels.append(self._sentinels.pop(0))
        return self._sentinels[-1]

    async def _subscribe(self, link: Link, connection: Connection) -> None:
        # First this, then the comparison: the other way round, nobody would hear of a switch between the two.
        connection.tell("SUBSCRIBE", _SWITCH)
        await self._compare(link, connection)

    async def _compare(self, link: Link, connection: Connection) -> None:  # noqa: ARG002 - a hook's signature
        """Asks a sentinel for the master, and follows it: an announcement may have been missed."""
        reply = await connection.call(
            "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service, timeout_s=self._ask_timeout_s
        )
        if reply is not None:
            self._follow(_address(reply))

    def _on_push(self, link: Link, push: list[Any]) -> None:  # noqa: ARG002 - a hook's signature
        if push[0] != b"message" or push[1] != _SWITCH.encode():
            return
        name, _, _, host, port = push[2].decode().split(" ")
        if name == self._service:
            self._follow(Address(host, int(port)))

    def _follow(self, master: Address) -> None:
        # While the link is down, it asks for the master itself before each attempt.
        if self.link.up and self.link.address != master:
            self.link.drop(f"the sentinels chose {master} as the master")

    @property
    def _service(self) -> str:
        return self._endpoint.service or ""


def why_not_asked(error: Exception) -> str:
    """Returns why a sentinel gave no answer, and what to write if its address or its password is meant for a server."""
    said = str(error) or type(error).__name__
    if isinstance(error, ServerReplyError):
        if "unknown command" in said.lower():
            return f"{said}: it is a server and no sentinel; the port of sentinels is mostly 26379"
        if error.code in {"NOAUTH", "WRONGPASS"}:
            return f"{said}: sentinels have a password of their own, ?sentinel_password="
    return said


def _address(reply: Reply) -> Address:
    host, port = reply
    return Address(host.decode(), int(port))
