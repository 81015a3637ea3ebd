"""The console on a port of its own, as ``alacena console`` starts it."""

from __future__ import annotations

import secrets
import sys
from typing import TYPE_CHECKING, Final

from alacena.engine import Cache
from alacena.ops.console.activity_log import ActivityLog
from alacena.ops.console.app import LOOPBACK, console_app

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alacena.engine import Settings

_END_S: Final = 3


async def serve(
    settings: Settings, *, host: str, port: int, token: str | None, allow_actions: bool, host_names: Sequence[str] = ()
) -> None:
    """Opens a cache and serves its console until it is interrupted.

    Args:
        settings: The cache's; its namespace is shown.
        host: The address to listen on.
        port: The port; 0: any that is free.
        token: The secret that opens the console; ``None``: a new one is made.
        allow_actions: Whether anything may be changed.
        host_names: Names by which the page may be asked for, beside those of this machine.
    """
    import uvicorn

    token = token or secrets.token_urlsafe(24)
    activity = ActivityLog()
    async with Cache(settings, observers=[activity]) as cache:
        # An address that stands for all of them is no name by which a page is asked for.
        names = (*LOOPBACK, *host_names, *(() if host in {"0.0.0.0", "::"} else (host,)))  # noqa: S104
        app = console_app(cache, token=token, allow_actions=allow_actions, hosts=names, activity=activity)
        config = uvicorn.Config(
            app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=_END_S, server_header=False
        )
        # Bound before the address is printed: with port 0 it is known only then.
        listener = config.bind_socket()
        shown = f"[{host}]" if ":" in host else host
        # Behind the #, so that neither a server's log nor a proxy sees it.
        address = f"http://{shown}:{listener.getsockname()[1]}/#token={token}"
        what = "actions are allowed" if allow_actions else "read-only"
        sys.stdout.write(f"Console of namespace {settings.namespace!r} ({what}), until Ctrl-C:\n  {address}\n")
        sys.stdout.flush()
        await uvicorn.Server(config).serve(sockets=[listener])
