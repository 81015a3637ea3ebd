"""The other commands: what they print, as lines and as JSON, and how they end."""

import asyncio
import json
import os
import pty
import re
import subprocess
import sys

import pytest

from alacena.engine import Cache, Settings

HOSTILE = "[red]x[/] \u202ed1\n\x1b[2J" + "9" * 10_000


@pytest.fixture
def told(alacena, valkey_server):
    """``told("keys", code=0)``: what a command says as JSON."""

    def ask(*words, code=0):
        done = alacena(*words, "--json", url=valkey_server.url)
        assert done.exit_code == code, done.output
        return json.loads(done.stdout)

    return ask


@pytest.fixture
def on(work, valkey_server):
    return lambda job, **settings: work(valkey_server.url, job, **settings)


def test_keys_are_listed_with_their_names_up_to_a_limit(told, on):
    async def job(cache):
        await cache.set("document", "a:b c", 1, "acme")
        await cache.set("document", "d2", 1, "acme", agent_id="a1", collection_id="manuals")
        await cache.set("query_result", "q", 1, "other.inc")

    on(job)
    found = told("keys")

    assert found["complete"]
    assert [(one["tenant_id"], one["data_type"], one["resource_id"]) for one in found["entries"]] == [
        ("acme", "document", "a:b c"),
        ("acme", "document", "d2"),
        ("other.inc", "query_result", "q"),
    ]
    assert found["entries"][1]["agent_id"] == "a1"
    assert found["entries"][1]["collection_id"] == "manuals"
    assert len(told("keys", "--tenant", "other.inc")["entries"]) == 1
    assert len(told("keys", "--type", "document")["entries"]) == 2
    assert told("keys", "--limit", "1")["complete"] is False


def test_a_tenant_that_looks_like_a_pattern_matches_itself_alone(told, on):
    async def job(cache):
        for tenant in ("acme", "a*", "a[b]"):
            await cache.set("document", "d", 1, tenant)

    on(job)

    assert [one["tenant_id"] for one in told("keys", "--tenant", "a*")["entries"]] == ["a*"]
    assert [one["tenant_id"] for one in told("keys", "--tenant", "a[b]")["entries"]] == ["a[b]"]


def test_the_search_says_where_it_stopped(alacena, valkey_server):
    for number in range(0, 6_000, 500):
        valkey_server.call("MSET", *(word for n in range(500) for word in (f"other:{number + n}", "1")))
    done = alacena("keys", "--most", "1000", url=valkey_server.url)

    assert "only about" in done.stdout
    assert "--most" in done.stdout


def test_get_prints_the_value_and_a_miss_is_a_finding(told, on, alacena, valkey_server):
    async def job(cache):
        await cache.set("document", "d1", {"text": "ñ", "raw": b"\x00"}, "acme")
        await cache.set("document", "d1", "of the agent", "acme", agent_id="a1")

    on(job)

    assert told("get", "document", "d1", "--tenant", "acme")["value"]["text"] == "ñ"
    assert told("get", "document", "d1", "--tenant", "acme", "--agent", "a1")["value"] == "of the agent"
    assert told("get", "document", "none", "--tenant", "acme", code=1) == {"found": False, "value": None}
    assert (
        alacena("get", "document", "d1", "--tenant", "acme", "--agent", "a1", url=valkey_server.url).stdout
        == "of the agent\n"
    )


def test_invalidate_asks_first(told, on, alacena, valkey_server):
    async def job(cache):
        await cache.set("document", "d1", 1, "acme", document_ids=["d1"])

    on(job)
    refused = alacena("invalidate", "--tenant", "acme", "--document", "d1", url=valkey_server.url)

    assert refused.exit_code == 2
    assert "--yes" in refused.output
    assert told("get", "document", "d1", "--tenant", "acme")["found"]
    assert told("invalidate", "--tenant", "acme", "--document", "d1", "--yes") == {"confirmed": True}
    assert not told("get", "document", "d1", "--tenant", "acme", code=1)["found"]


