"""An answer of a provider: its kept part, whether it is finished, and its usage."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from alacena.integrations.finish_reasons import THOUGHTS, says_something
from alacena.integrations.usage import TokenCounts, read_usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from alacena.integrations.llm_transport.call_rules import Call, Rules

Headers: TypeAlias = "list[tuple[str, str]]"

_OF_THE_WIRE: Final = frozenset(
    {"content-encoding", "content-length", "transfer-encoding", "connection", "keep-alive", "trailer", "upgrade"}
)
_OF_THE_MOMENT: Final = frozenset({"set-cookie", "retry-after", "date", "age", "server-timing"})
_LIMITS: Final = re.compile(r"(x|anthropic)-ratelimit-").match
_END_OF_EVENT: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_END_OF_LINE: Final = re.compile(rb"\r\n|\n|\r")
_FINISHED: Final = frozenset({"stop", "end_turn", "stop_sequence", "completed"})
_TOOL_ENDS: Final = frozenset({"tool_calls", "function_call", "tool_use"})
_TOOL_ITEMS: Final = frozenset(
    {
        "apply_patch_call",
        "computer_call",
        "custom_tool_call",
        "function_call",
        "local_shell_call",
        "mcp_approval_request",
        "shell_call",
        "tool_use",
    }
)
_CONTENT: Final = ("content", "text", "refusal", "tool_calls", "function_call", "audio")
"""The fields of a choice that are an answer; thoughts alone are none."""
_USUAL_TIERS: Final = frozenset({"", "default", "standard", "auto"})
_LAST_EVENTS: Final = (b"[DONE]", b"message_stop", b"response.completed")
_LONGEST_LAST_EVENT: Final = max(map(len, _LAST_EVENTS))


@dataclass(slots=True, kw_only=True)
class Answer:
    """An answer as it is handed out and kept: everything but the words about its own connection or moment.

    Attributes:
        status: The status.
        headers: The headers.
        body: The body, decoded.
        at: When it came, in seconds since the epoch.
        ending: Its own facts; kept with it.
    """

    status: int
    headers: Headers
    body: bytes
    at: float
    ending: Ending

    def record(self) -> dict[str, Any]:
        """Returns it as a value for the cache."""
        return {
            "status": self.status,
            "headers": [f"{name}: {value}" for name, value in self.headers if is_kept(name)],
            "body": self.body,
            "at": self.at,
            "ending": msgspec.to_builtins(self.ending),
        }


class UnansweredError(Exception):
    """The provider answered with something else than asked for.

    It says nothing of when to ask again: the client knows that, and asks again itself.

    Args:
        answer: The answer.
        asked: The ids of the embeddings that it was asked for.
    """

    def __init__(self, answer: Answer, asked: Sequence[str] = ()) -> None:
        super().__init__(f"the provider answered with status {answer.status}")
        self.answer = answer
        self.asked = tuple(asked)


def answer_of(record: dict[str, Any]) -> Answer:
    """Returns the answer that a value of the cache holds."""
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in record["headers"])]
    return Answer(
        status=record["status"],
        headers=headers,
        body=record["body"],
        at=record["at"],
        ending=msgspec.convert(record["ending"], Ending),
    )


def select_headers(headers: Iterable[tuple[str, str]]) -> Headers:
    """Returns the headers of an answer after its body was decoded."""
    return [(name, value) for name, value in headers if name.lower() not in _OF_THE_WIRE]


def is_kept(name: str) -> bool:
    """Returns whether a header may be replayed: no cookie, and nothing that tells of the provider's limits at that moment."""
    lower = name.lower()
    return lower not in _OF_THE_WIRE and lower not in _OF_THE_MOMENT and not _LIMITS(lower)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The end of an answer.

    Attributes:
        reason: Why it must not be kept, in a word; empty if it may.
        response_id: The provider's own id of it, if it gave one.
        model: The model that answered.
        counts: The tokens used; ``None`` if it does not say.
        is_usual: Whether it was made at the provider's usual tier, for which prices are known.
        nanodollars: Its price when it was made, in billionths of a dollar; ``None``: not known. A hit saves just that.
    """

    reason: str = ""
    response_id: str = ""
    model: str = ""
    counts: TokenCounts | None = None
    is_usual: bool = True
    nanodollars: int | None = None


def judge(call: Call, rules: Rules, status: int, content_type: str, body: bytes) -> Ending:
    """Returns how an answer ended. An answer that cannot be understood must not be kept."""
    if status != 200:
        return Ending(reason="status", model=call.model)
    told = _Told()
    try:
        if "text/event-stream" in content_type:
            told.read_events(payloads(body), call.endpoint)
        else:
            told.read_whole(msgspec.json.decode(body), call.endpoint)
            told.is_over = True
    except (msgspec.DecodeError, UnicodeDecodeError, AttributeError, TypeError, ValueError):
        return Ending(reason="cut", model=told.model or call.model)
    return Ending(
        reason=told.reason(may_call_tools=rules.tool_calls or call.forces_tool),
        response_id=told.response_id,
        model=told.model or call.model,
        counts=read_usage(told.usage),
        is_usual=told.tier in _USUAL_TIERS,
    )


def payloads(body: bytes) -> Iterator[bytes]:
    """Yields the data of server-sent events, in their order."""
    for event in _END_OF_EVENT.split(body):
        lines = [line[5:].removeprefix(b" ") for line in _END_OF_LINE.split(event) if line.startswith(b"data:")]
        if lines:
            yield b"\n".join(lines)


class LastEvent:
    """Tells, while events come, whether the last one has begun: only the end of the connection follows."""

    def __init__(self) -> None:
        self.has_come = False
        self._tail = b""

    def read(self, chunk: bytes) -> None:
        """Takes note of the next bytes."""
        text = self._tail + chunk
        self.has_come = self.has_come or any(mark in text for mark in _LAST_EVENTS)
        # The chunks may cut a mark in two: the end of each is looked at again with the next.
        self._tail = text[-_LONGEST_LAST_EVENT:]


def _holds_something(item: dict[str, Any]) -> bool:
    """Returns whether an item of an answer is more than thoughts and empty text: part of it, or of its contents."""
    if item.get("type") in THOUGHTS:
        return False
    if isinstance(parts := item.get("content"), list):
        return any(map(_holds_something, parts))
    said = [item[name] for name in ("text", "refusal") if name in item]
    return any(map(says_something, said)) if said else True


@dataclass(slots=True)
class _Told:
    """The words of an answer's parts so far."""

    is_over: bool = False
    has_failed: bool = False
    calls_tool: bool = False
    has_content: bool = False
    response_id: str = ""
    model: str = ""
    tier: str = ""
    ends: dict[int, str | None] = field(default_factory=dict)
    usage: dict[str, Any] = field(default_factory=dict)

    def reason(self, *, may_call_tools: bool) -> str:
        if self.has_failed:
            return "error"
        if not self.is_over or not self.ends:
            return "cut"
        if not self.has_content and set(self.ends.values()) <= _FINISHED:
            return "empty"
        for end in self.ends.values():
            if end in _TOOL_ENDS:
                self.calls_tool = True
            elif end not in _FINISHED:
                return end or "cut"
        return "tool_calls" if self.calls_tool and not may_call_tools else ""

    def read_whole(self, whole: dict[str, Any], endpoint: str) -> None:
        # Gateways say with status 200 that the model behind them failed; OpenAI's responses have the field and no error.
        self.has_failed = self.has_failed or bool(whole.get("error"))
        self._read_names(whole)
        if endpoint in {"chat", "completions"}:
            self._read_choices(whole, "message")
        else:
            self.ends[0] = whole.get("status" if endpoint == "responses" else "stop_reason")
            self._read_items(whole.get("output" if endpoint == "responses" else "content") or ())

    def read_events(self, events: Iterable[bytes], endpoint: str) -> None:
        for data in events:
            if data == b"[DONE]":
                self.is_over = True
                continue
            event = msgspec.json.decode(data)
            if event.get("error") or event.get("type") == "error":
                self.has_failed = True
            elif endpoint in {"chat", "completions"}:
                self._read_names(event)
                self._read_choices(event, "delta")
            elif endpoint == "responses":
                self._read_responses(event)
            else:
                self._read_messages(event)

    def _read_names(self, part: dict[str, Any]) -> None:
        self.response_id = part.get("id") or self.response_id
        self.model = part.get("model") or self.model
        usage = part.get("usage") or {}
        self.tier = part.get("service_tier") or usage.get("service_tier") or self.tier
        self.usage |= {name: value for name, value in usage.items() if value is not None}

    def _read_choices(self, part: dict[str, Any], where: str) -> None:
        for choice in part.get("choices") or ():
            index = choice.get("index", 0)
            self.ends[index] = choice.get("finish_reason") or self.ends.get(index)
            self.has_failed = self.has_failed or bool(choice.get("error"))
            said = choice.get(where) or choice
            self.has_content = self.has_content or any(map(says_something, map(said.get, _CONTENT)))
            self.calls_tool = self.calls_tool or bool(said.get("tool_calls") or said.get("function_call"))

    def _read_items(self, items: Iterable[dict[str, Any]]) -> None:
        items = list(items)
        self.has_content = self.has_content or any(map(_holds_something, items))
        self.calls_tool = self.calls_tool or any(item.get("type") in _TOOL_ITEMS for item in items)

    def _read_responses(self, event: dict[str, Any]) -> None:
        kind = event.get("type")
        if kind in {"response.completed", "response.failed", "response.incomplete"}:
            self.read_whole(event["response"], "responses")
            self.is_over = True

    def _read_messages(self, event: dict[str, Any]) -> None:
        kind = event.get("type")
        if kind == "message_start":
            self._read_names(event["message"])
        elif kind == "content_block_start":
            self._read_items([event["content_block"]])
        elif kind == "content_block_delta":
            self.has_content = self.has_content or says_something(event["delta"].get("text"))
        elif kind == "message_delta":
            self.ends[0] = event["delta"].get("stop_reason") or self.ends.get(0)
            self._read_names({"usage": event.get("usage")})  # counted from the start: the last one holds
        elif kind == "message_stop":
            self.is_over = True
