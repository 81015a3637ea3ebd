"""Logs that name the tenant of the running code: a filter for ``logging``, a processor for structlog."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from alacena import UsageError
from alacena.engine.base.arguments import list_of
from alacena.engine.base.scope import identifier
from alacena.integrations.caller import ambient_ids

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping

FIELDS: Final = ("tenant_id", "user_id", "conversation_id", "agent_id", "collection_id")


class ContextFilter(logging.Filter):
    """Gives each log record the ambient ids, so that a format may name them, as in ``"%(tenant_id)s %(message)s"``.

    Put it on a handler: a filter of a logger does not see the records of the loggers below it.

    ::

        handler.addFilter(ContextFilter())

    Args:
        fields: Which ids.
        absent: Stands for an id that is not ambient.
    """

    def __init__(self, fields: Iterable[str] = FIELDS, *, absent: str | None = "-") -> None:
        super().__init__()
        self._fields = tuple(identifier("fields", one) for one in list_of(fields, "fields", "names of fields"))
        self._absent = absent

    def filter(self, record: logging.LogRecord) -> bool:
        """Adds the ids to a record; its own fields stay."""
        ids = _ids()
        for name in self._fields:
            if not hasattr(record, name):
                setattr(record, name, ids.get(name, self._absent))
        return True


def add_context(_: Any, __: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Adds the ambient ids to an event of structlog's, as one of its processors; ids that the event has stay.

    ::

        structlog.configure(processors=[add_context, structlog.processors.JSONRenderer()])

    Args:
        event_dict: The event.
    """
    for name, value in _ids().items():
        event_dict.setdefault(name, value)
    return event_dict


def _ids() -> dict[str, str]:
    try:
        return ambient_ids()
    except UsageError:  # nobody can tell for whom this task works: a line of a log must not fail for it
        return {}
