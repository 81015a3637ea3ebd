"""Commands and replies as the wire sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import hiredis

from alacena.engine.base.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Argument: TypeAlias = str | bytes | int | float
"""One word of a command. Text goes out as UTF-8, numbers as their shortest exact decimal form."""

Command: TypeAlias = tuple[Argument, ...]
"""The name of a command and its arguments, such as ``("GET", "k")``."""

Reply: TypeAlias = Any
"""What the server answered: ``None``, ``bool``, ``int``, ``float``, ``bytes``, a list, a dict, or a
``ServerReplyError``."""


pack_unchecked: Callable[[Any], bytes] = hiredis.pack_command
"""One command as bytes of the protocol; `refusal` says what a ``TypeError`` or ``ValueError`` means. Never for
``()``."""


def pack(commands: Sequence[Command]) -> bytes:
    """Returns commands as one run of bytes of the protocol, so that nothing can come between them.

    Raises:
        UsageError: There is no command, one is empty, or an argument is not text, bytes or a number.
    """
    if not commands:
        raise UsageError("an exchange needs at least one command, such as [('PING',)]")
    if not all(commands):
        raise refusal(*commands)
    try:
        return b"".join(map(pack_unchecked, commands))
    except (TypeError, ValueError) as error:
        raise refusal(*commands) from error


def refusal(*commands: object) -> UsageError:
    """Returns the error for commands of which one cannot be sent."""
    return UsageError(next(filter(None, map(_complaint, commands))))


def _complaint(command: object) -> str | None:
    if not isinstance(command, tuple):
        return f"a command is a tuple such as ('GET', 'key'), not {type(command).__name__}"
    if not command:
        return "an empty command has no answer: name one, such as ('PING',)"
    for place, argument in enumerate(command):
        if isinstance(argument, bool) or not isinstance(argument, str | bytes | int | float | memoryview):
            kind = type(argument).__name__
            return f"argument {place} of {command[0]!r} is {kind}: pass str (UTF-8), bytes, int or float"
    try:
        pack_unchecked(command)
    except (TypeError, ValueError):
        return f"an argument of {command[0]!r} is text that UTF-8 cannot carry: pass bytes"
    return None
