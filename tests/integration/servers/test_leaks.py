"""The check that a test cleans up after itself finds what was left."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.leaks import Invariants, _child_ids, _parent, child_processes

OUTER = """
pytest_plugins = ["tests.servers.fixtures", "tests.servers.leaks"]
"""
INNER = """
import asyncio, subprocess, pytest

async def test_task(): asyncio.get_running_loop().keep = asyncio.create_task(asyncio.Event().wait())

def test_process(): globals()["kept"] = subprocess.Popen(["sleep", "60"])

def test_invariant(invariants): invariants.add("the tier", lambda: "is crooked")

async def test_async_invariant(invariants):
    async def check(): return "is empty"
    invariants.add("the tin", check)

async def test_clean(): await asyncio.create_task(asyncio.sleep(0))

async def test_cancelled(): asyncio.create_task(asyncio.Event().wait()).cancel()

@pytest.mark.leaks_expected
async def test_tolerated(): asyncio.get_running_loop().keep = asyncio.create_task(asyncio.Event().wait())

def test_seed(environment): assert environment is None

def teardown_module(): kept.kill(); kept.wait()
"""
COMPLAINTS = {
    "test_task": "task left behind",
    "test_process": "sleep 60",
    "test_invariant": "the tier: is crooked",
    "test_async_invariant": "the tin: is empty",
}


def test_leaks_fail_the_test_that_made_them(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(OUTER)
    (tmp_path / "test_inner.py").write_text(INNER)
    options = ["-p", "no:cacheprovider", "-o", "asyncio_mode=auto", "-rA", "--rootdir", str(tmp_path)]
    argv = [sys.executable, "-m", "pytest", *options, str(tmp_path)]
    exact = {**os.environ, "TESTS_EXACT_CHILDREN": "1"}
    out = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, env=exact).stdout
    assert set(re.findall(r"^ERROR .*::(\w+)", out, re.MULTILINE)) == COMPLAINTS.keys(), out
    assert all(complaint in out for complaint in COMPLAINTS.values()), out
    assert re.findall(r"^FAILED .*::(\w+)", out, re.MULTILINE) == ["test_seed"], out
    assert "environment seed: " in out, out


def test_children_are_listed_until_they_are_reaped() -> None:
    child = subprocess.Popen(["true"])
    assert child.pid in child_processes()
    by_parent = [int(stat.parent.name) for stat in Path("/proc").glob("[0-9]*/stat") if _parent(stat) == os.getpid()]
    assert sorted(by_parent) == sorted(_child_ids())
    child.wait()
    assert child.pid not in child_processes()


async def test_invariants_name_all_that_is_broken() -> None:
    invariants = Invariants()
    invariants.add("one", lambda: None)
    invariants.add("two", lambda: "broken")
    assert await asyncio.wait_for(invariants.broken(), 60) == ["two: broken"]


@pytest.mark.leaks_expected
async def test_a_marked_test_may_leave_a_task() -> None:
    task = asyncio.create_task(asyncio.Event().wait())
    assert not task.done()
