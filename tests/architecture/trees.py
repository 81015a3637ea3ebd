"""The syntax trees of the files: each is read once for all tests that look at it."""

from __future__ import annotations

import ast
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@cache
def tree_of(path: Path) -> ast.Module:
    """The tree of a file. Shared: nobody may change it."""
    return ast.parse(path.read_text("utf-8"))
