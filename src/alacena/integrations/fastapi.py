"""FastAPI: the tenant, the caller and the cache as dependencies.

::

    @app.get("/documents/{document_id}")
    async def read(document_id: str, tenant_id: CurrentTenant, cache: CurrentCache) -> dict: ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from alacena import Cache, CacheManager, MissingTenantError, get_current_tenant_id
from alacena.integrations.caller import Caller, Serving, current_caller
from alacena.integrations.requirement import require_extra

with require_extra("alacena.integrations.fastapi", "fastapi", ("fastapi", "0.118", "1")):
    from fastapi import Depends, HTTPException

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

_NO_TENANT = "this request names no tenant"


async def current_tenant() -> str:
    """Returns the tenant of the request.

    Raises:
        HTTPException: 401: there is none.
    """
    tenant_id = get_current_tenant_id()
    if tenant_id is None:
        raise HTTPException(401, _NO_TENANT, {"WWW-Authenticate": "Bearer"})
    return tenant_id


async def caller_of_request() -> Caller:
    """Returns the caller of the request, with its permissions.

    Raises:
        HTTPException: 401: there is none.
    """
    await current_tenant()
    return current_caller()


async def current_cache() -> Cache:
    """Returns the process-wide cache, opened if it is not."""
    return await CacheManager.cache()


CurrentTenant = Annotated[str, Depends(current_tenant)]
"""The tenant of the request."""
CurrentCaller = Annotated[Caller, Depends(caller_of_request)]
"""The caller of the request: tenant, user, permissions."""
CurrentCache = Annotated[Cache, Depends(current_cache)]
"""The process-wide cache."""


def works_for(who: Callable[..., Any]) -> Callable[..., AsyncIterator[Caller]]:
    """Returns a dependency that runs the endpoint for the caller that another dependency names.

    In place of `TenantMiddleware`, if the authentication is itself a dependency. Give it to the application or router, or
    name it in the endpoint:

    ::

        app = FastAPI(dependencies=[Depends(works_for(caller_of_token))])

    Args:
        who: A dependency, sync or async, that returns a `Caller`, a tenant's id, or a mapping of a caller's fields.

    Raises:
        HTTPException: 401, on a request without a tenant.
    """

    # Async though it awaits nothing: FastAPI runs a sync dependency in a thread with a copy of the context, and the
    # endpoint would not see what is set there.
    async def work(named: Any = Depends(who)) -> AsyncIterator[Caller]:  # noqa: B008 - how a dependency is named
        try:
            caller = Caller.of(named)
        except MissingTenantError:
            raise HTTPException(401, _NO_TENANT, {"WWW-Authenticate": "Bearer"}) from None
        with Serving(caller):
            yield caller

    return work
