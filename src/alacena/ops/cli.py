"""``alacena``: the operator's questions from a shell. Needs the extra ``cli``."""

from __future__ import annotations

import os
import sys
import threading


def main() -> None:
    """Runs the command that was given, and ends the program with its exit code."""
    try:
        from alacena.ops.commands import app
    except ImportError:
        sys.exit("the command line needs more: pip install 'alacena[cli]'")
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
