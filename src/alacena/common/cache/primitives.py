"""The verbs that `CacheManager` has on its instance only: lists, sets, counters and flags.

They raise where Redis fails: a pretended success would lose work.
"""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Never, ParamSpec, TypeVar, cast, overload

from alacena.common import runtime
from alacena.common.cache.primitive_names import compose, split_tenant
from alacena.common.cache.tenancy import Id, check_data, scope_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class instance_method(Generic[T, P, R]):  # noqa: N801 - used as a decorator
    """Makes a method unreachable on the class: the error there names the remedy.

    Raises:
        AttributeError: The method is taken from the class (so ``hasattr`` on the class is ``False``).
    """

    def __init__(self, function: Callable[Concatenate[T, P], R]) -> None:
        self._function = function
        self.__doc__ = function.__doc__
        self.__wrapped__ = function

    @overload
    def __get__(self, instance: None, owner: type[T]) -> Never: ...
    @overload
    def __get__(self, instance: T, owner: type[T]) -> Callable[P, R]: ...
    def __get__(self, instance: T | None, owner: type[T]) -> Callable[P, R]:
        if instance is None:
            name = self._function.__name__
            msg = f"{owner.__name__}.{name} is an instance method: write {owner.__name__}.get_instance().{name}(...)"
            raise AttributeError(msg, name=name, obj=owner)
        return cast("Callable[P, R]", MethodType(cast("Any", self._function), instance))


class Primitives:
    """Lists, sets, counters and flags of the process-wide cache.

    A name may carry its tenant: ``rpush("queue", v, tenant_id="acme")``, ``rpush("acme:queue", v)`` and both together
    reach the same list. Elements are values: a dict goes in, a dict comes out.

    Every verb raises `MissingTenantError` if no tenant is given, none leads the name and none is ambient;
    `TenantMismatchError` if a tenant is given, or a value says that it belongs to one, that is not the one that the code
    runs for; and `BackendError` if Redis fails.
    """

    __slots__ = ()

    @instance_method
    async def rpush(self, list_name: str, value: Any, tenant_id: str | None = None) -> int:
        """Appends a value to a list. Returns the list's length. Cost: 1 round trip."""
        tenant, name = split_tenant(list_name, tenant_id)
        return await (await runtime.opened()).lists.rpush(name, check_data(value, tenant), tenant_id=tenant)

    @instance_method
    async def lpop(self, list_name: str, tenant_id: str | None = None) -> Any:
        """Takes the first value off a list; ``None`` if it is empty.

        A value that was taken is gone, even if the worker dies over it: workers should use ``Cache.queues``, which hand out
        items until they are acknowledged. A value that cannot be read here is put back, and a `DecodeError` says so.
        Cost: 1 round trip.
        """
        tenant, name = split_tenant(list_name, tenant_id)
        return await (await runtime.opened()).lists.lpop(name, tenant_id=tenant)

    @instance_method
    async def lrange(self, list_name: str, start: int = 0, end: int = -1, tenant_id: str | None = None) -> list[Any]:
        """Returns the values from ``start`` to ``end``, both included; negative numbers count from the end."""
        tenant, name = split_tenant(list_name, tenant_id)
        return await (await runtime.opened()).lists.lrange(name, start, end, tenant_id=tenant)

    @instance_method
    async def llen(self, list_name: str, tenant_id: str | None = None) -> int:
        """Returns how many values a list has."""
        tenant, name = split_tenant(list_name, tenant_id)
        return await (await runtime.opened()).lists.llen(name, tenant_id=tenant)

    @instance_method
    async def set_nx(self, key: str, value: Any, tenant_id: str | None = None, ex: float | None = None) -> bool:
        """Raises a flag unless it is raised; ``delete(key=...)`` lowers it.

        Args:
            key: The flag's name.
            value: Its value.
            tenant_id: The tenant; it may lead the name instead.
            ex: Seconds after which it falls by itself; ``None``: never.

        Returns:
            ``True`` for the one caller that raised it, else ``False``.

        Atomicity: one command on the server; memory is never asked.
        """
        tenant, name = split_tenant(key, tenant_id)
        return await (await runtime.opened()).flags.set_nx(name, check_data(value, tenant), tenant_id=tenant, ttl_s=ex)

    @instance_method
    async def increment_counter(
        self,
        counter_type: str,
        amount: int = 1,
        resource_id: str = "total",
        tenant_id: str | None = None,
        agent_id: Id = None,
        conversation_id: Id = None,
        collection_id: Id = None,
        *,
        token_type: str | None = None,
        value: int | None = None,
        ttl: float | None = None,
        metadata: Mapping[str, Any] | None = None,  # noqa: ARG002 - accepted from callers; a counter is a number
    ) -> int:
        """Adds to a counter and returns its new value.

        Args:
            counter_type: Its kind.
            amount: How much is added.
            resource_id: Which counter of that type.
            tenant_id: The tenant; left out: the ambient tenant.
            agent_id: The agent's own counter. The same holds for the next two.
            conversation_id: The conversation's own counter.
            collection_id: The collection's own counter.
            token_type: Part of the counter's identity, for counters of tokens.
            value: Another word for ``amount``.
            ttl: Seconds after which a counter that this call began falls back to nothing; ``None``: never.
            metadata: Not kept.

        Atomicity: one script on the server, expiry included.
        """
        scope = scope_of(tenant_id, agent_id, conversation_id, collection_id)
        name = compose(
            counter_type, resource_id, token_type, scope.agent_id, scope.conversation_id, scope.collection_id
        )
        added = amount if value is None else value
        return await (await runtime.opened()).counters.increment(name, added, tenant_id=scope.tenant_id, ttl_s=ttl)

    @instance_method
    async def get_counter(
        self,
        counter_type: str,
        resource_id: str = "total",
        tenant_id: str | None = None,
        agent_id: Id = None,
        conversation_id: Id = None,
        collection_id: Id = None,
        *,
        token_type: str | None = None,
    ) -> int:
        """Returns the value of the counter that `increment_counter` with the same arguments adds to; 0 if there is none."""
        scope = scope_of(tenant_id, agent_id, conversation_id, collection_id)
        name = compose(
            counter_type, resource_id, token_type, scope.agent_id, scope.conversation_id, scope.collection_id
        )
        return await (await runtime.opened()).counters.get(name, tenant_id=scope.tenant_id)

    @instance_method
    async def add_to_set(
        self, set_name: str, value: Any, tenant_id: str | None = None, ttl: float | None = None
    ) -> int:
        """Puts a value into a set; with ``ttl``, the whole set falls that many seconds later. Returns 1 if it is new."""
        tenant, name = split_tenant(set_name, tenant_id)
        return await (await runtime.opened()).sets.add(name, check_data(value, tenant), tenant_id=tenant, ttl_s=ttl)

    @instance_method
    async def remove_from_set(self, set_name: str, value: Any, tenant_id: str | None = None) -> int:
        """Takes a value out of a set. Returns 1 if it was there."""
        tenant, name = split_tenant(set_name, tenant_id)
        return await (await runtime.opened()).sets.remove(name, value, tenant_id=tenant)

    @instance_method
    async def get_set_members(self, set_name: str, tenant_id: str | None = None) -> list[Any]:
        """Returns the values of a set, in no order."""
        tenant, name = split_tenant(set_name, tenant_id)
        return await (await runtime.opened()).sets.members(name, tenant_id=tenant)
