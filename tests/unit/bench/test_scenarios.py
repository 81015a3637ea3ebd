"""Scenarios ask one question each, and their tables have the rows and bars that they promise. Nothing is timed here."""

from __future__ import annotations

import gc
import re
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from bench import __main__ as command
from bench import tables
from bench.eviction import __main__ as eviction
from bench.scenarios import NAMES, loops, misses, question, scenario
from bench.scenarios.noisy_tenant import accesses
from bench.scenarios.pauses import Watch
from bench.scenarios.stale_fill import schedule
from proving.figures.statistics import Spread
from proving.figures.tables import Result, judged
from proving.rivals import MEMORY, REDIS, STALE, invited
from proving.stand.effort import Effort

if TYPE_CHECKING:
    from proving.stand.server import Server

pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{name}")
    for name in ("DeprecationWarning", "ResourceWarning", "pytest.PytestUnraisableExceptionWarning")
]
"""What the contenders' own code is warned of."""

pytest.importorskip("uvloop")


class Trial(Effort):
    """As little as possible."""

    def of(self, full: Any, quick: Any) -> Any:
        return 40 if isinstance(quick, int) and quick > 40 else quick


TRIAL = Trial(quick=True, rounds=1)


async def trial(name: str, server: Server) -> Result:
    return await scenario(name).measure(server, TRIAL)


@pytest.mark.parametrize("name", NAMES)
def test_a_scenario_asks_one_question_in_one_line(name: str) -> None:
    assert question(name).count("?") == 1
    assert question(name).endswith((".", "?"))
    assert set(loops(name)) <= {"asyncio", "uvloop"}


def _present(places: dict[str, str]) -> set[str]:
    return set(invited(places).present)


async def test_memory_hit_compares_every_contender_with_the_floor(server: Server) -> None:
    result = await trial("memory_hit", server)
    get, load = result.tables
    assert {row.name for row in get.rows} >= (_present(MEMORY) - {"dict", "alacena"}) | {"await of a dict look-up"}
    assert [row.name for row in get.rows if row.role == "ours"] == [
        "CacheManager.get, immutable", "CacheManager.get, scoped", "CacheManager.get, shared", "CacheManager.get, copied",
    ]  # fmt: skip
    assert next(row.name for row in load.rows if row.role == "ours") == "get_with_cache_aside, immutable"
    assert get.cell("await of a dict look-up", "floors") == 1.0
    assert [bar.question for bar in result.bars] == [
        "memory hit, CacheManager.get", "memory hit, get_with_cache_aside",
    ]  # fmt: skip


