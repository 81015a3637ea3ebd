"""Answers: written from the passages that the search found, and from nothing else."""

from __future__ import annotations

import asyncio
import textwrap
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from examples.rag_service.chunking import split_into_sentences
from examples.rag_service.embedder import count_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from examples.rag_service.database import Passage
    from examples.rag_service.embedder import LocalEmbedder

SENTENCES = 2
WORTH_QUOTING_WORDS = 5
QUOTED_CHARS = 280
NOTHING_FOUND = "The documents say nothing about this."

_INSTRUCTIONS = (
    "Answer the question in its own language, in at most three sentences, from the passages alone. "
    "If they do not answer it, say so."
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What was written.

    Attributes:
        text: The answer.
        tokens: What writing it cost: the prompt and the answer.
        call_id: Names the call to the model, and nothing else.
    """

    text: str
    tokens: int
    call_id: str


class Answerer(Protocol):
    """Anything that answers a question from passages."""

    model: str

    async def answer(self, question: str, passages: Sequence[Passage]) -> Answer:
        """Answer the question in one call."""
        ...


class ExtractiveAnswerer:
    """Quotes the sentences nearest to the question. The same passages give the same answer.

    It counts the tokens that a model would have charged for the same prompt.

    Args:
        embedder: Measures how near a sentence is.
    """

    model = "local-extractive"

    def __init__(self, embedder: LocalEmbedder) -> None:
        self._embedder = embedder

    async def answer(self, question: str, passages: Sequence[Passage]) -> Answer:
        """Quote from the passages, in a thread."""
        text = await asyncio.to_thread(self._quote, question, passages)
        return Answer(text, count_tokens(prompt(question, passages)) + count_tokens(text), uuid.uuid4().hex)

    def _quote(self, question: str, passages: Sequence[Passage]) -> str:
        found = [(place, part) for place, passage in enumerate(passages) for part in split_into_sentences(passage.text)]
        worthy = [pair for pair in found if len(pair[1].split()) >= WORTH_QUOTING_WORDS] or found
        if not worthy:
            return _shortened(passages[0].text) if passages else NOTHING_FOUND
        asked = self._embedder.vectors([question])[0]
        # A sentence counts for what it says and for the passage that it stands in.
        passage_nearness = self._embedder.vectors([passage.context for passage in passages]) @ asked
        nearness = self._embedder.vectors([part for _, part in worthy]) @ asked
        # Rounded, so that the order never hangs on the last bit of a sum that another processor adds up differently.
        scores = [
            round(float(near + passage_nearness[pair[0]]), 5) for near, pair in zip(nearness, worthy, strict=True)
        ]
        ranked = sorted(range(len(worthy)), key=lambda index: -scores[index])
        best = dict.fromkeys(worthy[index][1] for index in ranked)
        return " ".join(_shortened(sentence) for sentence in list(best)[:SENTENCES])


class ChatAnswerer:
    """An endpoint that speaks OpenAI's ``/chat/completions``.

    Args:
        client: An ``openai.AsyncOpenAI``.
        model: The name that the endpoint knows the model by.
    """

    def __init__(self, client: Any, model: str) -> None:
        self.model = model
        self._client = client

    async def answer(self, question: str, passages: Sequence[Passage]) -> Answer:
        """Answer in one request."""
        asked = prompt(question, passages)
        messages = [{"role": "system", "content": _INSTRUCTIONS}, {"role": "user", "content": asked}]
        response = await self._client.chat.completions.create(model=self.model, messages=messages, temperature=0)
        text = (response.choices[0].message.content or "").strip() or NOTHING_FOUND
        tokens = response.usage.total_tokens if response.usage else count_tokens(asked) + count_tokens(text)
        return Answer(text, tokens, response.id or uuid.uuid4().hex)


def prompt(question: str, passages: Sequence[Passage]) -> str:
    """The passages, numbered, with their headings; then the question."""
    numbered = [f"[{number}] {passage.context}" for number, passage in enumerate(passages, start=1)]
    return "\n\n".join([*numbered, f"Question: {question}"])


def _shortened(text: str) -> str:
    return textwrap.shorten(text, QUOTED_CHARS, placeholder=" …")
