"""The index of messages: each warning and error that the code logs, what it means and what to do.

``messages.toml`` has an entry for each, under the words of the message, in both languages.
"""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

from tests.docs.pages import ROOT

SOURCE = ROOT / "src" / "alacena"
KNOWN = Path(__file__).parent / "messages.toml"
_LEVELS = {"warning": "WARNING", "error": "ERROR", "exception": "ERROR", "critical": "ERROR"}
_HEADS = {"en": "| message | what it means | what to do |", "es": "| mensaje | qué significa | qué hacer |"}


@cache
def logged() -> dict[str, str]:
    """Returns each message of the code with its level, the changing parts as ``…``.

    Raises:
        AssertionError: A message is not written where it is logged, so that it cannot be looked up.
    """
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            holder = node.func.value
            if node.func.attr in _LEVELS and isinstance(holder, ast.Name) and holder.id in {"_log", "log", "logger"}:
                words = node.args[0]
                assert isinstance(words, ast.Constant), f"{path}:{node.lineno}: a message is a literal"
                found[pattern(str(words.value))] = _LEVELS[node.func.attr]
    return found


def pattern(words: str) -> str:
    """Returns a format with ``…`` for each of its parts."""
    return re.sub(r"%(\([\w.]+\))?[-\d.]*[srdgif]", "…", words)


def known() -> dict[str, dict[str, str]]:
    """Returns what is said of each message."""
    return tomllib.loads(KNOWN.read_text("utf-8"))


def table(language: str) -> str:
    """Returns the index, by level and then by words."""
    said, lines = known(), []
    for level in ("ERROR", "WARNING"):
        lines += [f"## {level}", "", _HEADS[language], "|---|---|---|"]
        for words in sorted((words for words, at in logged().items() if at == level), key=str.lower):
            texts = said.get(words, {})
            cells = [words.replace("|", "\\|"), texts.get(f"{language}_means", ""), texts.get(f"{language}_do", "")]
            lines.append(f"| `{cells[0]}` | {cells[1]} | {cells[2]} |")
        lines.append("")
    return "\n".join(lines).rstrip()
