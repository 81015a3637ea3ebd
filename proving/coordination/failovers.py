"""Owners stopped, the server failed over behind replication, clocks off by ten minutes: is a write out of order taken?"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from proving.coordination.clocks import KEY
from proving.coordination.crew import Crew, until
from proving.coordination.fences import PROCESSES, SCHEMA, STOPPED_S, TTL_S, Resuming, counted, out_of_order, write
from proving.coordination.ledger import prepare
from proving.coordination.peers import ABSENT
from proving.coordination.peers.locks import PEERS
from proving.figures.tables import Column, Result, Row, Table, judged
from proving.servers.postgres import Postgres
from proving.servers.redis_server import RedisServer
from proving.servers.topology import PROMPT_REPLICATION

if TYPE_CHECKING:
    from proving.figures.tables import Cell
    from proving.stand.effort import Effort

OFF_S = 600
ROWS = (
    ("alacena, fenced row", "alacena", "row", 0),
    ("alacena, fenced row, clock ahead", "alacena", "row", OFF_S),
    ("alacena, fenced row, clock behind", "alacena", "row", -OFF_S),
    ("alacena, check_fence, clock behind", "alacena", "table", -OFF_S),
    ("alacena, fence ignored", "alacena", "none", 0),
    ("redis-py", "redis-py", "none", 0),
)
_QUICK = (0, 2, 4)
_COLUMNS = ("out of order", "accepted", "refused", "told", "stops", "errors", "failovers", "fences that fell")


async def measure(effort: Effort, seed: int) -> Result:
    """Each way to write by itself, on two servers of its own."""
    failovers = effort.of(8, 2)
    absent = {peer.name for peer in PEERS if peer.absent}
    rows: list[Row] = []
    violations = fell = 0
    with Postgres() as postgres:
        prepare(postgres)
        for name, peer, check, off_s in ROWS if not effort.quick else [ROWS[number] for number in _QUICK]:
            if peer in absent:
                rows.append(Row(name, (ABSENT, *(None,) * (len(_COLUMNS) - 1)), "peer"))
                continue
            postgres.execute(SCHEMA + "TRUNCATE alacena_fences;")
            cells = await fail_over_under(postgres, peer, check, off_s, failovers, random.Random(seed))
            rows.append(Row(name, cells, "ours" if check != "none" else "floor" if peer == "alacena" else "peer"))
            violations += int(str(cells[0])) if check != "none" else 0
            fell += int(str(cells[-1])) if peer == "alacena" else 0
    notes = (
        (
            f"{PROCESSES} processes, leases of {TTL_S:g} s, each stops for {STOPPED_S:g} s in every 3rd block. The replica is cut "
            "off 0.1 to 0.4 s before the primary is killed, and takes its place: what was written in between is lost"
        ),
        (
            f"clock ahead, behind: the second server's, by {OFF_S} s; they take turns. fences that fell: owners whose fence is "
            "below that of an earlier one"
        ),
    )
    table = Table("Fences across failovers", tuple(Column(name, 0) for name in _COLUMNS), tuple(rows), notes)
    bars = (
        judged("fenced writes accepted out of order across failovers", violations, bar=0),
        judged("fences below an earlier owner's", fell, bar=0),
    )
    return Result((table,), bars)


async def fail_over_under(
    postgres: Postgres, peer: str, check: str, off_s: int, failovers: int, chance: random.Random
) -> tuple[Cell, ...]:
    """Let the two servers take turns while the lock is contended for."""
    pair = [RedisServer("valkey", tcp=True, extra=PROMPT_REPLICATION) for _ in range(2)]
    with tempfile.TemporaryDirectory(prefix="alacena-") as home, pair[0], pair[1]:
        where = Path(home) / "s"
        _put_in_charge(pair[0], 0, where)
        arguments = {"url": f"unix://{where}", "dsn": postgres.dsn, "peer": peer, "check": check}
        with Crew(write, PROCESSES, **arguments, clocks_off=peer == "alacena") as crew:
            resuming = Resuming(crew)
            for number in range(failovers):
                primary, standby = pair[number % 2], pair[1 - number % 2]
                standby.call("REPLICAOF", "127.0.0.1", primary.port)
                await until(lambda standby=standby: _in_step(standby), 20)  # type: ignore[misc]
                await _watch(resuming, 0.7)
                standby.call("REPLICAOF", "NO", "ONE")
                await _watch(resuming, 0.1 + 0.3 * chance.random())
                primary.crash()
                _put_in_charge(standby, off_s * (1 - number % 2), where)
                await _watch(resuming, 0.7)
                primary.start()
            await resuming.ended()
            lines = crew.lines()
    return (out_of_order(postgres), *counted(lines), failovers, _fell(lines))


def _put_in_charge(server: RedisServer, off_s: int, where: Path) -> None:
    """Clients find the server at ``where`` from now on."""
    server.call("SET", KEY, off_s)
    fresh = where.with_suffix(".new")
    fresh.symlink_to(server.socket_path)
    fresh.replace(where)


async def _watch(resuming: Resuming, seconds: float) -> None:
    def look() -> bool:
        resuming.look()
        return False

    await until(look, seconds, every_s=0.01)


def _in_step(replica: RedisServer) -> bool:
    return "master_link_status:up" in replica.call("INFO", "replication")


def _fell(lines: list[str]) -> int:
    """How many owners have a lower fence than one before them."""
    turns = sorted(tuple(map(int, line.split(" ")[1:])) for line in lines if line.startswith("turn"))
    highest = fell = 0
    for _, fence in turns:
        fell += fence < highest
        highest = max(highest, fence)
    return fell
