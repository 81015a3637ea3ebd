"""LangChain's agents: a middleware that answers equal model calls from the cache, and makes those at one time once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from alacena.engine import UNSET, Cache, TtlOrUnset
from alacena.engine.base.arguments import list_of
from alacena.integrations.ambient_scope import digest, reader_scope
from alacena.integrations.bridge import Access, Bridge
from alacena.integrations.finish_reasons import is_whole
from alacena.integrations.langchain import dump_objects, load_objects, mark_cached, without_usage
from alacena.integrations.requirement import require_extra

with require_extra(
    "alacena.integrations.langchain_agents", "langchain", ("langchain", "1.5", "2"), ("langchain-core", "1.8", "2")
):
    from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
    from langchain_core.load import dumps
    from langchain_core.messages import AIMessage
    from langchain_core.utils.function_calling import convert_to_openai_tool
    from pydantic import TypeAdapter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

    from langchain_core.load.serializable import Serializable

    from alacena.engine import LoadContext
    from alacena.integrations.bridge import Ask


class CachedModelCalls(AgentMiddleware[Any, Any, Any]):
    """Answers an agent's model calls from the cache: equal calls of one tenant and user at one time are made once.

    ::

        agent = create_agent(model, tools, middleware=[..., CachedModelCalls()])

    Put it last, so that it sees the model's final request. A call is named by the model and its parameters, messages, tools
    and the schema of the answer. An answer from the cache carries no usage and no id, see `mark_cached`. Errors are not
    kept; nor is a structured answer that cannot be built again from JSON.

    Args:
        cache: An open cache, or a started `Bridge`, which sync agents need; ``None``: the process-wide cache.
        ttl: Seconds that an answer stays fresh; left out: the type's; ``None``: for ever.
        data_type: The type that its entries have.
        document_ids: Gives the documents that an answer is made from, such as those that a retriever noted in
            ``request.state``: it ends with them.
        allowed: Classes besides LangChain's messages that answers may hold.
    """

    def __init__(
        self,
        cache: Cache | Bridge | None = None,
        *,
        ttl: TtlOrUnset = UNSET,
        data_type: str = "langchain_model_call",
        document_ids: Callable[[ModelRequest[Any]], Iterable[str]] | None = None,
        allowed: Iterable[type[Serializable]] = (),
    ) -> None:
        super().__init__()
        self._access = Access(cache)
        self._ttl = ttl
        self._data_type = data_type
        self._document_ids = document_ids
        self._allowed = tuple(list_of(allowed, "allowed", "classes"))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any] | AIMessage:
        """Answers a model call."""
        call = _Call(request, self._allowed)

        async def source(context: LoadContext) -> bytes:
            return call.keep(await handler(request), context)

        # A response that cannot be stored is for its own caller alone: those who waited ask the model too.
        return call.answer(await self._access.load(source, self._verb(request))) or await handler(request)

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any] | AIMessage:
        """As `awrap_model_call`, over a bridge."""
        call = _Call(request, self._allowed)

        def source(context: LoadContext) -> bytes:
            return call.keep(handler(request), context)

        stored = self._access.load_now(source, self._verb(request), "CachedModelCalls.wrap_model_call")
        return call.answer(stored) or handler(request)

    def _verb(self, request: ModelRequest[Any]) -> Callable[[Cache, Ask], Coroutine[Any, Any, bytes]]:
        name, scope = name_of(request), reader_scope()
        documents = () if self._document_ids is None else tuple(self._document_ids(request))

        async def verb(cache: Cache, ask: Ask) -> bytes:
            # The answer of no entry but its own: what is public in the tenant was not made for this user.
            found = await cache.lookup(
                self._data_type, name, scope, ask, ttl=self._ttl, document_ids=documents, search_hierarchy=False
            )
            return bytes(found.value or b"")

        return verb


def name_of(request: ModelRequest[Any]) -> str:
    """Returns the name of a model call: equal for calls that ask the same model the same.

    Raises:
        InvalidKeyError: A setting of the model cannot be told from others of its kind.
    """
    messages = [*([request.system_message] if request.system_message else ()), *request.messages]
    schema = request.response_format
    schemas = getattr(schema, "schema_specs", None) or [getattr(schema, "schema_spec", None)]
    return digest(
        type(request.model).__qualname__,
        request.model._get_llm_string(),
        # A message from the cache has a mark and no id, and must name the same call as the model's own.
        dumps([without_usage(message) for message in messages]),
        [tool if isinstance(tool, dict) else convert_to_openai_tool(tool) for tool in request.tools],
        request.tool_choice,
        type(schema).__qualname__,
        [spec.json_schema for spec in schemas if spec] or [_json_schema(one) for one in _schemas(schema)],
        request.model_settings,
    )


class _Call:
    """One caller's model call: it has the answer itself, or is given another one's."""

    def __init__(self, request: ModelRequest[Any], allowed: tuple[type[Serializable], ...]) -> None:
        self._schemas = {getattr(one, "__name__", ""): one for one in _schemas(request.response_format)}
        self._allowed = allowed
        self._own: ModelResponse[Any] | AIMessage | None = None

    def keep(self, response: ModelResponse[Any] | AIMessage, context: LoadContext) -> bytes:
        """Returns the stored form of a response that this call was given by the model."""
        self._own = response
        messages = response.result if isinstance(response, ModelResponse) else [response]
        structured = getattr(response, "structured_response", None)
        written = dump_objects(messages, self._allowed)
        if written is None or (structured is not None and type(structured).__name__ not in {*self._schemas, "dict"}):
            context.skip()
            return b""
        if structured is None and not all(is_whole(one) for one in messages if isinstance(one, AIMessage)):
            context.skip()  # it was cut short, or says nothing: it is for those who wait for it now
        shape = None
        if structured is not None:
            shape = [type(structured).__name__, TypeAdapter(type(structured)).dump_python(structured, mode="json")]
        return json.dumps([written.decode(), shape]).encode()

    def answer(self, stored: bytes) -> ModelResponse[Any] | AIMessage | None:
        """Returns this call's own answer, or the one of another call, marked; ``None``: that one cannot be shared."""
        if self._own is not None or not stored:
            return self._own
        messages, shape = json.loads(stored)
        structured = None
        if shape is not None:
            name, value = shape
            structured = TypeAdapter(self._schemas[name]).validate_python(value) if name in self._schemas else value
        loaded = load_objects(messages.encode(), self._allowed)
        return ModelResponse(result=[mark_cached(one) for one in loaded], structured_response=structured)


def _schemas(response_format: Any) -> list[Any]:
    """Returns the schemas that a structured answer may have: of a strategy, or the schema itself."""
    if response_format is None:
        return []
    specs = getattr(response_format, "schema_specs", None)
    if specs is not None:
        return [spec.schema for spec in specs]
    return [getattr(response_format, "schema", response_format)]


def _json_schema(schema: Any) -> Any:
    return schema if isinstance(schema, dict) else TypeAdapter(schema).json_schema()
