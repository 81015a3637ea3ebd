"""The commands of ``alacena``."""

import sys
from typing import Annotated

import typer

from alacena.engine import BackendUnavailableError, Cache, Scope
from alacena.ops import (
    cache_report,
    check_runner,
    doctor_checks,
    fleet_report,
    measure,
    queue_commands,
    relay_report,
    server_names,
)
from alacena.ops.command_runner import NO_SERVER, answer, end, run, settings_of, show
from alacena.ops.ledger_migrations import apply_migrations, check_migrations
from alacena.ops.options import AsJson, Most, Search, Tenant, Url, Yes, confirm
from alacena.ops.output import Cell, CommandResult, Tone
from alacena.sources.ledger import migrations

app = typer.Typer(
    no_args_is_help=True,
    help="Look into an Alacena cache. Exit codes: 0 fine, 1 a finding, 2 wrong usage, 3 not connected.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # among the locals are URLs with their passwords
)
app.add_typer(queue_commands.app, name="queues")

DataType = Annotated[str, typer.Argument(help="Its type, such as document.")]
ResourceId = Annotated[str, typer.Argument(help="Its id within the type.")]
Agent = Annotated[str | None, typer.Option("--agent", help="Of this agent.")]
Conversation = Annotated[str | None, typer.Option("--conversation", help="Of this conversation.")]
Collection = Annotated[str | None, typer.Option("--collection", help="Of this collection.")]
User = Annotated[str | None, typer.Option("--user", help="Of this user.")]
Permissions = Annotated[
    list[str] | None, typer.Option("--permission", help="Of this set of permissions; one each, may be repeated.")
]
AnyTenant = Annotated[str | None, typer.Option("--tenant", help="Whose; left out: every tenant's.")]

_ANSWERS_S = 5.0

_TONES: dict[str, Tone] = {"pass": "good", "warn": "doubtful", "fail": "bad", "skip": "plain"}


@app.command("doctor", short_help="Examines all, and says what to mend.")
def examine(
    source: Annotated[
        str | None, typer.Option("--source", help="A folder with your code, to look for wrong calls.")
    ] = None,
    as_json: AsJson = False,
    redis_url: Url = None,
) -> None:
    """Examines settings, server and connection, and names a remedy for each fault."""
    subject = check_runner.Subject(source=source)
    findings = run(lambda: check_runner.examine(doctor_checks.list_checks(redis_url), subject), as_json=as_json)
    tone: Tone = "good"
    lines: list[Cell] = []
    for finding in findings:
        tone = _TONES[finding.state]
        lines.append(Cell(f"{finding.state:4}  {finding.check}: {finding.found}", tone))
        if finding.state in {"warn", "fail"}:
            lines += [Cell(f"      {words}") for words in (finding.follows, f"mend: {finding.mend}") if words]
    data = check_runner.report(findings)
    worst = [finding.state for finding in findings]
    tone = "bad" if "fail" in worst else "doubtful" if "warn" in worst else "good"
    end(CommandResult(data, lines, last=(Cell(data["verdict"], tone),), code=0 if data["ok"] else 1), as_json=as_json)


@app.command(short_help="Shows which promises hold, and why.")
def guarantee(as_json: AsJson = False, redis_url: Url = None) -> None:
    """Shows which promises hold with this server, and why not where they do not."""
    answer(redis_url, cache_report.guarantee, as_json=as_json, needs_server=False)


@app.command(short_help="Says why a read of an entry is what it is.")
def explain(
    data_type: DataType,
    resource_id: ResourceId,
    tenant: Tenant,
    agent: Agent = None,
    conversation: Conversation = None,
    collection: Collection = None,
    user: User = None,
    permission: Permissions = None,
    here: Annotated[bool, typer.Option("--here", help="Ask the server only, and no other process.")] = False,
    as_json: AsJson = False,
    redis_url: Url = None,
) -> None:
    """Explains a read of one entry: asks the server, and each process."""

    async def ask(cache: Cache) -> CommandResult:
        scope = Scope(tenant, agent, conversation, collection, user, permission or None)
        return await cache_report.explanation(cache, data_type, resource_id, scope, here=here)

    answer(redis_url, ask, as_json=as_json, needs_server=False)


