"""What is said of a command whose attempts end in different ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from alacena.engine.base.errors import BackendError, BackendUnavailableError, OutcomeUnknownError, ServerReplyError
from alacena.engine.remote.redis.link_hooks import LinkCounters, LinkSettings
from alacena.engine.remote.redis.retrying import RetryBudget, persist
from alacena.engine.remote.redis.wire.retry_backoff import RetryBackoff
from tests.unit.coordination.virtual import VirtualEnvironment, run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from alacena.engine.remote.redis.wire.command import Command, Reply

UNKNOWN, AWAY = OutcomeUnknownError("lost"), BackendUnavailableError("away")
LOADING, FULL = ServerReplyError("LOADING wait"), ServerReplyError("OOM full")


class Asked:
    """Somebody whose answers are given beforehand."""

    def __init__(self, environment: VirtualEnvironment, answers: Sequence[BackendError]) -> None:
        self.settings = LinkSettings(retry=RetryBackoff(base_s=0.01, cap_s=0.01))
        self.counters = LinkCounters()
        self.budget = RetryBudget()
        self.environment = environment
        self.answers = list(answers)

    async def exchange(
        self, commands: Sequence[Command], *, settle: Callable[[list[Reply]], Any] | None = None, timeout_s: float
    ) -> Any:
        raise self.answers.pop(0)

    async def wait_up(self, *, timeout_s: float) -> bool:
        return True


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([AWAY], BackendUnavailableError),
        ([UNKNOWN, AWAY], OutcomeUnknownError),
        ([LOADING, UNKNOWN, AWAY], OutcomeUnknownError),
        ([LOADING, AWAY], BackendUnavailableError),
        ([UNKNOWN, FULL], ServerReplyError),
    ],
)
def test_an_attempt_that_was_not_executed_does_not_hide_one_that_may_have_been(
    answers: list[BackendError], said: type[BackendError]
) -> None:
    async def test(environment: VirtualEnvironment) -> None:
        asked = Asked(environment, answers)
        with pytest.raises(said):
            await persist(asked, ("SET", "k", "v"), timeout_s=1.0, repeatable=True)
        assert asked.answers == []

    run_virtual(test)
