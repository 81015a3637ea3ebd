"""`get_with_cache_aside`: the cache, then the database, then its maker."""

from __future__ import annotations

import inspect
import logging
from dataclasses import dataclass, field, replace
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from alacena.common import runtime
from alacena.common.cache.sources import Plan, SourceFunction, SourceRequest, ask_source, documents_in, plan
from alacena.common.cache.tenancy import Id, Permissions, check_data, scope_of, tenant_in_context, tenant_of
from alacena.common.context import Context
from alacena.common.context.generators import settle_value
from alacena.common.context.vars import ambient_tenant, get_current_tenant_id
from alacena.common.runtime import PROCESS
from alacena.constants import (
    SOURCE_CACHE,
    SOURCE_GENERATION,
    SOURCE_NOT_FOUND,
    SOURCE_STALE,
    SOURCE_SUPABASE,
)
from alacena.engine import MISSING, UNCHANGED, UNSET, Lookup
from alacena.engine.base.arguments import check_callable, copy_mapping
from alacena.engine.base.errors import ArgumentError
from alacena.engine.loading.load import source_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from alacena.engine import LoadContext, TtlOrUnset
    from alacena.engine.base.keys import DocumentId

    Documents: TypeAlias = DocumentId | Iterable[DocumentId] | Callable[[Any], DocumentId | Iterable[DocumentId]]

Metrics: TypeAlias = dict[str, Any]

_log = logging.getLogger("alacena")