@app.command()
def get(
    data_type: DataType,
    resource_id: ResourceId,
    tenant: Tenant,
    agent: Agent = None,
    conversation: Conversation = None,
    collection: Collection = None,
    user: User = None,
    permission: Permissions = None,
    as_json: AsJson = False,
    redis_url: Url = None,
) -> None:
    """Prints the value of one entry; nothing is loaded."""

    async def ask(cache: Cache) -> CommandResult:
        scope = Scope(tenant, agent, conversation, collection, user, permission or None)
        return await cache_report.value(cache, data_type, resource_id, scope)

    answer(redis_url, ask, as_json=as_json)


@app.command()
def keys(
    tenant: AnyTenant = None,
    data_type: Annotated[str | None, typer.Option("--type", help="Only this type.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many are shown, at most.")] = 100,
    most: Most = server_names.MOST,
    as_json: AsJson = False,
    redis_url: Url = None,
) -> None:
    """Lists entries of the namespace."""
    answer(redis_url, lambda cache: cache_report.keys(cache, tenant, data_type, limit, most), as_json=as_json)


@app.command(short_help="Counts what the servers hold.")
def stats(
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many rows are shown, at most.")] = 100,
    most: Most = server_names.MOST,
    as_json: AsJson = False,
    redis_url: Url = None,
) -> None:
    """Counts entries by tenant and type, and shows how the servers are used."""
    answer(redis_url, lambda cache: cache_report.stats(cache, limit, most), as_json=as_json)


@app.command("fleet", short_help="Lists the processes of the namespace.")
def processes(as_json: AsJson = False, redis_url: Url = None) -> None:
    """Lists the processes that share the namespace: when each was heard, how it is, and its counts."""
    answer(redis_url, fleet_report.fleet, as_json=as_json)


@app.command(short_help="Shows who reads, misses and loads most.")
def top(
    once: Annotated[bool, typer.Option("--once", help="Print it once; without a terminal it always is.")] = False,
    by: Annotated[fleet_report.By, typer.Option("--by", help="What comes first.")] = "reads",
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many rows are shown, at most.")] = 50,
    tenant: Annotated[
        str | None, typer.Option("--tenant", help="Ask each process for this tenant, once: also if it is summed up.")
    ] = None,
    as_json: AsJson = False,
    redis_url: Url = None,
) -> None:
    """Shows the tenants and types that read, miss and load most, over all processes; live (extra top), or once."""
    if tenant is not None:
        answer(redis_url, lambda cache: fleet_report.tenant(cache, tenant, _ANSWERS_S), as_json=as_json)
    if once or as_json or not sys.stdout.isatty():
        answer(redis_url, lambda cache: fleet_report.top(cache, by, limit), as_json=as_json)
    show(redis_url, by)


@app.command(short_help="Lists locks that are held, and by whom.")
def locks(
    tenant: AnyTenant = None,
    search: Search = False,
    most: Most = server_names.MOST,
    as_json: AsJson = False,
    redis_url: Url = None,
) -> None:
    """Lists locks that are held, with their fence, the time left, how many wait, and the process that holds each."""
    most = most if search else min(most, cache_report.LOOKED_AT_UNASKED)
    answer(redis_url, lambda cache: cache_report.locks(cache, tenant, most, search=search), as_json=as_json)


@app.command()
def tokens(
    tenant: Annotated[str, typer.Option("--tenant", help="Whose.")],
    day: Annotated[str | None, typer.Option("--day", help="Of one day (UTC), such as 2025-01-31.")] = None,
    month: Annotated[str | None, typer.Option("--month", help="Of one month, such as 2025-01.")] = None,
    as_json: AsJson = False,
    redis_url: Url = None,
) -> None:
    """Shows the totals of the token ledger."""
    answer(redis_url, lambda cache: cache_report.tokens(cache, tenant, day, month), as_json=as_json)


@app.command("relay", short_help="Carries the ledger to Postgres.")
def carry(
    to: Annotated[
        str | None,
        typer.Option("--to", envvar="DATABASE_URL", help="The Postgres; left out: only what waits is shown."),
    ] = None,
    follows: Annotated[bool, typer.Option("--follow", help="Go on until it is interrupted.")] = False,
    as_json: AsJson = False,
    redis_url: Url = None,
) -> None:
    """Carries the records of the token ledger's outboxes to Postgres: once, or on and on; without --to shows those that wait."""
    if to is None:
        if follows:
            raise typer.BadParameter("--follow needs --to, the Postgres to carry to")
        # answer() ends the command: nothing that follows is reached.
        answer(redis_url, relay_report.show_waiting, as_json=as_json)
    if follows:
        answer(redis_url, lambda cache: relay_report.follow(cache, to, as_json=as_json), as_json=as_json)
    answer(redis_url, lambda cache: relay_report.carry_once(cache, to), as_json=as_json)


