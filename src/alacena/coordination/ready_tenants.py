"""Tenants that may have work: an advisory list, which many processes serve in turn.

Tenants live on different nodes, so no script sees all their queues. The index is one sorted set apart, by the instant of
each tenant's next turn. It is a hint that repairs itself: a tenant without work is put off, and one with work announces it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from alacena.engine.remote.backend import Script

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from alacena.coordination.coordination_context import CoordinationContext
    from alacena.engine.remote.backend import Argument, Notification

ANNOUNCE: Final = Script("ready_tenants_announce", idempotent=True)
TURNS: Final = Script("ready_tenants_turns", idempotent=True)
PARK: Final = Script("ready_tenants_park", idempotent=True)

NOBODY: Final = "system"
"""The tenant under which an index is filed."""

_ENSURE_S: Final = 900.0
_LONGEST_PAUSE_S: Final = 600.0
# For one process, pauses of 2, 4, 8 and seven times 10 minutes make 84 minutes: far more than ensure() is good for.
_STRIKE_OFF_AFTER: Final = 10
_MOST_KNOWN: Final = 10_000
"""Tenants that a process remembers something of; the others cost a round trip more."""

MOST_LISTED: Final = 100_000
"""Objects of a kind that are listed; beyond that those are left out that have been silent for longest."""


def list_key(port: CoordinationContext, kind: str) -> str:
    """Returns the key of the list of all objects of a kind that announce themselves, of every tenant."""
    return port.key(f"{kind}-list", NOBODY, "all")


@dataclass(frozen=True, slots=True)
class Turn:
    """A tenant's turn.

    Attributes:
        tenant_id: The tenant.
        mark: By which the index knows whether the tenant has announced itself since.
    """

    tenant_id: str
    mark: str


class ReadyTenants:
    """Tenants that may have work of one kind.

    A tenant announces itself when its work begins, and once each quarter of an hour before it adds to it; it is struck
    off after more than an hour without any. Work could be overlooked only if its producer was stopped for most of an
    hour between the two, and died before it could announce it. An index without a question or an addition for 90 days is
    forgotten.

    Args:
        port: The coordination context.
        kind: Of the objects.
        name: Of which.
        part: The part of a tenant's object that names it in the list of all of the kind: that part's key is listed;
            ``None``: it is not listed.
    """

    def __init__(self, port: CoordinationContext, kind: str, name: str, part: str | None = None) -> None:
        self._port = port
        self._kind = kind
        self._name = name
        self._part = part
        self._key = port.key(f"{kind}-ready_tenants", NOBODY, name)
        parts = ("announced", "clock")
        self._keys = [self._key, *(port.key(f"{kind}-ready_tenants", NOBODY, name, part) for part in parts)]
        self._ensured: dict[str, float] = {}
        self._idle: dict[str, int] = {}

    def bell(self) -> AbstractAsyncContextManager[Notification]:
        """Rings when a tenant announces work."""
        return self._port.store.listen(self._channel)

    async def ensure(self, tenant_id: str) -> None:
        """Puts the tenant on the list before work is added. Cost: 1 round trip each quarter of an hour, else none."""
        now = self._port.environment.now()
        # Before the item is pushed, and not after: a push whose process dies in between would leave work that no round
        # visits.
        if now >= self._ensured.get(tenant_id, now):
            await self._announce(tenant_id, 0)
            # Noted only after the server has it: one that failed is made again with the next push. Popped, so that the
            # dict stays in the order of its instants: the loop below looks at its front alone.
            self._ensured.pop(tenant_id, None)
            self._ensured[tenant_id] = now + _ENSURE_S
            while len(self._ensured) > _MOST_KNOWN or next(iter(self._ensured.values())) <= now:
                del self._ensured[next(iter(self._ensured))]

    async def announce(self, tenant_id: str) -> None:
        """Says that there is work now. Cost: 1 round trip."""
        await self._announce(tenant_id, 1)

    async def _announce(self, tenant_id: str, has_work: int) -> None:
        keys = self._keys
        words: list[Argument] = [tenant_id, has_work, self._channel]
        if self._part is not None:
            keys = [*keys, list_key(self._port, self._kind)]
            words += [self._port.key(self._kind, tenant_id, self._name, self._part), MOST_LISTED]
        await self._port.run(ANNOUNCE, keys, words)

    async def turns(self, count: int) -> tuple[list[Turn], float | None]:
        """Returns the tenants that are due, and the seconds until the next one (``None``: there is none).

        Each goes to the end of the round. A reply that is lost costs its tenants one round.

        Cost: 1 round trip.
        """
        rows, left_ms = await self._port.run(TURNS, self._keys, [count])
        found = [Turn(member.decode("utf-8", "surrogatepass"), mark.decode()) for member, mark in rows]
        return found, None if left_ms < 0 else left_ms / 1000

    async def list_all(self, limit: int) -> list[str]:
        """Returns the tenants on the list, in the order of their turns. Cost: 1 round trip."""
        members = await self._port.call("ZRANGE", self._key, 0, limit - 1)
        return [member.decode("utf-8", "surrogatepass") for member in members]

    def note_work(self, turn: Turn) -> None:
        """Notes that there was work: the next turn is in the next round."""
        self._idle.pop(turn.tenant_id, None)

    async def put_off(self, turn: Turn, due_s: float | None) -> None:
        """Notes that there was no work: the turn comes when some is due (``None``: none is known), or when it announces itself.

        Cost: 1 round trip.
        """
        idle = 0 if due_s is not None else self._idle.pop(turn.tenant_id, 0) + 1
        self._idle[turn.tenant_id] = idle
        if len(self._idle) > _MOST_KNOWN:
            del self._idle[next(iter(self._idle))]
        pause_s = min(_LONGEST_PAUSE_S, 60.0 * 2**idle if due_s is None else due_s)
        pause_ms = round(pause_s * 1000) + 1
        if idle > _STRIKE_OFF_AFTER:
            self._idle.pop(turn.tenant_id, None)
            pause_ms = -1
        # The mark says which announcement this turn has seen: work announced since then changes it, and the script
        # leaves the tenant in the round.
        await self._port.run(PARK, self._keys, [turn.tenant_id, turn.mark, pause_ms])

    @property
    def _channel(self) -> str:
        return f"{self._key}:bell"
