"""Dependencies of FastAPI: the tenant, the caller, the cache, and authentication that is a dependency itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import httpx2
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, Header, WebSocket
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient

from alacena import get_current_tenant_id
from alacena.integrations.asgi import TenantMiddleware, from_header
from alacena.integrations.caller import Caller, current_caller
from alacena.integrations.fastapi import CurrentCache, CurrentCaller, CurrentTenant, works_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SEEN: list[str | None] = []


def caller_of_token(authorization: Annotated[str, Header()] = "") -> dict[str, Any] | None:
    """Stands for the check of a token's signature; sync, so that FastAPI runs it in a thread."""
    tenant_id, _, user_id = authorization.removeprefix("Bearer ").partition("/")
    return {"tenant_id": tenant_id, "user_id": user_id or None, "permissions": ["read"]} if tenant_id else None


def service() -> FastAPI:
    app = FastAPI()

    @app.get("/who")
    async def who(tenant_id: CurrentTenant, caller: CurrentCaller, cache: CurrentCache) -> dict[str, Any]:
        return {"tenant": tenant_id, "user": caller.user_id, "permissions": sorted(caller.permissions or ())}

    @app.get("/async")
    async def answer() -> dict[str, Any]:
        return {"seen": get_current_tenant_id()}

    @app.get("/sync")
    def answer_sync() -> dict[str, Any]:
        return {"seen": get_current_tenant_id()}

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def chunks() -> AsyncIterator[str]:
            yield '{"seen": '
            yield f'"{get_current_tenant_id()}"}}'

        return StreamingResponse(chunks())

    @app.get("/background")
    async def background(tasks: BackgroundTasks) -> dict[str, Any]:
        async def later() -> None:
            SEEN.append(get_current_tenant_id())

        tasks.add_task(later)
        return {"seen": get_current_tenant_id()}

    @app.websocket("/socket")
    async def socket(websocket: WebSocket, tenant_id: CurrentTenant) -> None:
        await websocket.accept()
        await websocket.send_json({"seen": tenant_id})
        await websocket.close()

    return app


async def test_dependencies_say_for_whom_a_request_is(cache: Any) -> None:
    app = service()
    app.add_middleware(TenantMiddleware, who=lambda scope: Caller(tenant_id="acme", user_id="u1", permissions={"a"}))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://service") as client:
        answer = await client.get("/who")

    assert answer.json() == {"tenant": "acme", "user": "u1", "permissions": ["a"]}


def test_request_without_a_tenant_is_refused() -> None:
    answer = TestClient(service()).get("/who")

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_websocket_has_the_dependency_too() -> None:
    app = service()
    app.add_middleware(TenantMiddleware, who=from_header())

    with TestClient(app).websocket_connect("/socket", headers={"X-Tenant-ID": "acme"}) as socket:
        assert socket.receive_json() == {"seen": "acme"}


@pytest.mark.parametrize("place", ["/async", "/sync", "/stream", "/background"])
async def test_dependency_that_authenticates_runs_the_endpoint_for_its_caller(place: str) -> None:
    app = FastAPI(dependencies=[Depends(works_for(caller_of_token))])
    app.include_router(service().router)
    SEEN.clear()
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://service") as client:
        answers = await asyncio.gather(
            *(client.get(place, headers={"Authorization": f"Bearer t{n}/u"}) for n in range(3))
        )
        refused = await client.get(place)

    assert [answer.json()["seen"] for answer in answers] == ["t0", "t1", "t2"]
    assert refused.status_code == 401
    assert get_current_tenant_id() is None
    assert sorted(map(str, SEEN)) == (["t0", "t1", "t2"] if place == "/background" else [])


def test_dependency_gives_the_caller() -> None:
    app = FastAPI()
    working = works_for(caller_of_token)

    @app.get("/")
    def read(caller: Any = Depends(working)) -> dict[str, Any]:  # noqa: B008 - as FastAPI has it
        assert caller == current_caller()
        return {"user": caller.user_id, "permissions": sorted(caller.permissions)}

    answer = TestClient(app).get("/", headers={"Authorization": "Bearer acme/u1"})

    assert answer.json() == {"user": "u1", "permissions": ["read"]}


def test_missing_framework_is_named_with_its_extra(import_without: Callable[[str, str], Any]) -> None:
    with pytest.raises(ImportError, match=r"needs fastapi>=0\.118,<1: pip install 'alacena\[fastapi\]'"):
        import_without("alacena.integrations.fastapi", "fastapi")
