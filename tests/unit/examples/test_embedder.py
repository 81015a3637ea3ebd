"""The local embedder: the same everywhere, and good enough to find a passage."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from examples.rag_service import embedder
from examples.rag_service.documents import REPOSITORY, InputError
from examples.rag_service.embedder import LocalEmbedder, OpenAIEmbedder, count_tokens, openai_client

if TYPE_CHECKING:
    from collections.abc import Sequence

TEXTS = ["¿Cómo se encola un trabajo?", "Tenants are kept apart by their keys.", "", "🦤"]

PRINT_DIGEST = """
import hashlib, sys
from examples.rag_service.embedder import LocalEmbedder
print(hashlib.sha256(LocalEmbedder().vectors(sys.argv[1:]).tobytes()).hexdigest())
"""


def test_another_process_with_another_hash_seed_gives_the_same_vectors() -> None:
    other = subprocess.run(
        [sys.executable, "-c", PRINT_DIGEST, *TEXTS],
        env={"PYTHONHASHSEED": "4711", "PATH": ""},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == hashlib.sha256(LocalEmbedder().vectors(TEXTS).tobytes()).hexdigest()


async def test_vectors_have_length_one_and_do_not_depend_on_their_neighbours() -> None:
    local = LocalEmbedder()
    together = await local.embed(TEXTS)
    alone = [(await local.embed([text])).vectors[0] for text in TEXTS]
    np.testing.assert_array_equal(together.vectors, alone)
    assert {len(vector) for vector in together.vectors} == {await local.dimensions()}
    np.testing.assert_allclose(np.linalg.norm(together.vectors, axis=1), [1, 1, 0, 1], atol=1e-6)
    assert together.vectors[0].dtype == np.float32


async def test_each_call_has_an_id_of_its_own_and_counts_the_same_tokens() -> None:
    local = LocalEmbedder()
    first, second = await local.embed(TEXTS), await local.embed(TEXTS)
    assert first.call_id != second.call_id
    assert first.tokens == second.tokens == sum(map(count_tokens, TEXTS))


async def test_nothing_to_embed_gives_nothing() -> None:
    assert (await LocalEmbedder().embed([])).vectors == []


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("one two", 2), ("invalidation", 2), ("¿Qué?", 3), ("tenant_id=1", 4)]
)
def test_tokens_are_pieces_of_words_and_signs(text: str, tokens: int) -> None:
    assert count_tokens(text) == tokens


def test_a_question_is_nearest_to_the_passage_that_answers_it() -> None:
    passages = [
        "Each tenant has keys of its own, so that no tenant reads what belongs to another.",
        "Los trabajos se encolan con rpush y un bloqueo impide procesarlos dos veces.",
        "A document that is edited invalidates the answers that were made of it.",
    ]
    questions = ["How are tenants kept apart?", "¿Cómo encolo un trabajo?", "What happens when I edit a document?"]
    local = LocalEmbedder()
    nearness = local.vectors(questions) @ local.vectors(passages).T
    assert nearness.argmax(axis=1).tolist() == [0, 1, 2]


def test_without_an_endpoint_there_is_no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert openai_client() is None


def test_an_endpoint_without_the_package_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(InputError, match="pip install openai, or pass --offline"):
        openai_client()


class FakeEmbeddings:
    """Answers out of order, as the protocol allows."""

    class _Row:
        def __init__(self, index: int, embedding: list[float]) -> None:
            self.index, self.embedding = index, embedding

    class _Usage:
        total_tokens = 7

    async def create(self, *, model: str, input: Sequence[str], encoding_format: str) -> object:  # noqa: A002
        response = type("Response", (), {})()
        response.data = [self._Row(place, [float(len(text)), 1.0]) for place, text in enumerate(input)][::-1]
        response.usage = self._Usage()
        return response


async def test_an_endpoints_rows_are_put_in_the_order_of_the_texts() -> None:
    client = type("Client", (), {"embeddings": FakeEmbeddings()})()
    remote = OpenAIEmbedder(client, "model")
    embedded = await remote.embed(["a", "bbb"])
    assert [vector.tolist() for vector in embedded.vectors] == [[1.0, 1.0], [3.0, 1.0]]
    assert embedded.tokens == 7
    assert await remote.dimensions() == 2
    assert embedder.count_tokens("a") == 1