async def test_redis_hit_has_a_row_for_everybody_at_each_number_of_callers(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.scenarios.redis_hit._READS", {1: 8, 100: 400})
    result = await trial("redis_hit", server)
    assert [re.search(r"(\d+) caller", table.title)[1] for table in result.tables] == ["1", "100"]  # type: ignore[index]
    for table in result.tables:
        assert {row.name for row in table.rows} == _present(REDIS) - {"dogpile"}
        for row in table.rows:
            if row.role != "ours":  # ours may give up in time on a busy machine; the others wait
                answered = table.cell(row.name, "unanswered, %")
                assert isinstance(answered, Spread)
                assert answered.high == 0, f"{row.name} did not find what it had stored"
    assert len(result.bars) == 6


async def test_lineage_loses_exactly_the_answers_that_were_made_from_the_document(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.scenarios.lineage._DOCUMENTS", 20)
    result = await trial("lineage", server)
    (table,) = result.tables
    assert table.rows[0].name == "alacena"
    assert table.cell("alacena", "kept though made from it") == 0
    assert table.cell("alacena", "gone though not") == 0
    assert [bar.verdict for bar in result.bars] == ["bar", "bar", "bar"]


async def test_invalidating_a_tenant_takes_one_round_trip_and_nothing_is_served_afterwards(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.scenarios.invalidate_tenant._REAL", 20)
    monkeypatch.setattr(Trial, "of", lambda *_: (50, 100))
    result = await trial("invalidate_tenant", server)
    assert len(result.tables) == 2
    for table in result.tables:
        assert table.cell("CacheManager.invalidate(tenant)", "round trips") == 1
        assert table.cell("CacheManager.invalidate(tenant)", "served though ended") == 0
        assert table.cell("SCAN + UNLINK (redis-py)", "served though ended") == 0


async def test_a_late_fill_is_never_served_by_ours_and_always_by_a_plain_client(server: Server) -> None:
    late = 0
    while not late:  # a busy machine may let every answer of a short trial come in time
        (table,) = (await trial("stale_fill", server)).tables
        assert table.cell("alacena", "stale stores") == 0
        late = table.cell("redis-py", "late answers")
        assert table.cell("redis-py", "stale stores") == late


async def test_a_storm_of_cancellations_leaves_nothing_of_ours(server: Server) -> None:
    result = await trial("cancellation", server)
    (table,) = result.tables
    columns = ("failed by another's", "tasks left", "flights left", "leases left")
    assert [table.cell("alacena", column) for column in columns] == [0, 0, 0, 0]
    assert [bar.verdict for bar in result.bars] == ["bar", "bar"]


async def test_a_miss_has_round_trips_and_commands_for_everybody(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.scenarios.misses._CALLERS", 4)
    result = await trial("misses", server)
    memory, table = result.tables
    assert [row.name for row in memory.rows if row.role == "ours"] == [
        "Cache.load", "Cache.load_many, an entry", "get_with_cache_aside",
    ]  # fmt: skip
    assert {row.name for row in memory.rows if row.role == "peer"} == _present(MEMORY) & set(misses._IN_MEMORY)
    assert table.cell("bare", "round trips a miss") == table.cell("bare", "commands a miss") == 2
    # Look, lease, and the fill behind it; a heartbeat or what the process tells of itself may fall among them.
    assert 3 <= table.cell("alacena, get_with_cache_aside", "round trips a miss") < 3.5
    assert len(result.bars) == 4


async def test_faces_has_a_bar_for_each_verb_of_the_engine(server: Server) -> None:
    result = await trial("faces", server)
    (table,) = result.tables
    assert [row.name for row in table.rows] == ["Cache.get", "Tenant.get", "Cache.load", "Tenant.load"]
    assert table.cell("Cache.get", "beside") == "CacheManager.get"
    assert len(result.bars) == 4


async def test_promoted_reads_are_compared_with_those_past_memory(server: Server) -> None:
    result = await trial("promoted", server)
    assert len(result.tables) == len(result.bars) == 2
    for table in result.tables:
        assert [row.name for row in table.rows] == ["Cache.get(use_memory=False)", "Cache.get, promoted"]
        assert isinstance(table.cell("Cache.get, promoted", "copies kept, %"), Spread)


async def test_a_cold_batch_is_answered_and_stored_by_everybody(server: Server) -> None:
    pytest.importorskip("numpy")
    result = await trial("batches", server)
    (table,) = result.tables
    assert {row.role for row in table.rows} >= {"ours", "floor"}
    assert [bar.question for bar in result.bars] == [
        "40 cold arrays, Cache.load_many: answer, of aiocache's time",
        "40 cold arrays, Cache.load_many: CPU of the server, for 1,000",
    ]


async def test_pauses_times_every_step_of_both_processes(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "_IDLE_S": 0.05,
        "_AFTER_S": 0.05,
        "_LIFE_S": (0.2, 0.2),
        "_TENANTS_LIFE_S": (0.2, 0.2),
    }.items():
        monkeypatch.setattr(f"bench.scenarios.pauses.{name}", value)
    result = await trial("pauses", server)
    entries, tenants, collected, each = result.tables
    assert [row.role for row in entries.rows] == ["floor", *["ours"] * 8]
    assert len(tenants.rows) == 6
    assert [row.name for row in collected.rows[:2]] == ["alacena, Cache.set_many", "dict"]
    assert collected.cell("dict", "bytes over a dict") == 0
    assert len(each.rows) == 1
    assert len(result.bars) == 8 + 7 + 6


def test_a_watch_takes_collections_off_a_step() -> None:
    watch = Watch()
    with watch.watching():
        work_ms, wall_ms, collected_ms = watch.of_call(gc.collect)
    assert collected_ms > 0
    assert work_ms + collected_ms <= wall_ms + 1
    assert watch.collected_ms >= collected_ms
    assert watch.take() == (0.0, 0.0, 0.0), "it begins anew"


async def test_a_service_answers_behind_every_look_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("uvicorn")
    pytest.importorskip("fastapi")
    for name, value in {"_CLIENTS": 4, "_KEYS": 5, "_SLICES": 1}.items():
        monkeypatch.setattr(f"bench.scenarios.service.{name}", value)
    result = await trial("service", server)
    (table,) = result.tables
    rows = [row.name for row in table.rows]
    assert rows[:3] == ["no look-up", "CacheManager.get", "get_with_cache_aside"]
    assert table.cell("CacheManager.get", "failed, %") == table.cell("get_with_cache_aside", "failed, %") == 0
    assert len(result.bars) == 2


@pytest.mark.parametrize("name", tables.GROUPS)
async def test_tables_of_growth_have_a_row_a_size(name: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.tables._SAMPLES", 3)
    sizes = {"entries": (10, 20), "tenants": (1, 5), "tags": (0, 2), "values": (100, 1_000)}
    monkeypatch.setattr(Trial, "of", lambda _, full, __: sizes.get(name, 0.05 if isinstance(full, float) else 40))
    result = await tables.GROUPS[name](server, TRIAL)
    (table,) = result.tables
    assert len(table.rows) >= 1
    assert tables.GROUPS[name].__doc__.count("?") == 1


def test_schedules_of_a_seed_are_always_the_same() -> None:
    assert schedule(7) == schedule(7) != schedule(8)
    assert all(one.read_at_s <= one.answered_at_s for one in map(schedule, range(50)))


async def test_an_ingestion_refuses_exactly_the_answers_whose_documents_it_ended(server: Server) -> None:
    result = await trial("ingestion", server)
    costs, losses = result.tables
    assert costs.rows[0].name == "alacena, all at once"
    trips = costs.cell("alacena, all at once", "round trips")
    assert trips in {1, 2}, "one, and perhaps a heartbeat"
    for row in ("alacena", "any ending refuses"):
        assert losses.cell(row, "kept though a document ended") == 0
    assert losses.cell("alacena", "refused though nothing of theirs ended") == 0
    stored = losses.cell("alacena", "stored")
    assert isinstance(stored, int)
    assert stored > 0
    assert {bar.verdict for bar in result.bars} == {"bar"}


async def test_fail_safe_lets_no_error_of_the_source_through(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {name: place for name, place in STALE.items() if name.startswith("alacena")}
    monkeypatch.setattr("bench.scenarios.source_trouble.STALE", own)
    monkeypatch.setattr("bench.scenarios.source_trouble._AFTER_S", 0.2)
    result = await trial("source_trouble", server)
    down, slow, flapping, documented = result.tables
    for table in (down, slow, flapping):
        assert [row.name for row in table.rows] == list(own)
        assert table.cell("alacena, fail-safe", "errors") == 0
        assert table.cell("alacena, renewed behind", "errors") == 0
    assert down.cell("alacena, default policy", "stale") == 0
    assert down.cell("alacena, default policy", "errors") != 0
    assert down.cell("alacena, fail-safe", "stale") != 0
    assert len(documented.rows) > 5


async def test_a_noisy_tenant_meets_everybody_at_each_size(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.scenarios.noisy_tenant._LOUDER", 5)
    result = await trial("noisy_tenant", server)
    assert len(result.tables) == 3
    for table in result.tables:
        assert {row.name for row in table.rows} >= {"alacena", "alacena, all tenants as one"}


def test_accesses_beside_a_noisy_tenant_are_the_quiet_ones_and_its_own() -> None:
    quiet, both = accesses(10, noisy=False), accesses(10, noisy=True)
    assert len(quiet) == 500
    assert sorted(pick for pick in both if pick[0] != "noisy") == sorted(quiet)
    assert len(both) - len(quiet) == 1_000


def test_the_command_lists_its_scenarios(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in NAMES)


@pytest.mark.parametrize(
    "name", ["growth", "tables", "wire.hits", "eviction.__main__", "eviction.cost", "eviction.tier"]
)
def test_every_other_command_can_be_started(name: str) -> None:
    assert import_module(f"bench.{name}").__doc__


def test_eviction_policies_are_compared_cell_by_cell(capsys: pytest.CaptureFixture[str]) -> None:
    eviction._compare(Console(width=150), "Hit ratio, %", [("loop", [*range(40)] * 5)])
    shown = capsys.readouterr().out
    assert "Belady" in shown
    assert "Alacena: mean of the cells" in shown
    assert "the best online policy of each cell" in shown


def test_a_scenario_that_fails_is_shown_and_the_others_go_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(name: str, *_: Any) -> Result:
        if name == "faces":
            raise RuntimeError("no luck")
        return Result((), (judged("another", 1.0, bar=2),))

    monkeypatch.setattr(command, "_run", run)
    assert command.main(["--only", "faces", "--only", "promoted"]) == 1
    shown = capsys.readouterr().out
    assert "faces: failed" in shown
    assert "RuntimeError: no luck" in shown
    assert "another" in shown
    assert command.main(["--only", "promoted"]) == 0


@pytest.mark.parametrize("wrong", [["--chart", "x.pdf"], ["--only", "nothing"], ["--loop", "trio"]])
def test_a_wrong_option_is_refused_with_a_reason(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(wrong)
    assert wrong[1] in capsys.readouterr().err
