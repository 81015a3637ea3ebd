"""Usage of providers in one normal form, and what it costs."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from anthropic.types import Usage
from openai.types import CompletionUsage
from openai.types.create_embedding_response import Usage as EmbeddingUsage
from openai.types.responses import ResponseUsage

from alacena.common.token_counts import read_parts
from alacena.integrations.prices import GenaiPrices, ModelPrice, PriceTable, find_prices
from alacena.integrations.usage import TokenCounts, read_usage
from tests.integrations import provider as says

CHAT = says.chat()["usage"]
RESPONSE = says.response_object()["usage"]
MESSAGE = says.message()["usage"]
GEMINI = {
    "prompt_token_count": 10,
    "tool_use_prompt_token_count": 5,
    "cached_content_token_count": 2,
    "candidates_token_count": 4,
    "thoughts_token_count": 3,
    "total_token_count": 22,
}
"""The fields of google-genai: the prompts of tools are counted beside the prompt, thoughts beside the candidates."""
READ = {
    "chat": (
        CHAT,
        TokenCounts(input_tokens=5, cache_read_tokens=12, cache_write_tokens=3, output_tokens=7, reasoning_tokens=5),
        27,
    ),
    "responses": (
        RESPONSE,
        TokenCounts(input_tokens=20, cache_read_tokens=10, output_tokens=6, reasoning_tokens=2),
        36,
    ),
    "messages": (
        MESSAGE,
        TokenCounts(
            input_tokens=5,
            cache_read_tokens=100,
            cache_write_tokens=30,
            long_cache_write_tokens=10,
            output_tokens=9,
        ),
        144,
    ),
    "embeddings": ({"prompt_tokens": 8, "total_tokens": 8}, TokenCounts(input_tokens=8), 8),
}
KINDS: dict[str, Any] = {
    "chat": CompletionUsage,
    "responses": ResponseUsage,
    "messages": Usage,
    "embeddings": EmbeddingUsage,
}


@pytest.mark.parametrize("kind", READ)
def test_usage_reads_alike_as_a_mapping_and_as_the_clients_object(kind: str) -> None:
    raw, counts, total = READ[kind]

    assert read_usage(raw) == counts
    assert read_usage(KINDS[kind].model_validate(raw)) == counts
    assert counts.total == total


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (
            GEMINI,
            TokenCounts(input_tokens=13, cache_read_tokens=2, output_tokens=7, reasoning_tokens=3),
        ),
        (
            SimpleNamespace(**dict.fromkeys(GEMINI) | {"prompt_token_count": 8, "response_token_count": 2}),
            TokenCounts(input_tokens=8, output_tokens=2),
        ),
        (
            {"promptTokenCount": 10, "cachedContentTokenCount": 2, "candidatesTokenCount": 4, "thoughtsTokenCount": 3},
            TokenCounts(input_tokens=8, cache_read_tokens=2, output_tokens=7, reasoning_tokens=3),
        ),
        (
            {
                "inputTokens": 10,
                "outputTokens": 5,
                "totalTokens": 22,
                "cacheReadInputTokens": 4,
                "cacheWriteInputTokens": 3,
            },
            TokenCounts(input_tokens=10, cache_read_tokens=4, cache_write_tokens=3, output_tokens=5),
        ),
        (
            {
                "input_tokens": 20,
                "output_tokens": 5,
                "total_tokens": 25,
                "input_token_details": {
                    "cache_read": 4,
                    "cache_creation": 0,
                    "ephemeral_5m_input_tokens": 6,
                    "ephemeral_1h_input_tokens": 3,
                },
                "output_token_details": {"reasoning": 2},
            },
            TokenCounts(
                input_tokens=7,
                cache_read_tokens=4,
                cache_write_tokens=9,
                long_cache_write_tokens=3,
                output_tokens=5,
                reasoning_tokens=2,
            ),
        ),
        (
            {
                "prompt_tokens": 20,
                "completion_tokens": 5,
                "cache_read_input_tokens": 4,
                "cache_creation_input_tokens": 3,
            },
            TokenCounts(input_tokens=13, cache_read_tokens=4, cache_write_tokens=3, output_tokens=5),
        ),
    ],
    ids=["Gemini", "Gemini live", "Gemini as JSON", "Bedrock", "LangChain", "LiteLLM"],
)
def test_usage_of_others_reads_into_the_same_form(usage: Any, counts: TokenCounts) -> None:
    assert read_usage(usage) == counts
    assert read_parts(usage) == counts.parts


def test_thinking_is_a_part_of_the_output() -> None:
    read = read_usage({"input_tokens": 1, "output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}})

    assert read == TokenCounts(input_tokens=1, output_tokens=9, reasoning_tokens=4)


def test_parts_never_exceed_the_whole() -> None:
    details = {"cached_tokens": 8, "cache_write_tokens": 8}
    read = read_usage({"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": details})

    assert read == TokenCounts(cache_read_tokens=8, cache_write_tokens=2, output_tokens=1)


@pytest.mark.parametrize("usage", [None, {}, {"tokens": 3}, {"prompt_tokens": "many"}, object(), "usage"])
def test_what_is_no_usage_is_none(usage: object) -> None:
    assert read_usage(usage) is None


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_a_price_holds_from_its_day_on() -> None:
    table = PriceTable(
        [
            ModelPrice(model="m", since=date(2026, 6, 1), input_usd=Decimal(2), output_usd=Decimal(8)),
            ModelPrice(model="m", since=date(2026, 1, 1), input_usd=Decimal(4), output_usd=Decimal(16)),
        ]
    )
    counts = TokenCounts(input_tokens=1_000, output_tokens=100)

    def price(day: str) -> int | None:
        return table.nanodollars("m", counts, at=at(day), url="")

    assert price("2026-06-01") == 1_000 * 2_000 + 100 * 8_000
    assert price("2026-05-31") == 1_000 * 4_000 + 100 * 16_000
    assert price("2025-12-31") is None
    assert table.nanodollars("other", counts, at=at("2026-06-01"), url="") is None


def test_each_kind_of_token_has_its_price_or_the_call_has_none() -> None:
    counts = TokenCounts(
        input_tokens=10, cache_read_tokens=10, cache_write_tokens=10, long_cache_write_tokens=4, output_tokens=10
    )
    known = {"cache_read_usd": Decimal("0.3"), "cache_write_usd": Decimal("3.75"), "long_cache_write_usd": Decimal(6)}
    row = {"model": "m", "since": date(2026, 1, 1), "input_usd": Decimal(3), "output_usd": Decimal(15)}

    assert ModelPrice(**row, **known).nanodollars(counts) == 30_000 + 3_000 + 6 * 3_750 + 4 * 6_000 + 150_000
    for name in known:
        assert ModelPrice(**row, **{**known, name: None}).nanodollars(counts) is None


def test_genai_prices_are_used_for_providers_that_they_know() -> None:
    counts = TokenCounts(input_tokens=1_000, output_tokens=100)
    prices = find_prices()

    assert isinstance(prices, GenaiPrices)
    known = prices.nanodollars("gpt-4o-mini", counts, at=at("2026-06-01"), url="https://api.openai.com/v1/x")
    assert known == 1_000 * 150 + 100 * 600
    assert prices.nanodollars("gpt-4o-mini", counts, at=at("2026-06-01"), url="http://127.0.0.1/v1/x") is None
    assert prices.nanodollars("nobody-knows", counts, at=at("2026-06-01"), url="https://api.openai.com/v1/x") is None


def test_a_table_may_fall_back_on_others() -> None:
    counts = TokenCounts(input_tokens=1_000)
    table = PriceTable([ModelPrice(model="mine", since=date(2026, 1, 1), input_usd=Decimal(1))], GenaiPrices())
    url = "https://api.openai.com/v1/embeddings"

    assert table.nanodollars("mine", counts, at=at("2026-06-01"), url=url) == 1_000_000
    assert table.nanodollars("text-embedding-3-small", counts, at=at("2026-06-01"), url=url) == 20_000


def test_without_genai_prices_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)

    assert find_prices().nanodollars("gpt-4o-mini", TokenCounts(input_tokens=1), at=0.0, url="") is None
    with pytest.raises(ImportError, match=r"alacena\[prices\]"):
        GenaiPrices()
