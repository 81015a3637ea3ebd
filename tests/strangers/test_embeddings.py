"""What strangers' providers give as embeddings: vectors that are none, answers in every shape, portions that fail."""

from __future__ import annotations

import asyncio
import base64
import math
import struct
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from alacena import get_embeddings_batch_with_cache
from alacena.common.cache import vectors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from alacena import CacheManager

pytestmark = pytest.mark.usefixtures("manager")

GOOD = [1.0, 2.0]


class Provider:
    """Makes what it is told for each text, and remembers what it was asked for."""

    def __init__(self, made: Callable[[str], Any], shape: Callable[[list[Any]], Any] = list) -> None:
        self.made = made
        self.shape = shape
        self.calls: list[list[str]] = []

    async def __call__(self, texts: list[str]) -> Any:
        self.calls.append(list(texts))
        return self.shape([self.made(text) for text in texts])


async def embed(
    texts: Iterable[str], provider: Any, model: str = "m", **options: Any
) -> tuple[list[Any], dict[str, Any]]:
    return await get_embeddings_batch_with_cache(texts, "acme", model, provider, **options)


BAD = {
    "NaN": [math.nan, 1.0],
    "infinite": [1.0, -math.inf],
    "beyond float32": [1e300, 0.0],
    "empty": [],
    "one number": 0.5,
    "words": ["no", "numbers"],
    "true and false": [True, False],
    "a table": [[1.0, 2.0]],
    "text": "not base64!",
    "longer": [1.0, 2.0, 3.0],
    "a mapping": {"x": 1.0},
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_a_vector_that_is_none_is_named_not_kept_and_takes_nothing_with_it(bad: Any) -> None:
    """langgenius/dify#41988, #41476, #11827 and langchain-ai/langchain#31822: zeros and NaN poison what is kept."""
    provider = Provider(lambda text: bad if text == "beta" else GOOD)
    for _ in range(2):
        made, metrics = await embed(["alpha", "beta", "gamma"], provider)
        assert made == [GOOD, None, GOOD]
        assert metrics["missing"] == [1]
        assert "'beta'" in metrics["faults"][1]
    assert provider.calls[0] == ["alpha", "beta", "gamma"]
    assert provider.calls[1] == ["beta"]  # a vector of another length is doubted with one more text, and no others
    assert all(call in (["beta"], ["alpha"]) for call in provider.calls[1:])


async def test_without_numpy_the_same_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "numpy", None)
    for bad in BAD.values():
        if bad != BAD["longer"] and bad != BAD["a table"]:
            assert vectors.Vectors.of([bad], ["beta"]).good == {}
    assert vectors.Vectors.of([(1, 2.5)], ["beta"]).good == {0: [1.0, 2.5]}


async def test_dimensions_say_how_long_a_vector_is() -> None:
    """vitali87/code-graph-rag#803: a cached vector of another length is used as if it fitted."""
    provider = Provider(lambda _: GOOD)
    for _ in range(2):
        made, metrics = await embed(["alpha"], provider, dimensions=1536)
        assert made == [None]
        assert "1536" in metrics["faults"][0]
    assert len(provider.calls) == 2


async def test_a_model_replaced_under_its_name_does_not_stand_beside_the_old_one() -> None:
    """HKUDS/LightRAG#945 and rmusser01/tldw_server#2776: the server is given another model under the same name."""
    await embed(["a", "b"], Provider(lambda _: [1.0] * 3))
    new = Provider(lambda _: [2.0] * 5)
    made, _ = await embed(["a", "b", "c"], new)
    assert [len(vector) for vector in made] == [5, 5, 5]
    before = len(new.calls)
    assert (await embed(["a", "b", "c"], new))[0] == made
    assert len(new.calls) == before


async def test_a_query_and_a_passage_are_two_embeddings() -> None:
    """embeddings-benchmark/mteb#5383: the query's vector is served for the passage of the same words."""
    await embed(["stock market"], Provider(lambda _: [1.0, 0.0]), input_type="query")
    made, _ = await embed(["stock market"], Provider(lambda _: [0.0, 1.0]), input_type="passage")
    assert made == [[0.0, 1.0]]


def _item(index: int, embedding: Any) -> SimpleNamespace:
    return SimpleNamespace(index=index, embedding=embedding, object="embedding")


