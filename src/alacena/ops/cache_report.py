"""Reports about a cache, as results that any presentation can show."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Final

import msgspec

from alacena.engine import MISSING, AlacenaError, BackendError, BackendUnavailableError, Scope, ServerReplyError
from alacena.ops import fleet_report, server_names
from alacena.ops.output import Cell, CommandResult, Table, count_of, count_processes
from alacena.ops.read_explanation import reason
from alacena.ops.server_questions import facts, servers_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from alacena.coordination.lock_states import LockState
    from alacena.engine import Cache
    from alacena.ops.output import Tone

_GOOD_WHEN_TRUE: Final = frozenset({"connected", "memory", "no_stale_fill", "lost_state_fails_closed", "same_history"})
_GOOD_WHEN_EMPTY: Final = frozenset({"missing_rights", "ended", "faults"})
_LOOKED_FOR_PLACES: Final = 20_000
_ANSWER_S: Final = 3.0
_LOCKS_AT_ONCE: Final = 100
LOOKED_AT_UNASKED: Final = 20_000
"""How many keys of a server are looked at without being told to: some hundredths of a second."""

_UNTOLD: Final = (
    "Each process tells its 200 longest locks every two seconds; locks taken later, others of a process, and those of a "
    "process that tells nothing are found on the servers: alacena locks --search."
)
_READS: Final = ("memory", "redis", "load", "waited", "stale", "none")


def rows(found: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[Cell, Cell]]:
    """Flattens facts into rows, in their order."""
    for name, value in found.items():
        full = f"{prefix}{name}"
        if hasattr(value, "items") and value:
            yield from rows(value, f"{full}.")
        else:
            yield Cell(full), Cell(_text(value), _tone(name, value))


def table(title: str, found: Mapping[str, Any]) -> Table:
    """Returns facts as a table of two columns."""
    return Table(title, ("", ""), list(rows(found)))


async def guarantee(cache: Cache) -> CommandResult:
    """Returns which promises hold; one that does not is a finding."""
    promised = plain(cache.guarantee())
    is_server = promised["mode"] != "memory"
    holds = not is_server or (promised["memory"] and promised["coordination"] == "all processes")
    holds = holds and not promised.get("removals_owed") and not promised.get("faults")
    sentence = Cell("Every promise holds.", "good") if holds else Cell(f"Not all holds: {promised['why']}.", "doubtful")
    code = 3 if is_server and not promised["connected"] else 0 if holds else 1
    return CommandResult(promised, (sentence,), (table("What holds", promised),), code=code)


async def explanation(
    cache: Cache, data_type: str, resource_id: str, scope: Scope, *, here: bool = False
) -> CommandResult:
    """Returns the explanation of a read of an entry: a sentence, then the facts of the server and of each process.

    Args:
        cache: The cache that asks.
        data_type: The type of the entry.
        resource_id: Its id.
        scope: Its scope.
        here: Whether no other process is asked; if they are, it takes three seconds at most.
    """
    # Sets as lists: the question travels, and names are shown.
    parts: dict[str, Any] = {k: v if isinstance(v, str) else sorted(v) for k, v in scope.parts.items()}
    words = {"data_type": data_type, "resource_id": resource_id, "tenant_id": scope.tenant_id, **parts}
    try:
        found = await cache.explain(data_type, resource_id, scope.tenant_id, **scope.parts)
    except BackendUnavailableError as error:
        # This process still answers for itself, without the server.
        found = {**await cache.ask(fleet_report.own_name(cache), "explain", words), "away": str(error)}
    places: list[server_names.NamedObject] = []
    limit = None
    is_server = cache.settings.redis_url is not None and "away" not in found
    # A search reads thousands of keys: it is made only if there is no entry to speak of.
    if found.get("entry") is None and is_server:
        places, limit = await _other_places(cache, data_type, resource_id, scope)
    # The others are told which generations this look found ended: only then can they say when they saw it.
    words["generations"] = found.get("ended_generations", [])
    processes = await fleet_report.ask_others(cache, words, _ANSWER_S) if is_server and not here else []
    why = reason(found, scope.tenant_id, places, processes)
    elsewhere = [{"tenant_id": name.tenant_id, **name.scope} for name in places]
    shown = plain(found)
    data = {"sentence": why.sentence, "reason": why.code, "elsewhere": elsewhere, "searched": limit, "facts": shown}
    title = " ".join([data_type, resource_id, "of", scope.tenant_id, *(f"{k}={v}" for k, v in parts.items())])
    sentences = (Cell(title), Cell(why.sentence, why.tone))
    last = (Cell(f"Looked for elsewhere: {limit}."),) if limit else ()
    tables = [table("", shown)]
    if is_server and not here:
        data["processes"] = plain(processes)
        tables += [table(str(one["process"]), one) for one in data["processes"]]
    if "away" in found:
        data |= {"error": found["away"], "code": 3}
    return CommandResult(data, sentences, tables, last, code=3 if "away" in found else 0)


async def _other_places(
    cache: Cache, data_type: str, resource_id: str, scope: Scope
) -> tuple[list[server_names.NamedObject], str]:
    """Returns where else an entry of this name is stored, and how far was looked."""
    try:
        async with servers_of(server_names.find_settings(cache)) as servers:
            search = await server_names.entries(
                servers, cache.settings, data_type=data_type, resource_id=resource_id, most=_LOOKED_FOR_PLACES
            )
    except (AlacenaError, OSError) as error:  # a user without SCAN, or a part of the servers away: the rest is told
        return [], f"not possible, {error or type(error).__name__}"
    places = [name for name in search.names if name.name == resource_id and name.kind == data_type]
    asked = scope.tenant_id, server_names.name_scope(cache.settings, scope)
    places = [name for name in places if (name.tenant_id, name.scope) != asked]
    return places, search.limit


async def value(cache: Cache, data_type: str, resource_id: str, scope: Scope) -> CommandResult:
    """Returns the value of an entry; a miss is a finding."""
    # A stored None is a value: it must not look like a miss.
    found = await cache.get(data_type, resource_id, scope, default=MISSING)
    if found is MISSING:
        sentence = Cell("Not in the cache; `alacena explain` says why.", "bad")
        return CommandResult({"found": False, "value": None}, (sentence,), code=1)
    text = found if isinstance(found, str) else _json(found)
    return CommandResult({"found": True, "value": msgspec.json.decode(_json(found))}, (Cell(text),))


async def keys(cache: Cache, tenant: str | None, data_type: str | None, limit: int, most: int) -> CommandResult:
    """Returns names of entries, as many as ``limit``, among ``most`` keys of each server."""
    async with servers_of(server_names.find_settings(cache)) as servers:
        found = await server_names.entries(servers, cache.settings, tenant=tenant, data_type=data_type, most=most)
    shown = found.names[:limit]
    cells = [
        [
            Cell(name.tenant_id),
            Cell(name.kind),
            Cell(name.name),
            Cell(" ".join(f"{k}={v}" for k, v in name.scope.items())),
        ]
        for name in shown
    ]
    left = (
        f"; {len(found.names) - len(shown)} more were found: give a greater --limit" if len(found.names) > limit else ""
    )
    data = {
        "entries": [
            {
                "tenant_id": name.tenant_id,
                "data_type": name.kind,
                "resource_id": name.name,
                **name.scope,
                "key": name.key,
            }
            for name in shown
        ],
        "found": len(found.names),
        "looked_at": found.looked_at,
        "complete": found.complete and not left,
    }
    last = (Cell(f"{len(shown)} entries; {found.limit}{left}."),)
    return CommandResult(data, (), (Table("Entries", ("tenant", "type", "id", "scope"), cells),) if cells else (), last)


async def stats(cache: Cache, limit: int, most: int) -> CommandResult:
    """Returns the servers' entries, by tenant and type, the ``limit`` greatest, and how they are used."""
    async with servers_of(server_names.find_settings(cache)) as servers:
        found = await server_names.entries(servers, cache.settings, most=most)
        info = [facts(await server.ask("INFO", "everything")) for server in servers]
    counts: dict[tuple[str, str], int] = {}
    for name in found.names:
        counts[name.tenant_id, name.kind] = counts.get((name.tenant_id, name.kind), 0) + 1
    fields = (
        "used_memory",
        "maxmemory",
        "evicted_keys",
        "expired_keys",
        "connected_clients",
        "keyspace_hits",
        "keyspace_misses",
    )
    # Without one of the servers a sum would look whole, and be too small.
    sums = {field: sum(int(one.get(field, 0)) for one in info) for field in fields} if all(info) else {}
    busiest = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit]
    left = f"; {len(counts) - limit} more tenants and types: give a greater --limit" if len(counts) > limit else ""
    try:
        members = await cache.fleet()
    except BackendError:  # it is listed by a script, which not every user may run
        members = []
    snapshots = fleet_report.fresh_snapshots(members)
    reads = {name: sum(getattr(one.total.reads, name) for one in snapshots) for name in _READS}
    data = {
        "processes": {"heard": len(snapshots), "silent": len(members) - len(snapshots), "reads": reads},
        "servers": sums or None,
        "entries": [{"tenant_id": tenant, "data_type": kind, "entries": count} for (tenant, kind), count in busiest],
        "looked_at": found.looked_at,
        "complete": found.complete and not left,
    }
    cells = [[Cell(tenant), Cell(kind), Cell(str(count))] for (tenant, kind), count in busiest]
    sizes = {name: fleet_report.size(sums[name]) for name in ("used_memory", "maxmemory")} if sums else {}
    if sums and not sums["maxmemory"]:
        sizes["maxmemory"] = "no limit"
    tables = [table("Servers", {**sums, **sizes})] if sums else []
    tables += [Table("Entries", ("tenant", "type", "entries"), cells)] if cells else []
    told = ", ".join(f"{count} {name}" for name, count in reads.items())
    words = f"{len(found.names)} entries; {found.limit}{left}. Reads of {count_processes(len(snapshots))}: {told}."
    return CommandResult(data, (), tables, (Cell(words),))


