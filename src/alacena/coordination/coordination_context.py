"""What every coordination object stands on: a store, keys, time, elements, and one rule for when to ask again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alacena.coordination.background_tasks import BackgroundTasks
from alacena.coordination.coordination_keys import Keys, coordination_key
from alacena.coordination.elements import MSGPACK, Elements
from alacena.engine.base.counts import Counts
from alacena.engine.base.errors import (
    AlacenaError,
    BackendUnavailableError,
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


class CoordinationContext:
    """The way from a coordination verb to its store.

    Args:
        store: Where things are.
        keys: How they are named.
        environment: Time and chance.
        elements: How elements become bytes.
        emit: Is told of what happened, if somebody listens.
        health: Where parts that work in the background report their faults.
        counts: Where what they do is counted.

    Attributes:
        store: As above.
        environment: As above.
        elements: As above.
        emit: As above.
        _background: Steps that go on where their caller has left.
        health: As above.
        counts: As above.
    """

    def __init__(
        self,
        store: Backend,
        keys: Keys,
        environment: Environment,
        elements: Elements = MSGPACK,
        emit: Callable[[Event], None] | None = None,
        health: Health | None = None,
        counts: Counts | None = None,
    ) -> None:
        self.store = store
        self.environment = environment
        self.elements = elements
        self.emit = emit
        self._background = BackgroundTasks()
        self._said: set[str] = set()
        self._keys = keys
        self.health = health or Health()
        self.counts = counts or Counts()

    def key(self, kind: str, tenant_id: str, name: str, *parts: str) -> str:
        """The key of one part of an object. See :func:`coordination_key`."""
        return coordination_key(self._keys, kind, tenant_id, name, *parts)

    def token(self) -> str:
        """128 random bits in hexadecimal: an owner, or an id that nobody else has."""
        return self.environment.token(16).hex()

    def says_first(self, words: str) -> bool:
        """Whether something is said for the first time: what goes to the log must not fill it."""
        if words in self._said or len(self._said) >= _MOST_SAID:
            return False
        self._said.add(words)
        return True

    async def require_safe(self) -> None:
        """Refuse where the server may evict what must not be lost. Each verb looks: a policy may be changed at any time.

        Raises:
            UnsafeServerError: ``maxmemory-policy`` is not ``noeviction``, or the server does not tell.
            BackendUnavailableError: No server is connected.
        """
        await self.store.require_safe()

    async def call(self, *command: Argument) -> Reply:
        """Run one plain command, once: a command whose outcome is unknown is not sent again."""
        await self.require_safe()
        return await self.store.call(*command)

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Reply:
        """Run one script. Where it is idempotent, an unknown outcome is settled by asking again, up to three times.

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
            except BackendUnavailableError as error:
                if unknown is None:
                    raise
                raise unknown from error  # This attempt was not executed; an earlier one may have been.
            except ServerReplyError as refusal:
                if refusal.code not in _REFUSALS:
                    raise
                raise _REFUSALS[refusal.code](str(refusal).partition(" ")[2]) from refusal
        raise AssertionError("unreachable")


def pause_s(environment: Environment, due_s: float | None) -> float:
    """How long to wait for a bell, whose rings may be lost, when something is due in ``due_s``, which rings none."""
    look_again_s = _LOOK_AGAIN_S * (0.8 + 0.2 * environment.random())
    return look_again_s if due_s is None else min(look_again_s, due_s + 0.001)


def milliseconds(seconds: float, name: str, *, least: int = 1) -> int:
    """A duration for the server, in whole milliseconds.

    Raises:
        ValueError: It is not a finite number of at least ``least`` milliseconds.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < 10**11:
        raise ValueError(f"{name} must be a number of seconds, not {seconds!r}")
    whole = round(seconds * 1000)
    if whole < least:
        raise ValueError(f"{name} must be at least {least / 1000} s, not {seconds!r}")
    return whole


def exact(amount: int, name: str, *, least: int | None = None) -> int:
    """An amount that the server counts exactly.

    Raises:
        ValueError: It is not an integer, leaves ±(2^53 - 1), or is less than ``least``.
    """
    if isinstance(amount, bool) or not isinstance(amount, int):
        # One kind of error for bad amounts.
        raise ValueError(  # noqa: TRY004
            f"{name} must be an integer, not {amount!r}: count in the smallest unit (tokens, cents, millionths)"
        )
    if abs(amount) >= 2**53:
        raise ValueError(f"{name} must lie within ±(2**53 - 1), not {amount}")
    if least is not None and amount < least:
        raise ValueError(f"{name} must be at least {least}, not {amount}")
    return amount
