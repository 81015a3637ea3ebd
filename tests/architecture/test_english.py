"""How English and comments are written in the source, counted: CONTRIBUTING says why.

A room that has been gone through is held to what CONTRIBUTING asks; the others to what they were found with, so that
they can only get better. Lower a bound whenever a room does better than it.
"""

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.architecture.trees import tree_of

SOURCE = Path(__file__).parents[2] / "src" / "alacena"
CLAUSE = re.compile(r"(?:^|[.!?]\s+)(?:What|Who|Whoever|Whom|Whose|Where|How|Why|Whatever|Nobody|Somebody|Everybody)\b")
"""A sentence whose subject is a clause, or nobody in particular."""
PLACELESS = re.compile(
    r"(?:[;,:]|``\w+``|\bnothing) where (?:there (?:is|are)|none|nobody|nothing|it is|it was|that is|they are)\b"
)
"""*Where* for *if*."""
PRAGMA = re.compile(r"#\s*(?:noqa|type:|pragma|mypy|fmt|ruff)")
PEOPLE = re.compile(r"\b(?:who|whom|whose|whoever|nobody|somebody|anybody|everybody)\b", re.IGNORECASE)
"""Nobody in particular, where the reader would rather know which caller, loader or operator."""
WHAT = re.compile(r"\bwhat(?:ever)?\b", re.IGNORECASE)
"""*What* for a thing that has a name."""
VERB = re.compile(r"(?:See|[A-Z][a-z]+s|Has|Does|As|``|`|:|Async|Not)\b|``|`|:")


@dataclass(frozen=True)
class Bound:
    """What one room is held to.

    Attributes:
        clauses: Sentences that begin with a clause or with nobody, for each 1,000 words of docstrings.
        where: *Where* for *if*, for each 1,000 words of docstrings.
        first: Functions whose docstring does not begin with a verb in the third person, of each 100.
        people: *Who* and nobody in particular, for each 1,000 words of docstrings.
        what: *What*, for each 1,000 words of docstrings.
        comments: The fewest comments for each 1,000 lines of code.
    """

    clauses: float
    where: float
    first: float
    people: float
    what: float
    comments: float


MOST_COMMENTS = 55
"""For each 1,000 lines of code: beyond that, comments say what the code says."""
BOUNDS = {
    "alacena": Bound(clauses=0, where=0, first=0, people=0, what=0, comments=0),
    "common": Bound(clauses=0, where=0, first=0, people=1, what=1.5, comments=33),
    "coordination": Bound(clauses=0, where=0, first=0, people=0.5, what=0.5, comments=45),
    "engine": Bound(clauses=0, where=0, first=0, people=0, what=0, comments=0),
    "engine/api": Bound(clauses=0, where=0, first=0, people=0.5, what=0.5, comments=27),
    "engine/base": Bound(clauses=0, where=0, first=0, people=0.5, what=1, comments=23),
    "engine/codec": Bound(clauses=0, where=0, first=0, people=2.5, what=2.5, comments=47),
    "engine/coherence": Bound(clauses=0, where=0, first=0, people=6, what=2.5, comments=45),
    "engine/loading": Bound(clauses=0, where=0, first=0, people=2, what=2.5, comments=46),
    "engine/memory": Bound(clauses=0, where=0, first=0, people=2.5, what=2, comments=36),
    "engine/reading": Bound(clauses=0, where=0, first=0, people=3, what=2, comments=50),
    "engine/remote": Bound(clauses=0, where=0, first=0, people=1.5, what=1, comments=47),
    "engine/writing": Bound(clauses=0, where=0, first=0, people=1, what=1, comments=45),
    "integrations": Bound(clauses=0, where=0, first=0, people=0.5, what=0.5, comments=27),
    "ledger": Bound(clauses=0, where=0, first=0, people=0.5, what=0.5, comments=41),
    "ops": Bound(clauses=0, where=0, first=0, people=0.5, what=0.5, comments=30),
    "sources": Bound(clauses=0, where=0, first=0, people=0.5, what=0.5, comments=38),
    "testing": Bound(clauses=0, where=0, first=28, people=0.5, what=0.5, comments=37),
}
"""Rooms with zeros were gone through; the others are held to what they were found with."""


