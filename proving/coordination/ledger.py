"""Tokens counted while clients, relays, Redis and Postgres are killed in turn, each call up to three times: exactly?"""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from alacena.engine import Cache, Settings
from alacena.engine.base.errors import BackendError
from alacena.sources.ledger import PostgresAuthority, migrations
from proving.coordination.crew import Crew, patiently, until
from proving.figures.tables import Column, Result, Row, Table, judged
from proving.servers.postgres import Postgres
from proving.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from proving.coordination.crew import Journal
    from proving.figures.tables import Cell
    from proving.stand.effort import Effort

Mode = Literal["fast", "safe", "durable"]

CLIENTS = 4
TENANTS = 8
KILL_EVERY_S = 0.7
MOST_KILLS = 24
PEACE_S = 240.0
"""After the last kill everything must be confirmed within this."""
ROLES = ("client", "redis", "postgres", "relay", "client", "client")
"""Whose turn it is to be killed."""
DSN_OPTIONS: dict[str, Any] = {"max_size": 8, "timeout": 5, "command_timeout": 5}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run.

    Attributes:
        name: As it is shown.
        mode: Of every call.
        calls: How many there are.
        at_once: How many each client has under way.
        bound: What the mode says that it may lose.
        spill: Whether clients have a spill file.
        file: Whether Redis has one.
        patience: By how much longer than otherwise the pauses between kills are, where a confirmation takes its time.
    """

    name: str
    mode: Mode
    calls: int
    at_once: int
    bound: str
    spill: bool = False
    file: bool = True
    patience: float = 1.0


def tokens_of(number: int) -> int:
    """What a call uses."""
    return 1 + number * 7 % 1_000


async def client(
    journal: Journal, url: str, dsn: str, mode: Mode, calls: int, at_once: int, spill: str | None, place: int
) -> None:
    """Make this place's calls, each up to three times with the same key, until confirmed; then note it.

    A replacement starts with what its predecessors have not noted: what they had made is made again.
    """
    noted = set(journal.predecessors())
    rest = iter([number for number in range(place, calls, CLIENTS) if f"{number:08}" not in noted])
    settings = Settings(redis_url=url, ledger_spill_path=spill and f"{spill}-{place}")
    async with Cache(settings, authority=await PostgresAuthority.connect(dsn, **DSN_OPTIONS)) as cache:

        async def caller() -> None:
            for number in rest:
                confirmed = 0
                while confirmed < 1 + number % 3:
                    try:
                        await cache.ledger.record(
                            f"tenant-{number % TENANTS}", tokens_of(number), model=f"m{number % 3}",
                            idempotency_key=f"call-{number}", mode=mode,
                        )  # fmt: skip
                        confirmed += 1
                    except BackendError:
                        await asyncio.sleep(0.05)
                journal.note(f"{number:08}")

        await asyncio.gather(*(caller() for _ in range(at_once)))
        await asyncio.Event().wait()


async def relay(journal: Journal, url: str, dsn: str, place: int) -> None:
    """Carry what the clients leave in their outboxes."""
    async with Cache(Settings(redis_url=url), authority=await PostgresAuthority.connect(dsn, **DSN_OPTIONS)):
        await asyncio.Event().wait()


async def measure(effort: Effort, seed: int) -> Result:
    """One run a mode, on servers of its own."""
    del seed
    plans = _plans(effort)
    kill_every_s = effort.of(KILL_EVERY_S, 0.25)
    seen = [await run(plan, kill_every_s) for plan in plans]
    runs = list(zip(plans, seen, strict=True))
    over = sum(run.over for _, run in runs)
    under = sum(run.under for plan, run in runs if plan.mode != "fast")
    lost_s = max(run.lost_s for plan, run in runs if plan.mode == "fast" and plan.file)
    facts = [run.facts(plan) for plan, run in zip(plans, seen, strict=True)]
    rows = tuple(Row(name, tuple(each[name] for each in facts), "ours") for name in facts[0])
    notes = (
        (
            f"{CLIENTS} clients and a relay; each call is made once, twice or three times with its key; one of them, Redis or "
            f"Postgres is killed each {kill_every_s:g} s ({', '.join(f'{p.name}: {kill_every_s * p.patience:g} s' for p in plans if p.patience != 1)}), "
            f"in turn: {', '.join(ROLES)}"
        ),
        (
            "truth: the tokens of all calls. Servers are killed, not unplugged: what they wrote to their files survives that. "
            "While its disk is slow, Redis writes up to two seconds late, and then even its death alone costs fast a little. Calls a second count the repeats, and the outages; safe waits a second or two for each, whatever "
            "the number at once. Postgres does not wait for its disk here: on one that does, durable is slower"
        ),
    )
    table = Table("The ledger under faults", tuple(Column(plan.name, 0) for plan in plans), rows, notes)
    return Result(
        (table,),
        (
            judged("tokens over the truth", over, bar=0),
            judged("safe, durable: tokens under the truth", under, bar=0),
            judged("fast, with a file: counting lost a crash of Redis", lost_s, bar=1.0, goal=0.0, unit=" s"),
        ),
    )


def _plans(effort: Effort) -> list[Plan]:
    calls = effort.of(100_000, 2_000)
    return [
        Plan(name="fast", mode="fast", calls=calls, at_once=50, bound="≤ 1 s"),
        Plan(name="fast, spilling", mode="fast", calls=calls, at_once=50, spill=True, bound="≤ 1 s"),
        Plan(name="safe", mode="safe", calls=effort.of(calls, 600), at_once=effort.of(2_500, 150), bound="0, on disk", patience=effort.of(2, 5)),
        Plan(name="durable", mode="durable", calls=calls, at_once=100, bound="0, committed"),
        Plan(name="fast, no file", mode="fast", calls=calls, at_once=50, file=False, bound="Redis"),
    ]  # fmt: skip


@dataclass(slots=True)
class Seen:
    """What a run has shown."""

    truth: int
    postgres: int
    redis: int
    calls_per_s: float
    kills: dict[str, int]
    took_s: float

    @property
    def lost_s(self) -> float:
        """Counted too little, in seconds of counting, for each death of Redis."""
        return self.under / self.truth * self.took_s / max(self.kills.get("redis", 0), 1)

    @property
    def over(self) -> int:
        """Counted too much."""
        return max(self.postgres - self.truth, 0)

    @property
    def under(self) -> int:
        """Counted too little."""
        return max(self.truth - self.postgres, 0)

    def facts(self, plan: Plan) -> dict[str, Cell]:
        """What is shown of it."""
        return {
            "may lose": plan.bound,
            "calls": plan.calls,
            "calls at once": CLIENTS * plan.at_once,
            **{f"{role} killed": self.kills.get(role, 0) for role in dict.fromkeys(ROLES)},
            "truth, tokens": self.truth,
            "Postgres over": self.over,
            "Postgres under": self.under,
            "Redis's totals − truth": self.redis - self.truth,
            "calls/s": self.calls_per_s,
        }


async def run(plan: Plan, kill_every_s: float) -> Seen:
    flags = ("--appendonly", "yes") if plan.file else ()
    with RedisServer("valkey", extra=flags) as redis, Postgres() as postgres, _folder() as home:
        prepare(postgres)
        where = {"url": redis.url, "dsn": postgres.dsn}
        made = {"mode": plan.mode, "calls": plan.calls, "at_once": plan.at_once}
        spill = f"{home}/spill" if plan.spill else None
        with Crew(relay, 1, **where) as relays, Crew(client, CLIENTS, **where, **made, spill=spill) as clients:
            began = time.monotonic()
            kills = await _kill_in_turn(plan, kill_every_s * plan.patience, clients, relays, redis, postgres)
            took_s = time.monotonic() - began
            async with Cache(Settings(redis_url=redis.url)) as cache:
                await until(lambda: _all_carried(cache, Path(home)), 60)
                used = [(await cache.ledger.totals(f"tenant-{number}")).used for number in range(TENANTS)]
        total = int(postgres.execute("SELECT coalesce(sum(tokens), 0) FROM alacena_token_daily WHERE NOT saved"))
    truth = sum(map(tokens_of, range(plan.calls)))
    return Seen(truth, total, sum(used), sum(1 + n % 3 for n in range(plan.calls)) / took_s, kills, took_s)


async def _kill_in_turn(
    plan: Plan, kill_every_s: float, clients: Crew, relays: Crew, redis: RedisServer, postgres: Postgres
) -> dict[str, int]:
    """Kill until every call has been confirmed, or often enough; then only wait."""
    kills: dict[str, int] = {}
    for number in range(MOST_KILLS):
        if await until(lambda: clients.noted_bytes() >= 9 * plan.calls, kill_every_s):
            break
        role = ROLES[number % len(ROLES)]
        kills[role] = kills.get(role, 0) + 1
        if role == "client":
            clients.kill(number % CLIENTS)
        elif role == "relay":
            relays.kill(0)
        else:
            (redis if role == "redis" else postgres).restart()
    if not await until(lambda: clients.noted_bytes() >= 9 * plan.calls, PEACE_S):
        raise TimeoutError(f"{plan.name}: not every call was confirmed {PEACE_S:g} s after the last kill")
    return kills


async def _all_carried(cache: Cache, home: Path) -> bool:
    """Whether nothing waits any more, on the way to Redis or to Postgres."""
    waiting = await asyncio.to_thread(lambda: [path.suffix for path in home.glob("spill*")])
    if {"", ".draining"} & set(waiting):
        return False
    waits = [await patiently(lambda n=number: cache.ledger.backlog(f"tenant-{n}")) for number in range(TENANTS)]  # type: ignore[misc]
    return not sum(waits)


def prepare(postgres: Postgres) -> None:
    """The roles that the migrations grant to, and the migrations."""
    for role in ("anon", "authenticated", "service_role"):
        postgres.execute(f"DO $$ BEGIN CREATE ROLE {role}; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    for migration in migrations():
        postgres.execute(migration.sql)


def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="alacena-ledger-")
