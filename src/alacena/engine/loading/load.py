"""One load: a loader, what it may say about its value, how long it may take."""

from __future__ import annotations

import asyncio
import inspect
import math
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from alacena.engine.base.errors import LoadTimeoutError
from alacena.engine.base.keys import named
from alacena.engine.base.lineage import UNDER_WAY, LoadReads
from alacena.engine.base.remote_tier import MISSING
from alacena.engine.base.ttl import UNSET, TtlOrUnset, checked
from alacena.engine.loading.one_shot import refuse_generator_function
from alacena.engine.loading.source_backoff import pause

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
    from datetime import timedelta
    from decimal import Decimal

    from alacena.engine.base.environment import Environment
    from alacena.engine.base.keys import EntryKey
    from alacena.engine.base.policy import Policy
    from alacena.engine.base.remote_tier import Lease, Refusal, RemoteTier


class _Unchanged(Enum):
    UNCHANGED = "UNCHANGED"

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = _Unchanged.UNCHANGED
"""What a loader returns if ``context.previous`` is still what the source holds: its life begins anew, with its tags.

Without a previous value it is a `UsageError`.
"""


class LoadContext:
    """The context of one load: the loader reads its request here, and describes the value that it returns.

    Attributes:
        tenant_id: The tenant of the entry.
        data_type: Its type.
        resource_id: Its id.
        agent_id: Its agent, or ``None``.
        conversation_id: Its conversation, or ``None``.
        collection_id: Its collection, or ``None``.
        user_id: Its user, or ``None``.
        permissions: The set of permissions that it is made under, or ``None``.
        previous: The expired value, if one is still there; ``MISSING`` otherwise. See :data:`UNCHANGED`.
        previous_tags: What it depends on.
        ttl: Set it to give this value a time to live of its own; checked if it is set.
        origin: Set it to say where the value came from; reads report it.
        tags: What the value depends on; see :meth:`depends_on`.
        retry_after: Set it before raising: for how many seconds (or a ``timedelta``) this source is not to be asked
            again for this entry. Readers get what expired, or the same error, meanwhile.
        stored: ``False`` after :meth:`skip`.
        refusal: Why the value is not stored, if that is known already; empty if it may be.
        slips: What the loader said that means nothing. It costs nobody the value, which was paid for: a wrong ``cost``
            is left out; after a wrong ``ttl`` or :meth:`depends_on` the value is handed out and not stored.
        around: The load inside which this one was begun, or ``None``.
        reads: What the load has read from the cache so far: its value depends on all that this depends on.
        tokens: What :meth:`cost` was told.
        usd: What :meth:`cost` was told, in dollars.
    """

    def __init__(
        self, key: EntryKey, previous: Any = MISSING, tags: Iterable[str] = (), previous_tags: Iterable[str] = ()
    ) -> None:
        self.tenant_id = key.tenant_id
        self.data_type = key.data_type
        self.resource_id = key.resource_id
        self.agent_id, self.conversation_id, self.collection_id = key.ident[3:6] or (None, None, None)
        self.user_id, self.permissions = key.ident[6:] or (None, None)
        self.previous = previous
        self.previous_tags = tuple(previous_tags)
        self._ttl: TtlOrUnset = UNSET
        self.origin: str | None = None
        self.tags: list[str] = list(tags)
        self.stored = True
        self.refusal: Refusal = ""
        self.slips: list[str] = []
        self.reads = LoadReads(key)
        self.tokens = 0
        self.usd = 0.0
        self._retry_after_s: float | None = None
        self._may_join: Callable[[], bool] = _nobody
        self.around: LoadContext | None = None

    @property
    def is_joinable(self) -> bool:
        """Whether a caller who asks for the entry now would get what this load brings: nothing it rests on has ended.

        A source that brings its value bit by bit asks this before it lets somebody else have a part of it.
        """
        return self._may_join()

    def join_while(self, may_join: Callable[[], bool]) -> None:
        """Says what decides whether others may join; the load's own flight does."""
        self._may_join = may_join

    @property
    def ttl(self) -> TtlOrUnset:
        """The time to live that the loader gave, or ``UNSET``."""
        return self._ttl

    @ttl.setter
    def ttl(self, ttl: TtlOrUnset) -> None:
        try:
            self._ttl = checked(ttl)
        except (TypeError, ValueError) as error:
            self._slip("ttl", f"ttl = {ttl!r:.80}: {error}")

    @property
    def retry_after(self) -> float | None:
        """For how many seconds the loader asks to be left alone if it fails; ``None``: it did not say."""
        return self._retry_after_s

    @retry_after.setter
    def retry_after(self, retry_after: float | timedelta | None) -> None:
        if (pause_s := pause(retry_after)) is None and retry_after is not None:
            self._slip("", f"retry_after = {retry_after!r:.80}: it must be a number of seconds, or a timedelta")
        self._retry_after_s = pause_s

    def depends_on(self, document_ids: str | Iterable[str]) -> None:
        """Records the documents that the value is made from: it is gone when one of them is invalidated.

        It may be called before or after the documents were read: a document that was invalidated while the load ran
        makes the value unstorable, whenever it is named.
        """
        try:
            self.tags += named((), document_ids)
        except (TypeError, ValueError) as error:
            self._slip("tags", f"depends_on({document_ids!r:.80}): {error}")

    def skip(self) -> None:
        """Does not store the value: it is for this caller (and those who share the load) alone."""
        self.refuse("skip")

    def refuse(self, reason: Refusal) -> None:
        """Lets the value not be stored, and says why; the first reason stays."""
        self.stored = False
        self.refusal = self.refusal or reason

    def keep_for_reader(self) -> None:
        """Keeps the value for the one caller who asked, because its source has asked who that is.

        It is neither stored nor given to those who share the load, who ask the source themselves; nor is what the loads
        around this one make of it. Nothing happens if the entry names its readers.
        """
        load: LoadContext | None = self
        while load is not None and load.user_id is load.permissions is None:
            load.stored, load.refusal = False, "reader"
            load = load.around

    def cost(self, *, tokens: int = 0, usd: float | Decimal = 0.0) -> None:
        """Records what the load cost: dearer values stay longer when memory is short."""
        try:
            counted, paid = _amount(int(tokens)), _amount(float(usd))
            self.tokens += int(counted)
            self.usd += paid
        except (TypeError, ValueError, OverflowError) as error:
            self._slip("", f"cost(tokens={tokens!r:.80}, usd={usd!r:.80}): {error}")

    def part(self, key: EntryKey, tags: Iterable[str], share: float) -> LoadContext:
        """Returns the context of one of several entries that one call loads: what was said is about each of them.

        Args:
            key: The entry.
            tags: All that it depends on.
            share: Its share of what the call cost.
        """
        one = LoadContext(key, tags=tags)
        one.stored, one.refusal, one.origin = self.stored, self.refusal, self.origin
        one._ttl, one.usd = self._ttl, self.usd * share
        return one

    def _slip(self, reason: Refusal, what: str) -> None:
        self.slips.append(what)
        if reason:
            self.refuse(reason)


