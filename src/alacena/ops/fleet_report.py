"""The reports of the processes of a namespace, as answers that any presentation can show."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from alacena.engine import AlacenaError
from alacena.engine.base.snapshot import REST
from alacena.ops.output import Cell, CommandResult, Table, count_processes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from alacena.coordination.fleet import Member
    from alacena.engine import Cache, Row, Snapshot

By = Literal["reads", "misses", "loads", "failures", "bytes", "evictions"]

_ANSWERS: Final = ("memory", "redis", "load", "waited", "stale", "none")
_ASKED_FOR: Final = (
    "memory", "memory_serves_for_s", "loading", "loading_for_s", "last_outcome", "removal_owed", "source_left_alone",
    "ended_for_s",
)  # fmt: skip
_TENANT: Final = ("entries", "bytes", "hits", "misses", "loads", "load_failures", "evictions", "expirations")
_MOST_ASKED: Final = 64
_LEAST_S: Final = 0.1
COLUMNS: Final = (
    "tenant", "type", "reads", "memory %", "redis %", "misses", "why", "loads", "ms a load", "failures", "bytes",
    "evictions",
)  # fmt: skip


@dataclass(slots=True)
class TypeCounts:
    """The counts of one type of one tenant, over several processes."""

    tenant: str
    kind: str
    answers: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_ANSWERS, 0))
    reasons: dict[str, int] = field(default_factory=dict)
    loads: int = 0
    failures: int = 0
    load_s: float = 0.0
    bytes: int = 0
    evictions: int = 0

    @property
    def reads(self) -> int:
        """Reads in all."""
        return sum(self.answers.values())

    @property
    def misses(self) -> int:
        """Reads that no tier answered with something fresh."""
        return sum(self.reasons.values())

    def add(self, row: Row) -> None:
        """Adds the counts of one process."""
        for name, count in msgspec.structs.asdict(row.reads).items():
            self.answers[name] += count
        for name, count in msgspec.structs.asdict(row.misses).items():
            self.reasons[name] = self.reasons.get(name, 0) + count
        self.loads += row.loads
        self.failures += row.load_failures
        self.load_s += row.load_s
        self.bytes += row.bytes
        self.evictions += row.evictions

    @property
    def cells(self) -> list[str]:
        """The cells that a table shows of it."""
        why = max(self.reasons.items(), key=lambda pair: pair[1], default=("", 0))
        return [
            self.tenant, self.kind, str(self.reads), _part(self.answers["memory"], self.reads),
            _part(self.answers["redis"], self.reads), str(self.misses), why[0] if why[1] else "", str(self.loads),
            f"{1000 * self.load_s / self.loads:.1f}" if self.loads else "", str(self.failures), size(self.bytes),
            str(self.evictions),
        ]  # fmt: skip

    @property
    def data(self) -> dict[str, Any]:
        """All of it, for programs."""
        return {
            "tenant_id": self.tenant, "data_type": self.kind, "reads": self.answers, "misses": self.reasons,
            "loads": self.loads, "load_failures": self.failures, "load_s": self.load_s, "bytes": self.bytes,
            "evictions": self.evictions,
        }  # fmt: skip


def sum_types(snapshots: Iterable[Snapshot], by: By = "reads") -> list[TypeCounts]:
    """Returns the counts of some processes by tenant and type, the greatest first."""
    found: dict[tuple[str, str], TypeCounts] = {}
    for snapshot in snapshots:
        for row in snapshot.rows:
            name = (row.tenant, row.kind)
            found.setdefault(name, TypeCounts(*name)).add(row)
    # Names break ties, so that rows keep their places from one look to the next.
    return sorted(found.values(), key=lambda line: (-getattr(line, by), line.tenant, line.kind))


def fresh_snapshots(members: Sequence[Member]) -> list[Snapshot]:
    """Returns the snapshots of the processes that are not silent."""
    return [member.snapshot for member in members if member.snapshot is not None and not member.is_stale]


async def fleet(cache: Cache) -> CommandResult:
    """Returns the processes of the namespace; one that is silent is a finding, and so is none at all."""
    members = await cache.fleet()
    silent = sum(member.is_stale for member in members)
    if not members:
        words = "No process of this namespace was heard within a minute: is this their server and their namespace?"
        return CommandResult({"processes": []}, (Cell(words, "bad"),), code=1)
    cells = [_member(member) for member in members]
    columns = ("process", "heard", "up", "server", "memory", "reads", "loading", "faults")
    verdict = Cell(f"{count_processes(len(members))} heard.", "good")
    if silent:
        verdict = Cell(
            f"{count_processes(len(members))}, {silent} silent: ended without closing, hung or cut off.", "bad"
        )
    data = {"processes": [msgspec.to_builtins(member) for member in members], "silent": silent}
    return CommandResult(data, (), (Table("", columns, cells),), (verdict,), code=1 if silent else 0)


async def top(cache: Cache, by: By, most: int) -> CommandResult:
    """Returns the counts of the processes since they started, by tenant and type, the greatest first."""
    members = await cache.fleet()
    snapshots = fresh_snapshots(members)
    found = sum_types(snapshots, by)
    shown = found[:most]
    cells = [[Cell(text) for text in line.cells] for line in shown]
    tables = (Table("", COLUMNS, cells),) if cells else ()
    left = f"; {len(found) - len(shown)} more: give a greater --limit" if len(found) > len(shown) else ""
    rest = " _other sums up the rest: --tenant NAME asks the processes for one." if any(map(_is_rest, found)) else ""
    words = f"{count_processes(len(snapshots))}; counted since the start of each{left}.{rest}"
    data = {"processes": len(snapshots), "rows": [line.data for line in shown], "complete": not left}
    return CommandResult(data, (), tables, (Cell(words),), code=0 if snapshots else 1)


def _is_rest(line: TypeCounts) -> bool:
    return REST in (line.tenant, line.kind)


async def tenant(cache: Cache, tenant_id: str, deadline_s: float) -> CommandResult:
    """Returns the processes' entries and counts of one tenant, by type: also of one that their reports sum up.

    Args:
        cache: The cache that asks.
        tenant_id: Which tenant.
        deadline_s: How long to wait for all of them; one that does not answer has an error.
    """
    answers = await ask_all(cache, "tenant", {"tenant_id": tenant_id}, deadline_s)
    known = [answer for answer in answers if "error" not in answer]
    sums: dict[str, dict[str, int | None]] = {}
    for answer in known:
        for kind, counts in answer["types"].items():
            before = sums.get(kind)
            sums[kind] = counts if before is None else {name: _add(before[name], counts[name]) for name in counts}
    rows = [{"tenant_id": tenant_id, "data_type": kind, **counts} for kind, counts in sorted(sums.items())]
    data = {"rows": rows, "asked": len(answers), "answered": len(known), "processes": answers}
    cells = [
        [Cell(kind), *(Cell(_show_count(name, counts[name])) for name in _TENANT)]
        for kind, counts in sorted(sums.items())
    ]
    tables = (
        (Table(f"Tenant {tenant_id}", ("type", *(name.replace("_", " ") for name in _TENANT)), cells),) if cells else ()
    )
    silent = len(answers) - len(known)
    words = f"{len(known)} of {count_processes(len(answers))} answered."
    if any(row["misses"] is None for row in rows):
        words += " None of them counts its misses and loads one by one: it is not among the busiest."
    nothing = "" if cells else f" None of them holds or counts anything of tenant {tenant_id!r}."
    return CommandResult(
        data, (), tables, (Cell(words + nothing, "doubtful" if silent else "plain"),), code=0 if cells else 1
    )


def _add(one: int | None, other: int | None) -> int | None:
    # A process that does not count the tenant one by one knows no misses of it; another one may.
    return other if one is None else one if other is None else one + other


def _show_count(name: str, count: int | None) -> str:
    return "" if count is None else size(count) if name == "bytes" else str(count)


async def ask_others(cache: Cache, words: dict[str, Any], deadline_s: float) -> list[dict[str, Any]]:
    """Returns each other process's knowledge of one entry; one that does not answer has an ``error``.

    One that has been silent for a while is not asked; ``silent_s`` says for how long.

    Args:
        cache: The cache that asks.
        words: Which entry.
        deadline_s: How long to wait for all of them. Nothing is waited for if no other process is heard.
    """
    answers = await ask_all(cache, "explain", words, deadline_s, besides=own_name(cache))
    kept = {"process", "error", "silent_s", *_ASKED_FOR}
    return [{name: value for name, value in answer.items() if name in kept} for answer in answers]


async def ask_all(
    cache: Cache, question: str, words: dict[str, Any], deadline_s: float, *, besides: str = ""
) -> list[dict[str, Any]]:
    """Returns the answer of each process, under ``process`` its name; one that does not answer has an ``error``.

    Args:
        cache: The cache that asks.
        question: One of those of ``Cache.ask``.
        words: The words of the question.
        deadline_s: How long to wait for all of them.
        besides: A process that is not asked.
    """
    until = asyncio.get_running_loop().time() + deadline_s
    try:
        async with asyncio.timeout_at(until):
            others = [member for member in await cache.fleet() if member.name != besides]
    except (AlacenaError, TimeoutError) as error:
        return [{"process": "the list of processes", "error": str(error) or "no answer in time"}]
    # A silent process is not asked: waiting for it would use up the whole deadline.
    members = [member for member in others if not member.is_stale]
    gone = [
        {"process": member.name, "silent_s": member.age_s, "error": f"silent for {member.age_s:.0f} s"}
        for member in others
        if member.is_stale
    ]
    asked, rest = members[:_MOST_ASKED], members[_MOST_ASKED:]
    left_s = max(until - asyncio.get_running_loop().time(), _LEAST_S)
    answers = await asyncio.gather(*(_ask(cache, member.name, question, words, left_s) for member in asked))
    unasked = [{"process": member.name, "error": f"only {_MOST_ASKED} processes are asked"} for member in rest]
    return [*answers, *unasked, *gone]


def own_name(cache: Cache) -> str:
    """Returns the name by which this process is asked."""
    snapshot = cache.snapshot()
    return f"{snapshot.process}#{snapshot.instance}"


async def _ask(cache: Cache, process: str, question: str, words: dict[str, Any], deadline_s: float) -> dict[str, Any]:
    try:
        answer = await cache.ask(process, question, words, deadline_s=deadline_s)
    except TimeoutError:
        return {"process": process, "error": f"no answer within {deadline_s:g} s"}
    except AlacenaError as error:
        return {"process": process, "error": str(error)}
    return {**answer, "process": process}


def _member(member: Member) -> list[Cell]:
    heard = Cell(f"{member.age_s:.1f} s ago", "bad" if member.is_stale else "good")
    snapshot = member.snapshot
    if snapshot is None:
        return [Cell(member.name), heard, *[Cell("")] * 6]
    server = Cell("yes" if snapshot.connected else "no", "good" if snapshot.connected else "bad")
    faults = ", ".join(f"{fault.part}: {fault.fault}" for fault in snapshot.faults)
    return [
        Cell(member.name),
        heard,
        Cell(_span(snapshot.uptime_s)),
        server,
        Cell(
            f"{size(snapshot.memory_bytes)} of {size(snapshot.memory_max_bytes)}",
            "plain" if snapshot.memory_serves else "doubtful",
        ),
        Cell(str(snapshot.total.reads.total)),
        Cell(str(snapshot.loads_under_way)),
        Cell(faults, "doubtful" if faults else "plain"),
    ]


def _part(some: int, of: int) -> str:
    return f"{100 * some / of:.1f}" if of else ""


def size(count: float) -> str:
    """Returns a number of bytes in the unit that reads best."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
