"""The tenant that the running code works for: asked of, and told to, the package that keeps the ambient ids."""

from __future__ import annotations

from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import ContextVar, Token

T = TypeVar("T")


def _nobody() -> tuple[str | None, ...]:
    return (None,)


def _ignore(tenant_id: str) -> None:
    """Does nothing: there are no ambient ids."""


class AmbientTenant:
    """The keeper of the ambient ids.

    Attributes:
        tenants: Returns the ambient tenant or ``None``; both if it may be one or the other. `alacena.common.context`
            puts its own here when it is imported: the layers below it cannot ask it by name.
        work_for: Makes the running task work for a tenant until the task ends, and for no agent, conversation,
            collection or user.
    """

    tenants: Callable[[], tuple[str | None, ...]] = staticmethod(_nobody)
    work_for: Callable[[str], None] = staticmethod(_ignore)


def outside(begin: Callable[..., T], *args: object, **named: object) -> T:
    """Returns the outcome of ``begin``, called for no tenant: the tasks that it starts inherit no tenant, no load and no trace.

    1. A request of one tenant is the first to need the cache, and opens it. 2. The connections, the relay and the timers
    live as long as the cache. 3. If they inherited the request's context, they would work for its tenant to the end.
    """
    return Context().run(begin, *args, **named)


def undo(variable: ContextVar[Any], token: Token[Any]) -> None:
    """Gives a variable of the running context the value that it had before a block set it.

    1. A generator or a fixture enters a block in one task. 2. Another task, or the garbage collector, closes it. 3. The
    block ends in a context that it never entered, in which there is nothing to undo.
    """
    try:  # noqa: SIM105 - each load comes here three times, and the block costs more than what it is around
        variable.reset(token)
    except ValueError:
        pass
