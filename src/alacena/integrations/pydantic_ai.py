"""Pydantic AI: a capability that answers equal model requests from the cache, and makes those at one time once."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from alacena.engine import UNSET, Cache, TtlOrUnset
from alacena.integrations.ambient_scope import digest, reader_scope
from alacena.integrations.bridge import Access, Bridge
from alacena.integrations.finish_reasons import is_cut, says_something
from alacena.integrations.requirement import require_extra

with require_extra("alacena.integrations.pydantic_ai", "pydantic-ai", ("pydantic-ai-slim", "2.68", "3")):
    from pydantic import TypeAdapter
    from pydantic_ai.capabilities import AbstractCapability
    from pydantic_ai.messages import ModelMessagesTypeAdapter, ModelResponse
    from pydantic_ai.models import ModelRequestContext, ModelRequestParameters
    from pydantic_ai.usage import RequestUsage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from pydantic_ai import RunContext

    from alacena.engine import LoadContext
    from alacena.integrations.bridge import Ask

_PARAMETERS: Final = TypeAdapter(ModelRequestParameters)
_OF_THE_RUN: Final = frozenset(
    {
        "conversation_id",
        "failed_attempts",
        "history_digest",
        "metadata",
        "model_id",
        "provider_response_id",
        "run_id",
        "timestamp",
        "usage",
    }
)

CACHED: Final = "alacena"
"""The key under which ``metadata`` of a response from the cache says so, with the usage that it once had."""


def is_cached(response: ModelResponse) -> bool:
    """Returns whether a response was answered from the cache: its tokens are counted already."""
    return CACHED in (response.metadata or {})


@dataclass
class CachedModelRequests(AbstractCapability[Any]):
    """Answers an agent's model requests from the cache: equal ones of one tenant and user at one time are made once.

    ::

        agent = Agent(model, capabilities=[CachedModelRequests()])

    A request is named by the model, its settings, the messages without the parts of one run, the tools and the
    form of the answer. A response from the cache carries no usage, so that a run counts its usage; see `is_cached`.
    Errors are not kept.

    Attributes:
        cache: An open cache, or a started `Bridge` for code of other loops; ``None``: the process-wide cache.
        ttl: Seconds that a response stays fresh; left out: the type's; ``None``: for ever.
        data_type: The type that its entries have.
    """

    cache: Cache | Bridge | None = None
    ttl: TtlOrUnset = field(default=UNSET, kw_only=True)
    data_type: str = field(default="pydantic_ai_request", kw_only=True)

    async def wrap_model_request(
        self,
        ctx: RunContext[Any],  # noqa: ARG002 - the framework's signature
        *,
        request_context: ModelRequestContext,
        handler: Callable[[ModelRequestContext], Awaitable[ModelResponse]],
    ) -> ModelResponse:
        """Answers a model request."""
        own: list[ModelResponse] = []

        async def source(context: LoadContext) -> bytes:
            own.append(await handler(request_context))
            if is_cut(own[0].finish_reason) or not any(map(_holds_something, own[0].parts)):
                context.skip()  # it was cut short, or says nothing: it is for those who wait for it now
            return ModelMessagesTypeAdapter.dump_json([own[0]])

        stored = await Access(self.cache).load(source, self._verb(request_context))
        # Nothing of our own means that another run has paid for it, now or before.
        return own[0] if own else _mark(stored)

    def _verb(self, request: ModelRequestContext) -> Callable[[Cache, Ask], Coroutine[Any, Any, bytes]]:
        name, scope = name_of(request), reader_scope()

        async def verb(cache: Cache, ask: Ask) -> bytes:
            found = await cache.lookup(self.data_type, name, scope, ask, ttl=self.ttl, search_hierarchy=False)
            return bytes(found.value or b"")

        return verb


def name_of(request: ModelRequestContext) -> str:
    """Returns the name of a model request: equal for requests that ask the same model the same.

    Raises:
        InvalidKeyError: A setting of the model cannot be told from others of its kind.
    """
    return digest(
        request.model.system,
        request.model.model_name,
        request.model.base_url,
        dict(request.model.settings or {}),
        dict(request.model_settings or {}),
        json.loads(_PARAMETERS.dump_json(request.model_request_parameters)),
        [_read(message) for message in json.loads(ModelMessagesTypeAdapter.dump_json(request.messages))],
    )


def _read(message: dict[str, Any]) -> dict[str, Any]:
    """Returns a message as the model reads it, as JSON: without the marks of one run or of a hit.

    Inside of a part nothing is left out: the call or the answer of a tool may have a time of its own.
    """
    told = {name: value for name, value in message.items() if name not in _OF_THE_RUN}
    told["parts"] = [{name: value for name, value in part.items() if name != "timestamp"} for part in message["parts"]]
    return told


def _holds_something(part: Any) -> bool:
    if part.part_kind == "thinking":
        return False
    return says_something(part.content) if part.part_kind == "text" else True


def _mark(stored: bytes) -> ModelResponse:
    (response,) = ModelMessagesTypeAdapter.validate_json(stored)
    assert isinstance(response, ModelResponse)
    once = {name: value for name, value in vars(response.usage).items() if isinstance(value, int) and value}
    metadata = {**(response.metadata or {}), CACHED: {"cached": True, "usage": once}}
    return replace(response, usage=RequestUsage(), metadata=metadata)
