"""What a source may say, through its ``ctx``, about the value that it is about to return."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from alacena.engine import MISSING, UNSET

if TYPE_CHECKING:
    from collections.abc import Iterable
    from decimal import Decimal

    from alacena.engine import LoadContext, TtlOrUnset

LOAD: Final[ContextVar[LoadContext | None]] = ContextVar("alacena.load", default=None)
"""The load under way in this task."""


class SourceVoice:
    """The part of a `Context` that speaks to the load under way. Outside a load, nothing happens.

    So a search function can say what it used wherever it is called from.
    """

    __slots__ = ()

    def depends_on(self, document_ids: str | Iterable[str]) -> None:
        """Record the documents that the value is made from: updating one of them ends the value."""
        if (load := LOAD.get()) is not None:
            load.depends_on(document_ids)

    def skip(self) -> None:
        """Do not store the value: it is for those who wait for it now, and nobody else."""
        if (load := LOAD.get()) is not None:
            load.skip()

    def cost(self, *, tokens: int = 0, usd: float | Decimal = 0.0) -> None:
        """Record what the value cost: dearer values stay longer when memory is short."""
        if (load := LOAD.get()) is not None:
            load.cost(tokens=tokens, usd=usd)

    @property
    def previous(self) -> Any:
        """The expired value as it was stored, where one is still there, else ``None``.

        Where it is still what the source holds, return ``UNCHANGED``: it lives anew, with what it depends on.
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
    def tags(self) -> list[str]:
        """What the value depends on; append to it."""
        load = LOAD.get()
        return [] if load is None else load.tags
