"""`with_context`: run a function for the tenant that its arguments, or its caller's context, name."""

from __future__ import annotations

import inspect
from contextvars import copy_context
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast, overload
from uuid import UUID

from alacena.common.context.context import Context
from alacena.common.context.decorated_generators import async_steps, steps
from alacena.common.context.vars import agree_on_tenant, require_tenant
from alacena.engine.base.arguments import check_callable
from alacena.engine.base.errors import ArgumentError, MissingTenantError, show

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

P = ParamSpec("P")
R = TypeVar("R")

INFO_NAMES = ("tenant_info", "tenant")


class _Arguments:
    """The places of the tenant's arguments in one function's signature."""

    __slots__ = ("_positions", "takes_ctx")

    def __init__(self, function: Callable[..., Any]) -> None:
        check_callable(function, "function", "async def work(tenant_id)")
        try:
            parameters = inspect.signature(function).parameters
        except ValueError as error:
            raise ArgumentError(f"the signature of {show(function)} cannot be read: wrap it in a function") from error
        named = [p.name for p in parameters.values() if p.kind is not p.KEYWORD_ONLY and p.kind is not p.VAR_KEYWORD]
        self._positions = {name: index for index, name in enumerate(named)}
        self.takes_ctx = "ctx" in parameters

    def value(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Returns the call's argument for the parameter ``name``, or ``None``."""
        if name in kwargs:
            return kwargs[name]
        position = self._positions.get(name)
        return args[position] if position is not None and position < len(args) else None

    def with_ctx(
        self, context: Context, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Returns the call's arguments with ``context`` as ``ctx``, where the function takes one and the call brings none."""
        if not self.takes_ctx or self.value("ctx", args, kwargs) is not None:
            return args, kwargs
        # A `None` that was given by position cannot be given by keyword too: its place is filled.
        position = self._positions.get("ctx")
        if "ctx" not in kwargs and position is not None and position < len(args):
            return (*args[:position], context, *args[position + 1 :]), kwargs
        return args, {**kwargs, "ctx": context}


class _Wanted:
    """The fields that a decorated function works with."""

    __slots__ = ("_fields", "_tenant", "_validate_tenant")

    def __init__(self, fields: tuple[str, ...], *, tenant: bool, validate_tenant: bool) -> None:
        self._fields = fields
        self._tenant = tenant
        self._validate_tenant = validate_tenant

    def context(self, arguments: _Arguments, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Context:
        """Returns the block to run one call in."""
        given = arguments.value("ctx", args, kwargs)
        info = _tenant_info(arguments, args, kwargs)
        tenant_id = self._tenant_id(arguments.value("tenant_id", args, kwargs), info, given)
        fields = {name: self._field(name, arguments.value(name, args, kwargs), given) for name in self._fields}
        return Context(tenant_id, tenant_info=info, **fields)

    def _tenant_id(self, explicit: Any, info: Any, given: Any) -> str | None:
        if self._tenant and self._validate_tenant and explicit is not None:
            # Before the comparison: "default" is refused as no tenant at all, not as another than the ambient one.
            require_tenant(str(explicit) if isinstance(explicit, UUID) else explicit)
        tenant_id = agree_on_tenant(
            ("the tenant info", getattr(info, "tenant_id", None)),
            ("the argument ctx", getattr(given, "tenant_id", None)),
            ("the argument tenant_id", explicit),
        )
        if not self._tenant:
            return tenant_id
        if tenant_id is None:
            raise MissingTenantError
        return require_tenant(tenant_id) if self._validate_tenant else tenant_id

    @staticmethod
    def _field(name: str, explicit: Any, given: Any) -> Any:
        value = explicit if explicit is not None else getattr(given, name, None)
        # A blank id counts as left out: Context would refuse the whole call for it.
        return value or None


def _tenant_info(arguments: _Arguments, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    named = (arguments.value(name, args, kwargs) for name in INFO_NAMES)
    return find_tenant_info(named, (*args, *kwargs.values()))


def find_tenant_info(named: Iterable[Any], everything: Iterable[Any]) -> Any:
    """Returns the argument that describes the tenant: by its parameter's name, or by its class (``...TenantInfo``).

    A request body that merely has a ``tenant_id`` does not count: the client must not choose the tenant with it.

    Args:
        named: The arguments of the parameters called like one.
        everything: All arguments.
    """
    for value in named:
        if isinstance(getattr(value, "tenant_id", None), str):
            return value
    return next((value for value in everything if type(value).__name__.endswith("TenantInfo")), None)


@overload
def with_context(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def with_context(
    function: None = None,
    /,
    *,
    tenant: bool = True,
    agent: bool = False,
    conversation: bool = False,
    collection: bool = False,
    user: bool = False,
    validate_tenant: bool = True,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def with_context(
    function: Callable[P, R] | None = None,
    /,
    *,
    tenant: bool = True,
    agent: bool = False,
    conversation: bool = False,
    collection: bool = False,
    user: bool = False,
    validate_tenant: bool = True,
) -> Callable[P, R] | Callable[[Callable[P, R]], Callable[P, R]]:
    """Runs a function, sync or async, inside a `Context` made from its arguments and from the ambient ids.

    The tenant is the ambient one, that of a ``TenantInfo``-like argument, of a ``ctx`` that was passed, or of the
    argument ``tenant_id``: all that are named must agree. A generator, sync or async, runs each of its steps inside the
    block, wherever it is iterated; between them the consumer has its own. ``ctx`` is handed to functions that have a
    parameter of that name, where the call does not bring one. Written bare (``@with_context``) or with flags.

    Args:
        function: The function, where the decorator is written bare.
        tenant: A tenant is required.
        agent: An argument ``agent_id`` becomes ambient while the function runs. The same holds for the next three.
        conversation: The same for ``conversation_id``.
        collection: The same for ``collection_id``.
        user: The same for ``user_id``.
        validate_tenant: Refuse tenants named ``"default"`` or by the nil UUID as well.

    Raises:
        MissingTenantError: On a call that names no tenant where one is required.
        TenantMismatchError: On a call that names two tenants, or another than the ambient one.
    """
    flags = {"agent_id": agent, "conversation_id": conversation, "collection_id": collection, "user_id": user}
    fields = tuple(name for name, wanted in flags.items() if wanted)
    wanted = _Wanted(fields, tenant=tenant, validate_tenant=validate_tenant)

    def decorate(target: Callable[P, R]) -> Callable[P, R]:
        return _decorate(target, wanted)

    return decorate if function is None else decorate(function)


def _decorate(target: Callable[P, R], wanted: _Wanted) -> Callable[P, R]:
    arguments = _Arguments(target)
    if inspect.iscoroutinefunction(target):

        @wraps(target)
        async def run_async(*args: P.args, **kwargs: P.kwargs) -> Any:
            context = wanted.context(arguments, args, kwargs)
            args_, kwargs_ = arguments.with_ctx(context, args, kwargs)
            with context:
                return _keep_inside(await target(*args_, **kwargs_))

        return run_async  # type: ignore[return-value]  # R is the coroutine that run_async makes

    @wraps(target)
    def run(*args: P.args, **kwargs: P.kwargs) -> Any:
        context = wanted.context(arguments, args, kwargs)
        args_, kwargs_ = arguments.with_ctx(context, args, kwargs)
        with context:
            result = _keep_inside(target(*args_, **kwargs_))
        # The block is over when the call returns, and the coroutine has not begun: it is entered once more around that.
        return _within(context, result) if inspect.iscoroutine(result) else result

    return run


def _keep_inside(result: Any) -> Any:
    """Returns what a function returned; a generator's steps run inside the block that is open now."""
    # Copied inside the block, so that the generator's own context begins with what the block has set.
    if inspect.isasyncgen(result):
        return async_steps(result, copy_context())
    return steps(result, copy_context()) if inspect.isgenerator(result) else result


async def _within(context: Context, result: Awaitable[R]) -> R:
    """Awaits the result of a plain function inside the block that it was called in."""
    with context:
        return cast("R", _keep_inside(await result))
