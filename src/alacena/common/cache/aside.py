"""`get_with_cache_aside`: the cache, then the database, then its maker."""

from __future__ import annotations

import inspect
import logging
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from alacena.common import runtime
from alacena.common.cache.source_functions import Plan, SourceFunction, SourceRequest, ask_source, documents_in, plan
from alacena.common.cache.tenancy import Id, Permissions, check_data, scope_of, tenant_in_context, tenant_of
from alacena.common.context import Context
from alacena.common.context.generator_blocks import settle_value
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
from alacena.engine.base.errors import ArgumentError, text_of
from alacena.engine.base.keys import NO_NAMES
from alacena.engine.base.ttl import check_ttl
from alacena.engine.loading.load import source_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from alacena.engine import Cache, LoadContext, Scope, TtlOrUnset
    from alacena.engine.base.keys import DocumentId

    Documents: TypeAlias = DocumentId | Iterable[DocumentId] | Callable[[Any], DocumentId | Iterable[DocumentId]]

Metrics: TypeAlias = dict[str, Any]
_Entry: TypeAlias = "tuple[str, str, str | Scope]"

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
    # Not by name only: the default of each such argument is looked up at every call, more than half a floor for these five.
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
            `alacena.common.cache.source_functions` for its parameters.
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
            `alacena.common.cache.source_functions.depends_on`, and what the entries depend on that they read from the cache.
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
    # A name of its own: a call of what an attribute holds takes longer if it is written as one of a method.
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
                # The entry is judged by the latency's first instant: a hit reads the clock twice in all.
                peek_entry = PROCESS.peek_entry
                kept = peek_entry((tenant, data_type, resource_id), started)
            else:
                ident = (tenant, data_type, resource_id, agent_id, conversation_id, collection_id)
                kept = PROCESS.peek_entry(ident, started)
        except TypeError:  # a part that cannot be looked up: what follows says which
            kept = None
        if kept is not None:
            value = kept.value if kept.thaw is None else kept.thaw(kept.value)
            if value is not MISSING:
                metrics = _metrics_of_a_hit()
                metrics["data_type"] = data_type
                metrics["resource_id"] = resource_id
                metrics["latency_ms"] = metrics["total_time_ms"] = (now() - started) * 1000.0
                return value, metrics
    if not (serializer is deserializer is validation_func is None):
        _check_functions(serializer=serializer, deserializer=deserializer, validation_func=validation_func)
    metadata = None if metadata is None else copy_mapping(metadata, "metadata", "what the metrics give back")
    entry = (data_type, resource_id, _where(tenant, agent_id, conversation_id, collection_id, user_id, permissions))
    load = _Load(resource_id, ctx, fetch_from_db_func, generate_func, serializer, depends_on)
    # None is the guide's word for the type's own duration in this function. In CacheManager.set it means for ever.
    wanted: TtlOrUnset = UNSET if ttl is None else ttl
    value, metrics = await _read(entry, load, wanted, use_memory, deserializer, validation_func)
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


def _where(
    tenant: Any, agent_id: Id, conversation_id: Id, collection_id: Id, user_id: Id, permissions: Permissions
) -> str | Scope:
    """Returns the tenant of an entry that is its tenant's own, else the scope of the entry."""
    # Inside a generator the ambient tenant is an object. It equals no key, so memory has missed, and is settled here.
    tenant_id = tenant if type(tenant) is str else settle_value(tenant)
    # The name of its tenant says all of most entries: a scope would be made here and taken apart again below.
    if agent_id is conversation_id is collection_id is user_id is permissions is None:
        return tenant_of(tenant_id)
    return scope_of(tenant_id, agent_id, conversation_id, collection_id, user_id, permissions)


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


_SOURCES: Final = {"cache": SOURCE_CACHE, "stale": SOURCE_STALE}


def _give_back(metrics: Metrics, idempotency_key: str | None, metadata: Mapping[str, Any] | None) -> None:
    if idempotency_key is not None:
        metrics["idempotency_key"] = idempotency_key
    if metadata is not None:
        metrics["metadata"] = dict(metadata)


