"""The reference of the command line, written from the commands themselves.

``python -m tests.docs.commands`` rewrites it, in both languages: the words of the commands are English, as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer.main

from alacena.ops.commands import app

if TYPE_CHECKING:
    from collections.abc import Iterator

    import click

ROOT = Path(__file__).parents[2]
HEADS = {
    "en": (
        "# Command line",
        "The command `alacena` (extra `cli`) looks into a cache from a shell: every command, its arguments and its options.",
        "It is used in [Operate](../how-to/operate.md).",
        "Written from the code by `python -m tests.docs.commands`.",
    ),
    "es": (
        "# Línea de órdenes",
        "La orden `alacena` (extra `cli`) mira en una caché desde una terminal: cada orden, sus argumentos y sus opciones.",
        "Se usa en [Operar](../how-to/operate.md).",
        "Lo escribe `python -m tests.docs.commands` a partir del código; los textos son los de `--help`.",
    ),
}


def path_of(language: str) -> Path:
    return ROOT / "docs" / language / "reference" / "cli.md"


def text_of(language: str) -> str:
    """The page as it has to be."""
    title, opening, *more = HEADS[language]
    group = typer.main.get_command(app)
    lines = [title, "", f"{opening}", "", *more, ""]
    for name, command in _commands(group, ""):
        lines += [f"## `{name}`", "", (command.help or "").strip().replace("\n\n", "\n"), "", "| | |", "|---|---|"]
        lines += [f"| {_names(one)} | {_help(one)} |" for one in command.params if one.name != "help"]
        lines.append("")
    return "\n".join(lines)


def _commands(group: click.Command, before: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in getattr(group, "commands", {}).items():
        full = f"{before}{name}"
        if getattr(command, "commands", None):
            yield from _commands(command, f"{full} ")
        else:
            yield full, command


def _names(parameter: click.Parameter) -> str:
    if parameter.param_type_name == "argument":
        return f"`{(parameter.name or '').upper()}`"
    return ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))


def _help(parameter: click.Parameter) -> str:
    words = str(getattr(parameter, "help", None) or "")
    default = parameter.default
    shown = f" Default: {default}." if isinstance(default, int) and not isinstance(default, bool) else ""
    return f"{words}{shown}".replace("|", "\\|")


if __name__ == "__main__":
    for language in HEADS:
        path_of(language).write_text(text_of(language), "utf-8")
