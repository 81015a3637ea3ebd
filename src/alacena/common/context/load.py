"""The part of ``ctx`` through which a source describes the value that it is about to return."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alacena.engine import MISSING, UNSET
from alacena.engine.base.errors import UsageError
from alacena.engine.loading.load import LOAD

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta
    from decimal import Decimal

    from alacena.engine import TtlOrUnset


def require_reader(deed: str) -> None:
    """Refuses, inside a load whose entry is for everybody, what only some may see: its value would be served to all.

    Args:
        deed: What is refused, for the message.

    Raises:
        UsageError: The load under way names neither a user nor permissions.
    """
    load = LOAD.get()
    if load is not None and getattr(load, "user_id", None) is getattr(load, "permissions", None) is None:
        raise UsageError(
            f"{deed}, inside the load of {load.data_type!r} {load.resource_id!r:.80}, whose entry everybody in the "
            "tenant is served: load that one with user_id=... or permissions=... too"
        )


class LoadAccess:
    """The part of a `Context` that speaks to the load under way. Outside a load, nothing happens.

    So a search function can say what it used wherever it is called from.
    """

    __slots__ = ()

    def depends_on(self, document_ids: str | Iterable[str]) -> None:
        """Records the documents that the value is made from: updating one of them ends the value."""
        if (load := LOAD.get()) is not None:
            load.depends_on(document_ids)

    def skip(self) -> None:
        """Does not store the value: it is for those who wait for it now, and nobody else."""
        if (load := LOAD.get()) is not None:
            load.skip()

    def cost(self, *, tokens: int = 0, usd: float | Decimal = 0.0) -> None:
        """Records what the value cost: dearer values stay longer when memory is short."""
        if (load := LOAD.get()) is not None:
            load.cost(tokens=tokens, usd=usd)

    @property
    def previous(self) -> Any:
        """The expired value as it was stored, if one is still there, else ``None``.

        If it is still what the source holds, return ``UNCHANGED``: it lives anew, with what it depends on.
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
