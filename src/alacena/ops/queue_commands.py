"""``alacena queues``: their contents, and the fate of their dead letters."""

from __future__ import annotations

from typing import Annotated

import typer

from alacena.ops import queue_report, server_names
from alacena.ops.command_runner import answer
from alacena.ops.options import AsJson, Most, Search, Url, Yes, confirm

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Looks into queues and their dead letters.")

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
    search: Search = False,
    most: Most = server_names.MOST,
    as_json: AsJson = False,
    redis_url: Url = None,
) -> None:
    """Shows the items ready, delayed, in flight and dead."""
    answer(redis_url, lambda cache: queue_report.queues(cache, tenant, name, most, search=search), as_json=as_json)


@app.command("dead")
def dead(name: QueueName, tenant: Whose, limit: Limit = 100, as_json: AsJson = False, redis_url: Url = None) -> None:
    """Lists dead letters, with the reason of each."""
    answer(redis_url, lambda cache: queue_report.dead(cache, tenant, name, limit), as_json=as_json)


@app.command("replay")
def replay(
    name: QueueName, tenant: Whose, ids: Ids = None, yes: Yes = False, as_json: AsJson = False, redis_url: Url = None
) -> None:
    """Makes dead letters ready again, with new attempts."""
    which = "all dead letters" if not ids else f"{len(ids)} dead letters"
    confirm(f"Make {which} of queue {name!r} of {tenant!r} ready again?", yes=yes)

    answer(redis_url, lambda cache: queue_report.replay(cache, tenant, name, ids), as_json=as_json)


@app.command("discard")
def discard(
    name: QueueName, tenant: Whose, ids: Ids = None, yes: Yes = False, as_json: AsJson = False, redis_url: Url = None
) -> None:
    """Forgets dead letters for good."""
    which = "all dead letters" if not ids else f"{len(ids)} dead letters"
    confirm(f"Forget {which} of queue {name!r} of {tenant!r} for good?", yes=yes)

    answer(redis_url, lambda cache: queue_report.discard(cache, tenant, name, ids), as_json=as_json)
