"""The pytest plugin, in runs of pytest of its own: pytest-asyncio strict and auto, anyio, and loops of any scope."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CASES = """
import asyncio
import pytest
from alacena import CacheManager, Context, get_with_cache_aside
from alacena.engine.base.events import Invalidated

pytestmark = {mark}

async def test_cache_is_the_process_wide_one(alacena_cache, alacena_tenant):
    assert await CacheManager.cache() is alacena_cache
    await CacheManager.set("document", "d1", "x", "acme")
    with Context(alacena_tenant):
        await CacheManager.set("document", "d1", "mine")
        assert await CacheManager.get("document", "d1") == "mine"

async def test_next_test_has_another(alacena_cache, alacena_tenant, alacena_events):
    assert await CacheManager.get("document", "d1", "acme") is None
    await CacheManager.invalidate("acme", "document", "d1")
    assert len(alacena_events.of(Invalidated)) == 1
    assert await CacheManager.ttl("document", "d1", "acme") == -2

async def test_own_cache(alacena_open, alacena_server, alacena_events):
    async with alacena_open(redis_url=alacena_server, namespace="own") as cache, alacena_open(redis_url=alacena_server,
            namespace="own") as other:
        assert cache.settings.redis_budget_s == cache.settings.redis_timeout_s == 5.0
        assert await cache.set("document", "d1", "x", "acme")
        assert await other.get("document", "d1", "acme") == "x"

async def test_server_stays(alacena_open, alacena_server):
    async with alacena_open(redis_url=alacena_server, namespace="own") as cache:
        assert await cache.get("document", "d1", "acme") == "x"

async def test_body_leaves_the_cache_open():
    await CacheManager.set("document", "d1", "x", "acme")

async def test_and_finds_none():
    from alacena.common.runtime import PROCESS
    assert PROCESS.cache is None
    assert await CacheManager.get("document", "d1", "acme") is None

def test_sync_body():
    async def main():
        await CacheManager.set("document", "d1", "x", "acme")
    asyncio.run(main())

async def test_after_a_loop_that_has_ended():
    assert await CacheManager.get("document", "d1", "acme") is None
"""

LONGER = """
import pytest
from alacena import CacheManager

@pytest.mark.asyncio(loop_scope="{scope}")
async def test_loop_of_its_own_scope(alacena_open):
    async with alacena_open() as cache:
        await cache.set("document", "d1", "x", "acme")
        assert await CacheManager.get("document", "d1", "acme") == "x"

@pytest.mark.asyncio(loop_scope="{scope}")
async def test_body_leaves_the_cache_open():
    await CacheManager.set("document", "d1", "x", "acme")

@pytest.mark.asyncio(loop_scope="{scope}")
async def test_and_finds_none():
    assert await CacheManager.get("document", "d1", "acme") is None
"""

KEPT = """
import pytest, pytest_asyncio
from alacena import CacheManager

@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared():
    cache = await CacheManager.cache()
    yield cache
    assert cache.is_open
    await CacheManager.close()

@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.asyncio(loop_scope="module")
async def test_what_a_fixture_opened_is_the_fixtures(shared, n):
    assert await CacheManager.cache() is shared
"""

SETTINGS = """
import pytest

@pytest.fixture
def alacena_settings(alacena_server):
    return {"redis_url": alacena_server, "namespace": "settings"}

async def test_settings(alacena_cache):
    assert alacena_cache.settings.namespace == "settings"
    assert alacena_cache.url is not None
"""

LAZY = """
import sys

def test_nothing_is_imported_before_it_is_used():
    heavy = [name for name in sys.modules if name.startswith(("alacena.engine", "alacena.common", "alacena.testing"))]
    assert heavy == []
    assert "msgspec" not in sys.modules and "hiredis" not in sys.modules
"""


def run(folder: Path, test: str, *options: str) -> dict[str, int]:
    """Runs one file of tests as somebody else's project, with our plugin and those of asyncio alone, which is quicker."""
    (folder / "test_own.py").write_text(test)
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    plugins = ["-p", "alacena.integrations.pytest_plugin", "-p", "anyio.pytest_plugin"]
    if "no:asyncio" not in options:
        plugins += ["-p", "pytest_asyncio.plugin"]
        options = ("-o", "asyncio_default_fixture_loop_scope=function", *options)
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("ALACENA_", "REDIS_URL", "PYTEST"))
    }
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins, "-p", "no:cacheprovider", *options, str(folder)],
        cwd=folder,
        env={**environ, "PYTHONPATH": str(ROOT / "src"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    last = ran.stdout.strip().splitlines()[-1].split(" in ")[0]
    return {kind.strip(): int(number) for number, kind in (part.strip().split(" ", 1) for part in last.split(","))}


@pytest.mark.parametrize(
    ("mark", "options"),
    [
        ("pytest.mark.asyncio", ("--asyncio-mode=strict",)),
        ("[]", ("--asyncio-mode=auto",)),
        ("pytest.mark.anyio", ("--asyncio-mode=strict",)),
        ("pytest.mark.anyio", ("-p", "no:asyncio")),
    ],
    ids=["strict", "auto", "anyio", "anyio alone"],
)
def test_fixtures_work_in_every_mode(tmp_path: Path, mark: str, options: tuple[str, ...]) -> None:
    if "anyio" in mark:
        (tmp_path / "conftest.py").write_text(
            "import pytest\n\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
        )
    marked = mark if mark == "[]" else f"[{mark}]"
    test = CASES.format(mark=marked)

    assert run(tmp_path, _without_mark_on_sync(test, marked), *options) == {"passed": 8}


def _without_mark_on_sync(test: str, mark: str) -> str:
    """pytest-asyncio warns of a mark on a test that is not async: marks go to the async ones."""
    if mark == "[]":
        return test
    lines = test.replace(f"pytestmark = {mark}", "").splitlines()
    marked = [f"@{mark[1:-1]}\n{line}" if line.startswith("async def test_") else line for line in lines]
    return "\n".join(marked)


@pytest.mark.parametrize("scope", ["module", "session"])
def test_factory_serves_loops_of_any_scope(tmp_path: Path, scope: str) -> None:
    assert run(tmp_path, LONGER.format(scope=scope)) == {"passed": 3}


def test_cache_of_a_wider_fixture_stays_open(tmp_path: Path) -> None:
    assert run(tmp_path, KEPT) == {"passed": 2}


def test_settings_can_be_replaced(tmp_path: Path) -> None:
    assert run(tmp_path, SETTINGS, "--asyncio-mode=auto") == {"passed": 1}


def test_plugin_imports_nothing_by_itself(tmp_path: Path) -> None:
    assert run(tmp_path, LAZY) == {"passed": 1}


def test_entry_point_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["entry-points"]["pytest11"] == {"alacena": "alacena.integrations.pytest_plugin"}
