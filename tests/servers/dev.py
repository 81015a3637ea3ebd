"""A Valkey to develop against: on loopback, until Ctrl-C, with nothing kept.

``python -m tests.servers.dev [--port 6390]``, or ``make dev``, which installs what it needs.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from typing import TYPE_CHECKING

from proving.servers.process import PortTakenError
from proving.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Sequence

PORT = 6390
"""Not Redis's own, so that it stands beside one that runs already."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the server until the process is asked to end, and ends it by its process id."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers.dev", description=__doc__)
    parser.add_argument("--port", type=int, default=PORT, help=f"the port (default {PORT}; 0: any that is free)")
    port = parser.parse_args(arguments).port
    asked_to_end = threading.Event()
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, lambda *_: asked_to_end.set())
    server = RedisServer("valkey", tcp=True)
    server.port = port
    try:
        with server:
            _say(f"Valkey (process {server.process.pid}) listens on loopback. In another terminal:\n")
            _say(f"    export REDIS_URL={server.tcp_url}/0\n")
            _say("Ctrl-C ends it. Nothing is kept.")
            asked_to_end.wait()
    except PortTakenError:
        _say(f"port {port} is taken: give another one, make dev ARGS='--port 0' takes any that is free")
        return 1
    _say("ended")
    return 0


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
