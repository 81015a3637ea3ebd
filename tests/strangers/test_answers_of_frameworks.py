"""What frameworks hand over to be kept: answers that were cut or say nothing, pages that share an id, dates in metadata."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any

import pytest

from alacena import CacheManager, Context

pytest.importorskip("langchain")
pytest.importorskip("llama_index.core")
pytest.importorskip("pydantic_ai")

from langchain.agents import create_agent
from langchain_core.embeddings import Embeddings
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult, Generation
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import Document, TransformComponent
from pydantic_ai import Agent, UnexpectedModelBehavior
from pydantic_ai.messages import ModelResponse, TextPart, ThinkingPart
from pydantic_ai.models.function import FunctionModel

from alacena.integrations.finish_reasons import is_whole
from alacena.integrations.langchain import CachedEmbeddings, LangChainCache
from alacena.integrations.langchain_agents import CachedModelCalls
from alacena.integrations.llama_index import CachedTransform
from alacena.integrations.pydantic_ai import CachedModelRequests

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from llama_index.core.schema import BaseNode

pytestmark = pytest.mark.usefixtures("manager")


@pytest.fixture(autouse=True)
async def ambient() -> AsyncIterator[None]:
    """Every case runs for one tenant."""
    with Context("acme"):
        yield


class Model(BaseChatModel):
    """Gives one answer, and counts how often it was asked."""

    answer: AIMessage
    calls: int = 0

    @property
    def _llm_type(self) -> str:
        return "strangers"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": "m"}

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        self.calls += 1
        return ChatResult(generations=[ChatGeneration(message=self.answer.model_copy())])


ANSWERS: dict[str, tuple[AIMessage, int]] = {
    "nothing": (AIMessage(""), 2),
    "blanks in blocks": (AIMessage([{"type": "text", "text": " "}]), 2),
    "thoughts alone": (AIMessage([{"type": "thinking", "thinking": "hm"}]), 2),
    "too long": (AIMessage("The rent", response_metadata={"finish_reason": "length"}), 2),
    "too long, by another provider": (AIMessage("The rent", response_metadata={"stop_reason": "max_tokens"}), 2),
    "filtered": (AIMessage("The", response_metadata={"finish_reason": "SAFETY"}), 2),
    "whole": (AIMessage("The rent is 900 euros.", response_metadata={"finish_reason": "stop"}), 1),
    "a call of a tool": (AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": "1"}]), 1),
}


@pytest.mark.parametrize("what", ANSWERS)
async def test_a_model_is_asked_again_for_what_it_did_not_say(what: str) -> None:
    """monarch-initiative/ontogpt 465: an answer that was cut or empty was the answer for as long as it was kept."""
    answer, calls = ANSWERS[what]
    model = Model(answer=answer, cache=LangChainCache())
    for _ in range(2):
        assert (await model.ainvoke("how much is the rent?")).content == answer.content
    assert model.calls == calls


@pytest.mark.parametrize("what", [name for name in ANSWERS if "tool" not in name])
async def test_so_is_the_model_of_an_agent(what: str) -> None:
    """The same, by the middleware."""
    answer, calls = ANSWERS[what]
    model = Model(answer=answer)
    agent = create_agent(model, [], middleware=[CachedModelCalls()])
    for _ in range(2):
        state = await agent.ainvoke({"messages": [HumanMessage("how much is the rent?")]})
        assert state["messages"][-1].content == answer.content
    assert model.calls == calls


def test_a_generation_of_text_is_told_apart_alike() -> None:
    assert is_whole(Generation(text="The rent", generation_info={"finish_reason": "stop"}))
    assert is_whole(Generation(text="The rent"))
    assert not is_whole(Generation(text=" "))
    assert not is_whole(Generation(text="The rent", generation_info={"finish_reason": "length"}))


@pytest.mark.parametrize(
    ("response", "calls"),
    [
        (ModelResponse(parts=[TextPart("The rent")], finish_reason="length"), 2),
        (ModelResponse(parts=[ThinkingPart("hm")], finish_reason="stop"), 2),
        (ModelResponse(parts=[TextPart("The rent is 900 euros.")], finish_reason="stop"), 1),
    ],
    ids=["too long", "thoughts alone", "whole"],
)
async def test_so_is_the_model_of_another_framework(response: ModelResponse, calls: int) -> None:
    """The same, by the capability."""
    asked = []

    async def answer(*_: Any) -> ModelResponse:
        asked.append(1)
        return response

    agent = Agent(FunctionModel(answer), capabilities=[CachedModelRequests()], retries=0)
    for _ in range(2):
        try:
            await agent.run("how much is the rent?")
        except UnexpectedModelBehavior:
            assert calls == 2
    assert len(asked) == calls


class Passages(Embeddings):
    """Makes a vector of each text, or what it is told for one, and remembers what it was asked for."""

    def __init__(self, *tail: float, **made: Any) -> None:
        self.tail, self.made = tail, made
        self.calls: list[list[str]] = []

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        self.calls.append(texts)
        return [self.made.get(text, [float(len(text)), *self.tail]) for text in texts]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        raise NotImplementedError

    def embed_query(self, text: str) -> list[float]:
        raise NotImplementedError


@pytest.mark.parametrize("bad", [[math.nan, 1.0], [], None, [1.0, 2.0, 3.0]], ids=["nan", "empty", "none", "longer"])
async def test_one_vector_that_is_none_is_named_and_costs_no_other(bad: Any) -> None:
    """mem0ai/mem0 5245, daniel3303/Equibles 744: one bad text, and all of the batch was paid for at every retry."""
    model = Passages(1.0, beta=bad)
    embeddings = CachedEmbeddings(model, model="m")
    for _ in range(2):
        with pytest.raises(
            ValueError, match="1 of 3 texts, the others are kept: .*'beta'" if bad is not None else "'beta'"
        ):
            await embeddings.aembed_documents(["alpha", "beta", "gamma"])
    assert await embeddings.aembed_documents(["alpha", "gamma"]) == [[5.0, 1.0], [5.0, 1.0]]
    assert model.calls[0] == ["alpha", "beta", "gamma"]
    assert "gamma" not in model.calls[1]


async def test_vectors_of_two_models_are_not_in_one_answer() -> None:
    """vitali87/code-graph-rag 803: the model was replaced under its name, and old vectors stood beside new ones."""
    before, now = Passages(1.0), Passages(1.0, 2.0)
    await CachedEmbeddings(before, model="m").aembed_documents(["alpha", "beta"])
    embeddings = CachedEmbeddings(now, model="m")
    made = await embeddings.aembed_documents(["alpha", "gamma", "beta"])
    assert made == [[5.0, 1.0, 2.0], [5.0, 1.0, 2.0], [4.0, 1.0, 2.0]]
    assert now.calls == [["gamma"], ["alpha", "beta"]]
    assert await embeddings.aembed_documents(["beta", "alpha"]) == [made[2], made[0]]
    assert len(now.calls) == 2


class Note(TransformComponent):
    """Notes that a node has passed."""

    def __call__(self, nodes: Sequence[BaseNode], **_: Any) -> Sequence[BaseNode]:
        for node in nodes:
            node.metadata["seen"] = True
        return nodes


@pytest.mark.parametrize("transform", [Note(), SentenceSplitter()], ids=["a transformation", "a splitter"])
async def test_pages_that_share_an_id_are_all_there(transform: TransformComponent) -> None:
    """run-llama/llama_index 22046 in its kind: of several pages with the id of their file, each was the last one."""
    pipeline = IngestionPipeline(transformations=[CachedTransform(transform)], disable_cache=True)
    for _ in range(2):
        nodes = await pipeline.arun(documents=[Document(text=text, id_="a.pdf") for text in ("one", "two", "three")])
        assert [node.get_content() for node in nodes] == ["one", "two", "three"]


async def test_dates_and_tuples_in_metadata_come_back(manager: type[CacheManager]) -> None:
    """run-llama/llama_index 10494: a date in a node's metadata stopped the whole run."""
    metadata = {"at": dt.datetime(2024, 1, 1, tzinfo=dt.UTC), "span": (1, 2), "more": {"day": dt.date(2024, 1, 2)}}
    pipeline = IngestionPipeline(transformations=[CachedTransform(Note())], disable_cache=True)
    first, second = [await pipeline.arun(documents=[Document(text="x", metadata=dict(metadata))]) for _ in range(2)]
    assert first[0].metadata == second[0].metadata == {**metadata, "seen": True}
    later = {**metadata, "at": dt.datetime(2024, 1, 1, 1, tzinfo=dt.UTC)}
    [other] = await pipeline.arun(documents=[Document(text="x", metadata=later)])
    assert other.metadata["at"] == later["at"]
