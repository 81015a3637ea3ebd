"""Sources of a value: adapts the many shapes of ``fetch_from_db_func`` and ``generate_func`` to one.

A source takes the guide's three arguments, ``resource_id, tenant_id, ctx``, or fewer, in this way:

* a parameter that bears the name of one of them (or of a scope: ``agent_id``, ``conversation_id``, ``collection_id``)
  gets that one, wherever it stands;
* other required positional parameters get, in order, those of the three that no name claims;
* ``*args`` gets all three; ``**kwargs`` without ``*args`` gets the rest by name;
* a parameter with a default and a name of its own keeps the default (``lambda q=query: ...``), unless parameters that
  follow it show that the function was written for the three.

It may be sync (and runs on the event loop), async, or return something awaitable. One that streams is wrapped in
`alacena.collected`; as it is, it is refused. ``ctx`` is the one that the caller gave, else one for the tenant.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import CoroutineType, MethodType
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from weakref import WeakKeyDictionary

import msgspec

from alacena.engine.base.errors import ArgumentError, show, text_of
from alacena.engine.base.lineage import documents_in
from alacena.engine.loading.load import LOAD
from alacena.engine.loading.one_shot import refuse_generator_function

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import timedelta
    from decimal import Decimal
    from inspect import Parameter

    from alacena.common.context import Context
    from alacena.engine import TtlOrUnset

__all__ = ["Plan", "SourceFunction", "SourceRequest", "ask_source", "depends_on", "documents_in", "plan"]

SourceFunction: TypeAlias = Callable[..., Any]

_CONTRACT: Final = ("resource_id", "tenant_id", "ctx")
_SCOPES: Final = ("agent_id", "conversation_id", "collection_id")
_NAMES: Final = frozenset((*_CONTRACT, *_SCOPES))
_MANY: Final = (list, tuple, set, frozenset)
_QUERIES: Final = ("postgrest.", "supabase.", "storage3.")


class SourceRequest(msgspec.Struct, frozen=True):
    """All that a source may be given, by the names of its parameters."""

    resource_id: str
    tenant_id: str
    ctx: Context | None
    agent_id: str | None = None
    conversation_id: str | None = None
    collection_id: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The way to call one function: which argument goes where."""

    positional: tuple[str, ...]
    keywords: tuple[str, ...]
    rest: tuple[str, ...]

    def call(self, function: SourceFunction, request: SourceRequest) -> Any:
        """Calls the function. Returns its result as it is."""
        given = map(partial(getattr, request), self.positional)
        if not self.keywords and not self.rest:
            return function(*given)
        keywords = {name: getattr(request, name) for name in self.keywords}
        for name in self.rest:
            if (value := getattr(request, name)) is not None:
                keywords[name] = value
        return function(*given, **keywords)


_PLANS: Final[WeakKeyDictionary[Any, Plan]] = WeakKeyDictionary()
_BOUND_PLANS: Final[WeakKeyDictionary[Any, Plan]] = WeakKeyDictionary()


def plan(function: SourceFunction) -> Plan:
    """Returns how ``function`` is to be called; worked out once for each function.

    Raises:
        TypeError: It is not callable, or needs arguments that a source is not given. Nothing was called.
        OneShotValueError: It is a generator function that was not wrapped in ``collected``. Nothing was called.
    """
    # Two tables: one function has another plan as a method, whose first parameter is taken.
    known, name = _PLANS, function
    if type(function) is MethodType:  # a new bound method is made at every attribute access: remember its function
        known, name = _BOUND_PLANS, function.__func__
    try:
        found = known.get(name)
    except TypeError:  # unhashable, or no weak references to it
        return _plan(function)
    if found is None:
        found = _plan(function)
        try:
            known[name] = found
        except TypeError:
            return found
    return found


