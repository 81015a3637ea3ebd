"""Usage of calls and savings of hits: told to the token ledger, each once."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from alacena.engine import AlacenaError
from alacena.integrations.usage import name_of_call
from alacena.ledger.usage import EXACT

if TYPE_CHECKING:
    from alacena.engine import Cache
    from alacena.integrations.llm_transport.answers import Ending
    from alacena.integrations.llm_transport.call_rules import Call
    from alacena.integrations.prices import Prices
    from alacena.integrations.usage import TokenCounts

_log = logging.getLogger("alacena")


@dataclass(frozen=True, slots=True)
class CallAttribution:
    """The caller of a call.

    Attributes:
        tenant_id: The tenant.
        agent_id: The agent, or ``None``.
        conversation_id: The conversation, or ``None``.
        user_id: The user, or ``None``.
    """

    tenant_id: str
    agent_id: str | None = None
    conversation_id: str | None = None
    user_id: str | None = None


@dataclass(slots=True)
class CallCounts:
    """The outcomes of the calls of one transport.

    Attributes:
        hits: Answered without a call of the provider, whole or as the events of a call that was under way.
        misses: Answered by the provider.
        bypasses: Passed on as they were, by reason.
        used_tokens: Tokens that the provider charged for.
        saved_tokens: Tokens that hits saved.
        priced: Calls of the provider at a known price.
        unpriced: Calls of the provider at an unknown price.
        uncounted: Calls of the provider, and hits, with an answer that does not say its usage.
        nanodollars: The price of the priced calls, in billionths of a dollar.
    """

    hits: int = 0
    misses: int = 0
    bypasses: Counter[str] = field(default_factory=Counter)
    used_tokens: int = 0
    saved_tokens: int = 0
    priced: int = 0
    unpriced: int = 0
    uncounted: int = 0
    nanodollars: int = 0

    @property
    def priced_ratio(self) -> float | None:
        """Which part of the provider's calls has a known price; ``None`` before the first."""
        calls = self.priced + self.unpriced
        return self.priced / calls if calls else None


class UsageAccounts:
    """Counts the usage and savings of calls.

    Args:
        prices: The prices of calls.
        record: Whether the cache's ledger is told.
    """

    def __init__(self, prices: Prices, *, record: bool) -> None:
        self.counts = CallCounts()
        self._prices = prices
        self._record = record
        self._tasks: set[asyncio.Task[None]] = set()

    def price(self, call: Call, ending: Ending, at: float) -> Ending:
        """Returns the ending with the price of the answer, if that is known."""
        if ending.counts is None or not ending.is_usual:
            return ending
        return replace(ending, nanodollars=self._prices.nanodollars(ending.model, ending.counts, at=at, url=call.url))

    def count_use(self, cache: Cache, caller: CallAttribution, call: Call, ending: Ending) -> None:
        """Counts a call of the provider, behind it: no caller waits for the ledger, least of all while Redis is away.

        If Redis fails: the use is in the log, and nothing is raised: the answer is paid for.
        """
        counts, nanodollars = self.counts, ending.nanodollars
        if ending.counts is None:
            counts.uncounted += 1
            counts.unpriced += 1
            return
        counts.used_tokens += ending.counts.total
        counts.priced += nanodollars is not None
        counts.unpriced += nanodollars is None
        counts.nanodollars += nanodollars or 0
        self._tell(cache, usage_record(caller, call, ending, ending.counts, saved=False))

    def count_saved(self, cache: Cache, caller: CallAttribution, call: Call, ending: Ending) -> None:
        """Counts a hit, behind it."""
        if ending.counts is None:
            self.counts.uncounted += 1
            return
        self.counts.saved_tokens += ending.counts.total
        self._tell(cache, usage_record(caller, call, ending, ending.counts, saved=True))

    async def settle(self) -> None:
        """Waits until the ledger has been told of everything."""
        # Again and again: while these end, calls that are under way begin to tell of themselves.
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    def _tell(self, cache: Cache, record: dict[str, Any]) -> None:
        if self._record:
            # An event loop refers to its tasks only weakly: without the set one could be collected before it has ended.
            task = asyncio.get_running_loop().create_task(_record(cache, record))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def _record(cache: Cache, record: dict[str, Any]) -> None:
    try:
        await cache.ledger.record(**record)
    except (AlacenaError, ValueError) as error:
        _log.warning("%s tokens of %s are not in the ledger: %r", record["tokens"], record["model"], error)


def usage_record(
    caller: CallAttribution, call: Call, ending: Ending, counts: TokenCounts, *, saved: bool
) -> dict[str, Any]:
    """Returns the ledger's record of one call. The only place that knows how the ledger wants it.

    A call is named by the provider's id of its answer, so that it counts once, even if others record it under that id. A
    hit has no such name: each one counts. The ledger totals the cost in millionths; to the billionth it is in the
    metadata.
    """
    known = ending.nanodollars is not None
    is_embedding = call.endpoint == "embeddings"
    return {
        "tenant_id": caller.tenant_id,
        "tokens": counts.total,
        "model": ending.model[:256],
        "token_type": "embedding" if is_embedding else "llm",
        "operation": "embedding" if is_embedding else "chat",
        "agent_id": caller.agent_id,
        "conversation_id": caller.conversation_id,
        "parts": counts.parts,
        "cost": EXACT.divide(Decimal(ending.nanodollars or 0), Decimal(1_000_000_000)),
        "metadata": {"nanodollars": ending.nanodollars} if known else None,
        "idempotency_key": None if saved else name_of_call(ending.response_id),
        "saved": saved,
    }
