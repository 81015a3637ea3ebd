"""The demo: starts its servers, takes the tour, shows it live and checks it."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alacena import Settings
from examples.rag_service.stage.figures import figures, recomputed, verdicts
from examples.rag_service.stage.local_model import local_model
from examples.rag_service.stage.postgres import private_postgres
from examples.rag_service.stage.second_process import second_process
from examples.rag_service.stage.services import (
    Providers,
    Services,
    choose_providers,
    needs_local_model,
    open_services,
    private_valkey,
    tokens_on_ledger,
)
from examples.rag_service.stage.tour import Edit, Process, Record, ask_all, choose_document, edited, ingest, used_by

if TYPE_CHECKING:
    from examples.rag_service.query import Reply
    from examples.rag_service.stage.documents import Library
    from examples.rag_service.stage.screen import Screen


@dataclass(frozen=True, slots=True)
class Plan:
    """What the demo is to do.

    Attributes:
        library: The documents to take in.
        questions: What to ask about them.
        offline: Whether to leave a configured endpoint alone.
    """

    library: Library
    questions: list[str]
    offline: bool


class Demo:
    """One run over open services.

    Args:
        services: This process.
        other: The second process.
        screen: Where it is shown.
        questions: What to ask.
    """

    def __init__(self, services: Services, other: Process, screen: Screen, questions: list[str]) -> None:
        self._services = services
        self._other = other
        self._screen = screen
        self.record = Record(questions)

    async def take_in(self, library: Library) -> None:
        """Ingest the documents behind a progress bar."""
        with self._screen.progress("Ingesting", len(library.documents)) as step:
            self.record.ingested = await ingest(self._services, library.documents, lambda _done: step())
        done = self.record.ingested
        self._screen.say(
            f"{len(done)} documents, {sum(one.chunks for one in done)} chunks, "
            f"{sum(one.embedded for one in done)} embedded, {sum(one.tokens for one in done):,} tokens."
        )

    async def ask_twice(self) -> None:
        """Ask everything twice here, then twice in the second process, which fills its memory as well."""
        record = self.record
        with self._screen.grid(record.questions, ("First pass", "Second pass", "Second process")) as grid:
            record.first = await ask_all(self._services, record.questions, grid.put(0))
            record.second = await ask_all(self._services, record.questions, grid.put(1))
            record.elsewhere = await ask_all(self._other, record.questions, grid.put(2))
        await ask_all(self._other, record.questions, _unseen)

    async def edit_and_put_back(self) -> None:
        """Edit one document here and put it back in the second process, asking everything in both after each."""
        document_id = choose_document(self.record.second)
        document = await self._services.stored(document_id)
        question = self.record.questions[min(used_by(self.record.second, document_id))]
        self._screen.title(f"{document_id} gets one more paragraph, here; then the second process puts it back")
        here = await self._edit(self._services, self._other, document_id, edited(document.content, question))
        self._show_change(question, here)
        await self._edit(self._other, self._services, document_id, document.content)

    async def _edit(self, where: Process, elsewhere: Process, document_id: str, text: str) -> Edit:
        before = self.record.edits[-1].elsewhere if self.record.edits else self.record.second
        affected = used_by(before, document_id)
        names = ("This process", "Second process")
        with self._screen.grid(
            self.record.questions, names if where is self._services else names[::-1], affected
        ) as grid:
            ingested = await where.edit(document_id, text)
            first = await ask_all(where, self.record.questions, grid.put(0))
            # What the cache promises of other processes holds from this long after the edit on.
            await asyncio.sleep(Settings().staleness_bound_s)
            second = await ask_all(elsewhere, self.record.questions, grid.put(1))
        edit = Edit(document_id, ingested.version, affected, ingested, first, second)
        self.record.edits.append(edit)
        self._screen.say(
            f"Version {ingested.version}: {ingested.embedded} of {ingested.chunks} chunks embedded, the others kept "
            f"their vectors; {ingested.tokens:,} tokens. Answers computed anew: {len(recomputed(first))}."
        )
        return edit

    def _show_change(self, question: str, edit: Edit) -> None:
        place = self.record.questions.index(question)
        self._screen.say(
            f"\n{question}\n  before: {self.record.second[place].text}\n  after:  {edit.where[place].text}"
        )


async def run(plan: Plan, screen: Screen) -> tuple[dict[str, Any], bool]:
    """Run the demo on servers of its own.

    Returns:
        The figures, and whether everything that it claims held.
    """
    started = time.perf_counter()
    async with AsyncExitStack() as stack:
        with screen.waiting("Starting Postgres, an embedded Valkey and a second process"):
            local_url = (
                await stack.enter_async_context(local_model()) if needs_local_model(offline=plan.offline) else None
            )
            providers = choose_providers(local_url)
            dsn = await stack.enter_async_context(private_postgres())
            redis_url = await stack.enter_async_context(private_valkey())
            services = await stack.enter_async_context(
                open_services(providers, redis_url=redis_url, dsn=dsn, create_tables=True)
            )
            other = await stack.enter_async_context(second_process(redis_url=redis_url, dsn=dsn, local_url=local_url))
        _introduce(screen, providers, time.perf_counter() - started)
        demo = Demo(services, other, screen, plan.questions)
        await demo.take_in(plan.library)
        await demo.ask_twice()
        await demo.edit_and_put_back()
        ledger = await tokens_on_ledger()
    seconds = time.perf_counter() - started
    result = figures(demo.record, ledger, seconds)
    found = verdicts(demo.record, ledger)
    screen.title(f"What held, {seconds:.1f} s after the start, every server ended")
    for verdict in found:
        screen.verdict(verdict.claim, holds=verdict.holds)
    return result, all(verdict.holds for verdict in found)


def _introduce(screen: Screen, providers: Providers, seconds: float) -> None:
    screen.say(
        f"Postgres with pgvector, an embedded Valkey and a second process are up after {seconds:.1f} s. "
        f"Vectors: {providers.name}. Answers: {providers.answerer.model}."
    )


def _unseen(_place: int, _reply: Reply) -> None:
    """Show nothing."""
