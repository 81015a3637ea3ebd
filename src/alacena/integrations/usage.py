"""Usage as providers report it, read into one normal form.

OpenAI counts what its prompt cache read or wrote within the input, Anthropic beside it. A program that adds the
fields up without knowing which is which counts tokens twice, or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCounts:
    """Tokens of one call. The four main fields add up to what the provider charges for; the other two are parts of them.

    Attributes:
        input_tokens: Tokens of the input that the provider's prompt cache neither read nor wrote.
        cache_read_tokens: Tokens of the input that its prompt cache read.
        cache_write_tokens: Tokens of the input that it wrote into its prompt cache.
        long_cache_write_tokens: Those of ``cache_write_tokens`` that it keeps for longer (an hour, twelve hours).
        output_tokens: Tokens of the output, reasoning included.
        reasoning_tokens: Those of ``output_tokens`` that were reasoning.
    """

    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    long_cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def whole_input(self) -> int:
        """The whole input, from whatever cache it came."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens

    @property
    def parts(self) -> dict[str, int]:
        """The tokens by what they were, as the ledger names it."""
        parts = {
            "input": self.whole_input,
            "output": self.output_tokens,
            "cached": self.cache_read_tokens,
            "cache_write": self.cache_write_tokens,
            "reasoning": self.reasoning_tokens,
        }
        return {name: tokens for name, tokens in parts.items() if tokens}

    @property
    def total(self) -> int:
        """Input and output together."""
        return self.whole_input + self.output_tokens


def read_usage(usage: Any) -> TokenCounts | None:
    """Returns the tokens of a provider's usage: a mapping, or an object of its client.

    It knows OpenAI's chat completions, responses and embeddings, and Anthropic's messages.

    Returns:
        ``None`` if it is none of these.
    """
    if usage is None:
        return None
    if _field(usage, "prompt_tokens") is not None:
        return _inclusive(usage, "prompt_tokens", "completion_tokens")
    if _field(usage, "input_tokens") is None:
        return None
    # Both providers say input_tokens. OpenAI's responses say the total or the details too, Anthropic's neither.
    if _field(usage, "total_tokens") is not None or _field(usage, "input_tokens_details") is not None:
        return _inclusive(usage, "input_tokens", "output_tokens")
    return TokenCounts(
        input_tokens=_count(usage, "input_tokens"),
        cache_read_tokens=_count(usage, "cache_read_input_tokens"),
        cache_write_tokens=_count(usage, "cache_creation_input_tokens"),
        long_cache_write_tokens=_count(usage, "cache_creation", "ephemeral_1h_input_tokens"),
        output_tokens=_count(usage, "output_tokens"),
        reasoning_tokens=_count(usage, "output_tokens_details", "thinking_tokens"),
    )


def _inclusive(usage: Any, whole_input: str, output: str) -> TokenCounts:
    """Returns the form in which the input includes what the prompt cache read and wrote: its parts never exceed the whole."""
    whole = _count(usage, whole_input)
    read = min(_count(usage, f"{whole_input}_details", "cached_tokens"), whole)
    written = min(_count(usage, f"{whole_input}_details", "cache_write_tokens"), whole - read)
    kept_long = _count(usage, f"{whole_input}_details", "cache_write_tokens_details", "ttl_12h_tokens")
    return TokenCounts(
        input_tokens=whole - read - written,
        cache_read_tokens=read,
        cache_write_tokens=written,
        long_cache_write_tokens=min(kept_long, written),
        output_tokens=_count(usage, output),
        reasoning_tokens=_count(usage, f"{output}_details", "reasoning_tokens"),
    )


def _count(usage: Any, *path: str) -> int:
    for name in path:
        usage = _field(usage, name)
    return usage if isinstance(usage, int) and not isinstance(usage, bool) and usage > 0 else 0


def _field(holder: Any, name: str) -> Any:
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)
