"""How errors speak: a lower-case sentence without a full stop at its end, so that one can be quoted inside another."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.trees import tree_of

SOURCE = Path(__file__).parents[2] / "src" / "alacena"
NAMES = {"@cached", "Cache", "GenaiPrices", "None", "Postgres", "Queues", "Redis", "Supabase", "Policy"}
"""Names that a message may begin with."""
CLAUSE = re.compile(
    r"\b(?:whoever|nobody|somebody|everybody)\b|[,;:] (?:what|who|how) (?:it|is|was|the|this)\b", re.IGNORECASE
)
"""A clause, or nobody in particular, where the reader needs a noun."""
SERVERS_OWN = ("ERR ", "WRONGTYPE ")
"""The local keyspace answers in the words of the server that it stands for."""


def text_of(node: ast.expr, assigned: dict[str, ast.expr]) -> str | None:
    """Returns a message with ``{}`` for each value in it; ``None`` if it is not written here."""
    if isinstance(node, ast.Name):
        node = assigned.get(node.id, node)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


def messages_of(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yields the words of each error that is raised, or made to be raised."""
    assigned = {
        target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and ast.unparse(node.func).split(".")[-1].endswith("Error"):
            text = text_of(node.args[0], assigned)
            if text:
                yield node.lineno, text


def faults_of(text: str) -> list[str]:
    """Returns what is wrong with a message."""
    if text.startswith(SERVERS_OWN):
        return []
    first = re.split(r"[\s({.:]", text, maxsplit=1)[0]
    faults = ["ends with a full stop or a blank"] if re.search(r"[.\s]$", text) else []
    if first[:1].isupper() and first not in NAMES and not first.isupper():
        faults.append("begins with a capital")
    if CLAUSE.search(text):
        faults.append("has a clause for a noun")
    return faults


def test_errors_end_and_begin_alike() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}:{line}: {fault}: {text}"
        for path in sorted(SOURCE.rglob("*.py"))
        for line, text in messages_of(tree_of(path))
        for fault in faults_of(text)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_rules_find_what_they_are_for() -> None:
    bad = (
        "raise UsageError('Give both, or whoever reads it fails.')\nraise ValueError(f'{name} is blank: give a string')"
    )
    (_, first), (_, second) = messages_of(ast.parse(bad))

    assert len(faults_of(first)) == 3
    assert not faults_of(second)
