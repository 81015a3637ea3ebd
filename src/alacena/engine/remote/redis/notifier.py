"""Bells over a connection of their own: a message on a channel wakes its listeners here."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from alacena.engine.base.errors import BackendError, BackendUnavailableError, CacheClosedError, ServerReplyError
from alacena.engine.remote.backend import ChannelNotification
from alacena.engine.remote.redis.command_safety import is_forbidden
from alacena.engine.remote.redis.link_hooks import Hooks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from alacena.engine.remote.redis.link import Link
    from alacena.engine.remote.redis.topology import Topology
    from alacena.engine.remote.redis.wire import Connection


class _Channel:
    """One channel.

    Attributes:
        bells: Its listeners.
        heard: Whether the server has confirmed the subscription: later messages ring.
        answered: Set once it has confirmed it, or refused it.
        missed: Whether something may have been published while the connection was away.
    """

    def __init__(self) -> None:
        self.bells: set[ChannelNotification] = set()
        self.heard = False
        self.answered = asyncio.Event()
        self.missed = False

    def ring(self) -> None:
        for bell in self.bells:
            bell.ring()


class Notifier:
    """All channels of one cache.

    In a cluster every node is listened to, so that the one on which a script publishes sees a listener.
    Repetitions by the others are ignored, unless that one is away.

    Args:
        spare: Makes connections to the servers, with hooks of their own; used when the first channel is listened to.
        timeout_s: The longest that a listener waits for its subscription to be confirmed.
        told: Called when the server refuses subscriptions, with its words, and with ``None`` when it takes them again.
    """

    def __init__(
        self,
        spare: Callable[[Hooks[Link]], Topology],
        timeout_s: float,
        told: Callable[[ServerReplyError | None], None] = lambda _: None,
    ) -> None:
        self._spare = spare
        self._timeout_s = timeout_s
        self._told = told
        self._refused: bytes | None = None
        self._channels: dict[bytes, _Channel] = {}
        self._topology: Topology | None = None
        self._closed = False

    @asynccontextmanager
    async def listen(self, name: bytes) -> AsyncIterator[ChannelNotification]:
        """Yields a bell for a channel, which rings at each message from now on.

        If the server does not confirm that in time, or refuses it, the bell is given all the same: it rings once the
        connection is back, because something may have been missed.

        Cost: 1 round trip for the first listener of a channel.
        """
        if self._closed:
            raise CacheClosedError
        channel, bell = self._channels.get(name), ChannelNotification()
        if channel is None:
            channel = self._channels[name] = _Channel()
            self._say("SUBSCRIBE", name)
        channel.bells.add(bell)
        try:
            await self._confirm(channel)
            yield bell
        finally:
            channel.bells.discard(bell)
            if channel.heard:
                self._leave(name, channel)

    async def close(self) -> None:
        """Wakes the waiting callers, and ends the connection."""
        self._closed = True
        for channel in self._channels.values():
            channel.ring()
        if self._topology is not None:
            await self._topology.close()

    async def _confirm(self, channel: _Channel) -> None:
        if channel.heard:
            return
        if self._topology is None:
            self._topology = self._spare(Hooks(on_up=self._up, on_down=self._down, on_push=self._on_push))
        if self._refused is not None:  # It is asked for again meanwhile; nobody waits for that.
            channel.missed = True
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._topology.open(timeout_s=self._timeout_s)
                await channel.answered.wait()
        # Not an error: notifications only shorten a wait. The next connection rings this channel, as one may have been
        # lost.
        except (TimeoutError, BackendError):
            channel.missed = True
        channel.missed |= not channel.heard

    def _leave(self, name: bytes, channel: _Channel) -> None:
        """Unsubscribes a channel without a listener. Not before the subscription is confirmed: the next one would be mistaken."""
        # 1. The last listener leaves while SUBSCRIBE is unconfirmed; UNSUBSCRIBE is sent.
        # 2. A new listener subscribes, and takes the first confirmation for its own.
        # 3. The server then executes UNSUBSCRIBE: the new listener would wait for rings that never come.
        if not channel.bells and self._channels.get(name) is channel:
            del self._channels[name]
            self._say("UNSUBSCRIBE", name)

    def _say(self, verb: str, *names: bytes) -> None:
        """Tells every connection that stands; one that is being made is told everything when it does."""
        for link in self._topology.links() if self._topology is not None else ():
            if link.connection is not None:
                _tell(link, link.connection, verb, *names)

    def _up(self, link: Link, connection: Connection) -> None:
        for name in [name for name, channel in self._channels.items() if not channel.bells]:
            del self._channels[name]
        names = dict.fromkeys((*self._channels, *([] if self._refused is None else [self._refused])))
        if names:
            _tell(link, connection, "SUBSCRIBE", *names)

    def _down(self, link: Link, error: BackendError) -> None:  # noqa: ARG002 - a hook's signature
        for channel in self._channels.values():
            channel.missed = True
        if isinstance(error.__cause__, ServerReplyError) and is_forbidden(error.__cause__):
            self._refuse(error.__cause__)

    def _refuse(self, refusal: ServerReplyError) -> None:
        """Notes that the server lets us listen to nothing: no caller waits for its word, and each new connection asks again."""
        if self._refused is None and self._channels:
            self._refused = next(iter(self._channels))
            self._told(refusal)
        for channel in self._channels.values():
            channel.answered.set()

    def _on_push(self, link: Link, push: list[Any]) -> None:
        if push[0] == b"subscribe" and self._refused is not None:
            self._told(None)
            name, self._refused = self._refused, None
            if name not in self._channels:
                self._say("UNSUBSCRIBE", name)
        channel = self._channels.get(push[1])
        if channel is None:
            return
        if push[0] == b"message":
            if self._first_hand(link, push[1]):
                channel.ring()
        elif push[0] == b"subscribe":
            channel.heard = True
            channel.answered.set()
            if channel.missed:
                channel.missed = False
                channel.ring()
            self._leave(push[1], channel)

    def _first_hand(self, link: Link, name: bytes) -> bool:
        """Returns whether a link is the one that rings for a channel."""
        if self._topology is None:
            return True
        try:
            home = self._topology.link_for(name)
        except BackendUnavailableError:
            return True
        return home is link or not home.up


def _tell(link: Link, connection: Connection, verb: str, *names: bytes) -> None:
    try:
        connection.tell(verb, *names)
    except BackendUnavailableError as error:
        link.drop(f"a subscription could not be sent: {error}")
