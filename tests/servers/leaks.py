"""A test fails that leaves asyncio tasks or child processes behind, or breaks an invariant that it was given.

``invariants``      ``invariants.add("no lease outlives its load", check)``; ``check`` (sync or async) returns a
                    complaint or ``None``, and runs after the test's own fixtures have been torn down
``EVERY_TEST``      the same for every test of the run: a conftest appends ``(name, check)``
``leaks_expected``  marker: this test leaves something behind on purpose
"""

from __future__ import annotations

import asyncio
import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proving.servers.process import Process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    Check = Callable[[], "str | Awaitable[str | None] | None"]

SETTLE_TURNS = 5
"""Turns of the loop that a cancelled task is given to end."""
HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
"""Processes that the standard library keeps until the interpreter ends."""
EVERY_TEST: list[tuple[str, Check]] = []


class Invariants:
    """What must hold once a test and its fixtures are done."""

    def __init__(self) -> None:
        self._checks: list[tuple[str, Check]] = list(EVERY_TEST)

    def add(self, name: str, check: Check) -> None:
        """Adds a check: it returns what is wrong, or ``None``."""
        self._checks.append((name, check))

    @property
    def any(self) -> bool:
        """Whether there is anything to check."""
        return bool(self._checks)

    async def broken(self) -> list[str]:
        """The complaints of all checks."""
        complaints = []
        for name, check in self._checks:
            complaint = check()
            if inspect.isawaitable(complaint):
                complaint = await complaint
            if complaint is not None:
                complaints.append(f"{name}: {complaint}")
        return complaints


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "leaks_expected: the test leaves tasks or processes behind on purpose")


@pytest.fixture
def invariants() -> Invariants:
    """Checks that run after the test; see the module."""
    return Invariants()


@pytest.fixture(autouse=True)
def leaves_nothing_behind(request: pytest.FixtureRequest, invariants: Invariants) -> Iterator[None]:
    """Fails a test that leaves tasks or processes behind. First in, so last out: fixtures may use both."""
    tolerant = request.node.get_closest_marker("leaks_expected") is not None
    if inspect.iscoroutinefunction(request.function) and not tolerant:
        request.getfixturevalue("_watch_tasks")
    before = child_processes()
    yield
    if invariants.any and not inspect.iscoroutinefunction(request.function):
        _fail_on(asyncio.run(invariants.broken()))
    ours = {process.pid for process in Process.started if process.running and process.directory in Process.shared_homes}
    left = {pid: command for pid, command in child_processes().items() if pid not in before and pid not in ours}
    if not tolerant:
        _fail_on([f"child process {pid} still runs: {command}" for pid, command in left.items()])


@pytest.fixture
async def _watch_tasks(invariants: Invariants) -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    for _ in range(SETTLE_TURNS):
        await asyncio.sleep(0)
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    _fail_on([f"task left behind: {task!r}" for task in left] + await invariants.broken())


def _fail_on(complaints: list[str]) -> None:
    if complaints:
        pytest.fail("\n".join(complaints), pytrace=False)


def child_processes() -> dict[int, str]:
    """Process id and command line of every child of this process, zombies included."""
    children = {}
    for pid in _child_ids():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
        except OSError:
            continue
        if not any(helper in command for helper in HELPERS):
            children[pid] = command
    return children


def _child_ids() -> list[int]:
    """From the kernel's list where it keeps one (CONFIG_PROC_CHILDREN), else from every process's parent.

    The kernel's list is quick and may lack somebody while children come and go; ``TESTS_EXACT_CHILDREN`` asks for the
    slow way.
    """
    try:
        if os.environ.get("TESTS_EXACT_CHILDREN"):
            raise OSError
        lists = [(task / "children").read_text() for task in Path("/proc/self/task").iterdir()]
    except OSError:
        return [int(stat.parent.name) for stat in Path("/proc").glob("[0-9]*/stat") if _parent(stat) == os.getpid()]
    return [int(pid) for pids in lists for pid in pids.split()]


def _parent(stat: Path) -> int | None:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None