def room_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).parts
    if len(parts) == 1:
        return "alacena"
    return "/".join(parts[:2]) if parts[0] == "engine" and len(parts) > 2 else parts[0]


@dataclass
class Count:
    """What was counted in one room."""

    words: int = 0
    clauses: int = 0
    where: int = 0
    people: int = 0
    what: int = 0
    functions: int = 0
    without_verb: int = 0
    lines: int = 0
    comments: int = 0

    def rates(self) -> Bound:
        words, functions, lines = (max(1, number) for number in (self.words, self.functions, self.lines))
        return Bound(
            clauses=round(1000 * self.clauses / words, 1),
            where=round(1000 * self.where / words, 1),
            first=round(100 * self.without_verb / functions, 1),
            people=round(1000 * self.people / words, 1),
            what=round(1000 * self.what / words, 1),
            comments=round(1000 * self.comments / lines, 1),
        )


def documented(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield node, text


def is_attribute(node: ast.AST) -> bool:
    return any("property" in ast.unparse(decorator) for decorator in getattr(node, "decorator_list", ()))


def prose_of(text: str) -> str:
    """The sentences, without the sections: *Whose* and *Where* are short and clear behind an argument's name."""
    return re.split(r"\n\s*(?:Args|Attributes|Raises|Returns|Yields):\n", text)[0].replace("\n", " ")


def count(text: str, tree: ast.Module, into: Count) -> Count:
    """Adds one module's text to a count."""
    prose = set()
    for node, docstring in documented(tree):
        into.words += len(re.findall(r"[A-Za-z']+", docstring))
        into.clauses += len(CLAUSE.findall(prose_of(docstring)))
        into.where += len(PLACELESS.findall(docstring))
        into.people += len(PEOPLE.findall(docstring))
        into.what += len(WHAT.findall(docstring))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not is_attribute(node):
            into.functions += 1
            into.without_verb += VERB.match(docstring) is None
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            prose |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    comments = [
        token
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT and not PRAGMA.match(token.string)
    ]
    alone = {token.start[0] for token in comments if token.line.lstrip().startswith("#")}
    into.comments += len(comments)
    into.lines += sum(
        number not in prose and number not in alone and bool(line.strip())
        for number, line in enumerate(text.splitlines(), start=1)
    )
    return into


@cache
def counted() -> dict[str, Count]:
    rooms: dict[str, Count] = defaultdict(Count)
    for path in sorted(SOURCE.rglob("*.py")):
        count(path.read_text("utf-8"), tree_of(path), rooms[room_of(path)])
    return rooms


def test_every_room_has_its_bound() -> None:
    assert set(counted()) == set(BOUNDS)


@pytest.mark.parametrize("room", sorted(BOUNDS))
def test_english_and_comments_get_no_worse(room: str) -> None:
    rates, bound = counted()[room].rates(), BOUNDS[room]

    assert rates.clauses <= bound.clauses, "subject first, then the verb: no sentence begins with what, who or nobody"
    assert rates.where <= bound.where, "'if' names a condition, 'where' a place"
    assert rates.first <= bound.first, "the first sentence of a function begins with its verb: Returns, Stores, Waits"
    assert rates.people <= bound.people, "name the caller, the loader or the operator, in place of who and nobody"
    assert rates.what <= bound.what, "name the thing: 'Returns the outcome', not 'Returns what became of it'"
    assert bound.comments <= rates.comments <= MOST_COMMENTS, "comments say why, at the line that breaks"


def test_the_counts_find_what_they_are_for() -> None:
    bad = '''
def answer():
    """What the caller gets; ``None`` where there is none. Who waits is told."""
    return 1  # noqa: ERA001
def good():
    """Returns the answer; ``None`` if there is none.

    Args:
        tenant_id: Whose.
    """
    # Why this line is here.
    return 1
'''
    found = count(bad, ast.parse(bad), Count())

    assert (found.clauses, found.where, found.functions, found.without_verb) == (2, 1, 2, 1)
    assert (found.people, found.what) == (2, 1)
    assert (found.comments, found.lines) == (1, 4)
