"""The guide's code blocks, cut out of its text."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

GUIDE = Path(__file__).with_name("guia-cache.es.md")

_FENCE = re.compile(r"^(?P<indent> *)```python\n(?P<code>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"^# (?P<mark>INCORRECTO|CORRECTO)\b.*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """One code block, or one marked part of it.

    Attributes:
        number: Its place in the guide, from 1.
        line: The line of the guide on which its code starts.
        part: 0 for a whole block; the parts of a block with marks count from 1.
        mark: ``"CORRECTO"``, ``"INCORRECTO"`` or ``""``.
        code: Its text, as it stands in the guide but for the indentation of the list that it is in.
    """

    number: int
    line: int
    part: int
    mark: str
    code: str

    @property
    def name(self) -> str:
        """How tests call it."""
        return f"block{self.number:02}" + (f".{self.part}" if self.part else "")


def blocks(text: str | None = None) -> list[Block]:
    """All code blocks in their order; blocks with INCORRECTO and CORRECTO in them as their parts."""
    text = GUIDE.read_text("utf-8") if text is None else text
    found = []
    for number, match in enumerate(_FENCE.finditer(text), 1):
        line = text.count("\n", 0, match.start("code")) + 1
        found += _parts(number, line, textwrap.dedent(match["code"]))
    return found


def _parts(number: int, line: int, code: str) -> list[Block]:
    marks = list(_MARK.finditer(code))
    if not marks:
        return [Block(number, line, 0, "", code)]
    ends = [mark.start() for mark in marks[1:]] + [len(code)]
    single = len(marks) == 1
    return [
        Block(number, line + code.count("\n", 0, m.start()), 0 if single else part, m["mark"], code[m.start() : end])
        for part, (m, end) in enumerate(zip(marks, ends, strict=True), 1)
    ]