def test_queues_show_their_dead_and_what_becomes_of_them(told, on):
    async def job(cache):
        queue = cache.queues("ingest", tenant_id="acme", max_attempts=1)
        await queue.push_many([{"n": 1}, {"n": 2}, {"n": 3}], ids=["one", "two", "three"])
        for item in await queue.reserve(3):
            await item.nack(reason="broken\nline")
        await cache.queues("idle", tenant_id="other").push(1)

    on(job)
    rows = {(row["tenant_id"], row["queue"]): row for row in told("queues", "stats")["queues"]}

    assert rows["acme", "ingest"]["dead"] == 3
    assert rows["other", "idle"]["ready"] == 1
    assert [row["queue"] for row in told("queues", "stats", "--tenant", "other")["queues"]] == ["idle"]
    letters = told("queues", "dead", "ingest", "--tenant", "acme")["dead"]
    assert {letter["id"] for letter in letters} == {"one", "two", "three"}
    assert letters[0]["reason"] == "broken\nline"
    words = ("ingest", "--tenant", "acme", "--yes")
    assert told("queues", "replay", *words, "--id", "one") == {"count": 1}
    assert told("queues", "discard", *words, "--id", "no-such", code=1) == {"count": 0}
    assert told("queues", "discard", *words) == {"count": 2}
    (row,) = told("queues", "stats", "ingest", "--tenant", "acme")["queues"]
    assert (row["ready"], row["dead"]) == (1, 0)


def test_discard_is_not_done_without_a_yes(alacena, valkey_server):
    assert alacena("queues", "discard", "ingest", "--tenant", "acme", url=valkey_server.url).exit_code == 2


def test_locks_say_what_they_may_leave_out_and_how_it_is_found(alacena, valkey_server):
    assert "every key was looked at" in alacena("locks", url=valkey_server.url).output
    valkey_server.call("MSET", *(word for number in range(21_000) for word in (f"other:{number}", "1")))
    assert "alacena locks --search" in alacena("locks", url=valkey_server.url).output
    assert "--search" not in alacena("locks", "--search", url=valkey_server.url).output


def test_queues_whose_names_cannot_be_read_back_are_counted(alacena, valkey_server, work):
    work(valkey_server.url, lambda cache: cache.queues("q" * 300, tenant_id="acme").push(1))
    assert "cannot be read back: 1." in alacena("queues", "stats", url=valkey_server.url).output


def test_locks_tokens_and_stats(told, alacena, valkey_server, work):
    async def job(cache):
        await cache.ledger.record("acme", 120, model="m", idempotency_key="k")
        await cache.set("document", "d1", 1, "acme")
        async with cache.locks.acquire("reindex", tenant_id="acme") as lock:
            await cache.fleet()
            done = await asyncio.to_thread(alacena, "locks", "--json", url=valkey_server.url)
            (held,) = json.loads(done.stdout)["locks"]
            assert held["name"] == "reindex"
            assert held["fence"] == lock.fence
            assert held["process"].startswith("web-1#")
            assert 0 < held["left_s"] <= 30

    async def leave(cache):
        await cache.locks.try_acquire("left", tenant_id="acme")

    work(valkey_server.url, job, process_name="web-1")
    assert told("locks") == {"locks": [], "complete": True}
    work(valkey_server.url, leave, process_name="web-2", fleet_every_s=None)
    for words in ((), ("--search",)):
        (found,) = told("locks", *words)["locks"]
        assert (found["name"], found["process"]) == ("left", None)
    work(valkey_server.url, lambda cache: cache.locks.try_acquire("kept", tenant_id="acme"), process_name="web-3")
    kept, _ = told("locks")["locks"]
    assert kept["name"] == "kept"
    assert kept["process"].startswith("web-3#")
    assert told("tokens", "--tenant", "acme")["used"] == 120
    assert told("tokens", "--tenant", "acme", "--month", "2020-01")["used"] == 0
    assert {"tenant_id": "acme", "data_type": "document", "entries": 1} in told("stats")["entries"]


