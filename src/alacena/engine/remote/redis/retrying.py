"""Asking again, if that is safe, within a deadline and a budget."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from alacena.engine.base.errors import (
    BackendError,
    BackendUnavailableError,
    CacheClosedError,
    OutcomeUnknownError,
    ServerReplyError,
)
from alacena.engine.remote.redis.command_safety import Remedy, classify, remedy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from alacena.engine.base.environment import Environment
    from alacena.engine.remote.redis.link_hooks import LinkCounters, LinkSettings
    from alacena.engine.remote.redis.wire.command import Command, Reply


class RetryBudget:
    """A token bucket fed by first attempts: repeats stay a small share of the traffic, in every outage.

    Without it, retries multiply the load on a server that is down because of its load, and keep it down.

    Args:
        ratio: Tokens that one first attempt brings; one repeat costs one.
        burst: Tokens that can be saved up.

    Attributes:
        first_attempts: First attempts whose tokens are not counted yet.
        refused: Repeats that were refused.
    """

    __slots__ = ("_burst", "_ratio", "_tokens", "first_attempts", "refused")

    def __init__(self, ratio: float = 0.1, burst: float = 10.0) -> None:
        self._ratio = ratio
        self._burst = burst
        self._tokens = burst
        self.first_attempts = 0
        self.refused = 0

    def spend(self) -> bool:
        """Returns whether one repeat may be made; it is paid for."""
        self._tokens = min(self._burst, self._tokens + self._ratio * self.first_attempts)
        self.first_attempts = 0
        if self._tokens < 1.0:
            self.refused += 1
            return False
        self._tokens -= 1.0
        return True


class Asked(Protocol):
    """A target of commands: a link, or the nodes behind a topology."""

    settings: LinkSettings
    counters: LinkCounters
    budget: RetryBudget
    environment: Environment

    def exchange(
        self, commands: Sequence[Command], *, settle: Callable[[list[Reply]], Any] | None = None, timeout_s: float
    ) -> Awaitable[Any]:
        """Makes one attempt."""
        ...

    async def wait_up(self, *, timeout_s: float) -> bool:
        """Waits until there is a server to ask."""
        ...


async def persist(
    asked: Asked,
    command: Command,
    *,
    settle: Callable[[Reply], Any] | None = None,
    load: Command | None = None,
    timeout_s: float,
    repeatable: bool | None = None,
) -> Any:
    """Asks until there is an answer, the deadline has passed, the budget is spent, or asking again could do harm.

    Args:
        asked: Where.
        command: The command.
        settle: Given the answer inside the parser, but not an error that is answered by asking again.
        load: Sent before the command when the server has forgotten its script.
        timeout_s: For all attempts together.
        repeatable: Whether a second execution does no harm; ``None`` leaves that to `classify`.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    commands = [command]
    asked.budget.first_attempts += 1
    attempt = 0
    unknown: OutcomeUnknownError | None = None
    while True:
        try:
            return await asked.exchange(commands, settle=partial(_judge, settle), timeout_s=deadline - loop.time())
        except BackendError as error:
            if load is not None and len(commands) == 1 and _remedy(error) is Remedy.LOAD_SCRIPT:
                commands = [load, command]
                continue
            # 1. The first attempt's reply is lost: it may have been executed.
            # 2. The second is refused, because the server is loading: it was surely not executed.
            # 3. The caller must hear of the first: "not executed" would be a lie about it.
            if isinstance(error, OutcomeUnknownError):
                unknown = error
            if not await _again_soon(asked, error, command, repeatable, attempt, deadline):
                if unknown is not None and _not_executed(error):
                    raise unknown from error
                raise
        except CacheClosedError as closed:
            if unknown is not None:
                raise unknown from closed
            raise
        attempt += 1
        asked.counters.retries += 1


async def _again_soon(
    asked: Asked, error: BackendError, command: Command, repeatable: bool | None, attempt: int, deadline: float
) -> bool:
    """Waits until the next attempt may be made; whether it may."""
    loop = asyncio.get_running_loop()
    if not _may_repeat(error, command, repeatable) or not asked.budget.spend():
        return False
    pause_s = asked.settings.retry.pause_s(attempt, asked.environment)
    if loop.time() + pause_s >= deadline:
        return False
    await asyncio.sleep(pause_s)
    try:
        return await asked.wait_up(timeout_s=deadline - loop.time())
    except (
        CacheClosedError
    ):  # Then the attempt that was made is what the caller must hear of: it may have been executed.
        return False


def _not_executed(error: BackendError) -> bool:
    """Returns whether an error speaks of its own attempt alone, and leaves the outcome of an earlier one open."""
    return isinstance(error, BackendUnavailableError) or _remedy(error) in (Remedy.WAIT, Remedy.REDISCOVER)


def _judge(settle: Callable[[Reply], Any] | None, replies: list[Reply]) -> Any:
    """Settles by the last answer. An error that waiting or loading mends is raised instead: the asking is not over."""
    reply = replies[-1]
    if len(replies) > 1 and isinstance(replies[0], ServerReplyError) and isinstance(reply, ServerReplyError):
        reply = replies[0]  # Why the script could not be loaded says more than that it is not there.
    if isinstance(reply, ServerReplyError) and (settle is None or remedy(reply.code) is not Remedy.RAISE):
        raise reply
    return reply if settle is None else settle(reply)


def _remedy(error: BackendError) -> Remedy:
    return remedy(error.code) if isinstance(error, ServerReplyError) else Remedy.RAISE


def _may_repeat(error: BackendError, command: Command, repeatable: bool | None) -> bool:
    if isinstance(error, OutcomeUnknownError):
        return classify(command).repeatable if repeatable is None else repeatable
    return _remedy(error) in (Remedy.WAIT, Remedy.REDISCOVER)
