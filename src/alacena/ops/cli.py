"""``alacena``: the operator's questions from a shell. Needs the extra ``cli``."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path


def main() -> None:
    """Runs the command that was given, and ends the program with its exit code."""
    try:
        from alacena.ops.commands import app
    except ImportError:
        sys.exit("the command line needs more: pip install 'alacena[cli]'")
    _replace_closed_streams()
    try:
        app()
    finally:
        # Threads are joined at the end of the program: one that still resolves a name would hold it up for minutes.
        if any(thread.name.startswith("asyncio_") for thread in threading.enumerate()):
            sys.stdout.flush()
            sys.stderr.flush()
            error = sys.exc_info()[1]
            code = error.code if isinstance(error, SystemExit) else 1
            os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _replace_closed_streams() -> None:
    """Puts nothing in the place of streams that the shell closed (``>&-``): Python has None there, which takes no text."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - till the end
