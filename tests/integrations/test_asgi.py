"""The tenant of requests and connections, with Starlette and FastAPI as they are, and the life of the cache."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import httpx2
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from alacena import (
    CacheManager,
    Context,
    MissingTenantError,
    SettingsError,
    configure,
    get_current_tenant_id,
    get_with_cache_aside,
)
from alacena.common.context import get_current_user_id, get_full_context
from alacena.integrations.asgi import TenantMiddleware, cache_lifespan, from_header, from_path
from alacena.integrations.caller import Caller, current_caller

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

ACME = {"X-Tenant-ID": "acme"}
SEEN: list[str | None] = []


async def in_dependency() -> str | None:
    return get_current_tenant_id()


def in_sync_dependency() -> str | None:
    return get_current_tenant_id()


async def in_yield_dependency() -> AsyncIterator[str | None]:
    yield get_current_tenant_id()
    SEEN.append(get_current_tenant_id())


def service() -> FastAPI:  # noqa: C901 - one endpoint a place
    app = FastAPI()

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
            await asyncio.sleep(0)
            yield f'"{get_current_tenant_id()}"}}'

        return StreamingResponse(chunks())

    @app.get("/sync-stream")
    def sync_stream() -> StreamingResponse:
        def chunks() -> Iterator[str]:
            yield '{"seen": '
            yield f'"{get_current_tenant_id()}"}}'

        return StreamingResponse(chunks())

    @app.get("/background")
    async def background(tasks: BackgroundTasks) -> dict[str, Any]:
        async def later() -> None:
            SEEN.append(get_current_tenant_id())

        tasks.add_task(later)
        return {"seen": get_current_tenant_id()}

    @app.get("/sync-background")
    def sync_background(tasks: BackgroundTasks) -> dict[str, Any]:
        tasks.add_task(lambda: SEEN.append(get_current_tenant_id()))
        return {"seen": get_current_tenant_id()}

    @app.get("/dependency")
    async def dependency(seen: Annotated[str, Depends(in_dependency)]) -> dict[str, Any]:
        return {"seen": seen}

    @app.get("/sync-dependency")
    async def sync_dependency(seen: Annotated[str, Depends(in_sync_dependency)]) -> dict[str, Any]:
        return {"seen": seen}

    @app.get("/yield-dependency")
    async def yield_dependency(seen: Annotated[str, Depends(in_yield_dependency)]) -> dict[str, Any]:
        return {"seen": seen}

    @app.get("/task")
    async def task() -> dict[str, Any]:
        async def work() -> str | None:
            return get_current_tenant_id()

        return {"seen": await asyncio.create_task(work())}

    @app.websocket("/socket")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_json({"seen": get_current_tenant_id()})
        await websocket.receive_text()
        await websocket.send_json({"seen": get_current_tenant_id()})
        await websocket.close()

    return app


PLACES = [route.path for route in service().routes if getattr(route, "methods", None) and "json" not in route.path]
PLACES = [path for path in PLACES if path.partition("/")[2] and not path.startswith(("/docs", "/redoc"))]
AFTER_THE_ANSWER = {"/background", "/sync-background", "/yield-dependency"}


@pytest.fixture(autouse=True)
def _seen() -> None:
    SEEN.clear()


@pytest.mark.parametrize("outer", ["plain", "inside BaseHTTPMiddleware"])
@pytest.mark.parametrize("place", PLACES)
async def test_tenant_is_seen_everywhere_and_ends_with_the_request(place: str, outer: str) -> None:
    app: Any = service()
    app.add_middleware(TenantMiddleware, who=from_header())
    if outer != "plain":

        async def pass_on(request: Any, call_next: Any) -> Any:
            return await call_next(request)

        app.add_middleware(BaseHTTPMiddleware, dispatch=pass_on)

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://service") as client:
        answers = await asyncio.gather(*(client.get(place, headers={"X-Tenant-ID": f"t{n}"}) for n in range(3)))

    assert [answer.json()["seen"] for answer in answers] == ["t0", "t1", "t2"]
    assert sorted(map(str, SEEN)) == (["t0", "t1", "t2"] if place in AFTER_THE_ANSWER else [])
    assert get_current_tenant_id() is None


def test_table_covers_every_place() -> None:
    assert set(PLACES) == {
        *("/async", "/sync", "/stream", "/sync-stream", "/background", "/sync-background"),
        *("/dependency", "/sync-dependency", "/yield-dependency", "/task"),
    }


def test_websocket_keeps_its_tenant() -> None:
    app = service()
    app.add_middleware(TenantMiddleware, who=from_header())

    with TestClient(app) as client, client.websocket_connect("/socket", headers=ACME) as socket:
        assert socket.receive_json() == {"seen": "acme"}
        socket.send_text("more")
        assert socket.receive_json() == {"seen": "acme"}


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_nobody_is_refused(status: int) -> None:
    app = service()
    app.add_middleware(TenantMiddleware, who=from_header(), on_missing=status)
    client = TestClient(app)

    answer = client.get("/async")

    assert answer.status_code == status
    assert answer.json() == {"detail": "this request names no tenant"}
    assert ("www-authenticate" in answer.headers) == (status == 401)
    with client.websocket_connect("/socket") as socket, pytest.raises(WebSocketDisconnect) as refused:
        socket.receive_json()
    assert refused.value.code == 4000 + status


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Tenant-ID": ""},
        {"X-Tenant-ID": "  "},
        {"X-Tenant-ID": "system"},
        {"X-Tenant-ID": "default"},
        {"X-Tenant-ID": "00000000-0000-0000-0000-000000000000"},
        {"X-Tenant-ID": "%ff"},
        [("X-Tenant-ID", "acme"), ("X-Tenant-ID", "umbrella")],
        [("X-Tenant-ID", "acme"), ("x-tenant-id", "acme")],
    ],
)
def test_a_header_that_is_no_tenant_is_refused(headers: Any) -> None:
    app = service()
    app.add_middleware(TenantMiddleware, who=from_header())

    assert TestClient(app).get("/async", headers=headers).status_code == 401


def test_header_may_be_encoded() -> None:
    app = service()
    app.add_middleware(TenantMiddleware, who=from_header("X-Org"))

    assert TestClient(app).get("/async", headers={"X-Org": "caf%C3%A9"}).json() == {"seen": "café"}


def test_tenant_comes_from_the_path() -> None:
    async def read(request: Any) -> JSONResponse:
        return JSONResponse({"seen": get_current_tenant_id(), "path": request.path_params["tenant"]})

    app = Starlette(routes=[Route("/t/{tenant}/documents", read), Route("/other/{tenant}", read)])
    app.add_middleware(TenantMiddleware, who=from_path("/t/{tenant_id}"))
    client = TestClient(app)

    assert client.get("/t/acme/documents").json() == {"seen": "acme", "path": "acme"}
    assert client.get("/other/acme").status_code == 401
    with pytest.raises(SettingsError, match="tenant_id"):
        from_path("/t/{tenant}")


def test_mounted_application_reads_its_own_path() -> None:
    from starlette.routing import Mount

    async def read(request: Any) -> JSONResponse:
        return JSONResponse({"seen": get_current_tenant_id()})

    inner = TenantMiddleware(Starlette(routes=[Route("/{tenant}/x", read)]), who=from_path("/{tenant_id}"))

    assert TestClient(Starlette(routes=[Mount("/api", inner)])).get("/api/acme/x").json() == {"seen": "acme"}


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_own_function_names_the_caller(kind: str) -> None:
    claims = {"token-1": {"tenant_id": "acme", "user_id": "u1", "permissions": ["read"], "exp": 1}}

    def claims_of(scope: Any) -> Any:
        given = dict(scope["headers"]).get(b"authorization", b"").decode()
        return claims.get(given.removeprefix("Bearer "))

    async def claims_of_async(scope: Any) -> Any:
        await asyncio.sleep(0)
        return claims_of(scope)

    app = FastAPI()

    @app.get("/")
    def read() -> dict[str, Any]:
        caller = current_caller()
        return {"user": get_current_user_id(), "permissions": sorted(caller.permissions or ())}

    app.add_middleware(TenantMiddleware, who=claims_of if kind == "sync" else claims_of_async)
    client = TestClient(app)

    answer = client.get("/", headers={"Authorization": "Bearer token-1"})
    assert answer.json() == {"user": "u1", "permissions": ["read"]}
    assert client.get("/", headers={"Authorization": "Bearer stolen"}).status_code == 401


async def test_public_path_works_for_nobody() -> None:
    app = service()

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return get_full_context()

    @app.get("/public/a")
    async def below() -> dict[str, Any]:
        with pytest.raises(MissingTenantError):
            await CacheManager.get("document", "d1")
        return {"refused": True}

    app.add_middleware(TenantMiddleware, who=from_header(), public=("/health", "/public/", "/"))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://service") as client:
        with Context("umbrella", agent_id="a1"):  # of the code around, which must not become the request's
            assert set((await client.get("/health", headers=ACME)).json().values()) == {None}
            assert (await client.get("/public/a")).json() == {"refused": True}
            assert (await client.get("/async")).status_code == 401
            assert (await client.get("/async", headers=ACME)).json() == {"seen": "acme"}
            assert get_full_context()["agent_id"] == "a1"
    await CacheManager.close()


async def test_tenants_never_share_an_entry(cache: Any) -> None:
    app = FastAPI()

    @app.get("/{document_id}")
    async def read(document_id: str) -> Any:
        value, _ = await get_with_cache_aside("document", document_id, fetch_from_db_func=get_current_tenant_id)
        return value

    app.add_middleware(TenantMiddleware, who=from_header())
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://service") as client:
        for _ in range(2):
            for tenant in ("acme", "umbrella"):
                assert (await client.get("/d1", headers={"X-Tenant-ID": tenant})).json() == tenant


async def test_tenant_ends_when_the_endpoint_fails() -> None:
    async def fails(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError

    middleware = TenantMiddleware(fails, who=lambda scope: "acme")
    with pytest.raises(LookupError):
        await middleware({"type": "http", "path": "/", "headers": []}, None, None)  # type: ignore[arg-type]

    assert get_current_tenant_id() is None


def test_bad_settings_are_refused() -> None:
    with pytest.raises(SettingsError, match="on_missing"):
        TenantMiddleware(service(), who=from_header(), on_missing=500)
    with pytest.raises(SettingsError, match="public"):
        TenantMiddleware(service(), who=from_header(), public="/health")


@pytest.mark.parametrize("framework", ["starlette", "fastapi", "litestar"])
def test_lifespan_opens_and_closes_the_cache(framework: str) -> None:
    from alacena.common.runtime import PROCESS

    configure()
    lifespan = cache_lifespan(namespace="lifespan-test")
    if framework == "litestar":
        litestar = pytest.importorskip("litestar")
        from litestar.testing import TestClient as LitestarClient

        @litestar.get("/")
        async def read_namespace() -> str:
            return (await CacheManager.cache()).settings.namespace

        with LitestarClient(litestar.Litestar([read_namespace], lifespan=[lifespan])) as client:
            assert client.get("/").text == "lifespan-test"
    else:

        async def read(request: Any) -> JSONResponse:
            assert request.state.cache is await CacheManager.cache()
            return JSONResponse({"namespace": request.state.cache.settings.namespace})

        kind: Any = Starlette if framework == "starlette" else FastAPI
        with TestClient(kind(lifespan=lifespan, routes=[Route("/", read)])) as client:
            assert client.get("/").json() == {"namespace": "lifespan-test"}
    assert PROCESS.cache is None
    configure()


def test_own_lifespan_runs_while_the_cache_is_open() -> None:
    from contextlib import asynccontextmanager

    happened = []

    @asynccontextmanager
    async def own(app: Any) -> AsyncIterator[dict[str, Any]]:
        await CacheManager.set("document", "d1", "x", "acme")
        yield {"more": 1}
        happened.append(await CacheManager.get("document", "d1", "acme"))

    async def read(request: Any) -> JSONResponse:
        return JSONResponse({"more": request.state.more, "open": request.state.cache.is_open})

    with TestClient(Starlette(lifespan=cache_lifespan(own), routes=[Route("/", read)])) as client:
        assert client.get("/").json() == {"more": 1, "open": True}
    assert happened == ["x"]


def test_wrong_settings_stop_the_start() -> None:
    with pytest.raises(SettingsError), TestClient(Starlette(lifespan=cache_lifespan(memory_max_bytes=-1))):
        pass


@pytest.mark.parametrize("tenant_id", [None, "", " ", "system", "default"])
def test_caller_has_a_tenant(tenant_id: Any) -> None:
    with pytest.raises(MissingTenantError):
        Caller(tenant_id=tenant_id)
