"""One word for one thing: class names, function names, and the words of the glossary, held in the source."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.architecture.trees import tree_of

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "alacena"
GLOSSARY = ROOT / "docs" / "en" / "reference" / "glossary.md"

SAME_NAME = {
    "TenantMiddleware": "one a framework: `integrations.asgi` and `integrations.taskiq`, each found by its module"
}
"""Class names that may stand twice, and why."""

SAME_MODULE_NAME = {
    "cache": "`common.cache` is the path from which the guide's code imports",
    "constants": "`common.core.constants` is the path from which the guide's code imports the constants of `alacena`",
    "coordination": "`engine.api.coordination` is `Coordination`: what a cache has of the folder of that name",
    "ledger": "`sources.ledger` is the path from which applications import `PostgresAuthority`",
    "usage": "`integrations.usage` is the path from which applications import `read_usage`",
}
"""Module names that may stand in two folders, and why."""

OLD_WORDS: dict[str, set[str]] = {
    "aboard": set(),
    "board": set(),
    "boarding": set(),
    "commits": {"ledger"},
    "compartment": set(),
    "crash": set(),
    "depart": set(),
    "desk": {"engine/api"},
    "errand": set(),
    "errands": set(),
    "face": set(),
    "fly": set(),
    "ghosts": {"engine/memory"},
    "glance": set(),
    "glanced": set(),
    "glimpse": set(),
    "handover": set(),
    "parcel": set(),
    "passenger": set(),
    "pilot": set(),
    "respite": set(),
    "respites": set(),
    "roster": {"engine/remote"},
    "shelf": set(),
    "shelves": set(),
    "sought": {"engine/reading"},
    "voice": set(),
    "wheel": {"engine/memory"},
}
"""Words that the code has given up, each with the rooms in which it may still stand. No room is to be added."""

ONE_MEANING = {
    "hold": ("hold", "write block of a resource", {"engine/base", "engine/remote", "engine/writing", "engine/api"}),
    "journal": ("journal", "record of tags that ended", {"engine/base", "engine/remote"}),
    "lease": ("lease", "permission to fill one entry once", None),
    "fence": ("fence", "number of a lock's owner", {"coordination", "ledger", "common", "sources", "engine/api"}),
    "breaker": ("breaker", "stops look-ups while the server fails", {"engine/reading", "engine/api", "engine/base"}),
    "canary": ("canary", "key that a heartbeat changes", {"engine/remote"}),
    "redirection": ("redirection", "answer that names another server", {"engine/remote"}),
    "outbox": ("outbox", "usage that the relay has not carried yet", {"ledger", "engine/api"}),
    "spool": ("spool", "file in which usage waits while the server is away", {"ledger", "engine/api", "common"}),
}
"""Class-name words that are easily used for something else: their one meaning, and the rooms that may use them."""

NOT_A_PARTICIPLE = {
    "aembed",
    "embedding",
    "need",
    "embed",
    "feed",
    "seed",
    "speed",
    "exceed",
    "proceed",
    "succeed",
    "bed",
    "ping",
    "ring",
    "bring",
    "string",
}
IRREGULAR = frozenset(
    "sought told sent held kept made given taken known seen lost heard had paid said gone got meant shown".split()  # noqa: SIM905
)
MOST_PARTICIPLES = {
    "common": 3,
    "coordination": 2,
    "engine/api": 2,
    "engine/base": 1,
    "engine/coherence": 0,
    "engine/codec": 0,
    "engine/loading": 1,
    "engine/memory": 0,
    "engine/reading": 0,
    "engine/remote": 0,
    "engine/writing": 0,
    "integrations": 1,
    "ledger": 0,
    "ops": 0,
    "sources": 0,
    "testing": 0,
}
"""Functions named by a participle, a room; a number may only fall."""


def room_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).parts
    return "/".join(parts[:2]) if parts[0] == "engine" and len(parts) > 2 else parts[0]


def trees() -> dict[Path, ast.Module]:
    return {path: tree_of(path) for path in sorted(SOURCE.rglob("*.py"))}


def words_of(name: str) -> list[str]:
    return [word.lower() for word in re.split(r"_|(?<=[a-z0-9])(?=[A-Z])", name) if word]


def names_of(path: Path, tree: ast.AST) -> Iterator[str]:
    """Every name that a module defines or uses, and its own."""
    yield path.stem
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.arg):
            yield node.arg


def old_words(path: Path, tree: ast.AST) -> list[str]:
    return [
        f"{path.relative_to(SOURCE)}: {name}"
        for name in sorted(set(names_of(path, tree)))
        for word in words_of(name)
        if word in OLD_WORDS and room_of(path) not in OLD_WORDS[word]
    ]


def is_participle(name: str) -> bool:
    word = name.strip("_").split("_")[0]
    if word in NOT_A_PARTICIPLE:
        return False
    return word in IRREGULAR or (word.endswith(("ed", "ing")) and len(word) > 4)


def glossary() -> list[str]:
    return re.findall(r"^\| ([^|]+?) \|", GLOSSARY.read_text("utf-8"), re.MULTILINE)[1:]


def test_a_class_name_stands_once() -> None:
    found = defaultdict(list)
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(f"{path.relative_to(SOURCE)}:{node.lineno}")

    assert {name: places for name, places in found.items() if len(places) > 1 and name not in SAME_NAME} == {}


def homonyms(paths: Iterable[Path]) -> dict[str, list[str]]:
    """Modules and folders of one name, by that name. The main module of a folder may be named as the folder is."""
    found: dict[str, set[Path]] = defaultdict(set)
    for path in paths:
        if path.name == "__init__.py":
            found[path.parent.name].add(path.parent)
        elif path.stem != path.parent.name:
            found[path.stem].add(path)
        else:
            found[path.stem].add(path.parent)
    return {name: sorted(map(str, places)) for name, places in found.items() if len(places) > 1}


def test_a_module_name_stands_once() -> None:
    found = homonyms(path.relative_to(SOURCE.parent) for path in SOURCE.rglob("*.py"))

    assert {name: places for name, places in found.items() if name not in SAME_MODULE_NAME} == {}, (
        "name each as its main class is, so that somebody who opens it knows which it is"
    )
    assert set(SAME_MODULE_NAME) == set(found), "an exception that is not needed any more"


def test_a_second_module_of_a_name_is_found() -> None:
    paths = ["a/locks.py", "b/locks.py", "ledger/__init__.py", "ledger/ledger.py", "c/a/__init__.py", "a/__init__.py"]

    assert homonyms(map(Path, paths)) == {"locks": ["a/locks.py", "b/locks.py"], "a": ["a", "c/a"]}


def test_words_that_were_given_up_do_not_come_back() -> None:
    assert [found for path, tree in trees().items() for found in old_words(path, tree)] == []


def test_an_old_word_is_found() -> None:
    module = SOURCE / "engine" / "loading" / "load.py"

    assert old_words(module, ast.parse("class Pilot: ...")) == ["engine/loading/load.py: Pilot"]
    assert old_words(module, ast.parse("def look(first_shelf): ...")) == ["engine/loading/load.py: first_shelf"]


def test_functions_are_verbs() -> None:
    found: dict[str, list[str]] = defaultdict(list)
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or not is_participle(node.name):
                continue
            if node.name.startswith("__"):  # Python chose it
                continue
            if not any("property" in ast.unparse(decorator) for decorator in node.decorator_list):
                found[room_of(path)].append(f"{path.relative_to(SOURCE)}: {node.name}")

    assert {room: names for room, names in found.items() if len(names) > MOST_PARTICIPLES.get(room, 0)} == {}


def test_every_word_of_the_glossary_is_the_codes_word() -> None:
    used = " ".join(" ".join(words_of(name)) for path, tree in trees().items() for name in names_of(path, tree))
    prose = " ".join(path.read_text("utf-8") for path in SOURCE.rglob("*.py")).lower()
    in_names = set(used.split())
    unused = [
        term
        for term in glossary()
        if term.lower().split()[-1].rstrip("s") not in {word.rstrip("s") for word in in_names}
        and term.lower() not in prose
    ]

    assert unused == []


def test_no_word_of_the_glossary_was_given_up() -> None:
    assert {word for term in glossary() for word in term.lower().split()} & set(OLD_WORDS) == set()


def test_words_that_could_mean_more_mean_one_thing() -> None:
    strays = []
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                for word in words_of(node.name):
                    rooms = ONE_MEANING[word][2] if word in ONE_MEANING else None
                    if rooms is not None and room_of(path) not in rooms:
                        strays.append(f"{path.relative_to(SOURCE)}: {node.name}")

    assert strays == []
