"""LangGraph: a cache of nodes that keeps tenants and graphs apart, and neither blocks the loop nor lists keys."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from alacena.engine import Cache, UsageError
from alacena.integrations.bridge import Access, Bridge
from alacena.integrations.lookaside import LookAside
from alacena.integrations.requirement import require_extra
from alacena.integrations.surroundings import digest, reader_scope, tenant_scope

with require_extra("alacena.integrations.langgraph", "langgraph", ("langgraph-checkpoint", "4.3", "5")):
    from langgraph.cache.base import BaseCache, FullKey, Namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

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


class NodeCache(BaseCache[ValueT]):
    """The cache of a graph's nodes: ``builder.compile(cache=NodeCache("support-agent"))``, with a `CachePolicy` a node.

    LangGraph names an entry by the node and its input alone: neither by the graph nor by who asks. So the graph's name is
    given here, and tenant and user are the ambient ones. Equal nodes that are to run at one time run once, here and in
    other processes, unless one of them waits for another already (a node inside of a node): the first claims its entry,
    and the others have what it stores, or run if it fails. The value of a node that began before an invalidation of its
    tenant or type is not kept; nor is one that cannot be written, and one that cannot be read is a miss.

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
                'NodeCache("support-agent"): name the graph, as LangGraph does not, and two graphs would share their nodes'
            )
        self._graph = graph
        self._data_type = data_type
        self._access = Access(cache)
        self._steps = LookAside(self._access, data_type)

    async def aget(self, keys: Sequence[FullKey]) -> dict[FullKey, ValueT]:
        """Returns the values that are there. Cost: 1 round trip for one key; for several one more for each miss."""
        names = self._names(keys)
        return self._read(names, await self._steps.look(list(names), reader_scope()) if names else {})

    async def aset(self, pairs: Mapping[FullKey, tuple[ValueT, int | None]]) -> None:
        """Keeps values, each for its seconds; ``None``: for ever."""
        scope = reader_scope()
        for key, (value, ttl) in _group_by_ttl(pairs):
            written = self._written(value)
            if written is None:
                self._steps.forget(self._name(key), scope)
            else:
                await self._steps.store(self._name(key), written, scope, ttl=ttl, tags=self._tags(key))

    async def aclear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Ends what these namespaces hold (``None``: the whole graph) for the ambient tenant, whoever its user is."""
        if (verb := self._make_clear(namespaces)) is not None:
            await self._access.call(verb)

    def get(self, keys: Sequence[FullKey]) -> dict[FullKey, ValueT]:
        """As `aget`, over a bridge."""
        names = self._names(keys)
        return self._read(names, self._steps.look_now(list(names), reader_scope(), "NodeCache.get") if names else {})

    def set(self, pairs: Mapping[FullKey, tuple[ValueT, int | None]]) -> None:
        """As `aset`, over a bridge."""
        scope = reader_scope()
        for key, (value, ttl) in _group_by_ttl(pairs):
            written = self._written(value)
            if written is None:
                self._steps.forget(self._name(key), scope)
            else:
                tags = self._tags(key)
                self._steps.store_now(self._name(key), written, scope, "NodeCache.set", ttl=ttl, tags=tags)

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

    def _name(self, key: FullKey) -> str:
        namespace, name = key
        return digest(self._graph, list(namespace), name)

    def _tags(self, key: FullKey) -> tuple[str, ...]:
        return (self._tag(), self._tag(*key[0]))

    def _tag(self, *namespace: str) -> str:
        return f"langgraph:{digest(self._graph, *namespace)}"

    def _written(self, value: ValueT) -> tuple[str, bytes] | None:
        try:
            kind, text = self.serde.dumps_typed(value)
        except _OF_SERIALIZERS as error:
            _log.warning("the value of a node of %r is not kept, as it cannot be written: %r", self._graph, error)
            return None
        return kind, bytes(text)

    def _read(self, names: Mapping[str, FullKey], found: Mapping[str, Any]) -> dict[FullKey, ValueT]:
        read: dict[FullKey, ValueT] = {}
        for name, stored in found.items():
            with suppress(*_OF_SERIALIZERS):  # of another version, or of another serializer
                read[names[name]] = self.serde.loads_typed(tuple(stored))
        return read


def _group_by_ttl(
    pairs: Mapping[FullKey, tuple[ValueT, int | None]],
) -> list[tuple[FullKey, tuple[ValueT, int | None]]]:
    return [(key, pair) for key, pair in pairs.items() if pair[1] is None or pair[1] > 0]
