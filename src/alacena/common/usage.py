"""Usage reported by providers, as parts that the ledger totals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_NAMES: Final = {
    "input": ("input", "prompt_tokens", "input_tokens"),
    "output": ("output", "completion_tokens", "output_tokens"),
}
_CACHED: Final = (("prompt_tokens_details", "cached_tokens"), ("input_tokens_details", "cached_tokens"))
_REASONING: Final = (
    ("completion_tokens_details", "reasoning_tokens"),
    ("output_tokens_details", "reasoning_tokens"),
)
_READ: Final = "cache_read_input_tokens"
_WRITTEN: Final = "cache_creation_input_tokens"


def parts_of(usage: Any) -> dict[str, Any] | None:
    """Returns the parts of a provider's usage object, or the parts themselves if they are given as such.

    Anthropic counts what it read from its cache, or wrote to it, beside the input; here both are of the input, as with
    OpenAI, so that input and output together are the whole call.
    """
    if usage is None:
        return None
    known = [name for names in _NAMES.values() for name in names[1:]]
    if isinstance(usage, Mapping) and not any(name in usage for name in known):
        return dict(usage)
    parts: dict[str, Any] = {}
    for part, names in _NAMES.items():
        parts[part] = next((found for name in names if (found := _of(usage, name)) is not None), 0)
    parts["cached"] = _first(usage, _CACHED)
    parts["reasoning"] = _first(usage, _REASONING)
    read, written = _of(usage, _READ) or 0, _of(usage, _WRITTEN) or 0
    if read or written:
        parts["input"] += read + written
        parts["cached"], parts["cache_write"] = read, written
    return parts


def _first(usage: Any, places: tuple[tuple[str, str], ...]) -> Any:
    for holder, name in places:
        if found := _of(_of(usage, holder), name):
            return found
    return 0


def _of(usage: Any, name: str) -> Any:
    return usage.get(name) if isinstance(usage, Mapping) else getattr(usage, name, None)
