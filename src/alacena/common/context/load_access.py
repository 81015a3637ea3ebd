"""The part of ``ctx`` through which a source describes the value that it is about to return."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alacena.engine import MISSING, UNSET
from alacena.engine.base.errors import UsageError, show
from alacena.engine.base.scope import covers
from alacena.engine.loading.load import LOAD

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta
    from decimal import Decimal

    from alacena.engine import TtlOrUnset
    from alacena.engine.base.scope import Reader


def require_reader(deed: str, reader: Reader | None = None) -> None:
    """Refuses, inside a load, what not all may see who are served its entry.

    Args:
        deed: The refused call, for the message.
        reader: The user and the permissions whose it is; left out: it is unknown, and any that the entry names will do.

    Raises:
        UsageError: The load under way names no reader, or one who may not see it.
    """
    load = LOAD.get()
    if load is None:
        return
    served = getattr(load, "user_id", None), getattr(load, "permissions", None)
    what = f"{deed}, inside the load of {load.data_type!r} {show(load.resource_id)}, whose entry"
    if served == (None, None):
        raise UsageError(f"{what} serves the whole tenant: load that one with user_id=... or permissions=... too")
    if reader is not None and not covers(reader, served):
        raise UsageError(f"{what} serves others too: load that one with user_id= and permissions= of the same reader")


class LoadAccess:
    """The part of a `Context` that speaks to the load under way. Outside a load, nothing happens.

    So a search function can name its sources wherever it is called from.
    """

    __slots__ = ()

    def depends_on(self, document_ids: str | Iterable[str]) -> None:
        """Records the documents that the value is made from: updating one of them ends the value."""
        if (load := LOAD.get()) is not None:
            load.depends_on(document_ids)

    def skip(self) -> None:
        """Does not store the value: it is for the callers that wait for it now alone."""
        if (load := LOAD.get()) is not None:
            load.skip()

    def cost(self, *, tokens: int = 0, usd: float | Decimal = 0.0) -> None:
        """Records the cost of the value: dearer values stay longer when memory is short."""
        if (load := LOAD.get()) is not None:
            load.cost(tokens=tokens, usd=usd)

    @property
    def previous(self) -> Any:
        """The expired value as it was stored, if one is still there, else ``None``.

        If it is still what the source holds, return ``UNCHANGED``: it lives anew, with its tags.
        """
        load = LOAD.get()
        return None if load is None or load.previous is MISSING else load.previous

    @property
    def ttl(self) -> TtlOrUnset:
        """The time to live that this value is given, where the source sets one."""
        load = LOAD.get()
        return UNSET if load is None else load.ttl

    @ttl.setter
    def ttl(self, ttl: TtlOrUnset) -> None:
        if (load := LOAD.get()) is not None:
            load.ttl = ttl

    @property
    def retry_after(self) -> float | None:
        """For how many seconds the source asks to be left alone if it fails, if it said so."""
        load = LOAD.get()
        return None if load is None else load.retry_after

    @retry_after.setter
    def retry_after(self, retry_after: float | timedelta | None) -> None:
        if (load := LOAD.get()) is not None:
            load.retry_after = retry_after

    @property
    def tags(self) -> list[str]:
        """The tags that the value depends on; append to it."""
        load = LOAD.get()
        return [] if load is None else load.tags
