"""Which calls of a provider may be answered from the cache, and why not the others."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec

from alacena.engine import UNSET, Policy, TtlOrUnset

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Endpoint: TypeAlias = Literal["chat", "completions", "responses", "messages", "embeddings"]
"""What a call asks for: OpenAI's chat completions, completions, responses and embeddings; Anthropic's messages."""

_ENDS: Final[tuple[tuple[tuple[str, ...], Endpoint], ...]] = (
    (("chat", "completions"), "chat"),
    (("completions",), "completions"),
    (("responses",), "responses"),
    (("v1", "messages"), "messages"),  # not `/threads/ID/messages`, which adds to a conversation
    (("embeddings",), "embeddings"),
)
_STATEFUL: Final = ("previous_response_id", "conversation", "background", "store", "container")
"""Fields by which a call leaves something behind at the provider, or goes on from it."""
_HINTS: Final = frozenset({"prompt_cache_key", "prompt_cache_retention"})
_PROVIDERS_TOOLS: Final = ("mcp_servers", "web_search_options")
_OWN_TOOLS: Final = frozenset({"function", "custom"})
_SHAPING: Final = ("openai-organization", "openai-project", "openai-beta", "anthropic-beta", "anthropic-version")
"""Headers that decide what is answered. Not the credentials, and not what the clients say of themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The answers of an endpoint or a model that may be kept, beyond the safe ones.

    Attributes:
        sampled: Keep answers of calls that ask for variety themselves: a ``temperature`` above 0, ``n`` above 1.
        tool_calls: Keep answers that call a tool of the application: a hit makes it run that tool again.
        provider_tools: Keep answers for which the provider itself may run tools: searches, code, MCP servers.
        ttl: Seconds that an answer stays fresh; left out: as the policy of the data type says.

    Raises:
        SettingsError: ``ttl`` is no time to live.
    """

    sampled: bool = False
    tool_calls: bool = False
    provider_tools: bool = False
    ttl: TtlOrUnset = UNSET

    def __post_init__(self) -> None:
        if self.ttl is not UNSET:
            Policy(ttl=self.ttl)  # refuses one that means nothing here, not inside a client's call


RulesByName: TypeAlias = "Mapping[str, Rules | None]"
"""Rules by ``"endpoint/model"``, in which ``*`` stands for anything; the first that fits counts, ``None`` keeps nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call of a provider, as the transport understands it.

    Attributes:
        endpoint: The endpoint and body.
        url: The whole URL.
        model: The model that it names.
        body: The parsed body.
        headers: Those of its headers that decide the answer.
    """

    endpoint: Endpoint
    url: str
    model: str
    body: dict[str, Any]
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def streams(self) -> bool:
        """Whether the answer is to come in events."""
        return self.body.get("stream") is True

    @property
    def forces_tool(self) -> bool:
        """Whether the model has no choice but one tool: a way to ask for structured output, and no decision to act."""
        choice = self.body.get("tool_choice")
        return isinstance(choice, dict) and choice.get("type") in {"function", "tool", "custom"}

    @property
    def question(self) -> dict[str, Any]:
        """The part of the call that decides its answer: its body without hints about the provider's own prompt cache."""
        return {name: value for name, value in self.body.items() if name not in _HINTS}

    def identity(self, *parts: object) -> str:
        """Returns the id of the answer to this call: a digest, behind the name of the model.

        Args:
            parts: The parts of the answer's identity, besides URL, headers and model.
        """
        whole = ["POST", self.url, self.headers, self.model, *parts]
        # Sorted: the order in which a client writes its fields decides nothing about the answer.
        return f"{self.model[:80]}:{sha256(msgspec.json.encode(whole, order='sorted')).hexdigest()}"


def read_call(url: str, headers: Mapping[str, str], content: bytes, vary: Iterable[str] = ()) -> Call | None:
    """Returns the call of a POST of JSON; ``None`` if it is no call that may ever be answered from the cache.

    Args:
        url: The URL.
        headers: The headers, found in any case.
        content: The body.
        vary: More headers that decide the answer.
    """
    endpoint = endpoint_of(url)
    if endpoint is None:
        return None
    try:
        body = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if not isinstance(body, dict):
        return None
    model = body.get("model")
    return Call(
        endpoint=endpoint,
        url=url,
        model=model if isinstance(model, str) and model.strip() else "unknown",
        body=body,
        headers=tuple((name, headers[name]) for name in (*_SHAPING, *vary) if name in headers),
    )


def endpoint_of(url: str) -> Endpoint | None:
    """Returns the endpoint of a URL's path; ``None``: none that may be kept (files, batches, realtime ...)."""
    # By its end: a gateway serves the same paths under a prefix.
    path = tuple(part for part in urlsplit(url).path.split("/") if part)
    return next((endpoint for end, endpoint in _ENDS if path[-len(end) :] == end), None)


def rules_for(call: Call, rules: Rules | RulesByName) -> Rules | None:
    """Returns the rules that hold for a call; ``None``: nothing of it may be kept."""
    if isinstance(rules, Rules):
        return rules
    name = f"{call.endpoint}/{call.model}"
    return next((rule for pattern, rule in rules.items() if fnmatchcase(name, pattern)), Rules())


def refusal(call: Call, rules: Rules) -> str:
    """Returns why a call must not be answered from the cache, in a word; empty if it may."""
    body = call.body
    for name in _STATEFUL:
        # By its value: `"store": false` leaves nothing behind at the provider.
        if body.get(name):
            return name
    if "audio" in _as_list(body.get("modalities")):
        return "audio"
    if not rules.sampled:
        if _above(body.get("temperature"), 0):
            return "temperature"
        if _above(body.get("n"), 1) or _above(body.get("best_of"), 1):
            return "n"
    if not rules.provider_tools and _asks_for_provider_tools(body):
        return "tools"
    return ""


def _asks_for_provider_tools(body: dict[str, Any]) -> bool:
    if any(body.get(name) is not None for name in _PROVIDERS_TOOLS):
        return True
    tools = [tool for tool in _as_list(body.get("tools")) if isinstance(tool, dict)]
    # Anthropic's tools of the application need no type. A type that is not known here counts as the provider's.
    return any("type" in tool and tool["type"] not in _OWN_TOOLS for tool in tools)


def _as_list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _above(value: object, limit: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > limit
