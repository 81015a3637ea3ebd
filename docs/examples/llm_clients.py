"""Calls of a model that are repeated: answered from the cache, under the provider's own client."""

import asyncio
import json

import httpx2
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from alacena import Cache, Context, Settings
from alacena.integrations.llm_transport import HEADER, CachingTransport, Rules, based_on

CALLS = []


def provider(request):
    """Stands in for OpenAI, so that the example runs anywhere."""
    asked = json.loads(request.content)
    CALLS.append(asked)
    if request.url.path.endswith("/embeddings"):
        data = [{"object": "embedding", "index": i, "embedding": [1.0]} for i, _ in enumerate(asked["input"])]
        usage = {"prompt_tokens": 4 * len(data), "total_tokens": 4 * len(data)}
        return httpx2.Response(200, json={"object": "list", "data": data, "model": asked["model"], "usage": usage})
    message = {"role": "assistant", "content": "Thirty days."}
    usage = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
    answer = {"id": f"chatcmpl-{len(CALLS)}", "object": "chat.completion", "created": 1, "model": asked["model"]}
    answer |= {"choices": [{"index": 0, "finish_reason": "stop", "message": message}], "usage": usage}
    if not asked.get("stream"):
        return httpx2.Response(200, json=answer)
    answer["choices"] = [{"index": 0, "finish_reason": "stop", "delta": {"content": message["content"]}}]
    body = f"data: {json.dumps(answer)}\n\ndata: [DONE]\n\n"
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, text=body)


async def main():
    async with Cache(Settings.from_env()) as cache:
        inner = httpx2.MockTransport(provider)
        # --8<-- [start:client]
        transport = CachingTransport(inner, cache=cache)  # without arguments: the network, and the process-wide cache
        client = AsyncOpenAI(api_key="...", http_client=DefaultAsyncHttpxClient(transport=transport))
        # --8<-- [end:client]
        async with client:
            # --8<-- [start:call]
            asked = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "How long is the notice?"}]}
            with Context(tenant_id="acme"):
                first = await client.chat.completions.create(**asked)
                again = await client.chat.completions.with_raw_response.create(**asked)
            assert again.headers[HEADER].startswith("hit; age=")
            assert again.parse() == first

            with Context(tenant_id="globex"):
                other = await client.chat.completions.with_raw_response.create(**asked)
            assert other.headers[HEADER] == "miss"
            # --8<-- [end:call]
            with Context(tenant_id="acme"):
                # --8<-- [start:stream]
                for _ in range(2):
                    chunks = await client.chat.completions.create(**asked, stream=True)
                    assert [chunk.choices[0].delta.content async for chunk in chunks] == ["Thirty days."]
                assert len(CALLS) == 3
                # --8<-- [end:stream]
                # --8<-- [start:documents]
                with based_on(["lease-7"]):
                    await client.chat.completions.create(**asked, seed=1)
                await cache.invalidate("acme", document_ids=["lease-7"])
                with based_on(["lease-7"]):
                    renewed = await client.chat.completions.with_raw_response.create(**asked, seed=1)
                assert renewed.headers[HEADER] == "miss"
                # --8<-- [end:documents]
                # --8<-- [start:embeddings]
                model = {"model": "text-embedding-3-small", "encoding_format": "float"}
                await client.embeddings.create(input=["notice", "rent"], **model)
                mixed = await client.embeddings.with_raw_response.create(input=["deposit", "notice"], **model)
                assert CALLS[-1]["input"] == ["deposit"]
                assert mixed.headers[HEADER].startswith("partial; age=")
                assert mixed.parse().usage.total_tokens == 4  # what was paid for now
                # --8<-- [end:embeddings]
            # --8<-- [start:tokens]
            await transport.settle()  # the ledger is told behind the answer
            totals = await cache.ledger.totals("acme")
            assert (totals.used, totals.saved) == (4 * 15 + 12, 2 * 15 + 4)
            assert (transport.counts.misses, transport.counts.hits) == (7, 2)
            # --8<-- [end:tokens]
        with Context(tenant_id="acme"):
            await rules(cache, inner, asked)
    print("the provider was asked", len(CALLS), "times")


async def rules(cache, inner, asked):
    # --8<-- [start:rules]
    transport = CachingTransport(
        inner,
        cache=cache,
        rules={
            "chat/gpt-4o*": Rules(sampled=True, ttl=600),  # variety is asked for, and a repeat is wanted all the same
            "responses/*": None,  # nothing is kept of these
        },
    )
    # --8<-- [end:rules]
    async with AsyncOpenAI(api_key="...", http_client=DefaultAsyncHttpxClient(transport=transport)) as client:
        for _ in range(2):
            raw = await client.chat.completions.with_raw_response.create(**asked, temperature=0.7)
        assert raw.headers[HEADER].startswith("hit")


asyncio.run(main())
