"""Handing usage over to the authority, so that a record which it can never take holds no other up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from alacena.engine.base.errors import ServerReplyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alacena.ledger.authority import Authority
    from alacena.ledger.usage import Usage

_BAD_DATA: Final = frozenset({"22", "23", "54"})
"""Classes of SQLSTATE that blame the data and not the server: data exception, integrity, program limit."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The outcome of a batch. A row in neither list is kept.

    Attributes:
        conflicts: Those with a key that is known with other figures: noted, not counted.
        unfit: Those that the authority can never take, with its words.
    """

    conflicts: list[Usage] = field(default_factory=list)
    unfit: list[tuple[Usage, ServerReplyError]] = field(default_factory=list)


async def hand_over(authority: Authority, usages: Sequence[Usage]) -> Delivered:
    """Has usage absorbed: one transaction, and more only where the authority refuses some of it.

    Raises:
        BackendError: Not all of it is known to be kept: hand it over again.
    """
    handed = Delivered()
    await _hand_over(authority, usages, handed)
    return handed


async def _hand_over(authority: Authority, usages: Sequence[Usage], handed: Delivered) -> None:
    try:
        handed.conflicts.extend(await authority.absorb(usages))
    except ServerReplyError as refusal:
        if refusal.code[:2] not in _BAD_DATA:
            raise
        if len(usages) == 1:
            handed.unfit.append((usages[0], refusal))
            return
        # Halved, not one by one: one bad record among 500 costs some 20 transactions, and not 500.
        half = len(usages) // 2
        await _hand_over(authority, usages[:half], handed)
        await _hand_over(authority, usages[half:], handed)