async def _read(
    entry: _Entry,
    load: _Load,
    ttl: TtlOrUnset,
    use_memory: bool,
    deserializer: Callable[[Any], Any] | None,
    validation_func: Callable[[Any], Any] | None,
) -> tuple[Any, Metrics]:
    """Looks at the tiers and then at the sources."""
    # On the thread of its loop the open cache is at hand, as for a hit; it looks at the loop itself.
    cache = PROCESS.cache if PROCESS.thread == get_ident() else None
    if cache is None:
        cache = await runtime.opened()
    lookup = await cache._load(*entry, load, ttl if ttl is UNSET else check_ttl(ttl), use_memory=use_memory)
    value, error = lookup.value, None
    if deserializer is not None or validation_func is not None or type(value) is _Unserialized:
        checks = (deserializer, validation_func)
        lookup, load, value, error = await _check(cache, entry, load, lookup, ttl, *checks)
    metrics = _metrics_of(entry, lookup, load)
    if error is not None:
        metrics["serialization_error"] = text_of(error)
    return value, metrics


def _metrics_of(entry: _Entry, lookup: Lookup[Any], load: _Load) -> Metrics:
    """Returns the facts of a read that went past memory."""
    source = SOURCE_NOT_FOUND
    if lookup.found:
        source = _SOURCES.get(lookup.source) or lookup.origin or SOURCE_SUPABASE
    hit = lookup.hit
    metrics = {
        "source": source,
        "tier": lookup.tier,
        "cache_hit": hit,
        "data_type": entry[0],
        "resource_id": entry[1],
        "latency_ms": lookup.latency_s * 1000.0,
        "stored": lookup.stored or hit,
    }
    if lookup.reason:
        metrics["reason"] = lookup.reason
        if lookup.reason == "truncated":
            metrics["truncated"] = True
    if load.times_ms:
        metrics.update(load.times_ms)
    return metrics


class _Unserialized(NamedTuple):
    """A value that its serializer refused: handed to its waiting callers, and not stored."""

    value: Any
    error: str


class _Load:
    """The loader of one read, and its findings if it was this read that loaded.

    Attributes:
        context: The load's own words about its value; ``None`` if another read has loaded.
        origin: The source that had the value.
        loaded: The value as its source gave it, before its serializer.
        times_ms: How long each source took.
    """

    __slots__ = (
        "_asked",
        "_ctx",
        "_depends_on",
        "_fetch",
        "_generate",
        "_resource_id",
        "_serializer",
        "context",
        "loaded",
        "origin",
        "times_ms",
    )

    def __init__(
        self,
        resource_id: str,
        ctx: Context | None,
        fetch: SourceFunction | None,
        generate: SourceFunction | None,
        serializer: Callable[[Any], Any] | None,
        depends_on: Documents,
    ) -> None:
        self._resource_id = resource_id
        self._ctx = ctx
        self._fetch = fetch
        self._generate = generate
        self._serializer = serializer
        self._depends_on: Any = depends_on
        self._asked: SourceFunction | None = None
        self.context: LoadContext | None = None
        self.origin: str | None = None
        self.loaded: Any = None
        self.times_ms: Metrics = {}

    def anew(self) -> _Load:
        """Returns a loader of the same sources, for another load: this one may be loading behind a stale answer."""
        return _Load(self._resource_id, self._ctx, self._fetch, self._generate, self._serializer, self._depends_on)

    @property
    def source_name(self) -> str:
        """The name of the source that is being asked, for messages."""
        return "" if self._asked is None else source_name(self._asked)

    async def __call__(self, load: LoadContext) -> Any:
        """Asks the database, then the generator; ``None`` if neither has a value."""
        self.context = load
        fetch, generate = self._fetch, self._generate
        # Both plans are made before either source is called: a function that cannot be a source costs no query.
        steps: list[tuple[SourceFunction, Plan, str, str]] = []
        if fetch is not None:
            steps.append((fetch, plan(fetch), SOURCE_SUPABASE, "db_check_time_ms"))
        if generate is not None:
            steps.append((generate, plan(generate), SOURCE_GENERATION, "generation_time_ms"))
        # Not given to `Context`, which would check it once more.
        own, tenant_id = Context(), load.tenant_id
        own.tenant_id = tenant_id
        with own:
            request = SourceRequest(
                self._resource_id,
                tenant_id,
                own if self._ctx is None else self._ctx,
                load.agent_id,
                load.conversation_id,
                load.collection_id,
            )
            for function, how, origin, time_name in steps:
                self._asked, started = function, PROCESS.now()
                value = await ask_source(function, how, request)
                self.times_ms[time_name] = (PROCESS.now() - started) * 1000.0
                if value is not None:
                    load.origin = self.origin = origin
                    return value if value is UNCHANGED else self._describe(load, value)
        return None

    def _describe(self, load: LoadContext, value: Any) -> Any:
        """Tells the load what the value depends on. Returns the form in which it is stored."""
        check_data(value, load.tenant_id)
        if self._serializer is None and self._depends_on is NO_NAMES:
            return value
        load.depends_on(self._documents(load, value))
        return self._serialize(load, value)

    def _documents(self, load: LoadContext, value: Any) -> tuple[Any, ...]:
        given = self._depends_on
        if callable(given):
            try:
                given = _list_documents(given(value))
            except Exception as error:  # noqa: BLE001 - code of the caller's runs, and the value was paid for
                _log.warning("%s/%s is not cached: its depends_on= failed: %r", load.data_type, load.resource_id, error)
                load.refuse("tags")
                return ()
        named = _list_documents(given)
        # What is stored in its place may say no more of it.
        return named if self._serializer is None else (*named, *documents_in(value))

    def _serialize(self, load: LoadContext, value: Any) -> Any:
        if self._serializer is None:
            return value
        error: Exception = ValueError("it returned None, which is how a miss looks")
        try:
            stored = self._serializer(value)
        except Exception as raised:  # noqa: BLE001 - code of the caller's runs, and the value was paid for
            stored, error = None, raised
        if stored is not None:
            # For this load's own caller: if the deserializer fails, the value that was paid for is handed out.
            self.loaded = value
            return stored
        _log.warning("%s/%s is not cached: its serializer failed: %r", load.data_type, load.resource_id, error)
        load.skip()
        return _Unserialized(value, text_of(error, repr))


