"""How the parts are put together: no import circles, short constructors, and trees that point one way."""

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

from tests.architecture.trees import tree_of

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
MOST_ARGUMENTS = 6
MAY_TAKE_MORE = {"Cache": 7, "CachingTransport": 9, "Context": 7, "Worker": 8}
"""Constructors with more arguments than that; a number may only fall. `Cache`, `CachingTransport`, `Context` and `Worker`
are public: their arguments are their users' options."""


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def trees() -> dict[str, tuple[Path, ast.Module]]:
    return {name_of(path): (path, tree_of(path)) for path in sorted(SOURCE.rglob("*.py"))}


def imports_of(name: str, known: dict[str, tuple[Path, ast.Module]]) -> set[str]:
    """Those of the known modules that a module imports anywhere, for types too."""
    found = set()
    for node in ast.walk(known[name][1]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {one if one in known else node.module for one in inner}
    return {one for one in found if one in known and one != name}


def circles(graph: dict[str, set[str]]) -> list[frozenset[str]]:
    """The groups of modules that import each other, each module in at most one."""
    reach: dict[str, set[str]] = {}
    for start, imported in graph.items():
        seen: set[str] = set()
        ahead = list(imported)
        while ahead:
            name = ahead.pop()
            if name not in seen:
                seen.add(name)
                ahead += graph.get(name, ())
        reach[start] = seen
    groups = {frozenset({two for two in graph if two in reach[one] and one in reach[two]}) for one in graph}
    return sorted((group for group in groups if len(group) > 1), key=sorted)


def arguments_of(made: ast.ClassDef) -> int:
    for node in made.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            given = node.args
            named = len(given.posonlyargs) + len(given.args) + len(given.kwonlyargs) - 1
            return named + (given.vararg is not None) + (given.kwarg is not None)
    return 0


@cache
def imported_trees(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_no_modules_import_each_other() -> None:
    """For types neither."""
    known = trees()
    graph = {name: imports_of(name, known) for name in known}

    assert [sorted(group) for group in circles(graph)] == []


def test_a_circle_is_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}

    assert circles(graph) == [frozenset({"b", "c"})]


def test_constructors_take_few_arguments() -> None:
    counts = {
        node.name: arguments_of(node)
        for _, tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    taken = sorted(count for count in counts.values() if count)

    assert taken[len(taken) * 9 // 10] <= MOST_ARGUMENTS
    assert {name: count for name, count in counts.items() if count > MAY_TAKE_MORE.get(name, MOST_ARGUMENTS)} == {}, (
        "give those that belong together a name"
    )
    assert {name: counts.get(name) for name in MAY_TAKE_MORE} == MAY_TAKE_MORE, "it takes fewer now: lower the number"


@pytest.mark.parametrize(
    ("tree", "never"),
    [
        ("src", {"tests", "bench", "proving", "examples"}),
        ("proving", {"tests", "bench"}),
        ("bench", {"tests"}),
        ("examples", {"tests", "bench", "proving"}),
    ],
)
def test_trees_point_one_way(tree: str, never: set[str]) -> None:
    found = {
        str(path.relative_to(ROOT)): sorted(imported_trees(path) & never)
        for path in (ROOT / tree).rglob("*.py")
        if imported_trees(path) & never
    }

    assert found == {}


def test_only_the_benchmarks_own_tests_import_it() -> None:
    home = ROOT / "tests" / "unit" / "bench"
    found = defaultdict(set)
    for path in (ROOT / "tests").rglob("*.py"):
        if home not in path.parents and "bench" in imported_trees(path):
            found[str(path.relative_to(ROOT))].add("bench")

    assert found == {}


def test_parts_are_not_handed_over_in_dictionaries() -> None:
    """A wrong or missing part must be found by mypy: ``Part(**parts)`` hides it until it runs."""
    allowed = {"alacena.engine.api.assembly": 2}
    found = {}
    for name, (path, _) in trees().items():
        if name.startswith(("alacena.engine", "alacena.coordination", "alacena.ledger")):
            times = len(
                re.findall(r"^\s+\w+: dict\[str, Any\] = \{\"\w+\": \w+, ", path.read_text("utf-8"), re.MULTILINE)
            )
            if times > allowed.get(name, 0):
                found[name] = times

    assert found == {}


LAZY = {"alacena", "alacena.engine"}
"""Packages that import a name when it is asked for."""


def names_in(tree: ast.Module) -> set[str]:
    """The names that a module defines or imports, also under a condition."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return found


def missing_imports(tree: ast.Module, known: dict[str, set[str]]) -> list[str]:
    """The names that a file imports from the library, and that it does not have; imports for types run nowhere else."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "alacena" and not node.level:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                if not (name in known or node.module in LAZY or alias.name in known.get(node.module or "", ())):
                    found.append(name)
    return found


def test_every_name_that_is_imported_from_the_library_is_there() -> None:
    known = {name: names_in(tree) for name, (_, tree) in trees().items()}
    known["alacena.common.core.constants"] = known["alacena.constants"]
    files = [path for tree in ("tests", "proving", "bench", "examples", "docs") for path in (ROOT / tree).rglob("*.py")]

    assert {
        str(path.relative_to(ROOT)): missing for path in files if (missing := missing_imports(tree_of(path), known))
    } == {}


def test_a_name_that_is_not_there_is_found() -> None:
    tree = ast.parse("if TYPE_CHECKING:\n    from alacena.ledger import Ledger, Purse")

    assert missing_imports(tree, {"alacena.ledger": {"Ledger"}}) == ["alacena.ledger.Purse"]
