"""The way of token usage to the authority, as an operator sees it: waiting, carried and failed records."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from alacena.engine import AlacenaError, BackendUnavailableError, OutcomeUnknownError
from alacena.ops.output import Cell, CommandResult, Table, printable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from alacena.engine import Cache
    from alacena.sources.ledger import PostgresAuthority

_UNREACHED: Final = 3
_LOOK_EVERY_S: Final = 1.0


async def show_waiting(cache: Cache) -> CommandResult:
    """Returns the records that wait in the outboxes. Nothing is carried."""
    waiting = await cache.ledger.backlogs()
    words = f"{sum(waiting.values())} uses of tokens wait." if waiting else "Nothing waits."
    return CommandResult({"waiting": waiting}, (Cell(words, "plain" if waiting else "good"),), _tables(waiting))


async def carry_once(cache: Cache, dsn: str) -> CommandResult:
    """Carries the waiting records to a Postgres, once; returns the carried, the waiting and the failed ones.

    Exit codes: 0 all of it is there; 1 some could not be taken, or still waits; 3 the Postgres was not reached.
    """
    async with _authority(dsn) as authority:
        relay = cache.ledger.relay(authority)
        failed: Exception | None = None
        try:
            await relay.run_once()
        except (AlacenaError, OSError) as error:
            # Not raised: the records that were carried before it are counted, and reported.
            failed = error
    counts = asdict(relay.counts)
    waiting = await cache.ledger.backlogs()
    words = "" if failed is None else str(failed) or type(failed).__name__
    data = {**counts, "waiting": waiting, "failed": words or None}
    is_clean = not (waiting or failed or counts["conflicts"] or counts["unreadable"])
    carried = f"{counts['carried']} uses of tokens were carried; {sum(waiting.values())} wait."
    lines = [Cell(carried, "good" if is_clean else "doubtful")]
    if counts["conflicts"]:
        lines.append(
            Cell(f"{counts['conflicts']} of them have a key that was used with other figures: not counted.", "bad")
        )
    if counts["unreadable"]:
        lines.append(
            Cell(f"{counts['unreadable']} cannot be read or taken: they are set aside beside the outbox.", "bad")
        )
    if failed is not None:
        lines.append(Cell(f"It stopped: {words}", "bad"))
    is_unreached = isinstance(failed, BackendUnavailableError | OutcomeUnknownError | OSError)
    return CommandResult(data, lines, _tables(waiting), code=_UNREACHED if is_unreached else 0 if is_clean else 1)


async def follow(cache: Cache, dsn: str, *, as_json: bool) -> CommandResult:
    """Carries until it is interrupted, and prints a line when something has changed. A failure is tried again."""
    async with _authority(dsn) as authority:
        relay = cache.ledger.relay(authority)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError, RuntimeError, ValueError):  # not in every system, nor in every thread
                # stop() and no cancellation: the batch in hand is brought to its end.
                loop.add_signal_handler(number, relay.stop)
        running = asyncio.create_task(relay.run())
        last: dict[str, Any] | None = None
        while not running.done():
            await asyncio.wait((running,), timeout=_LOOK_EVERY_S)
            last = _print_change(last, relay.health(), as_json=as_json)
        counts = asdict(await running)
    left = sum((await cache.ledger.backlogs()).values())
    words = f"Interrupted: {counts['carried']} uses of tokens were carried; {left} wait."
    return CommandResult({**counts, "waiting": left}, (Cell(words),))


def _print_change(last: dict[str, Any] | None, now: dict[str, Any], *, as_json: bool) -> dict[str, Any]:
    if now == last:
        return now
    line = (
        json.dumps(now) if as_json else printable(", ".join(f"{name} {value}" for name, value in now.items() if value))
    )
    if line:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    return now


@asynccontextmanager
async def _authority(dsn: str) -> AsyncIterator[PostgresAuthority]:
    from alacena.sources.ledger import PostgresAuthority

    authority = await PostgresAuthority.connect(dsn)
    try:
        yield authority
    finally:
        await authority.close()


def _tables(waiting: dict[str, int]) -> tuple[Table, ...]:
    rows = [[Cell(tenant), Cell(str(count))] for tenant, count in sorted(waiting.items(), key=lambda pair: -pair[1])]
    return (Table("", ("tenant", "waiting"), rows),) if rows else ()
