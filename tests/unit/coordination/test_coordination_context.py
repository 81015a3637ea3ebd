"""What a verb says of its outcome when its attempts end in different ways."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alacena.coordination.coordination_context import CoordinationContext
from alacena.engine.base.environment import SystemEnvironment
from alacena.engine.base.errors import (
    BackendError,
    BackendUnavailableError,
    NotOwnerError,
    OutcomeUnknownError,
    ServerReplyError,
)
from alacena.engine.remote.backend import Script
from alacena.engine.remote.local.local_backend import LocalBackend
from tests.integration.coordination.stand import PlainKeys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alacena.engine.remote.backend import Argument, Reply

UNKNOWN, AWAY = OutcomeUnknownError("lost"), BackendUnavailableError("away")
REFUSED = ServerReplyError("NOTOWNER somebody else's")


class ScriptedStore(LocalBackend):
    """A store whose answers are given beforehand."""

    def __init__(self, *answers: BackendError | int) -> None:
        super().__init__(SystemEnvironment())
        self.answers = list(answers)

    async def script(
        self, script: Script, keys: Sequence[str | bytes], args: Sequence[Argument], *, timeout_s: float | None = None
    ) -> Reply:
        answer = self.answers.pop(0)
        if isinstance(answer, BackendError):
            raise answer
        return answer


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ([AWAY], BackendUnavailableError),
        ([UNKNOWN, AWAY], OutcomeUnknownError),
        ([UNKNOWN, UNKNOWN, AWAY], OutcomeUnknownError),
        ([UNKNOWN, UNKNOWN, UNKNOWN], OutcomeUnknownError),
        ([UNKNOWN, REFUSED], NotOwnerError),
    ],
)
async def test_an_attempt_that_was_not_executed_does_not_hide_one_that_may_have_been(
    answers: list[BackendError], error: type[Exception]
) -> None:
    store = ScriptedStore(*answers)
    port = CoordinationContext(store, PlainKeys(), SystemEnvironment())
    with pytest.raises(error):
        await port.run(Script("lock_renew", idempotent=True), ["k"], ["t", 5])
    assert store.answers == []


async def test_a_script_that_is_not_idempotent_is_sent_once() -> None:
    store = ScriptedStore(UNKNOWN, 1)
    with pytest.raises(OutcomeUnknownError):
        await CoordinationContext(store, PlainKeys(), SystemEnvironment()).run(
            Script("counter_add", idempotent=False), ["k"], [1]
        )
    assert store.answers == [1]