def _nobody() -> bool:
    return False


def _amount(given: float) -> float:
    if not 0 <= given < math.inf:
        raise ValueError("tokens and dollars are finite and not below 0")
    return given


LOAD: Final[ContextVar[LoadContext | None]] = ContextVar("alacena.load", default=None)
"""The load under way in this task."""


@contextmanager
def loading(context: LoadContext, carriers: Iterable[Any] = ()) -> Iterator[None]:
    """Notes what a loader reads from the cache while it is called, in tasks that it starts too.

    Args:
        context: What the loader says of its value.
        carriers: The flights that it is called for, which are told how long to leave it alone.
    """
    token = LOAD.set(context)
    if token.old_value is not Token.MISSING and token.old_value is not context:
        context.around = token.old_value
    UNDER_WAY.append(None)
    try:
        yield
    finally:
        UNDER_WAY.pop()
        LOAD.reset(token)
        context.reads.close()
        for carrier in carriers:
            carrier.retry_after_s = context.retry_after


def reads_under_way() -> LoadReads | None:
    """Returns the record of the reads of the running load; ``None`` outside of loads."""
    if not UNDER_WAY or (load := LOAD.get()) is None:
        return None
    return load.reads


_POSITIONAL: Final = frozenset(
    {
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    }
)
_CONTEXT_NAMES: Final = frozenset({"context", "ctx", "load", "load_context"})

Loader: TypeAlias = "Callable[[LoadContext], Awaitable[Any]]"
"""Gets the value from the source; ``None`` if the source has nothing."""


def adapt(loader: Callable[..., Any]) -> Loader:
    """Returns a loader as the reader calls it: one that takes nothing, or is not async, is accepted too."""
    takes_context = _takes_context(loader)

    async def load(context: LoadContext) -> Any:
        refuse_generator_function(loader)
        answer = loader(context) if takes_context else loader()
        return await answer if inspect.isawaitable(answer) else answer

    load.__wrapped__ = loader  # type: ignore[attr-defined]
    return load


