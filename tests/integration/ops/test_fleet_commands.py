"""What the command line shows of the processes of a namespace."""

from __future__ import annotations

import asyncio
import json

import pytest

from alacena.engine import Cache, Settings


@pytest.fixture
def beside(alacena, valkey_server, work):
    """``beside("fleet")``: what a command says while a process works, and its exit code."""

    def ask(*words, code=0):
        said = []

        async def job(cache):
            await cache.load("document", "d1", "acme", lambda: "text")
            for _ in range(3):
                await cache.get("document", "d1", "acme")
            await cache.get("note", "none", "other")
            await cache.fleet()
            done = await asyncio.to_thread(alacena, *words, "--json", url=valkey_server.url)
            assert done.exit_code == code, done.output
            said.append(json.loads(done.stdout))

        work(valkey_server.url, job, process_name="web-1", fleet_every_s=0.5)
        return said[0]

    return ask


def test_fleet_lists_processes_and_what_they_count(beside):
    said = beside("fleet")
    (process,) = said["processes"]
    assert process["name"].startswith("web-1#")
    assert not process["is_stale"]
    assert process["snapshot"]["total"]["reads"]["load"] == 1
    assert said["silent"] == 0


def test_nobody_there_is_a_finding(alacena, valkey_server):
    done = alacena("fleet", url=valkey_server.url)
    assert done.exit_code == 1
    assert "No process of this namespace" in done.output


def test_top_sums_by_tenant_and_type_and_sorts(beside):
    rows = beside("top", "--by", "loads")["rows"]
    assert [(row["tenant_id"], row["data_type"], row["loads"]) for row in rows] == [
        ("acme", "document", 1),
        ("other", "note", 0),
    ]
    assert rows[1]["misses"]["absent"] == 1


def test_top_asks_for_one_tenant_whether_it_is_listed_or_not(beside):
    said = beside("top", "--tenant", "acme")
    (row,) = said["rows"]
    assert (row["data_type"], row["entries"], row["loads"]) == ("document", 1, 1)
    assert (said["asked"], said["answered"]) == (1, 1)
    assert beside("top", "--tenant", "nobody", code=1)["rows"] == []


def test_top_without_a_terminal_prints_lines_once(alacena, valkey_server):
    done = alacena("top", url=valkey_server.url)
    assert done.exit_code == 1  # no process is heard
    assert "0 processes" in done.output
    assert alacena("top", "--by", "nothing", url=valkey_server.url).exit_code == 2


def test_stats_tell_what_processes_have_read(beside):
    said = beside("stats")
    assert said["processes"]["heard"] == 1
    assert said["processes"]["reads"]["load"] == 1
    assert {"tenant_id": "acme", "data_type": "document", "entries": 1} in said["entries"]


def test_explain_asks_each_process_unless_told_not_to(beside):
    assert "processes" not in beside("explain", "document", "d1", "--tenant", "acme", "--here")
    said = beside("explain", "document", "d1", "--tenant", "acme")
    (one,) = said["processes"]
    assert one["process"].startswith("web-1#")
    assert one["loading"] is False


def test_stats_show_a_bounded_number_of_rows(alacena, valkey_server, work):
    async def fill(cache):
        await cache.set_many("document", {f"d{number}": number for number in range(3)}, "most")
        for tenant in "abcd":
            await cache.set("document", "d", 1, tenant)

    work(valkey_server.url, fill)
    said = json.loads(alacena("stats", "--json", "--limit", "2", url=valkey_server.url).stdout)
    assert [row["tenant_id"] for row in said["entries"]] == ["most", "a"]
    assert said["complete"] is False
    assert "3 more tenants and types" in alacena("stats", "--limit", "2", url=valkey_server.url).stdout


@pytest.mark.parametrize("words", ["fleet", "top --once"])
def test_without_a_server_they_end_with_3(words, alacena):
    assert alacena(*words.split()).exit_code == 3


async def test_the_live_view_shows_sorts_and_stops():
    pytest.importorskip("textual")
    from textual.widgets import DataTable, Static

    from alacena.ops.top import TopApp

    async with Cache(Settings()) as cache:
        await cache.load("document", "d1", "acme", lambda: "text")
        await cache.get("note", "[red]x", "[/]")
        app = TopApp(cache)
        async with app.run_test(size=(140, 30)) as pilot:
            await pilot.pause()
            table = app.query_one(DataTable)
            assert table.row_count == 2
            await pilot.press("s")
            await pilot.pause()
            assert "by misses" in str(app.query_one("#summary", Static).render())
            await pilot.press("p")
            await cache.get("third", "x", "acme")
            await app.renew()
            assert table.row_count == 2
            await pilot.press("p")
            await pilot.pause()
            assert table.row_count == 3
