"""``@cached``: keeps a function's results, by its arguments, for the tenant it works for."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar, cast

from alacena.common import runtime
from alacena.common.cache.call_shape import CallShape
from alacena.common.cache.tenancy import check_data, scope_of
from alacena.common.context.context import Context
from alacena.common.context.decorators import INFO_NAMES, find_tenant_info
from alacena.common.context.vars import agree_on_tenant
from alacena.engine import UNCHANGED, UNSET
from alacena.engine.base.arguments import check_callable
from alacena.engine.base.errors import ArgumentError, show
from alacena.engine.base.scope import identifier, several
from alacena.engine.base.ttl import check_ttl

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from alacena.engine import LoadContext, Scope, TtlOrUnset

P = ParamSpec("P")
R = TypeVar("R")

_SCOPE_PARAMETERS: Final = ("tenant_id", "agent_id", "conversation_id", "collection_id", "user_id", "permissions")
_IGNORED: Final = ("ctx", *_SCOPE_PARAMETERS)
_OBJECTS: Final = ("self", "cls")


def cached(
    data_type: str | None = None,
    *,
    ttl: TtlOrUnset = UNSET,
    key: Callable[..., str] | None = None,
    tags: Iterable[str] = (),
    ignore: Iterable[str] = (),
) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], CachedFunction[P, R]]:
    """Keeps the results of an async function.

    ::

        @cached("price", ttl=TTL_SHORT)
        async def price(product_id: str, currency: str = "EUR") -> Decimal: ...


        await price("p1")                 # the tenant is the ambient one, or a parameter called tenant_id
        await price.invalidate("p1")
        await price.refresh("p1")
        await price.explain("p1")

    The key is made from the function's qualified name and the bound arguments: ``price("p1")`` and
    ``price(product_id="p1", currency="EUR")`` are one entry, in every process; the order of dicts, sets and keywords
    does not count. Parameters called ``tenant_id``, ``agent_id``, ``conversation_id``, ``collection_id``, ``user_id``
    and ``permissions`` are its scope, in a ``**kwargs`` too. ``ctx`` is no part of it, but its tenant must agree, and so
    must that of a ``TenantInfo`` (see `with_context`). The function runs for the entry's tenant. ``None`` is not kept,
    unless the type's policy remembers absences. Inside the function, `depends_on` names the documents of its result,
    `skip` that it is not to be kept, `set_ttl` for how long it is, `add_cost` its cost, and `set_retry_after` for how
    long it is not to be called again once it has failed. One that streams is wrapped in `collected` first.

    Of a function inside another one, the things it is made with are part of the key: the numbers, texts and other unchangeable
    values around it, as they are when it is decorated, and the names of functions and classes. So the functions that one
    factory makes for each model, or around each function, are told apart; of things that can change, such as a client, only the
    class counts: pass it as an argument, or name it in ``key``.

    A method's object is part of the key: by its ``__cache_key__`` (a value, or a method that returns one), else by its
    class and its attributes as they are at the call. If these cannot be part of a key, the call is an error. With
    ``ignore=("self",)`` all objects share. The same holds of a method that is decorated as one object has it:
    ``cached("rows")(table.read)``. A class method is its class's own.

    Args:
        data_type: The type of the entries, which has the policy; left out: the function's qualified name.
        ttl: Seconds a result stays fresh; left out: the type's.
        key: Makes the id (text, an int, a UUID, or plain values together) from the arguments, in place of a digest of all
            of them; the function's name, and the things a nested one is made with, stay part of it.
        tags: Tags of every result.
        ignore: Further parameters that are no part of the key, such as a database session.

    Raises:
        TypeError: The decorated object is no async function: a plain function, a generator, or nothing (no parentheses).
            ``ignore`` names a parameter that it does not have.
    """
    if data_type is not None and not isinstance(data_type, str):
        raise ArgumentError('write @cached("data_type") or @cached(), with parentheses')
    if key is not None:
        check_callable(key, "key", "def key(document_id)")
    lifetime = check_ttl(ttl)

    def decorate(function: Callable[P, Coroutine[Any, Any, R]]) -> CachedFunction[P, R]:
        # A text is iterable too, and its letters would be the tags.
        names = tuple(identifier("tag", tag) for tag in several(tags))
        resolve_ellipsis = tuple(identifier("ignore", name) for name in several(ignore))
        shape = CallShape(function, frozenset((*_IGNORED, *resolve_ellipsis)))
        if strange := [name for name in resolve_ellipsis if name not in _OBJECTS and not shape.takes(name)]:
            has = ", ".join(shape.signature.parameters)
            raise ArgumentError(f"{shape.name} has no parameter {show(strange[0])}, which ignore= names: it has {has}")
        return CachedFunction(function, data_type or shape.name, lifetime, key, names, shape)

    return decorate


class CachedFunction(Generic[P, R]):
    """An async function with its cache. Made by `cached`; called, and inspected, like the function itself."""

    def __init__(
        self,
        function: Callable[P, Coroutine[Any, Any, R]],
        data_type: str,
        ttl: TtlOrUnset,
        key: Callable[..., str] | None,
        tags: tuple[str, ...],
        shape: CallShape,
    ) -> None:
        self.data_type = data_type
        self._function = function
        self._ttl = ttl
        self._key = key
        self._tags = tags
        self._shape = shape
        self._is_method = shape.first in _OBJECTS
        functools.update_wrapper(self, function)
        self.__signature__ = shape.signature
        _look_like(self, function)

    def __reduce__(self) -> str:
        """Returns its name, by which it is pickled and copied, as functions are."""
        return str(self.__qualname__)  # type: ignore[attr-defined]  # set by update_wrapper

    def __set_name__(self, owner: type, name: str) -> None:
        """Notes that the function was defined in a class: its first parameter is the object, with any name."""
        self._is_method = True
        self._shape.note_class(owner)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Returns the function as a method of an object, which is part of the key."""
        return self if instance is None else _BoundFunction(self, instance)

    async def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Returns the result for these arguments, from the cache or from the function.

        Raises:
            MissingTenantError: No parameter names a tenant and none is ambient.
            TenantMismatchError: Two tenants are named, or the result says that it is another tenant's.
            EncodeError: An argument or the method's object cannot be part of a key; the message names a remedy.
            Exception: The function's own.

        Cost: as `Cache.load`.
        """
        resource_id, scope = self._place(args, kwargs)
        cache = await runtime.opened()
        found = await cache.lookup(
            self.data_type,
            resource_id,
            scope,
            self._loader(args, kwargs, scope),
            ttl=self._ttl,
            tags=self._tags,
            # The parameters of the scope are not in the id: an entry of a wider scope is the result of other arguments.
            search_hierarchy=False,
        )
        return cast("R", found.value)

    async def invalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> int:
        """Ends the result for these arguments. Cost: 1 round trip."""
        resource_id, scope = self._place(args, kwargs)
        return await (await runtime.opened()).invalidate(scope, self.data_type, resource_id)

    async def invalidate_all(self, tenant_id: str | None = None) -> int:
        """Ends every result of a tenant that is of the function's data type. Cost: 1 round trip, for any number of them."""
        return await (await runtime.opened()).invalidate(scope_of(tenant_id), self.data_type)

    async def refresh(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls the function even on a hit, and keeps its result."""
        resource_id, scope = self._place(args, kwargs)
        cache = await runtime.opened()
        load = self._loader(args, kwargs, scope)
        return cast("R", await cache.refresh(self.data_type, resource_id, scope, load, ttl=self._ttl, tags=self._tags))

    async def explain(self, /, *args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
        """Returns why a call with these arguments is answered as it is. Cost: as `Cache.explain`."""
        resource_id, scope = self._place(args, kwargs)
        return await (await runtime.opened()).explain(self.data_type, resource_id, scope)

    def _loader(self, args: Any, kwargs: Any, scope: Scope) -> Callable[[LoadContext], Coroutine[Any, Any, R]]:
        async def load(_: LoadContext) -> R:
            with Context(scope.tenant_id):
                result = await self._function(*args, **kwargs)
            return result if result is UNCHANGED else cast("R", check_data(result, scope.tenant_id))

        return load

    def _place(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, Scope]:
        given = self._shape.arguments(args, kwargs)
        named = self._shape.flatten(given)
        info = find_tenant_info((named.get(name) for name in INFO_NAMES), (*args, *kwargs.values()))
        stated = agree_on_tenant(
            ("the tenant info", getattr(info, "tenant_id", None)), ("the argument tenant_id", named.get("tenant_id"))
        )
        scope = scope_of(stated, *(named.get(name) for name in _SCOPE_PARAMETERS[1:]), ctx=named.get("ctx"))
        if self._key is not None:
            return self._shape.id_of(self._key(*args, **kwargs)), scope
        return self._shape.digest(given, self._shape.first if self._is_method else None), scope


class _BoundFunction:
    """A cached function as a method of one object."""

    def __init__(self, cached_function: CachedFunction[Any, Any], instance: object) -> None:
        self._cached = cached_function
        self._instance = instance
        functools.update_wrapper(self, cached_function._function)
        whole = cached_function.__signature__
        self.__signature__ = whole.replace(parameters=list(whole.parameters.values())[1:])
        _look_like(self, cached_function._function)

    async def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Returns the result for these arguments, as `CachedFunction` gives it."""
        return await self._cached(self._instance, *args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        """Returns its parts, by which it is pickled and copied, as bound methods are."""
        return getattr, (self._instance, self._cached.__name__)  # type: ignore[attr-defined]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BoundFunction) and self._cached is other._cached and self._instance is other._instance

    def __hash__(self) -> int:
        # By identity, as bound methods do: the object may be unhashable, and two equal objects are still two.
        return hash((id(self._cached), id(self._instance)))

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._cached, name)
        return functools.partial(found, self._instance) if name in {"invalidate", "refresh", "explain"} else found


def _look_like(wrapper: Any, function: Any) -> None:
    """Makes ``inspect.iscoroutinefunction`` say yes: frameworks await, and run at all, only such functions."""
    target = function
    while isinstance(target, functools.partial):
        target = target.func
    if hasattr(inspect, "markcoroutinefunction"):  # Python 3.12
        inspect.markcoroutinefunction(wrapper)
    # Before Python 3.12 inspect reads the flag in __code__, and only of objects that have all of these.
    for name in (
        "__code__",
        "__defaults__",
        "__kwdefaults__",
        "__globals__",
        "__name__",
        "__qualname__",
        "__annotations__",
    ):
        setattr(wrapper, name, getattr(target, name, None))
