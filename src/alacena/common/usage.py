"""Usage reported by providers, as parts that the ledger totals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_NAMES: Final = {
    "input": ("input", "prompt_tokens", "input_tokens", "prompt_token_count", "inputTokens"),
    "output": ("output", "completion_tokens", "output_tokens", "candidates_token_count", "outputTokens"),
}
_CACHED: Final = (
    ("prompt_tokens_details", "cached_tokens"),
    ("input_tokens_details", "cached_tokens"),
    ("input_token_details", "cache_read"),
    ("", "cached_content_token_count"),
)
_REASONING: Final = (
    ("completion_tokens_details", "reasoning_tokens"),
    ("output_tokens_details", "reasoning_tokens"),
    ("output_token_details", "reasoning"),
    ("", "thoughts_token_count"),
)
_THOUGHTS: Final = "thoughts_token_count"
_READ: Final = "cache_read_input_tokens"
_WRITTEN: Final = "cache_creation_input_tokens"


def parts_of(usage: Any) -> dict[str, Any] | None:
    """Returns the parts of a provider's usage object, or the parts themselves if they are given as such.

    Anthropic counts what it read from its cache, or wrote to it, beside the input, and Gemini its thoughts beside the
    output; here they are of the input and the output, as with OpenAI, so that both together are the whole call.

    Raises:
        ValueError: It is no usage that is known.
    """
    if usage is None:
        return None
    # The first name of each row is the ledger's own: a dict with no other name of these is parts already, and is kept.
    known = [name for names in _NAMES.values() for name in names[1:]]
    if isinstance(usage, Mapping) and not any(name in usage for name in known):
        return dict(usage)
    if not any(_of(usage, name) is not None for name in known):
        msg = (
            f"parts is a {type(usage).__name__} that names no tokens: pass the usage object of the provider's answer, or "
            'a dict such as {"input": 10, "output": 5}'
        )
        raise ValueError(msg)
    parts: dict[str, Any] = {}
    for part, names in _NAMES.items():
        parts[part] = next((found for name in names if (found := _of(usage, name)) is not None), 0)
    parts["cached"] = _first(usage, _CACHED)
    parts["reasoning"] = _first(usage, _REASONING)
    if thoughts := _of(usage, _THOUGHTS):
        parts["output"] += thoughts
    read, written = _of(usage, _READ) or 0, _of(usage, _WRITTEN) or 0
    if read or written:
        parts["input"] += read + written
        parts["cached"], parts["cache_write"] = read, written
    return parts


def _first(usage: Any, places: tuple[tuple[str, str], ...]) -> Any:
    for holder, name in places:
        if found := _of(_of(usage, holder) if holder else usage, name):
            return found
    return 0


def _of(usage: Any, name: str) -> Any:
    return usage.get(name) if isinstance(usage, Mapping) else getattr(usage, name, None)
