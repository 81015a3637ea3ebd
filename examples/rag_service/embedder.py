"""Embedders: text to vectors, offline by feature hashing or through an OpenAI-compatible endpoint."""

from __future__ import annotations

import asyncio
import os
import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from examples.rag_service.documents import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

_TOKEN = re.compile(r"\w{1,6}|[^\w\s]")

# Words that say nothing about a subject, in the two languages of the documentation, without accents.
_STOP_WORDS = (
    "a about an and are as at be but by can did do does for from has have how i if in into is it its me my not of on "
    "or our so than that the their them then there these they this to was we were what when where which who why will "
    "with you your al algo como con cual cuales cuando cuanto cuantos de del desde donde el ella ello ellos en entre "
    "era eran es esa ese eso esta este esto fue ha han hay la las le les lo los mas mi mientras muy nada ni no nos o "
    "para pero por porque que quien se ser si sin sobre son su sus tiene tienen tu un una unas uno unos y ya"
)


@dataclass(frozen=True, slots=True)
class Embedded:
    """What one call to a provider gave.

    Attributes:
        vectors: One a text, in order.
        tokens: What the provider charges for the call.
        call_id: Names the call, and nothing else: the idempotency key is made of it.
    """

    vectors: list[Vector]
    tokens: int
    call_id: str


class Embedder(Protocol):
    """Anything that turns texts into vectors of one length."""

    model: str

    async def dimensions(self) -> int:
        """The length of its vectors."""
        ...

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Embed the texts in one call."""
        ...


class LocalEmbedder:
    """Hashed words, pairs of words and pieces of words, from scikit-learn: no model, no network, no state.

    The same text gives the same vector in every process. It sees shared words, not shared meaning: enough to find a
    passage that speaks of what was asked, and honest about being a stand-in.
    """

    model = "local-hashing-1536"
    _WORDS, _PIECES = 1024, 512

    def __init__(self) -> None:
        from sklearn.feature_extraction.text import HashingVectorizer

        shared = {"strip_accents": "unicode", "norm": None}
        stop_words = _STOP_WORDS.split()
        self._words = HashingVectorizer(n_features=self._WORDS, ngram_range=(1, 2), stop_words=stop_words, **shared)
        self._pieces = HashingVectorizer(n_features=self._PIECES, ngram_range=(4, 5), analyzer="char_wb", **shared)

    async def dimensions(self) -> int:
        """The length of its vectors."""
        return self._WORDS + self._PIECES

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Embed the texts in a thread: hashing a long document must not stop the event loop."""
        vectors = await asyncio.to_thread(self.vectors, texts)
        return Embedded(list(vectors), sum(map(count_tokens, texts)), uuid.uuid4().hex)

    def vectors(self, texts: Sequence[str]) -> Vector:
        """A matrix with a row of length 1 for each text (of zeros for a text without a word)."""
        if not texts:
            return np.zeros((0, self._WORDS + self._PIECES), np.float32)
        counts = np.hstack([self._words.transform(texts).toarray(), 0.3 * self._pieces.transform(texts).toarray()])
        damped = np.sign(counts) * np.log1p(np.abs(counts))
        lengths = np.linalg.norm(damped, axis=1, keepdims=True)
        vectors: Vector = (damped / np.where(lengths > 0, lengths, 1)).astype(np.float32)
        return vectors


class OpenAIEmbedder:
    """An endpoint that speaks OpenAI's ``/embeddings``.

    Args:
        client: An ``openai.AsyncOpenAI``.
        model: The name that the endpoint knows the model by.
    """

    def __init__(self, client: Any, model: str) -> None:
        self.model = model
        self._client = client

    async def dimensions(self) -> int:
        """The length of its vectors, learnt by asking for one.

        Raises:
            InputError: The endpoint does not answer, or refuses.
        """
        from openai import OpenAIError

        try:
            return len((await self.embed(["dimensions"])).vectors[0])
        except OpenAIError as error:
            raise InputError(
                f"The endpoint {self._client.base_url} gave no embedding from {self.model!r}: {error} "
                "Set OPENAI_EMBEDDING_MODEL to a model that it has, or pass --offline to do without it."
            ) from error

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Embed the texts in one request."""
        response = await self._client.embeddings.create(model=self.model, input=list(texts), encoding_format="float")
        rows = sorted(response.data, key=lambda row: row.index)
        tokens = response.usage.total_tokens if response.usage else sum(map(count_tokens, texts))
        return Embedded([np.asarray(row.embedding, np.float32) for row in rows], tokens, uuid.uuid4().hex)


def count_tokens(text: str) -> int:
    """Tokens of a text as the offline parts count them: words in pieces of up to six letters, and signs."""
    return len(_TOKEN.findall(text))


def openai_client() -> Any | None:
    """A client for the endpoint that ``OPENAI_API_KEY`` or ``OPENAI_BASE_URL`` configures, else ``None``.

    Raises:
        InputError: One is configured, and the ``openai`` package is not installed.
    """
    if not (os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL")):
        return None
    try:
        from openai import AsyncOpenAI
    except ImportError:
        raise InputError(
            "OPENAI_API_KEY or OPENAI_BASE_URL is set, but the openai package is not installed: "
            "pip install openai, or pass --offline."
        ) from None
    return AsyncOpenAI(api_key=os.environ.get("OPENAI_API_KEY") or "none")
