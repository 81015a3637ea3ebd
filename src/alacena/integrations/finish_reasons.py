"""Whether an answer of a model is one to keep: it came to its end, and says something."""

from __future__ import annotations

from typing import Any, Final

_CUT: Final = frozenset(
    {
        "blocklist",
        "content_filter",
        "error",
        "incomplete",
        "length",
        "malformed_function_call",
        "max_output_tokens",
        "max_tokens",
        "model_context_window_exceeded",
        "model_length",
        "pause_turn",
        "prohibited_content",
        "recitation",
        "refusal",
        "safety",
    }
)
"""Why answers end before their end, as providers say it."""
_REASONS: Final = ("finish_reason", "stop_reason", "done_reason", "status")
_CALLS: Final = ("tool_calls", "invalid_tool_calls")
_MORE: Final = ("audio", "function_call", "refusal", "tool_calls")
THOUGHTS: Final = frozenset({"reasoning", "reasoning_content", "redacted_thinking", "thinking"})


def is_cut(reason: object) -> bool:
    """Returns whether the reason that an answer ended for says that it was cut short."""
    return isinstance(reason, str) and reason.rpartition(".")[2].lower() in _CUT


def says_something(content: object) -> bool:
    """Returns whether content, as text or in blocks, is more than blanks and thoughts."""
    if isinstance(content, str):
        return bool(content.strip())
    if isinstance(content, dict):
        if content.get("type") in THOUGHTS:
            return False
        return says_something(content["text"]) if "text" in content else bool(content)
    return isinstance(content, list) and any(map(says_something, content))


def is_whole(generation: Any) -> bool:
    """Returns whether a message or a generation of LangChain came to its end and says something."""
    message = getattr(generation, "message", generation)
    told = (getattr(message, "response_metadata", None) or {}, getattr(generation, "generation_info", None) or {})
    if any(is_cut(one.get(name)) for one in told for name in _REASONS):
        return False
    more = getattr(message, "additional_kwargs", None) or {}
    if any(getattr(message, name, None) for name in _CALLS) or any(map(more.get, _MORE)):
        return True
    content = getattr(message, "content", None)
    return says_something(getattr(message, "text", "") if content is None else content)
