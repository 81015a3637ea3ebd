"""What ``alacena relay`` carries to Postgres, what it says of what waits, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from alacena.engine import BackendUnavailableError, Cache, Settings
from tests.waiting import until

MANY = 7


class _Away:
    async def absorb(self, _usages):
        raise BackendUnavailableError("away")


@pytest.fixture
def told(alacena, valkey_server):
    def ask(*words, code=0):
        done = alacena("relay", *words, "--json", url=valkey_server.url)
        assert done.exit_code == code, done.output
        return json.loads(done.stdout)

    return ask


@pytest.fixture
def waiting(valkey_server):
    """Uses of two tenants wait in their outboxes: the service could not reach its authority."""

    async def record():
        async with Cache(Settings(redis_url=valkey_server.url), authority=_Away()) as cache:
            for number in range(MANY):
                await cache.ledger.record("acme", 10, model="m", idempotency_key=f"k{number}")
            await cache.ledger.record("other", 5, model="m", idempotency_key="k")

    asyncio.run(record())


@pytest.fixture
def migrated(alacena, unmigrated):
    assert alacena("db", "--apply", unmigrated).exit_code == 0
    return unmigrated


def test_nothing_waits(told, alacena):
    assert told() == {"waiting": {}}
    assert alacena("relay").exit_code == 3  # no server is named
    assert alacena("relay", "--follow").exit_code == 2


def test_what_waits_is_shown_and_carried_once(told, waiting, migrated):
    assert told() == {"waiting": {"acme": MANY, "other": 1}}
    said = told("--to", migrated)
    assert (said["carried"], said["waiting"], said["failed"]) == (MANY + 1, {}, None)
    assert told("--to", migrated)["carried"] == 0
    assert told() == {"waiting": {}}


def test_a_postgres_without_the_tables_is_a_finding_and_what_waits_still_waits(told, waiting, unmigrated):
    said = told("--to", unmigrated, code=1)
    assert said["carried"] == 0
    assert "alacena db --apply" in said["failed"]
    assert said["waiting"] == {"acme": MANY, "other": 1}


def test_a_postgres_that_is_away_ends_with_3(told, waiting, alacena, valkey_server):
    said = told("--to", "postgresql://nobody@127.0.0.1:1/none", code=3)
    assert said["waiting"] == {"acme": MANY, "other": 1}
    lines = alacena("relay", "--to", "postgresql://nobody@127.0.0.1:1/none", url=valkey_server.url).stdout
    assert "0 uses of tokens were carried; 8 wait." in lines
    assert "acme\t7" in lines


def test_followed_it_carries_what_comes_until_it_is_interrupted(waiting, migrated, valkey_server, work):
    words = [str(Path(sys.executable).with_name("alacena")), "relay", "--follow", "--to", migrated, "--json"]
    environment = {name: value for name, value in os.environ.items() if "REDIS" not in name}
    with subprocess.Popen(
        [*words, "--url", valkey_server.url], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:

            async def carried(cache):
                async def none():
                    return not await cache.ledger.backlogs()

                await until(none)

            work(valkey_server.url, carried)
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    first = json.loads(out.splitlines()[0])
    assert first["failing"] is None
    assert json.loads(out[out.rindex("\n{") :])["carried"] == MANY + 1