def _list_documents(documents: Any) -> tuple[Any, ...]:
    if hasattr(documents, "__iter__") and not isinstance(documents, str | bytes):
        return tuple(documents)
    return (documents,)


async def _check(
    cache: Cache,
    entry: _Entry,
    load: _Load,
    lookup: Lookup[Any],
    ttl: TtlOrUnset,
    deserializer: Callable[[Any], Any] | None,
    validation_func: Callable[[Any], Any] | None,
) -> tuple[Lookup[Any], _Load, Any, Exception | None]:
    """Makes the value of its stored form; if a cached one cannot be used, reads once more from the sources.

    It hands out the value that it paid for, even if the serializer or the deserializer fails.

    Returns:
        The outcome, its load, its value, and why the value could not be serialized or deserialized, if it could not.
    """
    value, error = _deserialize(lookup.value, deserializer)
    refused = error is not None or (
        validation_func is not None and lookup.hit and not await _answer(validation_func(value))
    )
    # Only what was cached is asked for again: a value that has just been loaded would be paid for twice.
    if refused and lookup.hit:
        load = load.anew()
        lookup = await _ask_again(cache, entry, load, ttl)
        value, error = _deserialize(lookup.value, deserializer)
    if error is not None and not isinstance(lookup.value, _Unserialized):
        if load.loaded is None:
            raise error
        value = load.loaded
        _log.warning("%s/%s is loaded at each read: deserializer= failed: %r", *entry[:2], error)
    return lookup, load, value, error


async def _ask_again(cache: Cache, entry: _Entry, load: _Load, ttl: TtlOrUnset) -> Lookup[Any]:
    """Asks the sources even on a hit."""
    started = PROCESS.now()
    # If the sources fail now, the value that was refused must be gone all the same.
    await cache.delete(*entry)
    value = await cache.refresh(*entry, load, ttl=ttl)
    reason = None if load.context is None else load.context.refusal or None
    return Lookup(
        value,
        "loader",
        origin=load.origin,
        found=value is not None,
        stored=value is not None and reason is None,
        latency_s=PROCESS.now() - started,
        reason=reason,
    )


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
