"""Options that several commands have, and the question before an action that cannot be undone."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from alacena.ops.output import printable

Url = Annotated[str | None, typer.Option("--url", help="The server; left out: ALACENA_REDIS_URL or REDIS_URL.")]
Tenant = Annotated[str, typer.Option("--tenant", help="Whose entries.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print everything as JSON.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Search = Annotated[
    bool, typer.Option("--search", help="Look at keys too, for what is not listed; it takes as long as there are keys.")
]
Most = Annotated[int, typer.Option("--most", min=1, help="How many keys of a server are looked at, at most.")]


def confirm(question: str, *, yes: bool) -> None:
    """Asks, unless the answer was given with the command. A program that cannot answer must give it.

    Raises:
        typer.Exit: The answer is no (code 1), or there is no one to ask (code 2).
    """
    if yes:
        return
    if not sys.stdin.isatty():
        sys.stderr.write("alacena: nobody can be asked here: give --yes\n")
        raise typer.Exit(2)
    # The question goes to stderr: stdout is for the answer, which may be JSON.
    if not typer.confirm(printable(question, 200), err=True):
        sys.stderr.write("nothing was done\n")
        raise typer.Exit(1)
