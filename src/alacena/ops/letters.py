"""Queues and their dead letters, as answers, and what becomes of these."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from alacena.ops import names
from alacena.ops.output import Cell, CommandResult, Table
from alacena.ops.server import servers_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alacena.engine import Cache


async def queues(cache: Cache, tenant: str | None, name: str | None, most: int) -> CommandResult:
    """Returns what is ready, delayed, in flight and dead, by queue.

    Args:
        cache: The cache.
        tenant: Whose queues; ``None``: every tenant's.
        name: The queue; ``None``: every queue that is found.
        most: How many keys of a server are looked at for the names.
    """
    found, limit = [(tenant, name)] if tenant is not None and name is not None else [], ""
    if not found:
        async with servers_of(names.find_settings(cache)) as servers:
            search = await names.objects(servers, cache.settings, "queue", tenant=tenant, most=most)
        found = [(one.tenant_id, one.name) for one in search.names if one.is_readable and name in {None, one.name}]
        limit = f"{search.limit}."
    data = [
        {"tenant_id": whose, "queue": queue, **asdict(await cache.queues(queue, tenant_id=whose).stats())}
        for whose, queue in found
        if whose is not None and queue is not None
    ]
    fields = ("tenant_id", "queue", "ready", "delayed", "in_flight", "dead", "oldest_age_s")
    cells = [
        [Cell(_text(row[field]), "bad" if field == "dead" and row[field] else "plain") for field in fields]
        for row in data
    ]
    columns = ("tenant", "queue", "ready", "delayed", "in flight", "dead", "oldest in s")
    tables = (Table("Queues", columns, cells),) if cells else ()
    nothing = () if cells else (Cell("No queue is there."),)
    return CommandResult({"queues": data}, nothing, tables, (Cell(limit),) if limit else ())


async def dead(cache: Cache, tenant: str, name: str, limit: int) -> CommandResult:
    """Returns dead letters, the oldest first, with the reason of each."""
    letters = await cache.queues(name, tenant_id=tenant).dead(limit)
    data = [
        {
            "id": letter.id,
            "attempts": letter.attempts,
            "reason": letter.reason,
            "died_at": datetime.fromtimestamp(letter.died_at, UTC).isoformat(),
            "value": repr(letter.value if letter.raw is None else letter.raw),
        }
        for letter in letters
    ]
    fields = ("id", "attempts", "died_at", "reason", "value")
    cells = [[Cell(str(row[field])) for field in fields] for row in data]
    words = f"{len(data)} dead letters are shown" + (
        ", the oldest; give a greater --limit for more." if len(data) == limit else "."
    )
    return CommandResult({"dead": data}, (Cell(words),), (Table("", fields, cells),) if cells else ())


async def replay(cache: Cache, tenant: str, name: str, ids: Sequence[str] | None) -> CommandResult:
    """Makes dead letters ready again: these, or all."""
    count = await cache.queues(name, tenant_id=tenant).replay(ids or None)
    return _say_count(count, "made ready again", ids)


async def discard(cache: Cache, tenant: str, name: str, ids: Sequence[str] | None) -> CommandResult:
    """Forgets dead letters for good: these, or all."""
    count = await cache.queues(name, tenant_id=tenant).discard(ids or None)
    return _say_count(count, "forgotten", ids)


def _say_count(count: int, done: str, ids: Sequence[str] | None) -> CommandResult:
    missing = bool(ids) and count < len(set(ids or ()))
    words = f"{count} {done}." + (" The other ids are no dead letters of this queue." if missing else "")
    return CommandResult({"count": count}, (Cell(words, "doubtful" if missing else "good"),), code=1 if missing else 0)


def _text(value: object) -> str:
    return "" if value is None else f"{value:.1f}" if isinstance(value, float) else str(value)
