"""Tests do not wait for time: sleeping is counted in the text here, and `tests/servers/waits.py` watches it when they run.

Virtual time is free, so a module that plays on a simulated loop may sleep as long as it likes, on that loop.
"""

import ast
from pathlib import Path

from tests.architecture.trees import tree_of

TESTS = Path(__file__).parents[1]
MODULES = sorted(TESTS.rglob("*.py"))
SLEEPS_FOR_ALL = "waiting.py"
VIRTUAL_TIME = (
    "tests.simulator",
    "tests.unit.engine.scene",
    "tests.unit.engine.remote.redis.wire.virtual",
    "tests.unit.coordination.virtual",
)
"""Whoever imports one of these plays, at least in part, on a loop whose time is virtual."""


def name_of(path: Path) -> str:
    return path.relative_to(TESTS).as_posix()


def imported(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def plays_in_virtual_time(tree: ast.AST) -> bool:
    return any(name == home or name.startswith(f"{home}.") for name in imported(tree) for home in VIRTUAL_TIME)


def called(call: ast.Call) -> str | None:
    """The last word of what is called."""
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else None


def sleeps(tree: ast.AST, *, virtual: bool) -> list[int]:
    """The lines that sleep: `asyncio.sleep(0)` only gives others their turn, and virtual time knows no `time.sleep`."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and called(node) == "sleep":
            gives_way = bool(node.args) and ast.unparse(node.args[0]) == "0"
            if not gives_way and not (virtual and ast.unparse(node.func) == "asyncio.sleep"):
                found.append(node.lineno)
    return found


def test_nobody_sleeps() -> None:
    found = []
    for path in MODULES:
        tree = tree_of(path)
        virtual = path.stem == "virtual" or plays_in_virtual_time(tree)
        if name_of(path) != SLEEPS_FOR_ALL:
            found += [f"{name_of(path)}:{line}" for line in sleeps(tree, virtual=virtual)]

    assert found == [], "wait for a condition: tests/waiting.py"


def test_only_programs_beside_the_tests_are_slowed_down() -> None:
    slow = [name_of(path) for path in MODULES if "tests.waiting.pace" in imported(tree_of(path))]

    assert [name for name in slow if name.rpartition("/")[2].startswith(("test_", "conftest"))] == []


def test_the_count_sees_what_it_should() -> None:
    text = "import time, asyncio\ntime.sleep(1)\nawait asyncio.sleep(0)\nawait asyncio.sleep(0.1)\nawait sleep(x)\n"
    tree = ast.parse(text, mode="exec")

    assert sleeps(tree, virtual=False) == [2, 4, 5]
    assert sleeps(tree, virtual=True) == [2, 5]
    assert not plays_in_virtual_time(tree)
    assert plays_in_virtual_time(ast.parse("from tests.unit.engine.scene import play"))
