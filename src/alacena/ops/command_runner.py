"""Questions to a cache from the command line: it is opened, asked and closed, and the exit code tells the outcome."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import typer

from alacena.engine import (
    AlacenaError,
    BackendUnavailableError,
    Cache,
    OutcomeUnknownError,
    ServerReplyError,
    Settings,
    UsageError,
)
from alacena.ops.output import CommandResult, printable, say

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from alacena.ops.fleet_report import By

FINDING: Final = 1
USAGE: Final = 2
UNREACHED: Final = 3

NO_SERVER: Final = "no server is named: give --url, or set ALACENA_REDIS_URL or REDIS_URL"

_REFUSED_AT_THE_DOOR: Final = frozenset({"WRONGPASS", "NOAUTH", "DENIED", "LOADING"})
_CLOSE_S: Final = 2.0

T = TypeVar("T")


def settings_of(url: str | None) -> Settings:
    """Returns the settings of the environment, with the server that was named on the command line."""
    said: dict[str, Any] = {} if url is None else {"redis_url": url}
    return Settings.from_env(**said, fleet_every_s=None)  # it looks at the fleet, and is none of it


def answer(
    url: str | None, ask: Callable[[Cache], Awaitable[CommandResult]], *, as_json: bool, needs_server: bool = True
) -> NoReturn:
    """Opens a cache, asks it, prints its answer, and ends the command.

    Args:
        url: The server.
        ask: The question.
        as_json: Print JSON.
        needs_server: Whether there is nothing to ask without a server that answers.
    """

    async def ask_cache() -> CommandResult:
        settings = settings_of(url)
        if needs_server and settings.redis_url is None:
            raise BackendUnavailableError(NO_SERVER)
        async with Cache(settings) as cache:
            # A cache opens without its server, too, and would answer from an empty memory.
            if needs_server and not (promised := cache.guarantee()).get("connected", True):
                raise BackendUnavailableError(str(promised["why"]))
            return await ask(cache)

    end(run(ask_cache, as_json=as_json), as_json=as_json)


def show(url: str | None, by: By) -> NoReturn:
    """Shows the counts of the fleet until the user leaves, and ends the command.

    Raises:
        typer.Exit: The user left, or the extra is missing (code 2).
    """
    try:
        from alacena.ops.top import TopApp
    except ImportError:
        sys.stderr.write("alacena: the live view needs more: pip install 'alacena[top]', or give --once\n")
        raise typer.Exit(USAGE) from None

    async def show_live() -> None:
        async with Cache(settings_of(url)) as cache:
            await TopApp(cache, by).run_async()

    run(show_live)
    raise typer.Exit(0)


def end(found: CommandResult, *, as_json: bool) -> NoReturn:
    """Prints an answer and ends the command with its code."""
    say(found, as_json=as_json)
    raise typer.Exit(found.code)


def run(main: Callable[[], Coroutine[Any, Any, T]], *, as_json: bool = False) -> T:
    """Runs a coroutine; an error of ours ends the command with its message and its code."""
    log = logging.getLogger("alacena")
    silence = logging.NullHandler()
    # Without a handler Python writes the library's warnings to stderr: the command itself says what went wrong.
    log.addHandler(silence)
    try:
        return _run(main())
    except (AlacenaError, OSError, ValueError) as error:
        _refuse(error, as_json=as_json)
    finally:
        log.removeHandler(silence)


def _run(main: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine without waiting for threads at the end: a name that is being resolved may hang for minutes."""
    loop = asyncio.new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=_CLOSE_S))
        # asyncio.run() would also shut down the default executor, and join its threads.
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()


def _refuse(error: Exception, *, as_json: bool) -> NoReturn:
    code = FINDING
    is_refusal = isinstance(error, ServerReplyError) and error.code in _REFUSED_AT_THE_DOOR
    if isinstance(error, UsageError | ValueError):
        code = USAGE
    elif is_refusal or isinstance(error, BackendUnavailableError | OutcomeUnknownError | OSError):
        code = UNREACHED
    words = str(error) or type(error).__name__
    if isinstance(error, ServerReplyError) and error.code == "NOPERM":
        words += "; `alacena doctor` says what to grant"
    if as_json:
        sys.stdout.write(json.dumps({"error": words, "kind": type(error).__name__, "code": code}) + "\n")
    lines = "\n".join(printable(line) for line in words.splitlines())
    sys.stderr.write(f"alacena: {lines}\n")
    raise typer.Exit(code)
