"""``alacena``: what an operator asks from a shell. Needs the extra ``cli``."""

from __future__ import annotations

import sys


def main() -> None:
    """The entry point."""
    try:
        from alacena.ops.commands import app
    except ImportError:
        sys.exit("the command line needs more: pip install 'alacena[cli]'")
    app()
