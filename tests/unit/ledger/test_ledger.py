"""The ledger over days: retries count once for as long as the key is known, and at the authority for ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from alacena.coordination.coordination_context import CoordinationContext
from alacena.engine.base.errors import IdempotencyConflictError
from alacena.engine.remote.local.local_backend import LocalBackend
from alacena.ledger.ledger import Ledger
from alacena.ledger.relay import Relay
from tests.integration.coordination.stand import PlainKeys
from tests.unit.coordination.virtual import VirtualEnvironment, run_virtual

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alacena.ledger.usage import Usage

HOUR_S = 3_600.0


class Book:
    """An authority in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Usage] = {}

    async def absorb(self, usages: Sequence[Usage]) -> list[Usage]:
        return [u for u in usages if self.kept.setdefault(u.idempotency_key, u).fingerprint != u.fingerprint]

    @property
    def total(self) -> int:
        return sum(usage.tokens for usage in self.kept.values())


@pytest.mark.parametrize("waits_h", [(0.0, 24.0, 24.0), (1.0, 47.0, 0.5), (100.0, 60.0, 7.0)])
def test_retries_within_a_week_count_once_in_every_total(waits_h: tuple[float, ...]) -> None:
    async def test(environment: VirtualEnvironment) -> None:
        port, book = CoordinationContext(LocalBackend(environment), PlainKeys(), environment), Book()
        ledger = Ledger(port, authority=book)
        for wait_h in (0.0, *waits_h):
            await asyncio.sleep(wait_h * HOUR_S)
            for number in range(50):
                await ledger.record("t", number, model="m", idempotency_key=f"k{number}")
            await Relay(port, ledger, book).run_once()
        assert (await ledger.totals("t")).used == book.total == sum(range(50))

    run_virtual(test)


def test_a_retry_after_the_key_was_forgotten_is_known_to_the_authority() -> None:
    async def test(environment: VirtualEnvironment) -> None:
        port, book = CoordinationContext(LocalBackend(environment), PlainKeys(), environment), Book()
        ledger = Ledger(port, authority=book)
        for _ in range(3):
            await ledger.record("t", 5, model="m", idempotency_key="k")
            await Relay(port, ledger, book).run_once()
            await asyncio.sleep(8 * 24 * HOUR_S)
        assert book.total == 5
        with pytest.raises(IdempotencyConflictError):
            await ledger.record("t", 6, model="m", idempotency_key="k", mode="durable")
        assert book.total == 5

    run_virtual(test)
