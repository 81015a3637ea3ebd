"""Commits that share transactions: each caller learns what became of its own use, whoever it travelled with."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from alacena.engine.base.errors import AlacenaError, IdempotencyConflictError, OutcomeUnknownError, ServerReplyError
from alacena.ledger.group_commit import GroupCommit
from alacena.ledger.usage import Usage
from tests.unit.engine.scene import settle

if TYPE_CHECKING:
    from collections.abc import Sequence


class Book:
    """An authority in memory whose transactions end when they are let.

    Attributes:
        kept: Tokens by tenant and key.
        transactions: The keys of each.
        lost: Raised by the next transactions, after they were made.
    """

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], Usage] = {}
        self.transactions: list[list[str]] = []
        self.lost: list[Exception] = []
        self.gate = asyncio.Event()

    async def absorb(self, usages: Sequence[Usage]) -> list[Usage]:
        self.transactions.append([usage.idempotency_key for usage in usages])
        await self.gate.wait()
        if any(usage.model == "bad" for usage in usages):
            raise ServerReplyError("22P05 unsupported text")
        conflicts = []
        for usage in usages:
            known = self.kept.setdefault((usage.tenant_id, usage.idempotency_key), usage)
            if known.fingerprint != usage.fingerprint:
                conflicts.append(usage)
        if self.lost:
            raise self.lost.pop()
        return conflicts


class Stand:
    """Commits over a book, and what was said to be settled."""

    def __init__(self) -> None:
        self.book = Book()
        self.settled: list[str] = []
        self.commits = GroupCommit(self.book, self._settled)

    async def _settled(self, usages: Sequence[Usage]) -> None:
        self.settled += [usage.idempotency_key for usage in usages]

    async def outcomes(self, *usages: Usage) -> list[str]:
        """Have the first one under way alone, the others come meanwhile; what each was told."""
        told = [asyncio.create_task(self.told(usages[0]))]
        await settle()
        told += [asyncio.create_task(self.told(usage)) for usage in usages[1:]]
        await settle()
        self.book.gate.set()
        return await asyncio.gather(*told)

    async def told(self, usage: Usage) -> str:
        try:
            await self.commits.commit(usage)
        except (AlacenaError, ZeroDivisionError) as error:
            return type(error).__name__
        return "kept"


def use(key: str, tokens: int = 1, tenant: str = "t", model: str = "m") -> Usage:
    return Usage(
        tenant_id=tenant, idempotency_key=key, tokens=tokens, model=model, token_type="llm", operation="query", at=0.0
    )


async def test_who_comes_while_a_transaction_is_open_shares_the_next_one() -> None:
    stand = Stand()
    assert await stand.outcomes(*(use(f"k{n}") for n in range(50))) == ["kept"] * 50
    assert [len(keys) for keys in stand.book.transactions] == [1, 49]
    assert stand.settled == [f"k{n}" for n in range(50)]


async def test_one_that_is_refused_does_not_touch_those_that_it_travelled_with() -> None:
    stand = Stand()
    stand.book.kept["t", "known"] = use("known", 7)
    told = await stand.outcomes(use("first"), use("a"), use("known", 8), use("b"), use("poison", model="bad"), use("c"))
    assert told == ["kept", "kept", "IdempotencyConflictError", "kept", "ServerReplyError", "kept"]
    assert {key for _, key in stand.book.kept} == {"first", "a", "known", "b", "c"}
    assert stand.book.kept["t", "known"].tokens == 7
    assert "poison" not in stand.settled


async def test_the_same_key_with_other_figures_at_the_same_moment_is_kept_once_and_refused_once() -> None:
    stand = Stand()
    told = await stand.outcomes(use("first"), use("k", 1), use("k", 2), use("k", 1), use("k", 1, tenant="u"))
    assert told == ["kept", "kept", "IdempotencyConflictError", "kept", "kept"]
    assert stand.book.transactions == [["first"], ["k", "k"], ["k"]]
    assert (stand.book.kept["t", "k"].tokens, stand.book.kept["u", "k"].tokens) == (1, 1)


@pytest.mark.parametrize("error", [OutcomeUnknownError("lost"), ZeroDivisionError()], ids=["lost", "unforeseen"])
async def test_a_transaction_that_is_lost_is_lost_for_all_of_its_callers_and_nobody_else(error: Exception) -> None:
    stand = Stand()
    stand.book.lost = [error]
    told = await stand.outcomes(use("first"), use("a"), use("b"))
    assert told == [type(error).__name__, "kept", "kept"]
    assert stand.settled == ["a", "b"]
    assert await stand.told(use("first")) == "kept"


async def test_a_caller_that_leaves_takes_nobody_along() -> None:
    stand = Stand()
    told = [asyncio.create_task(stand.told(use(key))) for key in "abc"]
    await settle()
    told[0].cancel()
    stand.book.gate.set()
    assert await asyncio.gather(*told[1:]) == ["kept", "kept"]
    assert {key for _, key in stand.book.kept} == {"a", "b", "c"}


async def test_closing_waits_for_what_was_begun_though_nobody_else_does() -> None:
    stand = Stand()
    told = [asyncio.create_task(stand.told(use(key))) for key in "ab"]
    await settle()
    told.append(asyncio.create_task(stand.told(use("c"))))
    await settle()
    for task in told:
        task.cancel()
    closing = asyncio.create_task(stand.commits.close())
    await settle()
    assert not closing.done()
    stand.book.gate.set()
    await closing
    assert stand.settled == ["a", "b", "c"]


async def test_more_than_fit_into_one_transaction_are_split() -> None:
    stand = Stand()
    assert set(await stand.outcomes(*(use(f"k{n}") for n in range(2_500)))) == {"kept"}
    assert [len(keys) for keys in stand.book.transactions] == [1, 1_000, 1_000, 499]


async def test_a_conflict_names_its_key() -> None:
    stand = Stand()
    stand.book.gate.set()
    await stand.commits.commit(use("k", 1))
    with pytest.raises(IdempotencyConflictError, match="'k'"):
        await stand.commits.commit(use("k", 2))
