"""From which documents an answer is made, said by the code around the call."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from alacena.engine.base.ambient_tenant import undo
from alacena.engine.base.keys import document_text
from alacena.engine.base.scope import identifier, several

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_DOCUMENTS: Final[ContextVar[tuple[str, ...]]] = ContextVar("alacena.llm_documents", default=())


@contextmanager
def based_on(document_ids: str | Iterable[str]) -> Iterator[None]:
    """Says that the calls in this block are made from these documents, besides those of the blocks around it.

    Their answers are gone from the cache when one of the documents is invalidated.

    Args:
        document_ids: One id, or several.
    """
    given = tuple(document_text(one) or identifier("document_id", one) for one in several(document_ids))
    token = _DOCUMENTS.set((*_DOCUMENTS.get(), *given))
    try:
        yield
    finally:
        undo(_DOCUMENTS, token)


def current_documents() -> tuple[str, ...]:
    """Returns the documents that the blocks around the running code name."""
    return _DOCUMENTS.get()
