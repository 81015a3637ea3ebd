"""One load: a loader, what it may say about its value, how long it may take."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from alacena.engine.errors import LoadTimeoutError
from alacena.engine.keys import named
from alacena.engine.shelf import MISSING
from alacena.engine.ttl import UNSET, TtlOrUnset, checked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
    from decimal import Decimal

    from alacena.engine.environment import Environment
    from alacena.engine.keys import EntryKey
    from alacena.engine.policy import Policy
    from alacena.engine.shelf import Lease, Shelf


class _Unchanged(Enum):
    UNCHANGED = "UNCHANGED"

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = _Unchanged.UNCHANGED
"""What a loader returns where ``context.previous`` is still what the source holds: its life begins anew, with its tags."""


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
        previous_tags: What it depends on.
        ttl: Set it to give this value a time to live of its own; checked where it is set.
        origin: Set it to say where the value came from; reads report it.
        tags: What the value depends on; see :meth:`depends_on`.
        stored: ``False`` after :meth:`skip`.
        tokens: What :meth:`cost` was told.
        usd: What :meth:`cost` was told.
    """

    def __init__(
        self, key: EntryKey, previous: Any = MISSING, tags: Iterable[str] = (), previous_tags: Iterable[str] = ()
    ) -> None:
        self.tenant_id = key.tenant_id
        self.data_type = key.data_type
        self.resource_id = key.resource_id
        self.agent_id, self.conversation_id, self.collection_id = key.ident[3:] or (None, None, None)
        self.previous = previous
        self.previous_tags = tuple(previous_tags)
        self._ttl: TtlOrUnset = UNSET
        self.origin: str | None = None
        self.tags: list[str] = list(tags)
        self.stored = True
        self.tokens = 0
        self.usd = 0.0

    @property
    def ttl(self) -> TtlOrUnset:
        """The time to live that the loader gave, or ``UNSET``."""
        return self._ttl

    @ttl.setter
    def ttl(self, ttl: TtlOrUnset) -> None:
        self._ttl = checked(ttl)

    def depends_on(self, document_ids: str | Iterable[str]) -> None:
        """Record the documents that the value is made from: it is gone when one of them is invalidated.

        It may be called before or after the documents were read: a document that was invalidated while the load ran
        makes the value unstorable, whenever it is named.
        """
        self.tags += named((), document_ids)

    def skip(self) -> None:
        """Do not store the value: it is for this caller (and those who share the load) alone."""
        self.stored = False

    def cost(self, *, tokens: int = 0, usd: float | Decimal = 0.0) -> None:
        """Record what the load cost: dearer values stay longer when memory is short."""
        self.tokens += tokens
        self.usd += float(usd)


_POSITIONAL: Final = frozenset(
    {
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    }
)
_CONTEXT_NAMES: Final = frozenset({"context", "ctx", "load", "load_context"})

Loader: TypeAlias = "Callable[[LoadContext], Awaitable[Any]]"
"""Gets the value from the source; ``None`` where the source has nothing."""


def adapted(loader: Callable[..., Any]) -> Loader:
    """A loader as the reader calls it: one that takes nothing, or is not async, is accepted too."""
    takes_context = _takes_context(loader)

    async def load(context: LoadContext) -> Any:
        answer = loader(context) if takes_context else loader()
        return await answer if inspect.isawaitable(answer) else answer

    return load


def _takes_context(loader: Any) -> bool:
    """Whether the first positional parameter is meant for the context.

    One with a default is the loader's own (``lambda d=d: fetch(d)``), unless its name says otherwise.
    """
    function, bound = loader, 0
    if not isinstance(loader, FunctionType):
        function = getattr(loader, "__func__", None) or getattr(type(loader), "__call__", None)  # noqa: B004
        bound = 1
    if not isinstance(function, FunctionType):
        return _signature_takes_context(loader)
    code, defaults = function.__code__, function.__defaults__ or ()
    count = code.co_argcount - bound
    if count <= 0:
        return bool(code.co_flags & inspect.CO_VARARGS)
    return len(defaults) < count or _is_contexts_name(code.co_varnames[bound])


def _signature_takes_context(loader: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(loader).parameters.values()
    except (TypeError, ValueError):
        return True
    first = next((p for p in parameters if p.kind in _POSITIONAL), None)
    return first is not None and (first.default is first.empty or _is_contexts_name(first.name))


def _is_contexts_name(name: str) -> bool:
    return name in _CONTEXT_NAMES or name.startswith("_")


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
        renew: Whether the source is asked though the shelves hold a fresh entry; what somebody else loads will do.
        insist: Whether nothing will do but what the source says from now on.
    """

    keys: tuple[EntryKey, ...]
    loader: Loader
    policy: Policy
    ttl: TtlOrUnset = UNSET
    tags: tuple[str, ...] = ()
    use_memory: bool = True
    renew: bool = False
    insist: bool = False

    @property
    def key(self) -> EntryKey:
        """The entry that a load fills."""
        return self.keys[0]

    @property
    def keep(self) -> bool:
        """Whether a copy is put into memory."""
        return self.use_memory and self.policy.use_memory


@asynccontextmanager
async def within(policy: Policy, key: EntryKey) -> AsyncIterator[None]:
    """A type's hard timeout around the wait for a place and the call of a loader.

    Raises:
        LoadTimeoutError: The hard timeout passed; what ran inside was cancelled.
    """
    if policy.hard_timeout_s is None:
        yield
        return
    try:
        async with asyncio.timeout(policy.hard_timeout_s) as limit:
            yield
    except TimeoutError as error:
        if not limit.expired():
            raise
        message = f"{key.data_type} {key.resource_id!r}: no answer within {policy.hard_timeout_s} s"
        raise LoadTimeoutError(message) from error


class _Call:
    """A call of a source, as those see it who work inside it."""

    __slots__ = ("under_way",)

    def __init__(self) -> None:
        self.under_way = True


# Only a context variable reaches what a source calls, in whatever task it does so.
_CALL: Final[ContextVar[_Call | None]] = ContextVar("alacena_source_call", default=None)


@contextmanager
def call_of_source() -> Iterator[None]:
    """Around a call of a source: what it does is done for an answer that is being paid for."""
    call = _Call()
    token = _CALL.set(call)
    try:
        yield
    finally:
        call.under_way = False
        _CALL.reset(token)


def in_source() -> bool:
    """Whether a source is being called: in its own task, or in one that it started and still waits for."""
    call = _CALL.get()
    return call is not None and call.under_way


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
    """Prolongs leases again and again while their load is on its way.

    Args:
        shelf: Where they are.
        leases: Which ones, at that moment.
        every_s: How often, in seconds.
    """

    def __init__(self, shelf: Shelf, leases: Callable[[], Iterable[Lease]], every_s: float) -> None:
        self._shelf = shelf
        self._leases = leases
        self._every_s = every_s
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(every_s, self._renew)

    def _renew(self) -> None:
        for lease in self._leases():
            self._shelf.renew(lease)
        self._timer = self._loop.call_later(self._every_s, self._renew)

    def cancel(self) -> None:
        """Stop."""
        self._timer.cancel()