async def tokens(cache: Cache, tenant: str, day: str | None, month: str | None) -> CommandResult:
    """Returns the totals of the token ledger."""
    totals = await cache.ledger.totals(tenant, day=day, month=month)
    fields = ("saved", "model", "token_type", "operation", "tokens", "calls")
    data = {
        "tenant_id": tenant,
        "used": totals.used,
        "saved": totals.saved,
        "calls": totals.calls,
        "rows": [{field: getattr(row, field) for field in fields} for row in totals.rows],
        "backlog": await cache.ledger.backlog(tenant),
    }
    cells = [
        [Cell(row.model), Cell(row.token_type), Cell(row.operation), Cell(str(row.tokens)), Cell(str(row.calls)),
         Cell("saved" if row.saved else "used")]
        for row in totals.rows
    ]  # fmt: skip
    when = day or month or "ever"
    sentence = Cell(
        f"{tenant}, {when}: {totals.used} tokens used in {count_of(totals.calls, 'call', 'calls')}, {totals.saved} saved."
    )
    columns = ("model", "type", "operation", "tokens", "calls", "kind")
    return CommandResult(data, (sentence,), (Table("", columns, cells),) if cells else ())


async def locks(cache: Cache, tenant: str | None, most: int, *, search: bool = False) -> CommandResult:
    """Returns the locks that are held, with their holder, their fence, the time they have left, and how many wait.

    Args:
        cache: The cache.
        tenant: The tenant of the locks; ``None``: every tenant's.
        most: How many keys of a server are looked at for locks that no process says it holds; 0: none.
        search: Whether it is an error if this user may not look at keys; else the processes' answers are all.
    """
    states = await cache.find_locks()
    last, complete = _UNTOLD, False
    if most:
        try:
            more, looked = await _find_untold(cache, tenant, most, {state.key for state in states})
        except ServerReplyError:
            if search:
                raise
        else:
            states += more
            complete = looked.complete
            last = (
                f"{looked.limit}." if complete or search else f"About {looked.looked_at} keys were looked at. {_UNTOLD}"
            )
    # With ``key_secret`` the keys hold digests: the tenant is compared in the form that is read from them.
    whose = None if tenant is None else server_names.render_name(cache.settings, tenant)
    held = []
    for state in states:
        (name,) = server_names.read_objects("lock", [state.key])
        if whose in {None, name.tenant_id}:
            facts = msgspec.structs.asdict(state)
            del facts["key"]
            held.append({"tenant_id": name.tenant_id, "name": name.name, **facts})
    held.sort(key=lambda lock: (lock["tenant_id"], lock["name"]))
    fields = ("tenant_id", "name", "left_s", "fence", "waiting", "process")
    cells = [[Cell(_text(lock[field])) for field in fields] for lock in held]
    columns = ("tenant", "name", "left in s", "fence", "waiting", "held by")
    tables = (Table("Locks", columns, cells),) if cells else ()
    nothing = (
        () if cells else (Cell("No lock is held." if complete else "No lock is held, as far as the processes say."),)
    )
    return CommandResult({"locks": held, "complete": complete}, nothing, tables, (Cell(last),))


