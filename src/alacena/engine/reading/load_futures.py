"""Outcomes of loads: told, given up, and taken note of if no caller waits for them."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_log = logging.getLogger("alacena")


def cancel_all(works: Iterable[asyncio.Future[Any]]) -> None:
    """Cancels works whose outcomes are not waited for."""
    for work in works:
        work.cancel()
        work.add_done_callback(consume)


def consume(work: asyncio.Future[Any]) -> None:
    """Takes note of a failure that may have no waiting caller, so that asyncio does not report it as never retrieved."""
    if not work.cancelled() and work.exception() is not None:
        _log.info("a load that a caller may have waited for failed: %r", work.exception())


def error_of(work: asyncio.Future[Any]) -> BaseException | None:
    """Returns how a call that is done has failed. One that its own loader cancelled counts, too."""
    return asyncio.CancelledError() if work.cancelled() else work.exception()