def source_name(loader: object) -> str:
    """Returns the name of a loader in messages; a wrapper has its function's, by ``source_name`` or ``__wrapped__``."""
    if name := getattr(loader, "source_name", None):
        return str(name)
    if (wrapped := getattr(loader, "__wrapped__", None)) is not None:
        return source_name(wrapped)
    if isinstance(loader, partial):
        return source_name(loader.func)
    return str(getattr(loader, "__qualname__", None) or type(loader).__qualname__)


def _takes_context(loader: Any) -> bool:
    """Returns whether the first positional parameter is meant for the context.

    One with a default is the loader's own (``lambda d=d: fetch(d)``), unless its name says otherwise.
    """
    if hasattr(loader, "__wrapped__"):
        return _signature_takes_context(loader)
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
        renew: Whether the source is asked though the tiers hold a fresh entry; what somebody else loads will do.
        insist: Whether nothing will do but what the source says from now on.
        alone: Whether the value is for this caller alone, and is not stored.
        claimed: Whether the source is a claim: if it brings no value, the others who wait ask again.
        key: The entry that a load fills.
        keep: Whether a copy is put into memory.
    """

    keys: tuple[EntryKey, ...]
    loader: Loader
    policy: Policy
    ttl: TtlOrUnset = UNSET
    tags: tuple[str, ...] = ()
    use_memory: bool = True
    renew: bool = False
    insist: bool = False
    alone: bool = False
    claimed: bool = False
    key: EntryKey = field(init=False)
    keep: bool = field(init=False)

    def __post_init__(self) -> None:
        # One load asks for either a dozen times: as properties they were a tenth of its calls.
        object.__setattr__(self, "key", self.keys[0])
        object.__setattr__(self, "keep", self.use_memory and self.policy.use_memory)


@asynccontextmanager
async def within(policy: Policy, keys: Sequence[EntryKey], loader: object) -> AsyncIterator[None]:
    """Yields a type's hard timeout around the wait for a place and the call of a loader.

    Args:
        policy: The type's policy.
        keys: What is loaded.
        loader: What loads it.

    Raises:
        LoadTimeoutError: The hard timeout passed; what ran inside was cancelled.
    """
    if policy.hard_timeout_s is None:
        yield
        return
    try:
        async with asyncio.timeout(policy.hard_timeout_s) as limit:
            yield
    except (TimeoutError, asyncio.CancelledError) as error:  # the latter after a TaskGroup that failed, before 3.13
        if not limit.expired():
            raise
        key, others = keys[0], f" and {len(keys) - 1} more" if len(keys) > 1 else ""
        message = (
            f"{key.data_type} {key.resource_id!r}{others}: no answer of {source_name(loader)} within "
            f"{policy.hard_timeout_s:g} s, the hard_timeout_s of {key.data_type!r}: give the type a "
            "Policy(hard_timeout_s=...) of its own if its source may take longer"
        )
        raise LoadTimeoutError(message) from error


class _LoaderCall:
    """A call of a source, as those see it who work inside it."""

    __slots__ = ("under_way",)

    def __init__(self) -> None:
        self.under_way = True


# Only a context variable reaches what a source calls, in whatever task it does so.
_CALL: Final[ContextVar[_LoaderCall | None]] = ContextVar("alacena_source_call", default=None)


@contextmanager
def call_of_source() -> Iterator[None]:
    """Marks the code that runs as a source's: its work is done for an answer that is being paid for."""
    call = _LoaderCall()
    token = _CALL.set(call)
    try:
        yield
    finally:
        call.under_way = False
        _CALL.reset(token)


def in_source() -> bool:
    """Returns whether a source is being called: in its own task, or in one that it started and still waits for."""
    call = _CALL.get()
    return call is not None and call.under_way


class Stopwatch:
    """A stopwatch for one load.

    Attributes:
        elapsed_s: Seconds; 0 until it is stopped.
    """

    __slots__ = ("_began", "_environment", "elapsed_s")

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._began = environment.now()
        self.elapsed_s = 0.0

    def stop(self) -> None:
        """Stops it."""
        self.elapsed_s = self._environment.now() - self._began


class Renewal:
    """Prolongs leases again and again while their load is on its way.

    Args:
        tier: Where they are.
        leases: Which ones, at that moment.
        every_s: How often, in seconds.
    """

    def __init__(self, remote: RemoteTier, leases: Callable[[], Iterable[Lease]], every_s: float) -> None:
        self._remote = remote
        self._leases = leases
        self._every_s = every_s
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(every_s, self._renew)

    def _renew(self) -> None:
        for lease in self._leases():
            self._remote.renew(lease)
        self._timer = self._loop.call_later(self._every_s, self._renew)

    def cancel(self) -> None:
        """Stops."""
        self._timer.cancel()