async def _find_untold(
    cache: Cache, tenant: str | None, most: int, known: set[str]
) -> tuple[list[LockState], server_names.FoundNames]:
    """Returns locks that stand on the servers and that no process says it holds, and how far was looked."""
    async with servers_of(server_names.find_settings(cache)) as servers:
        looked = await server_names.objects(servers, cache.settings, "lock", tenant=tenant, most=most)
    # A lock is several keys: each that is found leads to the owner's, which can be asked about.
    keys = sorted({f"{name.key.rpartition(':')[0]}:owner" for name in looked.names} - known)
    found: list[LockState] = []
    for at in range(0, len(keys), _LOCKS_AT_ONCE):
        states = await asyncio.gather(*map(cache.locks.look_up, keys[at : at + _LOCKS_AT_ONCE]))
        found += [state for state in states if state is not None]
    return found, looked


def plain(value: Any) -> Any:
    """Returns a value as JSON has it."""
    if hasattr(value, "items"):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(part) for part in value]
    # JSON has no infinity and no NaN: strict parsers refuse the whole text.
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _json(found: Any) -> str:
    return msgspec.json.encode(found, enc_hook=repr, order="deterministic").decode()


def _tone(name: str, value: Any) -> Tone:
    if name == "valid" or (name in _GOOD_WHEN_TRUE and isinstance(value, bool)):
        return "good" if value else "bad"
    return "bad" if name in _GOOD_WHEN_EMPTY and value else "plain"


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, dict):
        return " ".join(f"{name}={part}" for name, part in value.items()) or "none"
    return "none" if value is None else str(value)
