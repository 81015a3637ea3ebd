"""The commands of ``alacena``."""

from typing import Annotated

import typer

from alacena.engine import Cache
from alacena.ops import report
from alacena.ops.asking import applied, asked, show

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Look into an Alacena cache.",
    pretty_exceptions_show_locals=False,  # among them are URLs with their passwords
)

Url = Annotated[str | None, typer.Option("--url", help="The server; left out: ALACENA_REDIS_URL or REDIS_URL.")]
Tenant = Annotated[str, typer.Option("--tenant", help="Whose entries.")]


@app.command()
def guarantee(redis_url: Url = None) -> None:
    """Which promises hold with this server, and why not where they do not."""
    show("What holds", asked(redis_url, report.guarantee))


@app.command()
def explain(
    data_type: str,
    resource_id: str,
    tenant: Tenant,
    agent: Annotated[str | None, typer.Option("--agent")] = None,
    conversation: Annotated[str | None, typer.Option("--conversation")] = None,
    collection: Annotated[str | None, typer.Option("--collection")] = None,
    redis_url: Url = None,
) -> None:
    """Why a read of one entry is what it is."""
    scope = {"agent_id": agent, "conversation_id": conversation, "collection_id": collection}
    found = asked(redis_url, lambda cache: report.explanation(cache, data_type, resource_id, tenant, **scope))
    show(f"{data_type} {resource_id} of {tenant}", found)


@app.command()
def invalidate(
    tenant: Tenant,
    data_type: Annotated[str | None, typer.Option("--type", help="Only this type.")] = None,
    resource_id: Annotated[str | None, typer.Option("--id", help="Only this resource.")] = None,
    document: Annotated[str | None, typer.Option("--document", help="What was made from this document.")] = None,
    redis_url: Url = None,
) -> None:
    """Make everything that matches a miss, in every process."""

    async def run(cache: Cache) -> list[report.Row]:
        documents = () if document is None else (document,)
        count = await cache.invalidate(tenant, data_type, resource_id, document_ids=documents)
        return [report.Row("confirmed by the server", "yes" if count else "no", count > 0)]

    show("Invalidated", asked(redis_url, run))


@app.command()
def migrations(
    apply: Annotated[str | None, typer.Option("--apply", help="A Postgres DSN to apply them to.")] = None,
) -> None:
    """Print the SQL of the token ledger, for psql or a Supabase migration; or apply it."""
    if apply is None:
        for name, text in report.migrations():
            typer.echo(f"-- {name}\n{text}")
        return
    for name in applied(apply):
        typer.echo(f"applied {name}")
