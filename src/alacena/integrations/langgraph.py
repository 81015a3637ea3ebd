"""LangGraph: a cache of nodes that keeps tenants and graphs apart, and neither blocks the loop nor lists keys."""

from __future__ import annotations

import logging
from collections import OrderedDict
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, TypeVar

from alacena.common.context import get_current_tenant_id
from alacena.engine import Cache, Scope, UsageError
from alacena.engine.base.lineage import documents_in
from alacena.integrations.ambient_scope import digest, reader_scope, tenant_scope
from alacena.integrations.bridge import Access, Bridge
from alacena.integrations.get_then_set import GetThenSet
from alacena.integrations.requirement import require_extra

with require_extra("alacena.integrations.langgraph", "langgraph", ("langgraph-checkpoint", "4.3", "5")):
    from langgraph.cache.base import BaseCache, FullKey, Namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence

    from langgraph.checkpoint.serde.base import SerializerProtocol

ValueT = TypeVar("ValueT")
_log = logging.getLogger("alacena")

_OF_SERIALIZERS: Final = (
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ImportError,
    NotImplementedError,
    RecursionError,
)
"""What serializers raise for what they do not know: a value, a kind, a class that has moved."""

_WRITES: Final = "__pregel_ns_writes"
_PARTS_OF_A_TASK: Final = 2
"""Parts of the namespace of a ``@task``, of which the first is ``_WRITES``: that of a node has its name too."""


