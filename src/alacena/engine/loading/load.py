"""One load: a loader, its context, and the reads and waits of its source."""

from __future__ import annotations

import inspect
import math
from contextvars import ContextVar, Token
from enum import Enum
from functools import partial
from types import CoroutineType, FunctionType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypeAlias, cast

import msgspec

from alacena.engine.base.errors import ArgumentError, show
from alacena.engine.base.keys import name_tags
from alacena.engine.base.lineage import UNDER_WAY, LoadReads
from alacena.engine.base.remote_tier import MISSING
from alacena.engine.base.scope import covers
from alacena.engine.base.ttl import UNSET, TtlOrUnset, check_ttl
from alacena.engine.loading.one_shot import refuse_generator_function
from alacena.engine.loading.source_backoff import pause

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from datetime import timedelta
    from decimal import Decimal

    from alacena.engine.base.keys import EntryKey
    from alacena.engine.base.policy import Policy
    from alacena.engine.base.remote_tier import Refusal


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
        previous_tags: Its tags.
        ttl: Set it to give this value a time to live of its own; checked if it is set.
        origin: Set it to say where the value came from; reads report it.
        tags: Tags of the value; see :meth:`depends_on`.
        retry_after: Set it before raising: for how many seconds (or a ``timedelta``) this source is not to be asked
            again for this entry. Readers get the expired value, or the same error, meanwhile.
        stored: ``False`` after :meth:`skip`.
        refusal: Why the value is not stored, if that is known already; empty if it may be.
        slips: Instructions of the loader that mean nothing. They cost no caller the value, which was paid for: a wrong ``cost``
            is left out; after a wrong ``ttl`` or :meth:`depends_on` the value is handed out and not stored.
        around: The load inside which this one was begun, or ``None``.
        reads: The reads of the load so far: its value depends on all that this depends on.
        tokens: The tokens given to :meth:`cost`.
        usd: The dollars given to :meth:`cost`.
    """

    # Most loads say nothing about their value: what they do not set costs them nothing.
    agent_id: str | None = None
    conversation_id: str | None = None
    collection_id: str | None = None
    user_id: str | None = None
    permissions: frozenset[str] | None = None
    previous: Any = MISSING
    previous_tags: tuple[str, ...] = ()
    origin: str | None = None
    stored: bool = True
    refusal: Refusal = ""
    slips: Sequence[str] = ()
    tokens: int = 0
    usd: float = 0.0
    _ttl: TtlOrUnset = UNSET
    _retry_after_s: float | None = None
    around: LoadContext | None = None

    def __init__(
        self,
        key: EntryKey,
        tags: Iterable[str] = (),
        reads: LoadReads | None = None,
        may_join: Callable[[], bool] | None = None,
    ) -> None:
        ident = key.ident
        self.tenant_id: str = ident[0]
        self.data_type: str = ident[1]
        self.resource_id: str = ident[2]
        if len(ident) > 3:
            self.agent_id, self.conversation_id, self.collection_id = ident[3:6]
            if len(ident) > 6:
                self.user_id, self.permissions = ident[6:]
        self.tags: list[str] = list(tags)
        self.reads = LoadReads(key) if reads is None else reads
        self._may_join = may_join

    @property
    def is_joinable(self) -> bool:
        """Whether a new caller of the entry would get the value of this load: nothing it rests on has ended.

        A source that brings its value bit by bit asks this before it gives another caller a part of it.
        """
        return self._may_join is not None and self._may_join()

    @property
    def ttl(self) -> TtlOrUnset:
        """The time to live that the loader gave, or ``UNSET``."""
        return self._ttl

    @ttl.setter
    def ttl(self, ttl: TtlOrUnset) -> None:
        try:
            self._ttl = check_ttl(ttl)
        except (TypeError, ValueError) as error:
            self._slip("ttl", f"ttl = {show(ttl)}: {error}")

    @property
    def retry_after(self) -> float | None:
        """For how many seconds the loader asks to be left alone if it fails; ``None``: it did not say."""
        return self._retry_after_s

    @retry_after.setter
    def retry_after(self, retry_after: float | timedelta | None) -> None:
        if (pause_s := pause(retry_after)) is None and retry_after is not None:
            self._slip("", f"retry_after = {show(retry_after)}: it must be a number of seconds, or a timedelta")
        self._retry_after_s = pause_s

    def depends_on(self, document_ids: str | Iterable[str]) -> None:
        """Records the documents that the value is made from: it is gone when one of them is invalidated.

        It may be called before or after the documents were read: a document that was invalidated while the load ran
        makes the value unstorable, whenever it is named.
        """
        try:
            self.tags += name_tags((), document_ids)
        except (TypeError, ValueError) as error:
            self._slip("tags", f"depends_on({show(document_ids)}): {error}")

    def skip(self) -> None:
        """Does not store the value: it is for this caller (and the others of the load) alone."""
        self.refuse("skip")

    def refuse(self, reason: Refusal) -> None:
        """Lets the value not be stored, and says why; the first reason stays."""
        self.stored = False
        self.refusal = self.refusal or reason

    def keep_for_reader(self) -> None:
        """Keeps the value for the one caller that asked, because its source has asked for the caller.

        It is neither stored nor given to the others of the load, which ask the source themselves; nor is what the loads
        around this one make of it. Nothing happens if the entry names its readers.
        """
        load: LoadContext | None = self
        while load is not None and load.user_id is None and load.permissions is None:
            # Over any reason given before: this one keeps the value from those who share the load, too.
            load.stored, load.refusal = False, "reader"
            load = load.around

    def _heed_reads(self) -> None:
        """Keeps the value for the one caller that asked, if it was made from entries that other readers of it may not see.

        The same is true of the loads around this one.
        """
        for reader in self.reads.readers:
            load: LoadContext | None = self
            while load is not None and not covers(reader, (load.user_id, load.permissions)):
                load.stored, load.refusal = False, "reader"
                load = load.around

    def cost(self, *, tokens: int = 0, usd: float | Decimal = 0.0) -> None:
        """Records the cost of the load: dearer values stay longer when memory is short."""
        try:
            # Both are judged before either is counted: a call that means nothing changes nothing.
            counted, paid = _amount(int(tokens)), _amount(float(usd))
            self.tokens += int(counted)
            self.usd += paid
        except (TypeError, ValueError, OverflowError) as error:
            self._slip("", f"cost(tokens={show(tokens)}, usd={show(usd)}): {error}")

    def part(self, key: EntryKey, tags: Iterable[str], share: float) -> LoadContext:
        """Returns the context of one of several entries that one call loads: its words are about each of them.

        Args:
            key: The entry.
            tags: All that it depends on.
            share: Its share of the price of the call.
        """
        # What was read is among the tags: one empty record does for all, and spares the collector three objects each.
        one = LoadContext(key, tags, _UNREAD)
        one.stored, one.refusal, one.origin = self.stored, self.refusal, self.origin
        one._ttl, one.usd = self._ttl, self.usd * share
        return one

    def _slip(self, reason: Refusal, what: str) -> None:
        self.slips = (*self.slips, what)
        if reason:
            self.refuse(reason)


_UNREAD: Final = LoadReads(cast("EntryKey", None))
_UNREAD.is_over = True


def _amount(given: float) -> float:
    if not 0 <= given < math.inf:
        raise ArgumentError("tokens and usd must be finite and not below 0")
    return given


LOAD: Final[ContextVar[LoadContext | None]] = ContextVar("alacena.load", default=None)
"""The load under way in this task."""


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
    """Returns a loader as the reader calls it: one that takes nothing, or is not async, is accepted too.

    Most loaders are what the reader calls, and come back as they are: a wrapper would be one coroutine more for each load.

    Raises:
        TypeError: It is no function, such as the coroutine that calling one returns.
    """
    if type(loader) is FunctionType and not loader.__dict__ and not loader.__defaults__:
        code = loader.__code__
        if code.co_argcount and code.co_flags & _KINDS == inspect.CO_COROUTINE:
            return loader
    takes_context = _takes_context(loader)
    if takes_context and _is_called_async(type(loader)):
        return loader

    async def load(context: LoadContext) -> Any:
        refuse_generator_function(loader)
        answer = loader(context) if takes_context else loader()
        return await answer if type(answer) is CoroutineType or inspect.isawaitable(answer) else answer

    load.__wrapped__ = loader  # type: ignore[attr-defined]
    return load


def _is_called_async(kind: type) -> bool:
    """Returns whether the objects of a class are called as an ``async def`` without a ``yield``."""
    function = getattr(kind, "__call__", None)  # noqa: B004
    return type(function) is FunctionType and function.__code__.co_flags & _KINDS == inspect.CO_COROUTINE


_KINDS: Final = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


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
    if not callable(loader):
        if inspect.iscoroutine(loader):
            loader.close()  # It would be reported as never awaited, far from here.
        raise ArgumentError(
            f"a loader must be a function of (context), or of nothing: pass it without calling it, not {show(loader)}"
        )
    if hasattr(loader, "__wrapped__"):
        return _signature_takes_context(loader)
    function, bound = loader, 0
    if not isinstance(loader, FunctionType):
        function = getattr(loader, "__func__", None) or getattr(type(loader), "__call__", None)  # noqa: B004
        bound = 1
    if not isinstance(function, FunctionType):
        return _signature_takes_context(loader)
    # The code object and not `inspect.signature`, which takes many times as long: each loader that is given is asked.
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


class Request(msgspec.Struct, kw_only=True, eq=False):
    """A read that may load.

    Attributes:
        keys: Where the value may lie, most specific first; the value is stored under the first.
        loader: Asks the source.
        policy: How the type wants it.
        ttl: A time to live for this load.
        tags: Tags that are known before it is loaded.
        use_memory: Whether memory may answer and keep a copy.
        renew: Whether the source is asked though the tiers hold a fresh entry; another caller's load will do.
        insist: Whether only an answer of the source from now on will do.
        alone: Whether the value is for this caller alone, and is not stored.
        claimed: Whether the source is a claim: if it brings no value, the other waiting callers ask again.
        key: The entry that a load fills; worked out.
        keep: Whether a copy is put into memory; worked out.
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
    key: EntryKey = None  # type: ignore[assignment]
    keep: bool = True

    def __post_init__(self) -> None:
        # One load asks for either a dozen times: as properties they were a tenth of its calls.
        self.key = self.keys[0]
        self.keep = self.use_memory and self.policy.use_memory


