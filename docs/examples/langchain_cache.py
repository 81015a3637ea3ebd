"""LangChain: embeddings, models and agents from the cache, for the tenant around them."""

import asyncio

from langchain.agents import create_agent
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage

from alacena import Cache, CacheManager, Context, Settings
from alacena.integrations.bridge import Bridge
from alacena.integrations.langchain import CachedEmbeddings, LangChainCache, LedgerCallback, is_cached
from alacena.integrations.langchain_agents import CachedModelCalls
from alacena.integrations.langgraph import NodeCache

USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}


def model(*answers, **options):
    messages = [AIMessage(answer, usage_metadata=USAGE) for answer in answers]
    return GenericFakeChatModel(messages=iter(messages), **options)


async def agents():
    # --8<-- [start:agents]
    agent = create_agent(model("Ninety days."), [], middleware=[CachedModelCalls()])
    question = {"messages": [("user", "How long is the notice period?")]}
    with Context("acme"):
        states = await asyncio.gather(*[agent.ainvoke(question) for _ in range(3)])

    answers = [state["messages"][-1] for state in states]
    assert {answer.content for answer in answers} == {"Ninety days."}
    assert sum(answer.usage_metadata["total_tokens"] for answer in answers) == 15  # the model was asked once
    # --8<-- [end:agents]


async def embeddings():
    inner = DeterministicFakeEmbedding(size=4)
    # --8<-- [start:embeddings]
    vectors = CachedEmbeddings(inner, model="small-3")
    with Context("acme"):
        rent, again, deposit = await vectors.aembed_documents(["rent", "rent", "deposit"])
        question = await vectors.aembed_query("rent")
    assert rent == again
    # --8<-- [end:embeddings]
    assert len(question) == len(deposit) == 4


async def models():
    # --8<-- [start:models]
    chat = model("Ninety days.", "Never asked.", cache=LangChainCache(ttl=3600))
    ledger = LedgerCallback()
    with Context("acme"):
        first = await chat.ainvoke("How long?", config={"callbacks": [ledger]})
        second = await chat.ainvoke("How long?", config={"callbacks": [ledger]})
    assert second.content == "Ninety days."
    assert (is_cached(first), is_cached(second)) == (False, True)

    totals = await (await CacheManager.cache()).ledger.totals("acme")
    assert (totals.used, totals.saved) == (15, 15)
    # --8<-- [end:models]


async def nodes():
    from typing import TypedDict

    from langgraph.graph import START, StateGraph
    from langgraph.types import CachePolicy

    class State(TypedDict):
        text: str

    async def shorten(state):
        return {"text": state["text"][:4]}

    builder = StateGraph(State)
    # --8<-- [start:nodes]
    builder.add_node("shorten", shorten, cache_policy=CachePolicy(ttl=600))
    builder.add_edge(START, "shorten")
    graph = builder.compile(cache=NodeCache("contracts@1"))
    with Context("acme"):
        assert await graph.ainvoke({"text": "notice period"}) == {"text": "noti"}
    # --8<-- [end:nodes]


def sync():
    # --8<-- [start:sync]
    with Bridge(Cache(Settings())) as bridge, Context("acme"):
        vectors = CachedEmbeddings(DeterministicFakeEmbedding(size=4), model="small-3", cache=bridge)
        assert vectors.embed_query("rent") == vectors.embed_query("rent")
    # --8<-- [end:sync]


async def main():
    await agents()
    await embeddings()
    await models()
    await nodes()
    await CacheManager.close()


asyncio.run(main())
sync()
print("answered")