def _plan(function: object) -> Plan:
    if not callable(function):
        msg = f"a source must be a function of (resource_id, tenant_id, ctx), or None; this is {show(function)}"
        raise ArgumentError(msg)
    refuse_generator_function(function)
    try:
        parameters = tuple(inspect.signature(function).parameters.values())
    except ValueError as error:
        msg = (
            f"the signature of {_name(function)} cannot be read: wrap it in a function of (resource_id, tenant_id, ctx)"
        )
        raise ArgumentError(msg) from error
    kinds = {parameter.kind for parameter in parameters}
    # The guide writes `lambda *args: ...`. It does not say how many it takes, so it gets all three.
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return Plan(_CONTRACT, _list_required_keywords(function, parameters), ())
    positional, claimed = _positional(function, parameters)
    keywords = _list_required_keywords(function, parameters)
    rest: tuple[str, ...] = ()
    if inspect.Parameter.VAR_KEYWORD in kinds:
        taken = {*claimed, *keywords, *(parameter.name for parameter in parameters)}
        rest = tuple(name for name in (*_CONTRACT, *_SCOPES) if name not in taken)
    return Plan(positional, keywords, rest)


def _positional(function: SourceFunction, parameters: Sequence[Parameter]) -> tuple[tuple[str, ...], set[str]]:
    """Returns the names of the arguments given by position, and as a set."""
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    written_for_it = max((i for i, p in enumerate(places) if p.name in _NAMES), default=-1)
    count = max(written_for_it + 1, sum(p.default is p.empty for p in places))
    unclaimed = [name for name in _CONTRACT if name not in {p.name for p in places[:count]}]
    given: list[str] = []
    for parameter in places[:count]:
        if parameter.name in _NAMES:
            given.append(parameter.name)
        elif unclaimed:
            given.append(unclaimed.pop(0))
        else:
            raise _too_many(function, parameter.name)
    return tuple(given), set(given)


def _list_required_keywords(function: SourceFunction, parameters: Iterable[Parameter]) -> tuple[str, ...]:
    names = []
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY:
            if parameter.name in _NAMES:
                names.append(parameter.name)
            elif parameter.default is parameter.empty:
                raise _too_many(function, parameter.name)
    return tuple(names)


def _too_many(function: SourceFunction, parameter: str) -> TypeError:
    return TypeError(
        f"{_name(function)} cannot be a source: nothing is known for its parameter {parameter!r}. A source gets "
        "(resource_id, tenant_id, ctx) or fewer; bind anything else with functools.partial or a closure"
    )


def _name(function: object) -> str:
    """Returns the name of a source in messages."""
    return str(getattr(function, "__qualname__", None) or text_of(function, repr))


def depends_on(*document_ids: Any) -> None:
    """Says, inside a source, which documents its result is made from: updating one of them ends the result.

    Takes ids, and lists of ids. Outside a load nothing happens, so a search function can say it wherever it is called from.
    """
    load = LOAD.get()
    if load is not None and document_ids:
        load.depends_on([one for given in document_ids for one in (given if isinstance(given, _MANY) else (given,))])


def skip() -> None:
    """Says, inside a source, that its result is not to be stored: it is for the callers that wait for it now."""
    if (load := LOAD.get()) is not None:
        load.skip()


def set_ttl(ttl: TtlOrUnset) -> None:
    """Gives, inside a source, its result a time to live of its own: seconds, a ``timedelta``, or ``None`` for ever."""
    if (load := LOAD.get()) is not None:
        load.ttl = ttl


def set_retry_after(retry_after: float | timedelta) -> None:
    """Says, inside a source that is about to fail, for how many seconds it is not to be asked again for this entry."""
    if (load := LOAD.get()) is not None:
        load.retry_after = retry_after


def add_cost(*, tokens: int = 0, usd: float | Decimal = 0.0) -> None:
    """Says, inside a source, the cost of its result: dearer results stay longer when memory is short."""
    if (load := LOAD.get()) is not None:
        load.cost(tokens=tokens, usd=usd)


async def ask_source(function: SourceFunction, how: Plan, request: SourceRequest) -> Any:
    """Asks one source: calls it, and awaits its result if that is awaitable. Its exceptions pass untouched.

    Raises:
        TypeError: It returned a query of Supabase's that was not executed.
    """
    value = how.call(function, request)
    if type(value) is CoroutineType or inspect.isawaitable(value):
        value = await value
        # `async def f(resource_id): return fetch(resource_id)` forgets an await, and gives a coroutine once more.
        if type(value) is CoroutineType:
            value = await value
    if type(value).__module__.startswith(_QUERIES) and callable(getattr(value, "execute", None)):
        msg = f"{_name(function)} returned a query that was not executed: write `(await query.execute()).data` in it"
        raise TypeError(msg)
    return value