class Carrier(Protocol):
    """A load as its callers see it.

    Attributes:
        retry_after_s: For how long its source asks to be left alone if it fails.
    """

    retry_after_s: float | None

    @property
    def loads_behind(self) -> list[SourceCall]:
        """The loads that wait for it."""
        ...


class SourceCall(msgspec.Struct, eq=False):
    """A call of a source that is under way: a block around it, which notes its reads from the cache and its waits.

    It is seen by all that the source runs, in tasks that it starts too. If it ends in a context that it never entered, there
    is nothing to undo; see :func:`alacena.engine.base.ambient_tenant.undo`.

    Args:
        flights: The flights of its cache: one process may have several caches, with equal names for other entries.
        keys: Its entries.
        carriers: The flights that carry it.
        context: Takes its words about its value; its reads are noted there.

    Attributes:
        is_over: Whether its outcome is known: from then on its code asks for nothing in the load's name.
        is_left: Whether the block has ended.
    """

    flights: object
    keys: Sequence[EntryKey]
    carriers: Sequence[Carrier]
    context: LoadContext
    is_over: bool = False
    is_left: bool = False
    _before: tuple[Token[SourceCall | None], Token[LoadContext | None]] | None = None

    def __enter__(self) -> Self:
        context, load = self.context, LOAD.set(self.context)
        if load.old_value is not Token.MISSING and load.old_value is not context:
            context.around = load.old_value
        self._before = (_CALL.set(self), load)
        # A list as a counter, because a hit in memory asks it with one test of its truth. Calls end in any order: what
        # is popped need not be what was appended.
        UNDER_WAY.append(None)
        return self

    def __exit__(self, *_: object) -> None:
        UNDER_WAY.pop()
        assert self._before is not None
        call, load = self._before
        try:
            LOAD.reset(load)
            _CALL.reset(call)
        except ValueError:
            pass
        context = self.context
        if context.reads.readers:
            context._heed_reads()
        # A task that the source left behind reads on, and what it reads then is no part of the value.
        context.reads.is_over = True
        if context._retry_after_s is not None:
            for carrier in self.carriers:
                carrier.retry_after_s = context._retry_after_s
        self.is_over = self.is_left = True


# Only a context variable reaches what a source calls, in whatever task it does so.
_CALL: Final[ContextVar[SourceCall | None]] = ContextVar("alacena_source_call", default=None)


def current_call() -> SourceCall | None:
    """Returns the call that the running code works for; a task that outlived its load works for none."""
    call = _CALL.get()
    return None if call is None or call.is_over else call


def in_source() -> bool:
    """Returns whether a source is being called: in its own task, or in one that it started and still waits for."""
    call = _CALL.get()
    return call is not None and not call.is_left
