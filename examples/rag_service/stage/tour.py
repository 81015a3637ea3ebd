"""The tour: documents in, questions twice, one edit here, one edit in another process, and what came of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from examples.rag_service.ingestion import Ingested, drain
from examples.rag_service.stage.services import COLLECTION, TENANT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from examples.rag_service.query import Reply
    from examples.rag_service.stage.documents import Document
    from examples.rag_service.stage.services import Services

WORKERS = 2


class Process(Protocol):
    """A process of the product: this one, or another."""

    async def ask(self, question: str) -> Reply:
        """Answer a question."""
        ...

    async def edit(self, document_id: str, text: str) -> Ingested:
        """Give a stored document another text."""
        ...


@dataclass(frozen=True, slots=True)
class Edit:
    """One document changed, and both processes asked everything again.

    Attributes:
        document_id: The document.
        version: What its version became.
        affected: The questions (by place) whose answers were made of it before the edit.
        ingested: What its ingestion cost.
        where: The replies of the process that made the edit.
        elsewhere: The replies of the other one, asked after it.
    """

    document_id: str
    version: int
    affected: set[int]
    ingested: Ingested
    where: list[Reply]
    elsewhere: list[Reply]


@dataclass(slots=True)
class Record:
    """Everything that happened on the tour."""

    questions: list[str]
    ingested: list[Ingested] = field(default_factory=list)
    first: list[Reply] = field(default_factory=list)
    second: list[Reply] = field(default_factory=list)
    elsewhere: list[Reply] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)

    def replies(self) -> list[Reply]:
        """Every reply of the tour."""
        after = [reply for edit in self.edits for reply in (*edit.where, *edit.elsewhere)]
        return [*self.first, *self.second, *self.elsewhere, *after]

    def tokens(self) -> int:
        """Every token that was spent, as the services reported call by call."""
        ingested = [*self.ingested, *(edit.ingested for edit in self.edits)]
        return sum(done.tokens for done in ingested) + sum(reply.tokens for reply in self.replies())


async def ingest(services: Services, documents: Sequence[Document], done: Callable[[Ingested], None]) -> list[Ingested]:
    """Queue every document, then let workers empty the queue side by side."""
    for document in documents:
        await services.ingestion.submit(document, tenant_id=TENANT, collection_id=COLLECTION)
    async with asyncio.TaskGroup() as group:
        workers = [
            group.create_task(drain(services.ingestion, tenant_id=TENANT, done=done)) for _worker in range(WORKERS)
        ]
    return [ingested for worker in workers for ingested in worker.result()]


async def ask_all(process: Process, questions: Sequence[str], shown: Callable[[int, Reply], None]) -> list[Reply]:
    """Ask one process every question, one after the other."""
    replies = []
    for place, question in enumerate(questions):
        replies.append(await process.ask(question))
        shown(place, replies[-1])
    return replies


def used_by(replies: Sequence[Reply], document_id: str) -> set[int]:
    """The questions whose answers were made of a document."""
    return {place for place, reply in enumerate(replies) if document_id in reply.sources}


def choose_document(replies: Sequence[Reply]) -> str:
    """The document to edit: one that about half of the answers were made of, so that both kinds are seen.

    Raises:
        ValueError: No answer was made of any document.
    """
    uses = Counter(document_id for reply in replies for document_id in reply.sources)
    if not uses:
        raise ValueError("No answer was made of any document.")
    return min(uses, key=lambda document_id: (abs(2 * uses[document_id] - len(replies)), document_id))


def edited(text: str, question: str) -> str:
    """The text with one paragraph more, that speaks of what was asked."""
    subject = question.strip("¿?!¡ .")
    note = "esta línea la añadió la demostración." if "¿" in question else "this line was added by the demo."
    return f"{text.rstrip()}\n\n## {subject}\n\n{subject}: {note}\n"
