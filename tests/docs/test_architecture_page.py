"""ARCHITECTURE.md shows the layers as they are, and the list of modules every module."""

import re
import tomllib

from tests.docs import tree

ARCHITECTURE = tree.ROOT / "ARCHITECTURE.md"


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
    assert rows(tree.current()) == rows(tree.wanted()), "run: python -m tests.docs.tree"


def test_the_layers_are_those_that_the_linter_holds() -> None:
    contracts = tomllib.loads((tree.ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    prose = re.sub(r"^```.*?^```$", "", ARCHITECTURE.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    shown = re.findall(r"^    (.+)$", prose, re.MULTILINE)
    held = [layer for contract in contracts if contract["type"] == "layers" for layer in contract["layers"]]

    assert [line.strip() for line in shown] == [layer.replace("(", "").replace(")", "") for layer in held]


def test_every_module_that_it_names_exists() -> None:
    named = re.findall(
        r"`((?:engine|coordination|ledger|common|sources|testing|ops)/[\w/.]+)`", ARCHITECTURE.read_text("utf-8")
    )

    assert named
    assert [name for name in named if not (tree.SOURCE / name).exists()] == []