async def get_with_cache_aside(
    data_type: str,
    resource_id: str,
    tenant_id: str | None = None,
    fetch_from_db_func: SourceFunction | None = None,
    generate_func: SourceFunction | None = None,
    agent_id: Id = None,
    conversation_id: Id = None,
    collection_id: Id = None,
    ctx: Context | None = None,
    ttl: TtlOrUnset = None,
    serializer: Callable[[Any], Any] | None = None,
    deserializer: Callable[[Any], Any] | None = None,
    user_id: Id = None,
    permissions: Permissions = None,
    *,
    validation_func: Callable[[Any], Any] | None = None,
    depends_on: Documents = (),
    use_memory: bool = True,
    idempotency_key: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> tuple[Any, Metrics]:
    """Returns a value from the cache, else from the database, else made anew; and the facts of the read.

    Callers that ask for one entry at a time share one load. Only ``None`` means that a source has nothing: ``0``,
    ``""``, ``[]``, ``{}`` and ``False`` are values and are cached.

    Args:
        data_type: The data type, such as ``"document"``.
        resource_id: Which one.
        tenant_id: The tenant; left out: the tenant of ``ctx``, else the ambient one. All that are named must agree. The
            sources run for this tenant.
        fetch_from_db_func: Gets it from the database; ``None``: there is no database to ask. See
            `alacena.common.cache.sources` for its parameters.
        generate_func: Makes it where the database has nothing.
        agent_id: Make the entry the agent's own. The same holds for the next two.
        conversation_id: Make it the conversation's own.
        collection_id: Make it the collection's own.
        ctx: Given to sources as ``ctx``.
        ttl: Seconds or a ``timedelta``; ``None``: the default of the data type.
        serializer: Returns the form in which the value is stored. Give both or neither.
        deserializer: Makes the value from its stored form.
        user_id: Make the entry the user's own: pass it if the sources load with the user's rights.
        permissions: Make it that of a set of permissions: all readers with the same ones share it. An entry with
            neither is public in its tenant.
        validation_func: Sync or async; a cached value for which it answers falsely is loaded anew.
        depends_on: The documents that the value is made from, or a function of the value that names them, besides what
            the value names itself (`alacena.engine.base.lineage.documents_in`), what the sources say with
            `alacena.common.cache.sources.depends_on`, and what the entries depend on that they read from the cache.
        use_memory: Whether this process's memory may answer and keep a copy.
        idempotency_key: Returned in the metrics. A load is shared, so it is made once with or without one.
        metadata: Returned in the metrics.

    Returns:
        The value (``None`` if no source has one), and a dict with ``source`` (``"cache"``, ``"supabase"``,
        ``"generation"``, ``"stale"`` or ``"not_found"``), ``tier`` (``"memory"``, ``"redis"`` or ``None``),
        ``cache_hit``, ``data_type``, ``resource_id``, ``latency_ms``, ``total_time_ms`` and ``stored``; if that is
        ``False``, also the ``reason``, and ``truncated`` if Supabase gave a page and not the whole; after a load of
        this call also ``db_check_time_ms`` and ``generation_time_ms``.

    Raises:
        MissingTenantError: There is no tenant.
        TenantMismatchError: Two tenants are named, or a source returned a value that says it is another tenant's.
        TypeError: A source needs arguments that are not known (before any source is called), or only one of
            ``serializer`` and ``deserializer`` is given.
        CircularLoadError: The load that asks is itself waited for by a load of this entry.
        OneShotValueError: A source is a generator function, or returned a value that can be read only once.
        LoadTimeoutError: The sources did not answer within the type's hard timeout.
        Exception: Any error that a source raises, as it is.

    Cost: 0 round trips on a memory hit, 1 on a Redis hit, 2 and the source on a miss.
    If Redis fails: the sources answer, and nothing is stored.
    """
    # A name of its own: a call of what a slot holds takes longer if it is written as one of a method.
    now = PROCESS.now
    started = now()
    tenant: Any = tenant_id
    if ctx is not None:
        tenant = _find_named_tenant(tenant_id, ctx)
    elif (ambient := ambient_tenant()) is not None and ambient is not tenant_id:
        tenant = ambient if tenant_id is None or ambient == tenant_id else tenant_of(tenant_id)
    if (
        use_memory
        and PROCESS.thread == get_ident()
        # What names a reader is looked up by its scope, which checks who asks.
        and user_id is None
        and permissions is None
        and serializer is None
        and deserializer is None
        and validation_func is None
        and metadata is None
        and idempotency_key is None
    ):
        try:
            if agent_id is None and conversation_id is None and collection_id is None:
                # The slot is judged by the latency's first instant: a hit reads the clock twice in all.
                peek_entry = PROCESS.peek_entry
                slot = peek_entry((tenant, data_type, resource_id), started)
            else:
                ident = (tenant, data_type, resource_id, agent_id, conversation_id, collection_id)
                slot = PROCESS.peek_entry(ident, started)
        except TypeError:  # a part that cannot be looked up: what follows says which
            slot = None
        if slot is not None:
            value = slot.value if slot.thaw is None else slot.thaw(slot.value)
            if value is not MISSING:
                metrics = _metrics_of_a_hit()
                metrics["data_type"] = data_type
                metrics["resource_id"] = resource_id
                metrics["latency_ms"] = metrics["total_time_ms"] = (now() - started) * 1000.0
                return value, metrics
    _check_functions(serializer=serializer, deserializer=deserializer, validation_func=validation_func)
    metadata = None if metadata is None else copy_mapping(metadata, "metadata", "what the metrics give back")
    sources = _Sources(fetch_from_db_func, generate_func, serializer, depends_on)
    # Inside a generator the ambient tenant is an object. It equals no key, so memory has missed, and is settled here.
    scope = scope_of(settle_value(tenant), agent_id, conversation_id, collection_id, user_id, permissions)
    # None is the guide's word for the type's own duration in this function. In CacheManager.set it means for ever.
    read = _Read(data_type, SourceRequest(resource_id, scope, ctx), sources, UNSET if ttl is None else ttl, use_memory)
    value, metrics = await _read_checked(read, deserializer, validation_func)
    metrics["total_time_ms"] = (PROCESS.now() - started) * 1000.0
    _give_back(metrics, idempotency_key, metadata)
    return value, metrics


def _check_functions(**functions: Any) -> None:
    for name, function in functions.items():
        if function is not None:
            check_callable(function, name, f"def {name}(value)")
    if (functions["serializer"] is None) != (functions["deserializer"] is None):
        msg = "give serializer= and deserializer= together: with one of them, a hit is of another type than a miss"
        raise ArgumentError(msg)


def _find_named_tenant(tenant_id: str | None, ctx: Any) -> str | None:
    """Returns the tenant of a call that names one; ``None`` if there is none."""
    if tenant_id is None and tenant_in_context(ctx) is None and get_current_tenant_id() is None:
        return None
    return tenant_of(tenant_id, ctx)


_metrics_of_a_hit: Final = {
    "source": SOURCE_CACHE,
    "tier": "memory",
    "cache_hit": True,
    "data_type": "",
    "resource_id": "",
    "latency_ms": 0.0,
    "total_time_ms": 0.0,
    "stored": True,
}.copy
"""A copy of a dict costs less than building one; a hit in memory fills in what differs."""


def _give_back(metrics: Metrics, idempotency_key: str | None, metadata: Mapping[str, Any] | None) -> None:
    if idempotency_key is not None:
        metrics["idempotency_key"] = idempotency_key
    if metadata is not None:
        metrics["metadata"] = dict(metadata)


class _Sources(NamedTuple):
    """The sources of one read, and how their answers are stored."""

    fetch: SourceFunction | None
    generate: SourceFunction | None
    serializer: Callable[[Any], Any] | None
    depends_on: Documents


class _Unserialized(NamedTuple):
    """A value that its serializer refused: handed to its waiting callers, and not stored."""

    value: Any
    error: str


class _Read(NamedTuple):
    """One read of one entry that may load it."""

    data_type: str
    request: SourceRequest
    sources: _Sources
    ttl: TtlOrUnset
    use_memory: bool

    @property
    def entry(self) -> tuple[str, str]:
        """The entry, for messages."""
        return self.data_type, self.request.resource_id

    async def look_up(self) -> tuple[Lookup[Any], Metrics, Any]:
        """Looks at the tiers and then at the sources."""
        cache = await runtime.opened()
        load = _Load(self.request, self.sources)
        lookup = await cache.lookup(
            self.data_type,
            self.request.resource_id,
            self.request.scope,
            load,
            ttl=self.ttl,
            use_memory=self.use_memory,
        )
        return lookup, self._metrics(lookup, load), load.loaded

    async def ask_again(self) -> tuple[Lookup[Any], Metrics, Any]:
        """Asks the sources even on a hit."""
        cache, started = await runtime.opened(), PROCESS.now()
        load = _Load(self.request, self.sources)
        entry = (self.data_type, self.request.resource_id, self.request.scope)
        # If the sources fail now, the value that was refused must be gone all the same.
        await cache.delete(*entry)
        value = await cache.refresh(*entry, load, ttl=self.ttl)
        latency_s = PROCESS.now() - started
        reason = None if load.context is None else load.context.refusal or None
        lookup = Lookup(
            value,
            "loader",
            origin=load.origin,
            found=value is not None,
            stored=value is not None and reason is None,
            latency_s=latency_s,
            reason=reason,
        )
        return lookup, self._metrics(lookup, load), load.loaded

    def _metrics(self, lookup: Lookup[Any], load: _Load) -> Metrics:
        sources = {"cache": SOURCE_CACHE, "stale": SOURCE_STALE, "loader": lookup.origin or SOURCE_SUPABASE}
        return {
            "source": sources[lookup.source] if lookup.found else SOURCE_NOT_FOUND,
            "tier": lookup.tier,
            "cache_hit": lookup.hit,
            "data_type": self.data_type,
            "resource_id": self.request.resource_id,
            "latency_ms": lookup.latency_s * 1000.0,
            "stored": lookup.stored or lookup.hit,
            **({"reason": lookup.reason} if lookup.reason else {}),
            **({"truncated": True} if lookup.reason == "truncated" else {}),
            **load.times_ms,
        }


@dataclass(slots=True)
class _Load:
    """The loader of one read, and its findings if it was this read that loaded."""

    request: SourceRequest
    sources: _Sources
    origin: str | None = None
    source_name: str = ""
    context: LoadContext | None = None
    loaded: Any = None
    """The value as its source gave it, before its serializer; of this read's own load alone."""
    times_ms: Metrics = field(default_factory=dict)

    async def __call__(self, load: LoadContext) -> Any:
        """Asks the database, then the generator; ``None`` where neither has a value."""
        self.context = load
        fetch, generate = self.sources.fetch, self.sources.generate
        # Both plans are made before either source is called: a function that cannot be a source costs no query.
        steps: list[tuple[SourceFunction, Plan, str, str]] = []
        if fetch is not None:
            steps.append((fetch, plan(fetch), SOURCE_SUPABASE, "db_check_time_ms"))
        if generate is not None:
            steps.append((generate, plan(generate), SOURCE_GENERATION, "generation_time_ms"))
        with Context(self.request.scope.tenant_id) as own:
            request = self.request if self.request.ctx is not None else replace(self.request, ctx=own)
            for function, how, origin, time_name in steps:
                self.source_name = source_name(function)
                started = PROCESS.now()
                value = await ask_source(function, how, request, load)
                self.times_ms[time_name] = (PROCESS.now() - started) * 1000.0
                if value is not None:
                    load.origin = self.origin = origin
                    if value is UNCHANGED:
                        return value
                    check_data(value, load.tenant_id)
                    load.depends_on(self._documents(load, value))
                    return self._serialize(load, value)
        return None

    def _documents(self, load: LoadContext, value: Any) -> tuple[Any, ...]:
        given: Any = self.sources.depends_on
        if callable(given):
            try:
                given = _list_documents(given(value))
            except Exception as error:  # noqa: BLE001 - code of the caller's runs, and the value was paid for
                _log.warning("%s/%s is not cached: its depends_on= failed: %r", load.data_type, load.resource_id, error)
                load.refuse("tags")
                return ()
        named = _list_documents(given)
        # What is stored in its place may say no more of it.
        return named if self.sources.serializer is None else (*named, *documents_in(value))

    def _serialize(self, load: LoadContext, value: Any) -> Any:
        if self.sources.serializer is None:
            return value
        error: Exception = ValueError("it returned None, which is how a miss looks")
        try:
            stored = self.sources.serializer(value)
        except Exception as raised:  # noqa: BLE001 - code of the caller's runs, and the value was paid for
            stored, error = None, raised
        if stored is not None:
            # For this load's own caller: if the deserializer fails, the value that was paid for is handed out.
            self.loaded = value
            return stored
        _log.warning("%s/%s is not cached: its serializer failed: %r", load.data_type, load.resource_id, error)
        load.skip()
        return _Unserialized(value, repr(error))


def _list_documents(documents: Any) -> tuple[Any, ...]:
    if hasattr(documents, "__iter__") and not isinstance(documents, str | bytes):
        return tuple(documents)
    return (documents,)


async def _read_checked(
    read: _Read, deserializer: Callable[[Any], Any] | None, validation_func: Callable[[Any], Any] | None
) -> tuple[Any, Metrics]:
    """Reads; if the cached value cannot be used, reads once more from the sources.

    It hands out the value that it paid for, even if the serializer or the deserializer fails.
    """
    lookup, metrics, loaded = await read.look_up()
    value, error = _deserialize(lookup.value, deserializer)
    refused = error is not None or (
        validation_func is not None and lookup.hit and not await _answer(validation_func(value))
    )
    # Only what was cached is asked for again: a value that has just been loaded would be paid for twice.
    if refused and lookup.hit:
        lookup, metrics, loaded = await read.ask_again()
        value, error = _deserialize(lookup.value, deserializer)
    if error is not None:
        if not isinstance(lookup.value, _Unserialized):
            if loaded is None:
                raise error
            value = loaded
            _log.warning("%s/%s is loaded at each read: deserializer= failed: %r", *read.entry, error)
        metrics["serialization_error"] = str(error)
    return value, metrics


def _deserialize(stored: Any, deserializer: Callable[[Any], Any] | None) -> tuple[Any, Exception | None]:
    if isinstance(stored, _Unserialized):
        return stored.value, ValueError(stored.error)
    if stored is None or deserializer is None:
        return stored, None
    try:
        return deserializer(stored), None
    except Exception as error:  # noqa: BLE001 - code of the caller's runs, and the value may have been paid for
        return None, error


async def _answer(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
