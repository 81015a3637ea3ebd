"""``@cached``: a function whose results are kept, by its arguments, for the tenant it works for."""

from __future__ import annotations

import functools
import inspect
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from alacena.common import runtime
from alacena.common.cache.tenancy import tenant_of
from alacena.engine import UNSET, EncodeError, Scope
from alacena.engine.codec import ValueCodec

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from alacena.engine import LoadContext, TtlOrUnset

P = ParamSpec("P")
R = TypeVar("R")

_SCOPE_PARAMETERS = ("tenant_id", "agent_id", "conversation_id", "collection_id")
_IGNORED = ("self", "cls", "ctx")
_DIGEST_BYTES = 20
_codec = ValueCodec()


def cached(
    data_type: str | None = None,
    *,
    ttl: TtlOrUnset = UNSET,
    key: Callable[..., str] | None = None,
    tags: Iterable[str] = (),
    ignore: Iterable[str] = (),
) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], CachedFunction[P, R]]:
    """Keep the results of an async function.

    ::

        @cached("price", ttl=TTL_SHORT)
        async def price(product_id: str, currency: str = "EUR") -> Decimal: ...


        await price("p1")                 # the tenant is the ambient one, or a parameter called tenant_id
        await price.invalidate("p1")
        await price.refresh("p1")
        await price.explain("p1")

    The key is made from the bound arguments: ``price("p1")`` and ``price(product_id="p1", currency="EUR")`` are one
    entry. Parameters called ``tenant_id``, ``agent_id``, ``conversation_id`` and ``collection_id`` are its scope; ``self``,
    ``cls`` and ``ctx`` are no part of it. ``None`` is not kept, unless the type's policy remembers absences. Inside the
    function, `depends_on` says what its result is made from, `skip` that it is not to be kept, `set_ttl` for how long it
    is, `add_cost` what it cost, and `set_retry_after` for how long it is not to be called again once it has failed. One
    that streams is wrapped in `collected` first.

    Args:
        data_type: The type of the entries, whose policy holds; left out: the function's qualified name.
        ttl: Seconds a result stays fresh; left out: the type's.
        key: Makes the id from the arguments, in place of a digest of all of them.
        tags: What every result depends on.
        ignore: Further parameters that are no part of the key, such as a database session.
    """

    def decorate(function: Callable[P, Coroutine[Any, Any, R]]) -> CachedFunction[P, R]:
        names = (tags,) if isinstance(tags, str) else tuple(tags)
        kind = data_type or f"{function.__module__}.{function.__qualname__}"
        return CachedFunction(function, kind, ttl, key, names, frozenset((*_IGNORED, *ignore)))

    return decorate


class CachedFunction(Generic[P, R]):
    """An async function with its cache. Made by `cached`; called like the function itself."""

    def __init__(
        self,
        function: Callable[P, Coroutine[Any, Any, R]],
        data_type: str,
        ttl: TtlOrUnset,
        key: Callable[..., str] | None,
        tags: tuple[str, ...],
        ignored: frozenset[str],
    ) -> None:
        self.data_type = data_type
        self._function = function
        self._ttl = ttl
        self._key = key
        self._tags = tags
        self._ignored = ignored
        self._signature = inspect.signature(function)
        functools.update_wrapper(self, function)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """The function as a method: its ``self`` is bound, and no part of the key."""
        return self if instance is None else _BoundFunction(self, instance)

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The result for these arguments, from the cache or from the function.

        Raises:
            MissingTenantError: No parameter names a tenant and none is ambient.
            EncodeError: An argument cannot be part of a key; the message names it.
            Exception: The function's own.

        Cost: as `Cache.load`.
        """
        resource_id, scope = self._place(args, kwargs)
        cache = await runtime.opened()
        found = await cache.lookup(
            self.data_type,
            resource_id,
            scope,
            self._loader(args, kwargs),
            ttl=self._ttl,
            tags=self._tags,
            search_hierarchy=False,
        )
        return cast("R", found.value)

    async def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> int:
        """End the result for these arguments. Cost: 1 round trip."""
        resource_id, scope = self._place(args, kwargs)
        return await (await runtime.opened()).invalidate(scope, self.data_type, resource_id)

    async def invalidate_all(self, tenant_id: str | None = None) -> int:
        """End every result of a tenant. Cost: 1 round trip, whatever their number."""
        return await (await runtime.opened()).invalidate(tenant_of(tenant_id), self.data_type)

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function whatever the cache holds, and keep its result."""
        resource_id, scope = self._place(args, kwargs)
        cache = await runtime.opened()
        again = cache.refresh(
            self.data_type, resource_id, scope, self._loader(args, kwargs), ttl=self._ttl, tags=self._tags
        )
        return cast("R", await again)

    async def explain(self, *args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
        """Why a call with these arguments is answered as it is. Cost: 1 round trip."""
        resource_id, scope = self._place(args, kwargs)
        return await (await runtime.opened()).explain(self.data_type, resource_id, scope)

    def _loader(self, args: Any, kwargs: Any) -> Callable[[LoadContext], Coroutine[Any, Any, R]]:
        async def load(_: LoadContext) -> R:
            return await self._function(*args, **kwargs)

        return load

    def _place(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, Scope]:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments
        scope = Scope(tenant_of(given.get("tenant_id")), *(given.get(name) for name in _SCOPE_PARAMETERS[1:]))
        if self._key is not None:
            return self._key(*args, **kwargs), scope
        counted = {n: v for n, v in given.items() if n not in self._ignored and n not in _SCOPE_PARAMETERS}
        return self._digest(counted), scope

    def _digest(self, arguments: dict[str, Any]) -> str:
        try:
            return blake2b(_codec.encode(arguments), digest_size=_DIGEST_BYTES).hexdigest()
        except EncodeError as error:
            message = (
                f"{self._function.__qualname__}: an argument cannot be part of a key ({error}): name it in ignore=, or "
                "pass key="
            )
            raise EncodeError(message, error.path) from error


class _BoundFunction:
    """A cached function as a method of one object."""

    def __init__(self, cached_function: CachedFunction[Any, Any], instance: object) -> None:
        self._cached = cached_function
        self._instance = instance

    def __call__(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        return self._cached(self._instance, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._cached, name)
        return functools.partial(found, self._instance) if name in {"invalidate", "refresh", "explain"} else found
