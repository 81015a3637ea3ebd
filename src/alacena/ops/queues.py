"""``alacena queues``: what is in them, and what becomes of their dead letters."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from alacena.ops import names
from alacena.ops.asking import answer
from alacena.ops.options import AsJson, Most, Url, Yes, confirm
from alacena.ops.output import Cell, CommandResult, Table
from alacena.ops.server import servers_of

if TYPE_CHECKING:
    from alacena.engine import Cache

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Look into queues, and decide what becomes of dead letters."
)

QueueName = Annotated[str, typer.Argument(help="The queue's name.")]
Whose = Annotated[str, typer.Option("--tenant", help="Whose queue.")]
Ids = Annotated[
    list[str] | None, typer.Option("--id", help="This dead letter; may be repeated. Left out: all of them.")
]
Limit = Annotated[int, typer.Option("--limit", min=1, help="So many at most, the oldest first.")]


@app.command("stats")
def stats(
    name: Annotated[str | None, typer.Argument(help="The queue's name; left out: every queue that is found.")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Whose; left out: every tenant's.")] = None,
    most: Most = names.MOST,
    as_json: AsJson = False,
    redis_url: Url = None,
) -> None:
    """Shows what is ready, delayed, in flight and dead."""

    async def ask(cache: Cache) -> CommandResult:
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
        return CommandResult(
            {"queues": data}, () if cells else (Cell("No queue is there."),), tables, (Cell(limit),) if limit else ()
        )

    answer(redis_url, ask, as_json=as_json)


@app.command("dead")
def dead(name: QueueName, tenant: Whose, limit: Limit = 100, as_json: AsJson = False, redis_url: Url = None) -> None:
    """Lists dead letters, with the reason of each."""

    async def ask(cache: Cache) -> CommandResult:
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

    answer(redis_url, ask, as_json=as_json)


@app.command("replay")
def replay(
    name: QueueName, tenant: Whose, ids: Ids = None, yes: Yes = False, as_json: AsJson = False, redis_url: Url = None
) -> None:
    """Makes dead letters ready again, with all their attempts before them."""
    which = "all dead letters" if not ids else f"{len(ids)} dead letters"
    confirm(f"Make {which} of queue {name!r} of {tenant!r} ready again?", yes=yes)

    async def ask(cache: Cache) -> CommandResult:
        count = await cache.queues(name, tenant_id=tenant).replay(ids or None)
        return _report_count(count, "made ready again", ids)

    answer(redis_url, ask, as_json=as_json)


@app.command("discard")
def discard(
    name: QueueName, tenant: Whose, ids: Ids = None, yes: Yes = False, as_json: AsJson = False, redis_url: Url = None
) -> None:
    """Forgets dead letters for good."""
    which = "all dead letters" if not ids else f"{len(ids)} dead letters"
    confirm(f"Forget {which} of queue {name!r} of {tenant!r} for good?", yes=yes)

    async def ask(cache: Cache) -> CommandResult:
        count = await cache.queues(name, tenant_id=tenant).discard(ids or None)
        return _report_count(count, "forgotten", ids)

    answer(redis_url, ask, as_json=as_json)


def _report_count(count: int, done: str, ids: list[str] | None) -> CommandResult:
    missing = ids is not None and count < len(set(ids))
    words = f"{count} {done}." + (" The other ids are no dead letters of this queue." if missing else "")
    return CommandResult({"count": count}, (Cell(words, "doubtful" if missing else "good"),), code=1 if missing else 0)


def _text(value: object) -> str:
    return "" if value is None else f"{value:.1f}" if isinstance(value, float) else str(value)