def _text(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


SHAPES: dict[str, Callable[[list[Any]], Any]] = {
    "a generator": lambda made: (one for one in made),
    "a tuple": tuple,
    "embeddings": lambda made: {"embeddings": made},
    "an object with data": lambda made: SimpleNamespace(data=[_item(i, one) for i, one in enumerate(made)]),
    "data in another order": lambda made: [_item(i, made[i]) for i in reversed(range(len(made)))],
    "dicts": lambda made: {"data": [{"index": i, "embedding": one} for i, one in enumerate(made)][::-1], "usage": {}},
    "base64": lambda made: {"data": [{"index": i, "embedding": _text(one)} for i, one in enumerate(made)]},
    "values": lambda made: SimpleNamespace(embeddings=[SimpleNamespace(values=one) for one in made]),
    "an array": lambda made: pytest.importorskip("numpy").array(made),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
async def test_the_providers_own_answer_will_do(shape: Callable[[list[Any]], Any]) -> None:
    """chroma-core/chroma#344, openai/openai-python#420, BerriAI/litellm#2943, tensorzero/tensorzero#3633."""
    made, _ = await embed(["a", "bb", "ccc"], Provider(lambda text: [float(len(text)), 1.0], shape))
    assert made == [[1.0, 1.0], [2.0, 1.0], [3.0, 1.0]]


async def test_an_answer_by_index_may_leave_one_out() -> None:
    made, metrics = await embed(["a", "b"], Provider(lambda _: GOOD, lambda made: [_item(1, made[1])]))
    assert made == [None, GOOD]
    assert metrics["missing"] == [0]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda made: [_item(0, one) for one in made], "index is no order"),
        (lambda made: [_item(i + 1, one) for i, one in enumerate(made)], "index is no order"),
        (lambda made: made[:1], "got 2 texts and returned 1"),
        (lambda _: None, "returned NoneType"),
        (lambda _: {"vectors": []}, "without data or embeddings"),
        (lambda _: "AAAA" * 4_000, "returned str"),
    ],
)
async def test_an_answer_that_cannot_be_read_is_said_in_few_words(
    answer: Callable[[list[Any]], Any], words: str
) -> None:
    """pydantic/pydantic-ai#7284: whose is whose cannot be told; an error must not hold a whole vector."""
    with pytest.raises((TypeError, ValueError), match=words) as caught:
        await embed(["a", "b"], Provider(lambda _: GOOD, answer))
    assert len(str(caught.value)) < 400


async def test_an_async_generator_is_refused_before_it_is_paid_for() -> None:
    async def stream(texts: list[str]) -> AsyncIterator[list[float]]:
        for _ in texts:
            yield GOOD

    with pytest.raises(TypeError, match="provider is an async generator"):
        await embed(["a"], stream)
    with pytest.raises(TypeError, match="provider is an async generator"):
        await embed(["a"], lambda texts: stream(list(texts)))


async def test_texts_are_many_or_an_error() -> None:
    """mem0ai/mem0#5245: one text in the place of a list is embedded letter by letter."""
    provider = Provider(lambda text: [float(len(text)), 0.0])
    for wrong in ("hello", b"hello", 7, {"a": 1}):
        with pytest.raises(TypeError, match="list of strings"):
            await embed(wrong, provider)  # type: ignore[arg-type]
    assert provider.calls == []
    assert (await embed((text for text in ("a", "bb")), provider))[0] == [[1.0, 0.0], [2.0, 0.0]]


async def test_a_portion_that_fails_loses_none_before_it(manager: type[CacheManager]) -> None:
    """neomjs/neo#17112, #16843 and daniel3303/Equibles#744: one bad portion, and all is paid for again."""
    paid: list[str] = []
    fails = {"f"}

    async def provider(texts: list[str]) -> list[list[float]]:
        if fails & set(texts):
            raise ConnectionError("429")
        paid.extend(texts)
        return [GOOD for _ in texts]

    for _ in range(2):
        with pytest.raises(ConnectionError, match="429"):
            await embed(list("abcdef"), provider, batch_size=2)
    assert paid == list("abcd")
    fails.clear()
    assert (await embed(list("abcdef"), provider, batch_size=2))[0] == [GOOD] * 6
    assert paid == list("abcdef")


async def test_a_portion_of_another_length_is_no_new_model() -> None:
    provider = Provider(lambda text: GOOD if text in "ab" else [1.0])
    made, metrics = await embed(list("abcd"), provider, batch_size=2)
    assert made == [GOOD, GOOD, None, None]
    assert metrics["missing"] == [2, 3]


async def test_callers_at_once_get_one_length() -> None:
    old, new = Provider(lambda _: [1.0] * 3), Provider(lambda _: [2.0] * 5)
    answers = await asyncio.gather(embed(["a", "b"], old), embed(["b", "c"], new), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            assert isinstance(answer, ValueError)
        else:
            assert len({len(vector) for vector in answer[0] if vector is not None}) == 1


async def test_a_text_that_is_embedded_is_one_miss(manager: type[CacheManager]) -> None:
    """A hit ratio that is too low by half sends people looking for a fault that is not there."""
    cache = await manager.cache()
    provider = Provider(lambda _: GOOD)
    before = cache.stats()["misses"]
    await embed(["a", "b", "c"], provider, batch_size=2)
    await embed(["a", "b", "d"], provider)
    assert cache.stats()["misses"] - before == 4


async def test_a_failed_call_for_many_texts_says_how_to_keep_what_was_made() -> None:
    """neomjs/neo#17112: a provider that works in portions of its own fails at the third, and the first two are lost."""

    async def fails(texts: list[str]) -> Any:
        raise ConnectionError("the provider went away at portion 3")

    with pytest.raises(ConnectionError) as many:
        await embed(["a", "b", "c"], fails)
    assert any("batch_size=" in note for note in many.value.__notes__)
    with pytest.raises(ConnectionError) as one:
        await embed(["a"], fails)
    assert not getattr(one.value, "__notes__", [])
