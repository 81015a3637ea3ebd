"""ARCHITECTURE.md shows the layers as they are, and the list of modules every module."""

import re
import tomllib

from tests.docs import module_list

ARCHITECTURE = module_list.ROOT / "ARCHITECTURE.md"


def rows(text: str) -> set[str]:
    """Packages and modules, without their sentences: those may lag behind by a word."""
    package, found = "", set()
    for line in text.splitlines():
        if line.startswith("### "):
            package = line[4:]
            found.add(package)
        elif named := re.match(r"\| `(\w+)` \|", line):
            found.add(f"{package}/{named[1]}")
    return found


def test_the_tree_is_that_of_the_source() -> None:
    assert rows(module_list.current()) == rows(module_list.wanted()), "run: python -m tests.docs.module_list"


def test_the_layers_are_those_that_the_linter_holds() -> None:
    contracts = tomllib.loads((module_list.ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    prose = re.sub(r"^```.*?^```$", "", ARCHITECTURE.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    shown = re.findall(r"^    (.+)$", prose, re.MULTILINE)
    held = [layer for contract in contracts if contract["type"] == "layers" for layer in contract["layers"]]

    assert [line.strip() for line in shown] == [layer.replace("(", "").replace(")", "") for layer in held]


NAMED = re.compile(r"`((?:[\w-]+/)+[\w.-]*|\w+\.(?:py|lua|js))`((?:,? `\w+(?:\.\w+)?`)*)")
"""A path, and the names that follow it: they are in that file."""


def test_every_path_that_it_names_exists_and_holds_what_is_named_with_it() -> None:
    wrong = []
    room = None
    for path, names in NAMED.findall(ARCHITECTURE.read_text("utf-8")):
        places = [module_list.SOURCE / path, module_list.ROOT / path, *([room / path] if room is not None else [])]
        if "/" not in path:  # a file of some room, such as a script's
            places += module_list.SOURCE.rglob(path)
        place = next((place for place in places if place.exists()), None)
        if place is None:
            wrong.append(path)
            continue
        if place.is_file():
            room = place.parent  # `a/b.py`, `c.py`: both are in a
            text = place.read_text("utf-8")
            defined = {*re.findall(r"(?:def|class) (\w+)|^(\w+)(?:: \w.*)? =", text, re.MULTILINE)}
            known = {name for pair in defined for name in pair}
            wrong += [
                f"{path} {name}"
                for name in re.findall(r"`([\w.]+)`", names)
                if not (name.split(".")[-1] in known or (room / name).exists())
            ]

    assert wrong == []


def test_every_pattern_of_paths_finds_files() -> None:
    patterns = re.findall(r"`([\w./*-]*\*[\w./*-]*)`", ARCHITECTURE.read_text("utf-8"))

    assert len(patterns) > 10
    assert [
        pattern
        for pattern in patterns
        if not any(module_list.ROOT.glob(pattern)) and not any(module_list.SOURCE.rglob(pattern))
    ] == []