@app.command(short_help="Makes all that matches a miss everywhere.")
def invalidate(
    tenant: Tenant,
    data_type: Annotated[str | None, typer.Option("--type", help="Only this type.")] = None,
    resource_id: Annotated[str | None, typer.Option("--id", help="Only this resource.")] = None,
    document: Annotated[str | None, typer.Option("--document", help="What was made from this document.")] = None,
    yes: Yes = False,
    as_json: AsJson = False,
    redis_url: Url = None,
) -> None:
    """Makes everything that matches a miss, in every process."""
    parts = {"type": data_type, "id": resource_id, "document": document}
    named = ", ".join(f"{name} {value!r}" for name, value in parts.items() if value is not None)
    confirm(f"Invalidate {named or 'everything'} of tenant {tenant!r}?", yes=yes)

    async def ask(cache: Cache) -> CommandResult:
        documents = () if document is None else (document,)
        confirmed = await cache.invalidate(tenant, data_type, resource_id, document_ids=documents) > 0
        words = "Invalidated, and confirmed by the server." if confirmed else "The server did not confirm: do it again."
        return CommandResult(
            {"confirmed": confirmed}, (Cell(words, "good" if confirmed else "bad"),), code=0 if confirmed else 1
        )

    answer(redis_url, ask, as_json=as_json)


@app.command(short_help="Serves the console, a page in a browser.")
def console(
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="The port; 0: any that is free.")] = 8484,
    allow_actions: Annotated[
        bool, typer.Option("--allow-actions", help="Allow to replay, to discard and to invalidate.")
    ] = False,
    host_name: Annotated[
        list[str] | None, typer.Option("--host-name", help="A name of this machine to answer to; may be repeated.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="ALACENA_CONSOLE_TOKEN",
            help="The secret to sign in with; left out: a new one.",
            show_envvar=True,
        ),
    ] = None,
    redis_url: Url = None,
) -> None:
    """Serves the console: a page that shows how the cache is, and says why."""
    try:
        from alacena.ops.console.serving import serve
    except ImportError:
        end(
            CommandResult(None, (Cell("the console needs more: pip install 'alacena[console]'", "bad"),), code=2),
            as_json=False,
        )
    names = host_name or []
    run(
        lambda: serve(
            settings_of(redis_url), host=host, port=port, token=token, allow_actions=allow_actions, host_names=names
        )
    )


@app.command(short_help="Measures reads from here.")
def bench(
    seconds: Annotated[float, typer.Option("--seconds", min=0.2, max=60, help="How long it takes, about.")] = 4.0,
    as_json: AsJson = False,
    redis_url: Url = None,
) -> None:
    """Measures reads of the server and of memory from here; stores two entries of the tenant alacena-bench."""

    async def ask() -> CommandResult:
        settings = settings_of(redis_url)
        if settings.redis_url is None:
            raise BackendUnavailableError(NO_SERVER)
        return await measure.measure(settings, seconds)

    end(run(ask, as_json=as_json), as_json=as_json)


@app.command(short_help="Prints or applies the SQL of the ledger.")
def db(
    apply: Annotated[str | None, typer.Option("--apply", help="A Postgres DSN to apply them to.")] = None,
    check: Annotated[
        str | None, typer.Option("--check", help="A Postgres DSN to look at: exit code 1 if one is missing.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prints the SQL of the token ledger, for psql or a Supabase migration; or applies it, or looks for it."""
    if check is not None:
        end(run(lambda: check_migrations(check), as_json=as_json), as_json=as_json)
    if apply is not None:
        applied = run(lambda: apply_migrations(apply), as_json=as_json)
        end(CommandResult({"applied": applied}, [Cell(f"applied {name}") for name in applied]), as_json=as_json)
    if as_json:
        end(CommandResult([{"name": one.name, "sql": one.sql} for one in migrations()]), as_json=True)
    for one in migrations():
        typer.echo(f"-- {one.name}\n{one.sql}")
