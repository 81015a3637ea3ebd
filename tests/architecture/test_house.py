"""The shape of the house, held by machine: what may know what, how long a function may be, what must be documented."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.architecture.trees import tree_of

SOURCE = Path(__file__).parents[2] / "src" / "alacena"
MODULES = sorted(SOURCE.rglob("*.py"))
LONGEST_FUNCTION = 60
LONGEST_MODULE = 350
BROAD = {"Exception", "BaseException"}
MAY_CATCH_ANYTHING = {
    "engine/base/errors.py": "how an object of the application's shows itself may raise anything, and the message is wanted",
    "engine/base/credentials.py": "a provider's fault is one more reason to try to connect again",
    "engine/remote/redis/cluster.py": "the slots are asked for as long as the cluster is open, whatever ended the last question",
    "engine/base/events.py": "an observer's fault must not become the reader's",
    "engine/reading/load_runner.py": "a loader's own exception belongs to every caller that shares the load",
    "engine/reading/filler.py": "what fails after the callers have landed has nobody to be raised to",
    "coordination/background_tasks.py": "a step that nobody waits for may fail as it likes, and the log is told",
    "engine/reading/tiered_lookup.py": "whatever ends a look, the breaker is told that it has ended",
    "engine/loading/one_shot.py": "how a value of the application's is copied may raise anything",
    "common/cache/aside.py": "what the caller's hooks raise must not cost the answer, which is paid for",
    "common/cache/call_shape.py": "what a function was made with is the application's, and may raise if it is asked its name",
    "common/tracking.py": "a provider's usage object may raise anything, and the answer is paid for",
    "engine/reading/batch_alignment.py": "how a value of the application's is looked into may raise anything",
    "common/cache/tenancy.py": "how a value of the application's is looked into may raise anything",
    "engine/base/lineage.py": "how a value of the application's is looked into may raise anything",
    "engine/remote/redis/link.py": "whatever ends a dial closes the socket",
    "engine/remote/redis/wire/incoming.py": "what a settle raises belongs to whoever asked",
    "engine/remote/redis/wire/pending_replies.py": "what a settle raises belongs to whoever asked",
    "engine/remote/redis/wire/supervisor.py": "a connection is tried for ever, whatever ended the last one",
    "common/cache/embeddings.py": "a provider's own exception is told what was kept, and passes",
    "coordination/fleet.py": "that the others hear nothing of a process must not end what tells them",
    "engine/api/coordination.py": "what is counted in the background must not end with one failure",
    "ledger/pending_usage.py": "what is counted in the background must not end with one failure",
    "ledger/relay.py": "an authority may be anybody's code: whatever it raises, usage is carried on",
    "coordination/worker.py": "a handler's fault is the item's fate, not the worker's",
    "common/context/decorated_generators.py": "a generator is thrown what its consumer throws",
    "integrations/bridge.py": "what a source raises in the calling thread belongs to its load, and to whoever started",
}


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def code_lines(path: Path) -> int:
    """Lines that are neither blank, nor comment, nor docstring: prose is free."""
    text = path.read_text("utf-8")
    prose = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            prose |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(text.splitlines(), start=1)
    return sum(
        number not in prose and bool(line.strip()) and not line.strip().startswith("#") for number, line in lines
    )


def scopes(tree: ast.Module) -> list[ast.Module | ast.ClassDef]:
    """The module and its classes, nested ones too; not what functions define for themselves."""
    found: list[ast.Module | ast.ClassDef] = [tree]
    for scope in found:
        found += [node for node in scope.body if isinstance(node, ast.ClassDef)]
    return found


def is_overload(function: ast.AST) -> bool:
    decorators = getattr(function, "decorator_list", [])
    names = {ast.unparse(decorator) for decorator in decorators}
    return any(name.endswith(("overload", ".setter")) for name in names)


def test_imports_point_one_way() -> None:
    linted = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports")],
        cwd=SOURCE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )

    assert linted.returncode == 0, linted.stdout + linted.stderr


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_name_is_defined_twice(path: Path) -> None:
    for scope in ast.walk(tree_of(path)):
        if isinstance(scope, ast.Module | ast.ClassDef):
            defined = Counter(
                node.name
                for node in scope.body
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not is_overload(node)
            )

            assert [name for name, times in defined.items() if times > 1] == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_redis_package_knows_redis(path: Path) -> None:
    if name_of(path).startswith("engine/remote/redis/"):
        return
    imported = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module.split(".")[0])

    assert imported & {"redis", "hiredis", "pickle", "marshal", "shelve"} == set()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_public_name_is_documented(path: Path) -> None:
    tree = tree_of(path)
    missing = [] if ast.get_docstring(tree) or not tree.body else [name_of(path)]
    for scope in scopes(tree):
        if isinstance(scope, ast.ClassDef) and scope.name.startswith("_"):
            continue
        for node in scope.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                private = node.name.startswith(("_", "test_"))
                if not private and not is_overload(node) and not ast.get_docstring(node):
                    missing.append(f"{name_of(path)}:{node.lineno} {node.name}")

    assert missing == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_caught_without_saying_what(path: Path) -> None:
    broad = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ExceptHandler):
            names = (
                set() if node.type is None else {ast.unparse(n) for n in ast.walk(node.type) if isinstance(n, ast.Name)}
            )
            if node.type is None or names & BROAD:
                broad.append(f"{name_of(path)}:{node.lineno}")

    assert bool(broad) == (name_of(path) in MAY_CATCH_ANYTHING), (
        broad or "it catches no more than it names: take it off the list"
    )


def test_the_modules_that_may_catch_anything_are_there() -> None:
    assert MAY_CATCH_ANYTHING.keys() - set(map(name_of, MODULES)) == set()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_functions_are_read_without_scrolling(path: Path) -> None:
    long = [f"{f.name}: {body_lines(f)}" for f in functions(tree_of(path)) if body_lines(f) > LONGEST_FUNCTION]

    assert long == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_are_one_noun(path: Path) -> None:
    assert path.stem not in {"utils", "base", "misc", "common_utils"}
    assert path.parent == SOURCE or code_lines(path) <= LONGEST_MODULE


def test_most_functions_are_short() -> None:
    lengths = sorted(body_lines(f) for path in MODULES for f in functions(tree_of(path)))

    assert lengths[len(lengths) * 9 // 10] <= 20


def test_public_names_are_exported_once() -> None:
    import alacena
    import alacena.engine

    for package in (alacena, alacena.engine):
        assert len(package.__all__) == len(set(package.__all__))
        assert [name for name in package.__all__ if not hasattr(package, name)] == []
