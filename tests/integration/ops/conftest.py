"""The command line, in this process: what it prints and how it ends."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from alacena.engine import Cache, Settings
from alacena.ops.commands import app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typer.testing import Result

    from proving.servers.postgres import Postgres


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server and no setting of the machine's environment."""
    for name in ("REDIS_URL", "ALACENA_REDIS_URL", "ALACENA_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    # A read that is over its budget on a busy machine is another finding than those that are tested here.
    monkeypatch.setenv("ALACENA_REDIS_BUDGET_S", "5")


@pytest.fixture
def alacena() -> Callable[..., Result]:
    """``alacena("doctor", url)``: runs a command; an error that is none of ours fails the test."""

    def run(*words: str, url: str | None = None) -> Result:
        named = ["--url", url] if url is not None else []
        done = CliRunner().invoke(app, [*words, *named])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done

    return run


@pytest.fixture
def findings(alacena: Callable[..., Result]) -> Callable[..., dict[str, dict[str, Any]]]:
    """The findings of ``doctor --json`` by check, the worst of each."""

    def run(url: str | None, *words: str, code: int) -> dict[str, dict[str, Any]]:
        done = alacena("doctor", "--json", *words, url=url)
        assert done.exit_code == code, done.stdout
        order = ["fail", "warn", "pass", "skip"]
        checks = sorted(json.loads(done.stdout)["checks"], key=lambda one: -order.index(one["state"]))
        return {one["check"]: one for one in checks}

    return run


@pytest.fixture
def work() -> Callable[..., Any]:
    """``work(url, job)``: runs ``await job(cache)`` on a cache of its own."""

    def run(url: str, job: Callable[[Cache], Any], **settings: Any) -> Any:
        async def inside() -> Any:
            async with Cache(Settings(redis_url=url, ttl_jitter_ratio=0.0, redis_budget_s=5.0, **settings)) as cache:
                return await job(cache)

        return asyncio.run(inside())

    return run


_DROP = """
DROP VIEW IF EXISTS alacena_token_monthly;
DROP TABLE IF EXISTS alacena_token_usage, alacena_token_daily, alacena_token_conflicts CASCADE;
DROP TABLE IF EXISTS alacena_token_parts, alacena_fences CASCADE;
DROP FUNCTION IF EXISTS alacena_absorb_usage(jsonb), alacena_claimed_tenant() CASCADE;
"""


@pytest.fixture
def unmigrated(postgres: Postgres) -> Iterator[str]:
    """The DSN of a Postgres without the ledger's tables; they are taken away again."""
    postgres.execute(_DROP)
    yield postgres.dsn
    postgres.execute(_DROP)
