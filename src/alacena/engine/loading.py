"""One load: a loader, what it may say about its value, and who may run how many at once."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from alacena.engine.errors import LoadTimeoutError
from alacena.engine.keys import document_tag
from alacena.engine.shelf import MISSING
from alacena.engine.ttl import UNSET, TtlOrUnset

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from alacena.engine.environment import Environment
    from alacena.engine.keys import EntryKey
    from alacena.engine.policy import Policy
    from alacena.engine.shelf import Lease, Shelf


class _Unchanged(Enum):
    UNCHANGED = "UNCHANGED"

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = _Unchanged.UNCHANGED
"""What a loader returns where ``context.previous`` is still what the source holds: its life begins anew."""


class LoadContext:
    """What a loader is told, and where it says what it knows about the value that it returns.

    Attributes:
        tenant_id: The tenant of the entry.
        data_type: Its type.
        resource_id: Its id.
        agent_id: Its agent, or ``None``.
        conversation_id: Its conversation, or ``None``.
        collection_id: Its collection, or ``None``.
        previous: The expired value, where one is still there; ``MISSING`` otherwise. See :data:`UNCHANGED`.
        ttl: Set it to give this value a time to live of its own.
        origin: Set it to say where the value came from; reads report it.
        tags: What the value depends on; see :meth:`depends_on`.
        stored: ``False`` after :meth:`skip`.
        tokens: What :meth:`cost` was told.
        usd: What :meth:`cost` was told.
    """

    def __init__(self, key: EntryKey, previous: Any = MISSING, tags: Iterable[str] = ()) -> None:
        self.tenant_id = key.tenant_id
        self.data_type = key.data_type
        self.resource_id = key.resource_id
        self.agent_id = key.scope.agent_id
        self.conversation_id = key.scope.conversation_id
        self.collection_id = key.scope.collection_id
        self.previous = previous
        self.ttl: TtlOrUnset = UNSET
        self.origin: str | None = None
        self.tags: list[str] = list(tags)
        self.stored = True
        self.tokens = 0
        self.usd = 0.0

    def depends_on(self, document_ids: str | Iterable[str]) -> None:
        """Record the documents that the value is made from: it is gone when one of them is invalidated.

        It may be called before or after the documents were read: while the load runs, any invalidation by tag in the
        tenant makes a value with tags unstorable unless they were given with the call.
        """
        ids = (document_ids,) if isinstance(document_ids, str) else document_ids
        self.tags += [document_tag(document_id) for document_id in ids]

    def skip(self) -> None:
        """Do not store the value: it is for this caller (and those who share the load) alone."""
        self.stored = False

    def cost(self, *, tokens: int = 0, usd: float = 0.0) -> None:
        """Record what the load cost: dearer values stay longer when memory is short."""
        self.tokens += tokens
        self.usd += usd


Loader: TypeAlias = "Callable[[LoadContext], Awaitable[Any]]"
"""Gets the value from the source; ``None`` where the source has nothing."""


def adapted(loader: Callable[..., Any]) -> Loader:
    """A loader as the reader calls it: one that takes nothing, or is not async, is accepted too."""
    takes_context = _takes_context(loader)

    async def load(context: LoadContext) -> Any:
        answer = loader(context) if takes_context else loader()
        return await answer if inspect.isawaitable(answer) else answer

    return load


def _takes_context(loader: Callable[..., Any]) -> bool:
    if type(loader) is FunctionType and not loader.__code__.co_flags & inspect.CO_VARARGS:
        return bool(loader.__code__.co_argcount)
    try:
        parameters = inspect.signature(loader).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL} for p in parameters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A read that may load.

    Attributes:
        keys: Where the value may lie, most specific first; what is loaded is stored under the first.
        loader: Asks the source.
        policy: How the type wants it.
        ttl: A time to live for this load.
        tags: What the value is known to depend on before it is loaded.
        use_memory: Whether memory may answer and keep a copy.
        force: Whether the source is asked though the shelves hold a fresh entry.
    """

    keys: tuple[EntryKey, ...]
    loader: Loader
    policy: Policy
    ttl: TtlOrUnset = UNSET
    tags: tuple[str, ...] = ()
    use_memory: bool = True
    force: bool = False

    @property
    def key(self) -> EntryKey:
        """The entry that a load fills."""
        return self.keys[0]

    @property
    def keep(self) -> bool:
        """Whether a copy is put into memory."""
        return self.use_memory and self.policy.use_memory


class LoadLimiter:
    """How many loads one tenant may have under way, so that an outage of the cache does not melt the source.

    Args:
        per_tenant: The limit; ``None``: no limit.
    """

    def __init__(self, per_tenant: int | None) -> None:
        self._per_tenant = per_tenant
        self._places: dict[str, tuple[asyncio.Semaphore, int]] = {}

    @asynccontextmanager
    async def place(self, tenant_id: str) -> AsyncIterator[None]:
        """A place for one load; waits while the tenant has none left."""
        if self._per_tenant is None:
            yield
            return
        semaphore, users = self._places.get(tenant_id) or (asyncio.Semaphore(self._per_tenant), 0)
        self._places[tenant_id] = (semaphore, users + 1)
        try:
            async with semaphore:
                yield
        finally:
            semaphore, users = self._places[tenant_id]
            if users > 1:
                self._places[tenant_id] = (semaphore, users - 1)
            else:
                del self._places[tenant_id]


async def call_loader(loader: Loader, context: LoadContext, policy: Policy) -> Any:
    """Call a loader within its type's hard timeout.

    Raises:
        LoadTimeoutError: The hard timeout passed; the loader was cancelled.
    """
    if policy.hard_timeout_s is None:
        return await loader(context)
    try:
        async with asyncio.timeout(policy.hard_timeout_s) as limit:
            return await loader(context)
    except TimeoutError as error:
        if not limit.expired():
            raise
        message = f"{context.data_type} {context.resource_id!r}: no answer within {policy.hard_timeout_s} s"
        raise LoadTimeoutError(message) from error


class Stopwatch:
    """How long a load took.

    Attributes:
        elapsed_s: Seconds; 0 until it is stopped.
    """

    __slots__ = ("_began", "_environment", "elapsed_s")

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._began = environment.now()
        self.elapsed_s = 0.0

    def stop(self) -> None:
        """Stop it."""
        self.elapsed_s = self._environment.now() - self._began


class Renewal:
    """Prolongs leases again and again while their load runs."""

    def __init__(self, shelf: Shelf, leases: Sequence[Lease], every_s: float) -> None:
        self._shelf = shelf
        self._leases = leases
        self._every_s = every_s
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(every_s, self._renew) if leases else None

    def _renew(self) -> None:
        for lease in self._leases:
            self._shelf.renew(lease)
        self._timer = self._loop.call_later(self._every_s, self._renew)

    def cancel(self) -> None:
        """Stop."""
        if self._timer is not None:
            self._timer.cancel()
