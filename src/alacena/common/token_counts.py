"""Usage as providers report it, read into one normal form.

OpenAI counts tokens that its prompt cache read or wrote within the input, Anthropic and Bedrock beside it. Gemini counts
thoughts beside the output, and the prompts of tools beside the input. A program that adds the fields up without knowing which is
which counts tokens twice, or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from alacena.engine.base.errors import ArgumentError

_Path: TypeAlias = "tuple[str, ...]"

_CHAT: Final = ("prompt_tokens", "completion_tokens")
_TOKENS: Final = ("input_tokens", "output_tokens")
_BEDROCK: Final = ("inputTokens", "outputTokens")
_GEMINI: Final = (
    "prompt_token_count", "tool_use_prompt_token_count", "cached_content_token_count",
    "candidates_token_count", "response_token_count", "thoughts_token_count",
)  # fmt: skip
_GEMINI_JSON: Final = (
    "promptTokenCount", "toolUsePromptTokenCount", "cachedContentTokenCount",
    "candidatesTokenCount", "responseTokenCount", "thoughtsTokenCount",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCounts:
    """Tokens of one call. The four main fields add up to the tokens charged for; the other two are parts of them.

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
        """The whole input, from any cache."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens

    @property
    def parts(self) -> dict[str, int]:
        """The tokens by kind, as the ledger names it."""
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

    It knows OpenAI's chat completions, responses and embeddings, Anthropic's messages, Gemini's ``usage_metadata``,
    Bedrock's Converse, LangChain's ``usage_metadata`` and LiteLLM's usage.

    Returns:
        ``None`` if it is none of these.
    """
    if _says(usage, _CHAT):
        return _read_whole(usage, *_CHAT)
    for names in (_GEMINI, _GEMINI_JSON):
        if _says(usage, names):
            return _read_gemini(usage, names)
    if _says(usage, _BEDROCK):
        return _read_apart(usage, *_BEDROCK, read="cacheReadInputTokens", written="cacheWriteInputTokens")
    if not _says(usage, _TOKENS):
        return None
    # All three say input_tokens. OpenAI's responses and LangChain say the total or the details too, Anthropic's neither.
    if any(_field(usage, name) is not None for name in ("total_tokens", "input_tokens_details", "input_token_details")):
        return _read_whole(usage, *_TOKENS)
    return _read_apart(usage, *_TOKENS, read="cache_read_input_tokens", written="cache_creation_input_tokens")


def read_parts(usage: Any) -> dict[str, Any] | None:
    """Returns the ledger's parts of a provider's usage, or the parts themselves if they are given as such.

    Raises:
        ValueError: It is no usage that is known.
    """
    if usage is None:
        return None
    counts = read_usage(usage)
    if counts is not None:
        return counts.parts
    # A dict in none of the providers' words is parts already: the ledger says which of them mean nothing.
    foreign = (*_CHAT, *_TOKENS, *_BEDROCK, *_GEMINI, *_GEMINI_JSON)
    if isinstance(usage, Mapping) and not any(name in usage for name in foreign):
        return dict(usage)
    raise ArgumentError(
        f"parts is a {type(usage).__name__} that names no tokens: pass the usage object of the provider's answer, or "
        'a dict such as {"input": 10, "output": 5}'
    )


def _read_whole(usage: Any, whole: str, output: str) -> TokenCounts:
    """Reads the form in which the input includes the prompt cache's tokens: its parts never exceed the whole."""
    of_input, of_output, langchains = f"{whole}_details", f"{output}_details", "input_token_details"
    short, long = (_count(usage, langchains, f"ephemeral_{life}_input_tokens") for life in ("5m", "1h"))
    written = _first(
        usage, (of_input, "cache_write_tokens"), (langchains, "cache_creation"), ("cache_creation_input_tokens",)
    )
    return _within(
        _count(usage, whole),
        _first(usage, (of_input, "cached_tokens"), (langchains, "cache_read"), ("cache_read_input_tokens",)),
        # LangChain sets the sum to 0 if it says by their lives what was written.
        written or short + long,
        long or _count(usage, of_input, "cache_write_tokens_details", "ttl_12h_tokens"),
        _count(usage, output),
        _first(usage, (of_output, "reasoning_tokens"), ("output_token_details", "reasoning")),
    )


def _read_gemini(usage: Any, names: tuple[str, ...]) -> TokenCounts:
    """Reads Gemini's form: the cached content is a part of the prompt; tools and thoughts are counted apart."""
    prompt, tools, cached, candidates, response, thoughts = names
    reasoning = _count(usage, thoughts)
    return _within(
        _count(usage, prompt) + _count(usage, tools),
        _count(usage, cached),
        0,
        0,
        # The Live API says `response` for what the others call `candidates`.
        _first(usage, (candidates,), (response,)) + reasoning,
        reasoning,
    )


def _within(whole: int, read: int, written: int, kept_long: int, output: int, reasoning: int) -> TokenCounts:
    read = min(read, whole)
    written = min(written, whole - read)
    return TokenCounts(
        input_tokens=whole - read - written,
        cache_read_tokens=read,
        cache_write_tokens=written,
        long_cache_write_tokens=min(kept_long, written),
        output_tokens=output,
        reasoning_tokens=reasoning,
    )


def _read_apart(usage: Any, given: str, output: str, *, read: str, written: str) -> TokenCounts:
    """Reads the form in which the prompt cache's tokens are counted beside the input."""
    return TokenCounts(
        input_tokens=_count(usage, given),
        cache_read_tokens=_count(usage, read),
        cache_write_tokens=_count(usage, written),
        long_cache_write_tokens=_count(usage, "cache_creation", "ephemeral_1h_input_tokens"),
        output_tokens=_count(usage, output),
        reasoning_tokens=_count(usage, "output_tokens_details", "thinking_tokens"),
    )


def _says(usage: Any, names: tuple[str, ...]) -> bool:
    """Returns whether one of the fields is a number: a usage with anything else in it is none, and not one of 0 tokens."""
    return any(_is_count(_field(usage, name)) for name in names)


def _first(usage: Any, *paths: _Path) -> int:
    return next((tokens for path in paths if (tokens := _count(usage, *path))), 0)


def _count(usage: Any, *path: str) -> int:
    for name in path:
        usage = _field(usage, name)
    return int(usage) if _is_count(usage) and usage > 0 else 0


def _is_count(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)


def _field(holder: Any, name: str) -> Any:
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)
