"""How a script reaches a server: by its digest, and once more with its text where the server has forgotten it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alacena.engine.errors import ServerReplyError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from alacena.engine.store import Argument, Reply, Script


async def evaluate(
    send: Callable[..., Awaitable[Reply]],
    script: Script,
    keys: Sequence[str | bytes],
    args: Sequence[Argument],
) -> Reply:
    """Run a script through ``send(*command)``, which must reach the node of its keys.

    ``SCRIPT LOAD`` and not ``EVAL``: since Redis 7.4 a server may forget scripts that came with ``EVAL``.
    A refused ``EVALSHA`` executed nothing, so asking again is safe for every script.

    Cost: 1 round trip; 3 the first time after the server started or failed over.

    Raises:
        BackendError: Whatever ``send`` raises.
    """
    command = ("EVALSHA", script.sha, len(keys), *keys, *args)
    try:
        return await send(*command)
    except ServerReplyError as refusal:
        if refusal.code != "NOSCRIPT":
            raise
    await send("SCRIPT", "LOAD", script.source)
    return await send(*command)
