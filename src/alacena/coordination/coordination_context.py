"""The context of every coordination object: a backend, keys, time, elements, and one rule for when to ask again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from alacena.coordination.background_tasks import BackgroundTasks
from alacena.coordination.coordination_keys import CoordinationKeys, coordination_key
from alacena.coordination.element_codec import MSGPACK, Elements
from alacena.engine.base.counts import Counts
from alacena.engine.base.errors import (
    AlacenaError,
    BackendUnavailableError,
    CacheClosedError,
    IdempotencyConflictError,
    LimitExceededError,
    NotOwnerError,
    OutcomeUnknownError,
    ServerReplyError,
)
from alacena.engine.base.health import Health

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from alacena.engine.base.environment import Environment
    from alacena.engine.base.events import Event
    from alacena.engine.remote.backend import Argument, Backend, Reply, Script

_ATTEMPTS: Final = 3
_LOOK_AGAIN_S: Final = 5.0
_MOST_SAID: Final = 1_000

_REFUSALS: Final[dict[str, type[AlacenaError]]] = {
    "NOTOWNER": NotOwnerError,
    "IDEMCONFLICT": IdempotencyConflictError,
    "OVERFLOW": LimitExceededError,
}


@dataclass(frozen=True, slots=True)
class Reports:
    """The places to which coordination reports its work.

    Attributes:
        emit: Is told of events, if there is a listener.
        health: Takes the faults of parts that work in the background.
        counts: Counts their work.
    """

    emit: Callable[[Event], None] | None = None
    health: Health = field(default_factory=Health)
    counts: Counts = field(default_factory=Counts)


class CoordinationContext:
    """The way from a coordination verb to its store.

    Args:
        store: The backend.
        keys: How they are named.
        environment: Time and chance.
        elements: How elements become bytes.
        reports: Where events are reported; ``None``: nowhere.

    Attributes:
        store: As above.
        environment: As above.
        elements: As above.
        emit: See :class:`Reports`.
        health: See :class:`Reports`.
        counts: See :class:`Reports`.
        _background: Steps that go on after their caller has left.
    """

    def __init__(
        self,
        store: Backend,
        keys: CoordinationKeys,
        environment: Environment,
        elements: Elements = MSGPACK,
        reports: Reports | None = None,
    ) -> None:
        reports = reports or Reports()
        self.store = store
        self.environment = environment
        self.elements = elements
        self.emit = reports.emit
        self._background = BackgroundTasks()
        self._said: set[str] = set()
        self._keys = keys
        self.health = reports.health
        self.counts = reports.counts

    def key(self, kind: str, tenant_id: str, name: str, *parts: str) -> str:
        """Returns the key of one part of an object. See :func:`coordination_key`."""
        return coordination_key(self._keys, kind, tenant_id, name, *parts)

    def token(self) -> str:
        """Returns 128 random bits in hexadecimal: an owner, or an id that no one else has."""
        return self.environment.token(16).hex()

    def says_first(self, words: str) -> bool:
        """Returns whether something is said for the first time: the log must not fill up."""
        # At its bound it goes silent instead of forgetting: a forgotten word would be news again, and fill the log.
        if words in self._said or len(self._said) >= _MOST_SAID:
            return False
        self._said.add(words)
        return True

    async def require_safe(self) -> None:
        """Refuses where the server may evict keys that must not be lost. Each verb looks: a policy may be changed at any time.

        Raises:
            UnsafeServerError: ``maxmemory-policy`` is not ``noeviction``, or the server does not tell.
            BackendUnavailableError: No server is connected.
        """
        await self.store.require_safe()

    async def call(self, *command: Argument) -> Reply:
        """Runs one plain command, once: a command of unknown outcome is not sent again."""
        await self.require_safe()
        return await self.store.call(*command)

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Reply:
        """Runs one script. If it is idempotent, an unknown outcome is settled by asking again, up to three times.

        Raises:
            NotOwnerError: The script refused the token.
            IdempotencyConflictError: The script knows the id with other figures.
            LimitExceededError: A count would leave the range of exact integers.
            OutcomeUnknownError: It may or may not have been executed.
            BackendError: The store could not do it.
        """
        await self.require_safe()
        unknown: OutcomeUnknownError | None = None
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await self.store.script(script, keys, args)
            except OutcomeUnknownError as error:
                unknown = error
                if not script.idempotent or attempt == _ATTEMPTS:
                    raise
            except (BackendUnavailableError, CacheClosedError) as error:
                if unknown is None:
                    raise
                raise unknown from error  # This attempt was not executed; an earlier one may have been.
            except ServerReplyError as refusal:
                if refusal.code not in _REFUSALS:
                    raise
                raise _REFUSALS[refusal.code](str(refusal).partition(" ")[2]) from refusal
        raise AssertionError("unreachable")


def pause_s(environment: Environment, due_s: float | None) -> float:
    """Returns how long to wait for a notification that may be lost, if something is due in ``due_s``."""
    # Spread, so that waiters that began together do not all ask in the same instant.
    look_again_s = _LOOK_AGAIN_S * (0.8 + 0.2 * environment.random())
    return look_again_s if due_s is None else min(look_again_s, due_s + 0.001)
