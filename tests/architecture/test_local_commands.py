"""The keyspace of this process knows the commands that the library sends, and no others."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path("src/alacena")
LOCAL = SOURCE / "engine/remote/local"
TABLES = {SOURCE / "engine/remote/redis/command_safety.py"}
"""Modules that list commands without sending them."""


def _defined() -> set[str]:
    """The names that the modules of the keyspace define with ``@command``."""
    calls = (node for path in LOCAL.glob("*.py") for node in ast.walk(ast.parse(path.read_text())))
    return {
        str(call.args[0].value)
        for call in calls
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == "command"
        and isinstance(call.args[0], ast.Constant)
    }


def _sent() -> set[str]:
    """Every string of the library that could be a command's name."""
    paths = [path for path in SOURCE.rglob("*.py") if path.parent != LOCAL and path not in TABLES]
    return {
        node.value if isinstance(node.value, str) else node.value.decode()
        for path in paths
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and node.value.isascii()
        if node.value.isupper()
    }


def test_no_command_of_the_keyspace_is_used_by_nothing() -> None:
    assert _defined() - _sent() == set()
