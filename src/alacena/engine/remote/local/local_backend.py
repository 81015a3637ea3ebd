"""The store of memory-only mode: a keyspace of this process, behind the same port as a server."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from alacena.engine.base.errors import CacheClosedError
from alacena.engine.remote.backend import ChannelNotification
from alacena.engine.remote.local.keyspace import Keyspace
from alacena.engine.remote.local.twins import TWINS, TwinServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from alacena.engine.base.environment import Environment
    from alacena.engine.remote.backend import Argument, Reply, Script

_SWEPT: Final = 16
"""Expired keys that each call clears away: more than a call adds, so that they do not gather."""


def encode_word(word: Argument) -> bytes:
    """Returns a word as it would go over the wire."""
    return word if isinstance(word, bytes) else str(word).encode("utf-8", "surrogatepass")


def run_twin(space: Keyspace, name: str, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    """Runs a script's twin on a keyspace, as one atomic step.

    Raises:
        ServerReplyError: The script refused, or one of its commands did.
    """
    return TWINS[name](TwinServer(space), list(keys), list(args))


class LocalBackend:
    """A :class:`~alacena.engine.remote.backend.Backend` that lives and dies with this process.

    Every call is atomic: it runs to its end without awaiting. Nothing is shared with other processes, nothing survives
    this one.

    Args:
        environment: Time. The keyspace's clock starts at the wall's and never steps after that.

    Attributes:
        keyspace: The stored values.
    """

    def __init__(self, environment: Environment) -> None:
        origin = environment.wall() - environment.now()
        self.keyspace = Keyspace(lambda: origin + environment.now(), on_publish=self._publish)
        self._bells: dict[bytes, list[ChannelNotification]] = {}
        self._closed = False

    async def call(self, *command: Argument, timeout_s: float | None = None) -> Reply:  # noqa: ARG002 - never waits
        """Runs one command."""
        self.keyspace.sweep(_SWEPT)
        return self.keyspace.execute([encode_word(word) for word in command])

    async def script(
        self,
        script: Script,
        keys: Sequence[str | bytes],
        args: Sequence[Argument],
        *,
        timeout_s: float | None = None,  # noqa: ARG002 - never waits
    ) -> Reply:
        """Runs one script's twin."""
        self.keyspace.sweep(_SWEPT)
        return run_twin(
            self.keyspace, script.name, [encode_word(key) for key in keys], [encode_word(arg) for arg in args]
        )

    @asynccontextmanager
    async def listen(self, channel: str) -> AsyncIterator[ChannelNotification]:
        """Yields a notification of one channel."""
        name, bell = encode_word(channel), ChannelNotification()
        self._bells.setdefault(name, []).append(bell)
        try:
            yield bell
        finally:
            listeners = self._bells[name]
            listeners.remove(bell)
            if not listeners:
                del self._bells[name]

    async def require_safe(self) -> None:
        """Returns at once: nothing is evicted here.

        Raises:
            CacheClosedError: The cache was closed: its waiters are woken, and ask again.
        """
        if self._closed:
            raise CacheClosedError

    async def close(self) -> None:
        """Wakes all that wait."""
        self._closed = True
        for bells in self._bells.values():
            for bell in bells:
                bell.ring()

    async def wait_aof(self, key: str, *, replicas: int = 0, timeout_s: float = 5.0) -> bool:  # noqa: ARG002 - the port's
        """Returns False: there is no file."""
        return False

    def _publish(self, channel: bytes, message: bytes) -> int:  # noqa: ARG002 - a ring carries nothing
        listeners = self._bells.get(channel, ())
        for bell in listeners:
            bell.ring()
        return len(listeners)
