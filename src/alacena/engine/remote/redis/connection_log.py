"""Log messages about the connection for the operator: each once, at its level, with the remedy."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from alacena.engine.base.events import ServerFound, ServerLost
from alacena.engine.remote.redis.command_safety import is_lasting
from alacena.engine.remote.redis.server_facts import NEEDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alacena.engine.base.events import Events
    from alacena.engine.base.health import Health

_log = logging.getLogger("alacena")


class ConnectionLog:
    """Says each thing once, and once more when it has passed.

    Args:
        health: Where the faults are kept until they have passed.
        events: Told of them.
    """

    def __init__(self, health: Health, events: Events) -> None:
        self._health = health
        self._events = events
        self._missing: dict[str, frozenset[str]] = {}
        self._doubts: dict[str, str] = {}
        self._owing = False

    def report_lost(self, address: str, error: BaseException) -> None:
        """Logs that a connection that served was lost."""
        if self._report(address, error):
            _log.warning(
                "the connection to %s is lost: %s. Reads go to the source until it is back; it is tried again by itself",
                address, _words(error),
            )  # fmt: skip

    def report_unreached(self, address: str, error: BaseException) -> None:
        """Logs that an attempt to connect has failed."""
        if not self._report(address, error):
            return
        if is_lasting(error):
            _log.error(
                "%s refuses us: %s. Put the user, password and database of redis_url right (or what the credentials "
                "provider gives); it is tried again and again meanwhile",
                address, _words(error),
            )  # fmt: skip
        else:
            _log.info("%s is not reached yet: %s", address, _words(error))

    def _report(self, address: str, error: BaseException) -> bool:
        """Returns whether the fault is news. Observers are told once, however many reasons there come to be."""
        part, words = f"connection to {address}", _words(error)
        # Before it is reported: afterwards it is a known fault, and observers would hear of nothing.
        if part not in self._health.faults():
            self._events.emit(ServerLost(address=address, error=words))
        return self._health.report(part, words)

    def report_connected(self, address: str) -> None:
        """Logs that a connection serves."""
        if self._health.mend(f"connection to {address}"):
            self._events.emit(ServerFound(address=address))
            _log.info("%s is connected again", address)

    def rights(self, address: str, missing: Mapping[str, str]) -> None:
        """Logs that rights are missing, or not any more."""
        known = self._missing.get(address, frozenset())
        self._missing[address] = frozenset(missing)
        for right in sorted(missing.keys() - known):
            _log.warning("%s allows us no %s (%s): %s", address, right, missing[right], NEEDS[right])
        if known - missing.keys():
            _log.info("%s allows us %s now", address, ", ".join(sorted(known - missing.keys())))

    def doubt(self, address: str, doubt: str) -> None:
        """Logs that memory may not be served on a server's word, or may again."""
        known = self._doubts.get(address, "")
        self._doubts[address] = doubt
        if doubt and not known:
            _log.warning("memory is not served on the word of %s: %s", address, doubt)
        elif known and not doubt:
            _log.info("memory is served on the word of %s again", address)

    def report_owing(self, reason: str) -> None:
        """Logs that a removal was not confirmed."""
        if self._owing:
            return
        self._owing = True
        _log.warning(
            "a removal was not confirmed: %s. Reads of what it covers go to the source until the server takes it; it is "
            "tried again by itself. Where this lasts, see whether the server may write (disk, replicas, rights)",
            reason.rstrip("."),
        )

    def report_paid(self) -> None:
        """Logs that everything that was owed is confirmed."""
        if self._owing:
            self._owing = False
            _log.info("every removal that was owed is confirmed")


def _words(error: BaseException) -> str:
    """Returns the words of an error, as the beginning of a sentence; its kind if it has none."""
    return str(error).rstrip(". ") or type(error).__name__