class _Askers:
    """The scopes for which LangGraph asked in vain, by key; the latest of them.

    LangGraph may store from a thread to which it gives no context. It stores under the key with which it asked, the same
    object, and makes one for each node that it is about to run: so the object tells the owner of the value.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        # Each key is held here, so that no other object can have its id.
        self._scopes: OrderedDict[int, tuple[str, Scope | None]] = OrderedDict()
        self._lock = Lock()

    def note(self, keys: Iterable[FullKey], scope: Scope) -> None:
        with self._lock:
            for _, key in keys:
                _, known = self._scopes.get(id(key), (key, scope))
                # An object under which two ask tells nothing.
                self._scopes[id(key)] = (key, scope if known == scope else None)
                if len(self._scopes) > self._most:
                    self._scopes.popitem(last=False)

    def scope_of(self, key: FullKey) -> Scope | None:
        with self._lock:
            return self._scopes.get(id(key[1]), (key[1], None))[1]


class NodeCache(BaseCache[ValueT]):
    """The cache of a graph's nodes: ``builder.compile(cache=NodeCache("support-agent"))``, with a `CachePolicy` a node.

    LangGraph names an entry by the node and its input alone: neither by the graph nor by the caller. So the graph's name is
    given here, and tenant and user are the ambient ones. Equal nodes that are to run at one time run once, here and in
    other processes, unless one of them waits for another already (a node inside of a node): the first claims its entry,
    and the others have its value, or run if it fails. Equal calls of a ``@task`` at one time run each, as LangGraph
    does not say when one fails. The value of a node or a task that began before an invalidation of its tenant or type is
    not kept; nor is one that cannot be written, and one that cannot be read is a miss.

    Args:
        graph: The graph's name, with a version if its nodes change: ``"support-agent@3"``.
        cache: An open cache, or a started `Bridge`, which ``invoke`` and ``stream`` need; ``None``: the process-wide one.
        data_type: The type that its entries have.
        serde: Writes and reads values; left out: LangGraph's own, without pickle.

    Raises:
        UsageError: The graph has no name.
    """

    def __init__(
        self,
        graph: str,
        cache: Cache | Bridge | None = None,
        *,
        data_type: str = "langgraph_node",
        serde: SerializerProtocol | None = None,
    ) -> None:
        super().__init__(serde=serde)
        if not isinstance(graph, str) or not graph.strip():
            raise UsageError(
                'graph is blank: name it, as in NodeCache("support-agent"), or two graphs would share their nodes'
            )
        self._graph = graph
        self._data_type = data_type
        self._access = Access(cache)
        self._steps = GetThenSet(self._access, data_type)
        self._askers = _Askers(4096)

    async def aget(self, keys: Sequence[FullKey]) -> dict[FullKey, ValueT]:
        """Returns the values that are there. Cost: 1 round trip for one key; for several one more for each miss."""
        tasks, names, scope = self._tasks(keys), self._names(keys), reader_scope()
        if tasks:
            return self._read(tasks, await self._steps.peek(list(tasks), scope), scope)
        return self._read(names, await self._steps.look(list(names), scope) if names else {}, scope)

    async def aset(self, pairs: Mapping[FullKey, tuple[ValueT, int | None]]) -> None:
        """Keeps values, each for its seconds; ``None``: for ever."""
        for name, scope, written, options in self._write_values(pairs):
            await self._steps.store(name, written, scope, **options)

    async def aclear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Ends the entries of these namespaces (``None``: the whole graph) for the ambient tenant, for every user."""
        if (verb := self._make_clear(namespaces)) is not None:
            await self._access.call(verb)

    def get(self, keys: Sequence[FullKey]) -> dict[FullKey, ValueT]:
        """As `aget`, over a bridge."""
        tasks, names, scope = self._tasks(keys), self._names(keys), reader_scope()
        if tasks:
            return self._read(tasks, self._steps.peek_now(list(tasks), scope, "NodeCache.get"), scope)
        return self._read(names, self._steps.look_now(list(names), scope, "NodeCache.get") if names else {}, scope)

    def set(self, pairs: Mapping[FullKey, tuple[ValueT, int | None]]) -> None:
        """As `aset`, over a bridge."""
        for name, scope, written, options in self._write_values(pairs):
            self._steps.store_now(name, written, scope, "NodeCache.set", **options)

    def clear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """As `aclear`, over a bridge."""
        if (verb := self._make_clear(namespaces)) is not None:
            self._access.call_now(verb, "NodeCache.clear")

    def _make_clear(self, namespaces: Sequence[Namespace] | None) -> Callable[[Cache], Coroutine[Any, Any, int]] | None:
        tags = [self._tag()] if namespaces is None else [self._tag(*namespace) for namespace in namespaces]
        scope = tenant_scope()
        return (lambda cache: cache.invalidate(scope, tags=tags)) if tags else None

    def _names(self, keys: Sequence[FullKey]) -> dict[str, FullKey]:
        return {self._name(key): key for key in keys}

    def _tasks(self, keys: Sequence[FullKey]) -> dict[str, FullKey]:
        """Returns the calls of a ``@task`` among the keys. The others are of nodes that wait for these, and are under way."""
        # LangGraph looks a call up in a task of asyncio's that ends at once: a claim would end with it.
        return self._names([key for key in keys if len(key[0]) == _PARTS_OF_A_TASK and key[0][0] == _WRITES])

    def _write_values(
        self, pairs: Mapping[FullKey, tuple[ValueT, int | None]]
    ) -> Iterator[tuple[str, Scope, tuple[str, bytes], dict[str, Any]]]:
        """Yields the values to be stored: the name, the owner, and the value as it is written; gives the rest up."""
        for key, (value, ttl) in pairs.items():
            name, scope = self._name(key), self._scope_of(key)
            if scope is None or (ttl is not None and ttl <= 0):
                continue
            written = self._serialize(value)
            if written is None:
                self._steps.forget(name, scope)
            else:
                # The written form is bytes to the cache: documents are looked for in what the node made.
                yield name, scope, written, {"ttl": ttl, "tags": self._tags(key), "document_ids": documents_in(value)}

    def _scope_of(self, key: FullKey) -> Scope | None:
        """Returns the owner of a value; ``None`` if nothing says so, or if nothing tells when the value began."""
        if get_current_tenant_id() is not None or key[0][:1] != (_WRITES,):
            return reader_scope()
        scope = self._askers.scope_of(key)
        return scope if scope is not None and self._steps.adopt(self._name(key), scope) else None

    def _name(self, key: FullKey) -> str:
        namespace, name = key
        return digest(self._graph, list(namespace), name)

    def _tags(self, key: FullKey) -> tuple[str, ...]:
        return (self._tag(), self._tag(*key[0]))

    def _tag(self, *namespace: str) -> str:
        return f"langgraph:{digest(self._graph, *namespace)}"

    def _serialize(self, value: ValueT) -> tuple[str, bytes] | None:
        try:
            kind, text = self.serde.dumps_typed(value)
        except _OF_SERIALIZERS as error:
            _log.warning("the value of a node of %r is not kept, as it cannot be written: %r", self._graph, error)
            return None
        return kind, bytes(text)

    def _read(self, names: Mapping[str, FullKey], found: Mapping[str, Any], scope: Scope) -> dict[FullKey, ValueT]:
        self._askers.note((key for name, key in names.items() if name not in found), scope)
        read: dict[FullKey, ValueT] = {}
        for name, stored in found.items():
            with suppress(*_OF_SERIALIZERS):  # of another version, or of another serializer
                read[names[name]] = self.serde.loads_typed(tuple(stored))
        return read