def test_guarantee_ends_with_what_it_found(told, alacena, valkey_server, start_redis):
    assert told("guarantee")["coordination"] == "all processes"
    assert alacena("guarantee", url=start_redis(maxmemory_policy="allkeys-lru").url).exit_code == 1
    assert alacena("guarantee", url="redis://127.0.0.1:1").exit_code == 3
    assert alacena("guarantee").exit_code == 0


@pytest.mark.parametrize("words", ["keys", "stats", "locks", "queues stats", "tokens --tenant a", "get t i --tenant a"])
def test_without_a_server_a_command_ends_with_3(words, alacena):
    done = alacena(*words.split())

    assert done.exit_code == 3
    assert "--url" in done.output


def test_wrong_usage_ends_with_2(alacena, valkey_server):
    assert alacena("explain", "document").exit_code == 2
    assert alacena("keys", url="http://nowhere").exit_code == 2
    assert alacena("get", "document", " ", "--tenant", "acme", url=valkey_server.url).exit_code == 2
    assert (
        alacena("tokens", "--tenant", "a", "--day", "2025-01-01", "--month", "2025-01", url=valkey_server.url).exit_code
        == 2
    )


def test_names_that_would_move_the_cursor_are_printed_as_codes(alacena, valkey_server):
    async def job():
        async with Cache(Settings(redis_url=valkey_server.url)) as cache:
            await cache.set("document", "short\n\x1b[2J\u202e[bold]", 1, "acme")

    asyncio.run(job())
    shown = alacena("keys", url=valkey_server.url).stdout

    assert "short\\n\\x1b[2J\\u202e[bold]" in shown
    assert "\x1b" not in shown
    done = alacena("explain", "document", HOSTILE, "--tenant", "acme", url=valkey_server.url)
    assert done.exit_code == 0
    assert "[red]x[/] \\u202ed1\\n\\x1b[2J9" in done.stdout
    assert "9" * 10_000 in done.stdout, "a pipe is given everything"


def test_forty_columns_are_enough(valkey_server):
    """On a terminal what is long is shortened, no line is wider than it is, and no name is taken for markup."""
    master, slave = pty.openpty()
    environ = {**os.environ, "COLUMNS": "40", "TERM": "xterm"}
    command = [sys.executable, "-c", "from alacena.ops.cli import main; main()"]
    command += ["explain", "document", HOSTILE, "--tenant", "[red]acme", "--url", valkey_server.url]
    with subprocess.Popen(command, stdout=slave, stdin=subprocess.DEVNULL, env=environ, close_fds=True) as running:
        os.close(slave)
        shown = b""
        while True:
            try:
                data = os.read(master, 65_536)
            except OSError:
                break
            if not data:
                break
            shown += data
    os.close(master)
    assert running.returncode == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())

    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 40
    assert "characters)" in text.replace("\r\n", "")
    assert "[red]x[/]" in text.replace("\r\n", "")


def test_completion_can_be_installed(alacena):
    assert "--install-completion" in alacena("--help").stdout


def test_bench_measures_and_leaves_no_entry(alacena, valkey_server):
    done = alacena("bench", "--seconds", "0.4", "--json", url=valkey_server.url)
    said = json.loads(done.stdout)

    assert done.exit_code == (0 if said["memory_serves"] else 1)
    assert said["server_read_ms"] > 0
    assert said["server_reads_per_s"] > 0
    assert (
        alacena("get", "alacena_bench_memory", "one", "--tenant", "alacena-bench", url=valkey_server.url).exit_code == 1
    )
    assert alacena("bench").exit_code == 3


def test_migrations_are_looked_for_and_applied(alacena, unmigrated):
    done = alacena("db", "--check", unmigrated)
    assert done.exit_code == 1
    assert "020_fences.sql: missing alacena_fences" in done.stdout
    applied = json.loads(alacena("db", "--apply", unmigrated, "--json").stdout)["applied"]
    assert applied == [one["name"] for one in json.loads(alacena("db", "--json").stdout)]
    done = alacena("db", "--check", unmigrated, "--json")
    assert (done.exit_code, set(map(tuple, json.loads(done.stdout).values()))) == (0, {()})
