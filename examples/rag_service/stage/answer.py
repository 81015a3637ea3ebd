"""Answers: written from the passages that the search found, and from nothing else."""

from __future__ import annotations

import re
import textwrap
import unicodedata
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from examples.rag_service.stage.chunking import split_into_sentences
from examples.rag_service.stage.embedder import count_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from examples.rag_service.stage.database import Passage

SENTENCES = 2
WORTH_QUOTING_WORDS = 5
QUOTED_CHARS = 280
NOTHING_FOUND = "The documents say nothing about this."

# Words that say nothing about a subject, in the two languages of the documentation, without accents.
_SAYS_NOTHING = (
    "a about an and are as at be but by can did do does for from has have how i if in into is it its me my not of on "
    "or our so than that the their them then there these they this to was we were what when where which who why will "
    "with you your al algo como con cual cuales cuando cuanto cuantos de del desde donde el ella ello ellos en entre "
    "era eran es esa ese eso esta este esto fue ha han hay la las le les lo los mas mi mientras muy nada ni no nos o "
    "para pero por porque que quien se ser si sin sobre son su sus tiene tienen tu un una unas uno unos y ya"
)
_STOP_WORDS = frozenset(_SAYS_NOTHING.split())
_WORD = re.compile(r"\w+")
_STEM = 5

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
    """Quotes the sentences that share most words with the question. The same passages give the same answer.

    It counts the tokens that a model would have charged for the same prompt.
    """

    model = "local-extractive"

    async def answer(self, question: str, passages: Sequence[Passage]) -> Answer:
        """Quote from the passages."""
        text = _quote(question, passages)
        return Answer(text, count_tokens(prompt(question, passages)) + count_tokens(text), uuid.uuid4().hex)


def _quote(question: str, passages: Sequence[Passage]) -> str:
    found = [(place, part) for place, passage in enumerate(passages) for part in split_into_sentences(passage.text)]
    worthy = [pair for pair in found if len(pair[1].split()) >= WORTH_QUOTING_WORDS] or found
    if not worthy:
        return _shortened(passages[0].text) if passages else NOTHING_FOUND
    asked = _stems(question)
    # The passages are in the order of their nearness: in another language no word is shared, and the nearest one is quoted.
    ranked = sorted(worthy, key=lambda pair: (-len(asked & _stems(pair[1])), pair[0]))
    return " ".join(_shortened(sentence) for sentence in list(dict.fromkeys(part for _, part in ranked))[:SENTENCES])


def _stems(text: str) -> set[str]:
    """The beginnings of the words that say something, without accents."""
    plain = "".join(one for one in unicodedata.normalize("NFD", text.lower()) if not unicodedata.combining(one))
    return {word[:_STEM] for word in _WORD.findall(plain) if word not in _STOP_WORDS}


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
