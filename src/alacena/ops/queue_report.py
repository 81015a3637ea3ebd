"""Queues and their dead letters, as answers, and the fate of these."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from alacena.engine import BackendError
from alacena.ops import server_names
from alacena.ops.check_runner import Finding
from alacena.ops.output import Cell, CommandResult, Table
from alacena.ops.server_questions import servers_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alacena.engine import Cache
    from alacena.ops.check_runner import Subject

_CHECK: Final = "dead letters"

_MOST_QUEUES: Final = 1_000
_AT_ONCE: Final = 50
_SIGNS: Final = ("pushed", "ready", "delayed", "in_flight", "dead")
"""Figures of a queue, of which one at least is not 0 until it is forgotten, a day after its last item."""


async def queues(
    cache: Cache, tenant: str | None, name: str | None, most: int, *, search: bool = False
) -> CommandResult:
    """Returns the number of items ready, delayed, in flight and dead, by queue.

    Args:
        cache: The cache.
        tenant: The tenant of the queues; ``None``: every tenant's.
        name: The queue; ``None``: every queue that is found.
        most: How many keys of a server are looked at, if they are.
        search: Whether keys are looked at for queues that are not listed.
    """
    limit = ""
    if tenant is not None and name is not None:
        data = [await _measure(cache, tenant, name)]
    else:
        some = cache.queues if tenant is None else cache.queues.of(tenant)
        listed = await some.find_keys(_MOST_QUEUES)
        limit = f"The {_MOST_QUEUES} queues that were used last." if len(listed) == _MOST_QUEUES else ""
        found = server_names.read_objects("queue", listed)
        if search:
            async with servers_of(server_names.find_settings(cache)) as servers:
                looked = await server_names.objects(servers, cache.settings, "queue", tenant=tenant, most=most)
            # Read together once more: a queue that is listed and found is shown once.
            found, limit = (
                server_names.read_objects("queue", [name.key for name in (*found, *looked.names)]),
                f"{looked.limit}.",
            )
        hidden = sum(not one.is_readable for one in found)
        if hidden:
            # A long name, or any with ``key_secret``, stands on the servers as a digest.
            words = (
                f"Not shown, because their names cannot be read back: {hidden}. Name a queue and its tenant to see it."
            )
            limit = f"{limit} {words}".strip()
        wanted = [(one.tenant_id, one.name) for one in found if one.is_readable and name in {None, one.name}]
        data = []
        for at in range(0, len(wanted), _AT_ONCE):
            data += await asyncio.gather(*(_measure(cache, *one) for one in wanted[at : at + _AT_ONCE]))
        data = [row for row in data if any(row[part] for part in _SIGNS)]
        data.sort(key=lambda row: (row["tenant_id"], row["queue"]))
    fields = ("tenant_id", "queue", "ready", "delayed", "in_flight", "dead", "oldest_age_s")
    cells = [
        [Cell(_text(row[field]), "bad" if field == "dead" and row[field] else "plain") for field in fields]
        for row in data
    ]
    columns = ("tenant", "queue", "ready", "delayed", "in flight", "dead", "oldest in s")
    tables = (Table("Queues", columns, cells),) if cells else ()
    nothing = () if cells else (Cell("No queue is there."),)
    return CommandResult({"queues": data}, nothing, tables, (Cell(limit),) if limit else ())


async def _measure(cache: Cache, tenant: str, name: str) -> dict[str, Any]:
    return {"tenant_id": tenant, "queue": name, **asdict(await cache.queues(name, tenant_id=tenant).stats())}


async def check_dead(subject: Subject) -> list[Finding]:
    """Returns the check for dead letters: no worker takes them, and they stay until an operator decides."""
    assert subject.cache is not None
    try:
        rows = (await queues(subject.cache, None, None, 0)).data["queues"]
    except BackendError as error:  # the reason has a check of its own
        return [Finding(_CHECK, "skip", f"the queues could not be read: {error}")]
    dead_in = sorted((row for row in rows if row["dead"]), key=lambda row: -row["dead"])
    if not dead_in:
        return [Finding(_CHECK, "pass", "no queue that is listed has any")]
    count, most = sum(row["dead"] for row in dead_in), dead_in[0]
    words = (
        f"{count} in {len(dead_in)} of {len(rows)} queues, most of them in {most['queue']!r} of {most['tenant_id']!r}"
    )
    follows = "this work is not done, and its values take room on the server until somebody decides"
    mend = "alacena queues dead QUEUE --tenant TENANT names the reasons; then `queues replay` or `queues discard`"
    return [Finding(_CHECK, "warn", words, follows, mend)]


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
    # An id that is given twice is one letter.
    missing = bool(ids) and count < len(set(ids or ()))
    words = f"{count} {done}."
    if missing:
        others = "None of these ids is a dead letter" if not count else "The other ids are no dead letters"
        words = f"{words} {others} of this queue."
    return CommandResult({"count": count}, (Cell(words, "doubtful" if missing else "good"),), code=1 if missing else 0)


def _text(value: object) -> str:
    return "" if value is None else f"{value:.1f}" if isinstance(value, float) else str(value)
