"""The list of modules, docs/modules.md, written from the modules' own first sentences.

``python -m tests.docs.module_list`` rewrites it.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "modules.md"
SOURCE = ROOT / "src" / "alacena"
_BLOCK = re.compile(r"(<!-- tree -->\n)(.*?)(<!-- /tree -->)", re.DOTALL)


def sentence(path: Path) -> str:
    """The first sentence of a module's docstring, in one line."""
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    first = re.split(r"(?<=\.)\s", " ".join(text.split("\n\n")[0].split()) + " ")[0]
    return first.strip().rstrip(".").replace("|", "\\|")


def lines() -> list[str]:
    """A table a package, a row a module."""
    rows: list[str] = []
    for folder in sorted({path.parent for path in SOURCE.rglob("*.py")}):
        package = folder / "__init__.py"
        name = folder.relative_to(SOURCE.parent).as_posix()
        rows += [f"### {name}", "", f"{sentence(package)}.", ""]
        modules = [path for path in sorted(folder.glob("*.py")) if path != package]
        if modules:
            rows += ["| module | what it is |", "|---|---|"]
            rows += [f"| `{path.stem}` | {sentence(path)} |" for path in modules]
            rows.append("")
    return rows


def current() -> str:
    """What the page says now."""
    found = _BLOCK.search(PAGE.read_text("utf-8"))
    return found.group(2) if found else ""


def wanted() -> str:
    """What it should say."""
    return "\n" + "\n".join(lines())


if __name__ == "__main__":
    PAGE.write_text(_BLOCK.sub(lambda m: m.group(1) + wanted() + m.group(3), PAGE.read_text("utf-8")), "utf-8")
