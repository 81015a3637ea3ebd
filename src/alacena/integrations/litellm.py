"""LiteLLM: a cache of calls that keeps tenants apart and asks a model once, and a logger that tells the token ledger.

::

    litellm.cache = LiteLLMCache()
    litellm.callbacks = [LedgerLogger()]

``litellm`` is large, and a hit imports ``soundfile``, which it does not bring: the extra ``litellm`` brings both.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextvars import ContextVar
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from alacena.common.context import get_current_agent_id, get_current_conversation_id, get_current_tenant_id
from alacena.engine import UNSET, AlacenaError, Cache, TtlOrUnset, UsageError
from alacena.integrations.ambient_scope import reader_scope, tenant_scope
from alacena.integrations.bridge import Access, Bridge
from alacena.integrations.caller import Serving, ambient_ids
from alacena.integrations.get_then_set import GetThenSet
from alacena.integrations.llm_transport.documents import current_documents
from alacena.integrations.requirement import require_extra
from alacena.integrations.usage import TokenCounts, name_of_call, read_usage

with require_extra("alacena.integrations.litellm", "litellm", ("litellm", "1.100", "2"), ("soundfile", "0.12", "1")):
    from litellm.caching.base_cache import BaseCache
    from litellm.caching.caching import Cache as CallCache
    from litellm.integrations.custom_logger import CustomLogger

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from datetime import datetime

    from alacena.engine import Reading, Scope

_log = logging.getLogger("alacena")
_FOR: Final = "alacena_for"


class LiteLLMCache(CallCache):
    """The cache of LiteLLM's calls: ``litellm.cache = LiteLLMCache()``, apart for each tenant, user and set of permissions.

    LiteLLM names a call by its parameters; the ambient caller is its owner, and a call without a tenant is neither
    answered nor kept. Equal calls at one time ask the model once, here and in other processes: the first claims the
    entry, and the others have its answer, or ask if it fails. An answer that was asked for before an invalidation of
    the tenant, the type or a document that it was made from is not kept. The documents are those of `based_on` and of the call's
    ``metadata={"document_ids": [...]}``.

    An answer from the cache has no tokens in its ``usage``; ``response._hidden_params["cache_hit"]`` says that it is
    one. The ledger has its tokens as saved. Embeddings are kept one by one, and equal inputs at one time are embedded
    each.

    Args:
        cache: An open cache, or a started `Bridge`, which LiteLLM's sync calls need; ``None``: the process-wide cache.
        ttl: Seconds that an answer stays fresh; left out: the type's; ``None``: for ever. A call's
            ``cache={"ttl": ...}`` goes before it.
        data_type: The type that its entries have.
        record_saved: Whether the ledger is told the savings of hits.
        options: Those of LiteLLM's own ``Cache``: ``supported_call_types``, ``mode``, ``namespace``, ``max_messages``.
    """

    def __init__(
        self,
        cache: Cache | Bridge | None = None,
        *,
        ttl: TtlOrUnset = UNSET,
        data_type: str = "litellm_answer",
        record_saved: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._backend = self.cache = _Backend(Access(cache), data_type, ttl, record_saved=record_saved)

    def async_get_cache(self, dynamic_cache_object: BaseCache | None = None, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """Returns an answer that is kept, or ``None``.

        Of the inputs of one call of embeddings LiteLLM asks for each in a task of its own: their findings for the
        store that follows are noted here, in the code that begins them.
        """
        if "model" not in kwargs:
            self._backend.begin_inputs()
        found: Coroutine[Any, Any, Any] = super().async_get_cache(dynamic_cache_object, **kwargs)
        return found


class _Inputs:
    """The look-ups of the inputs of one call of embeddings, and the moment from which the new values count."""

    def __init__(self) -> None:
        self.readings: dict[Scope, asyncio.Task[Reading]] = {}


_INPUTS: Final[ContextVar[_Inputs | None]] = ContextVar("alacena.litellm", default=None)


class _Backend(BaseCache):
    """The backend through which LiteLLM's cache looks up and stores."""

    def __init__(self, access: Access, data_type: str, ttl: TtlOrUnset, *, record_saved: bool) -> None:
        super().__init__()
        self._access = access
        self._data_type = data_type
        self._ttl = ttl
        self._steps = GetThenSet(access, data_type)
        self._record_saved = record_saved
        self._has_warned = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def async_get_cache(self, key: str, **kwargs: Any) -> Any:
        scope = self._scope()
        if scope is None:
            return None
        if "model" not in kwargs:
            return await self._get_input(key, scope)
        stored = (await self._steps.look([key], scope, document_ids=_documents(kwargs))).get(key)
        if stored is None:
            return None
        answer, saved = _without_usage(stored)
        if self._record_saved and saved is not None:
            task = asyncio.get_running_loop().create_task(self._access.call(lambda cache: _record(cache, saved)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return answer

    async def async_set_cache(self, key: str, value: Any, **kwargs: Any) -> None:
        scope, text = self._scope(), self._storable(key, value, kwargs)
        if scope is not None and text is not None:
            await self._steps.store(key, text, scope, ttl=self._lives(kwargs), document_ids=_documents(kwargs))

    async def async_set_cache_pipeline(self, cache_list: Sequence[tuple[str, Any]], **kwargs: Any) -> None:
        scope, inputs = self._scope(), _INPUTS.get()
        values = {key: text for key, value in cache_list if (text := _serialize(value)) is not None}
        if scope is None or inputs is None or scope not in inputs.readings or not values:
            return
        reading, ttl = await inputs.readings[scope], self._lives(kwargs)
        await self._access.call(lambda _: reading.set_many(self._data_type, values, ttl=ttl))

    def get_cache(self, key: str, **kwargs: Any) -> Any:
        scope = self._scope()
        if scope is None:
            return None
        try:
            found = self._steps.look_now([key], scope, "litellm.completion", document_ids=_documents(kwargs))
        except UsageError as error:  # LiteLLM would say nothing of it
            if self._is_first_warning():
                _log.warning("sync calls of LiteLLM are not cached: %s", error)
            return None
        if key not in found:
            return None
        answer, saved = _without_usage(found[key])
        if self._record_saved and saved is not None:
            self._access.call_now(lambda cache: _record(cache, saved), "litellm.completion")
        return answer

    def set_cache(self, key: str, value: Any, **kwargs: Any) -> None:
        scope, text = self._scope(), self._storable(key, value, kwargs)
        if scope is not None and text is not None:
            options = {"ttl": self._lives(kwargs), "document_ids": _documents(kwargs)}
            self._steps.store_now(key, text, scope, "litellm.completion", **options)

    def _storable(self, key: str, value: Any, kwargs: dict[str, Any]) -> str | None:
        """Returns a value as it is stored; ``None`` if it cannot be, or if it may be older than an invalidation."""
        scope, text = self._scope(), _serialize(value)
        if scope is None or (text is not None and not _skips_look_up(kwargs) and self._steps.holds(key, scope)):
            return text
        self._steps.forget(key, scope)
        # Of a call that was not to be looked up it is the caller's own word; otherwise code that has ended looked it up.
        return text if _skips_look_up(kwargs) else None

    async def disconnect(self) -> None:
        """Does nothing: the cache is closed where it was opened."""

    async def test_connection(self) -> dict[str, Any]:
        return {"status": "success", "message": "the cache is in this process"}

    def begin_inputs(self) -> None:
        """Notes that inputs are looked up, in the code that will store the new values."""
        inputs = _INPUTS.get()
        if inputs is None or inputs.readings:
            _INPUTS.set(_Inputs())

    async def _get_input(self, key: str, scope: Scope) -> Any:
        inputs = _INPUTS.get()
        stored = await self._access.call(lambda cache: cache.get(self._data_type, key, scope, search_hierarchy=False))
        if stored is not None:
            return _without_usage(stored)[0]
        if inputs is not None:
            if scope not in inputs.readings:
                begin = self._access.call(lambda cache: self._begin(cache, scope))
                inputs.readings[scope] = asyncio.get_running_loop().create_task(begin)
            # Shielded: all inputs of the call share it, and one that is cancelled must not end it for the others.
            await asyncio.shield(inputs.readings[scope])
        return None

    async def _begin(self, cache: Cache, scope: Scope) -> Reading:
        async with cache.reading(scope, data_types=(self._data_type,)) as reading:
            return reading

    def _lives(self, kwargs: dict[str, Any]) -> TtlOrUnset:
        given = kwargs.get("ttl")
        return self._ttl if given is None else float(given)

    def _scope(self) -> Scope | None:
        if get_current_tenant_id() is None:
            if self._is_first_warning():
                _log.warning(
                    "calls of LiteLLM are made without a tenant and not cached: make them inside Context(tenant_id=...)"
                )
            return None
        return reader_scope()

    def _is_first_warning(self) -> bool:
        has_warned, self._has_warned = self._has_warned, True
        return not has_warned


class LedgerLogger(CustomLogger):
    """Counts the tokens of LiteLLM's calls in the token ledger: ``litellm.callbacks = [LedgerLogger()]``.

    A call counts once, under the provider's id of its answer, for the ambient tenant; the cost that LiteLLM says
    goes along. A hit of another cache than `LiteLLMCache`, which counts its own, is counted as saved.

    Args:
        cache: An open cache, or a started `Bridge`, which LiteLLM's sync calls need; ``None``: the process-wide cache.
        operation: The purpose of the tokens; left out: ``"chat"``, or ``"embedding"``.
    """

    def __init__(self, cache: Cache | Bridge | None = None, *, operation: str | None = None) -> None:
        super().__init__()
        self._access = Access(cache)
        self._operation = operation

    def log_pre_api_call(self, model: str, messages: Any, kwargs: dict[str, Any]) -> None:  # noqa: ARG002 - LiteLLM's
        """Notes the caller of a call: LiteLLM logs streams of sync calls in a thread that does not know it."""
        kwargs[_FOR] = ambient_ids()

    async def async_log_success_event(
        self,
        kwargs: dict[str, Any],
        response_obj: Any,
        start_time: datetime,  # noqa: ARG002 - LiteLLM's signature
        end_time: datetime,  # noqa: ARG002
    ) -> None:
        """Counts the usage of a call."""
        record = self._record(kwargs, response_obj)
        if record is not None:
            await self._access.call(lambda cache: _record(cache, record))

    def log_success_event(
        self,
        kwargs: dict[str, Any],
        response_obj: Any,
        start_time: datetime,  # noqa: ARG002 - LiteLLM's signature
        end_time: datetime,  # noqa: ARG002
    ) -> None:
        """As `async_log_success_event`, for sync calls, over a bridge."""
        if (kwargs.get("litellm_params") or {}).get("acompletion") or (kwargs.get("litellm_params") or {}).get(
            "aembedding"
        ):
            return
        record = self._record(kwargs, response_obj)
        if record is not None:
            self._access.call_now(lambda cache: _record(cache, record), "LedgerLogger.log_success_event")

    def _record(self, kwargs: dict[str, Any], response: Any) -> dict[str, Any] | None:
        ids = ambient_ids()
        with Serving(ids if "tenant_id" in ids else kwargs.get(_FOR) or {}):
            return self._read(kwargs, response)

    def _read(self, kwargs: dict[str, Any], response: Any) -> dict[str, Any] | None:
        counts, saved = read_usage(getattr(response, "usage", None)), bool(kwargs.get("cache_hit"))
        if counts is None or not counts.total:
            return None
        cost = kwargs.get("response_cost") or 0
        name = name_of_call(getattr(response, "id", None)) or kwargs.get("litellm_call_id")
        model = str(getattr(response, "model", None) or kwargs.get("model") or "unknown")
        record = _make_record(model, counts, is_embedding="embedding" in str(kwargs.get("call_type")), saved=saved)
        record |= {"cost": Decimal(str(cost)), "idempotency_key": None if saved else name}
        return record if self._operation is None else {**record, "operation": self._operation}


async def _record(cache: Cache, record: dict[str, Any]) -> None:
    try:
        await cache.ledger.record(**record)
    except (AlacenaError, ValueError) as error:
        _log.warning("%s tokens of %s are not in the ledger: %r", record["tokens"], record["model"], error)


def _make_record(model: str, counts: TokenCounts, *, is_embedding: bool, saved: bool) -> dict[str, Any]:
    return {
        "tenant_id": tenant_scope().tenant_id,
        "tokens": counts.total,
        "model": model[:256],
        "token_type": "embedding" if is_embedding else "llm",
        "operation": "embedding" if is_embedding else "chat",
        "agent_id": get_current_agent_id(),
        "conversation_id": get_current_conversation_id(),
        "parts": counts.parts,
        "saved": saved,
    }


def _documents(kwargs: dict[str, Any]) -> tuple[str, ...]:
    """Returns the documents that a call is made from, as the blocks around it and its metadata say it."""
    named = (kwargs.get("metadata") or {}).get("document_ids") or ()
    return (*current_documents(), *((named,) if isinstance(named, str) else named))


def _skips_look_up(kwargs: dict[str, Any]) -> bool:
    return bool((kwargs.get("cache") or {}).get("no-cache"))


def _serialize(value: Any) -> str | None:
    try:
        return json.dumps(value)
    except (TypeError, ValueError):
        return None


def _without_usage(stored: str) -> tuple[Any, dict[str, Any] | None]:
    """Returns a kept answer with 0 tokens, as they are not paid for again, and the savings for the ledger."""
    kept = json.loads(stored)
    answer = kept.get("response")
    is_text = isinstance(answer, str)
    answer = json.loads(answer) if is_text else answer
    if not isinstance(answer, dict):
        return kept, None
    counts = read_usage(answer.get("usage"))
    saved = None
    if "usage" in answer:
        answer["usage"] = _zero(answer["usage"])
    if "embedding" in answer:  # the record of one input
        answer |= {"prompt_tokens": 0, "prompt_tokens_details": None}
    if counts is not None and counts.total:
        is_embedding = answer.get("object") == "list"
        saved = _make_record(str(answer.get("model") or "unknown"), counts, is_embedding=is_embedding, saved=True)
    return {**kept, "response": json.dumps(answer) if is_text else answer}, saved


def _zero(usage: Any) -> Any:
    if isinstance(usage, dict):
        return {name: _zero(value) for name, value in usage.items()}
    return 0 if isinstance(usage, int | float) else usage
