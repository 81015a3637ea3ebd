"""Sources that have just failed, and until when each is left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alacena.engine.ttl import jittered

if TYPE_CHECKING:
    from alacena.engine.environment import Environment
    from alacena.engine.policy import Policy

_MOST: Final = 10_000
_SPREAD: Final = 0.1


class Respites:
    """Keeps a source that has just failed from being asked again by every read of an entry that may stand in for it.

    Of one process, by entry. What is forgotten, because there are too many, costs a call of the source.

    Args:
        environment: Time, and chance: what failed together is not asked again together.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._until: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._until)

    def give(self, entry: bytes, policy: Policy) -> None:
        """The source of an entry failed."""
        pause_s = jittered(policy.retry_after_s, _SPREAD, self._environment.random())
        if not pause_s:
            return
        self._until.pop(entry, None)
        self._until[entry] = self._environment.now() + pause_s
        if len(self._until) > _MOST:
            del self._until[next(iter(self._until))]

    def end(self, entry: bytes) -> None:
        """The source of an entry answered."""
        self._until.pop(entry, None)

    def holds(self, entry: bytes) -> bool:
        """Whether the source of an entry is to be left alone now."""
        until = self._until.get(entry)
        if until is None:
            return False
        if self._environment.now() < until:
            return True
        del self._until[entry]
        return False
