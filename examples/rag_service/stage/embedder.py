"""Embedders: text to vectors, through an endpoint that speaks OpenAI's API."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from alacena import Context
from examples.rag_service.stage.documents import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

_TOKEN = re.compile(r"\w{1,6}|[^\w\s]")
_CACHED = re.compile(r"cached=(\d+)")
_LEARNING: Final = "learning"
"""The tenant of the call that learns how long vectors are: none of the product's."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """What one call to a provider gave.

    Attributes:
        vectors: One a text, in order.
        tokens: What the provider charges for the call.
        computed: How many of them it was asked for; the rest came from the cache.
    """

    vectors: list[Vector]
    tokens: int
    computed: int


class Embedder(Protocol):
    """Anything that turns texts into vectors of one length."""

    model: str

    async def dimensions(self) -> int:
        """The length of its vectors."""
        ...

    async def embed(self, texts: Sequence[str], *, are_questions: bool = False) -> Embedded:
        """Embed the texts in one call."""
        ...


class OpenAIEmbedder:
    """An endpoint that speaks OpenAI's ``/embeddings``.

    Args:
        client: An ``openai.AsyncOpenAI``.
        model: The name that the endpoint knows the model by.
        query_model: The name for questions, if they are embedded otherwise than passages.
        transport: The client's caching transport, if it has one: its ledger is waited for.
    """

    def __init__(self, client: Any, model: str, *, query_model: str | None = None, transport: Any = None) -> None:
        self.model = model
        self._client = client
        self._query_model = query_model or model
        self._transport = transport

    async def dimensions(self) -> int:
        """The length of its vectors, learnt by asking for one.

        Raises:
            InputError: The endpoint does not answer, or refuses.
        """
        from openai import OpenAIError

        try:
            with Context(tenant_id=_LEARNING):
                return len((await self.embed(["dimensions"])).vectors[0])
        except OpenAIError as error:
            raise InputError(
                f"The endpoint {self._client.base_url} gave no embedding from {self.model!r}: {error} "
                "Set OPENAI_EMBEDDING_MODEL to a model that it has, or pass --offline to do without it."
            ) from error

    async def embed(self, texts: Sequence[str], *, are_questions: bool = False) -> Embedded:
        """Embed the texts in one request."""
        if not texts:
            return Embedded([], 0, 0)
        model = self._query_model if are_questions else self.model
        raw = await self._client.embeddings.with_raw_response.create(
            model=model, input=list(texts), encoding_format="float"
        )
        response, told = raw.parse(), raw.headers.get("x-alacena-cache", "miss")
        if self._transport is not None:
            await self._transport.settle()  # the tour adds up what the ledger knows
        rows = sorted(response.data, key=lambda row: row.index)
        tokens = response.usage.total_tokens if response.usage else sum(map(count_tokens, texts))
        known = _CACHED.search(told)
        computed = len(texts) - (int(known[1]) if known else 0)
        return Embedded([np.asarray(row.embedding, np.float32) for row in rows], tokens, computed)


def count_tokens(text: str) -> int:
    """Tokens of a text as the offline parts count them: words in pieces of up to six letters, and signs."""
    return len(_TOKEN.findall(text))


def has_endpoint() -> bool:
    """Whether ``OPENAI_API_KEY`` or ``OPENAI_BASE_URL`` configures an endpoint."""
    return bool(os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"))


def openai_client(base_url: str | None = None, transport: Any = None) -> Any:
    """A client for an endpoint.

    Args:
        base_url: The endpoint; ``None``: the one that ``OPENAI_API_KEY`` or ``OPENAI_BASE_URL`` configures.
        transport: The transport that it is to use, if not its own.

    Raises:
        InputError: The ``openai`` package is not installed.
    """
    try:
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient
    except ImportError:
        raise InputError(
            "The services ask for vectors with the openai package, which is not installed: pip install openai."
        ) from None
    http = None if transport is None else DefaultAsyncHttpxClient(transport=transport)
    return AsyncOpenAI(api_key=os.environ.get("OPENAI_API_KEY") or "none", base_url=base_url, http_client=http)
