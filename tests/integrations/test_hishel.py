"""hishel over the cache: what its storages owe, and its ASGI middleware with ETag and Cache-Control."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx2
import pytest
from hishel import Headers, Request, Response
from hishel.asgi import ASGICacheMiddleware
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.responses import Response as Answer
from starlette.routing import Route

from alacena import CacheManager, Context, Scope
from alacena.integrations.asgi import TenantMiddleware
from alacena.integrations.caller import Caller, Serving
from alacena.integrations.hishel import RESPONSE, AlacenaStorage
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from alacena import Cache


def response(*chunks: bytes, **headers: str) -> Response:
    async def body() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return Response(200, Headers(headers), body())


async def read(entry: Any) -> bytes:
    return b"".join([chunk async for chunk in entry.response.stream])


REQUEST = Request("GET", "http://service/a", Headers({"accept": "text/plain"}))


async def test_entry_is_found_when_its_body_was_read_to_the_end(cache: Cache) -> None:
    storage = AlacenaStorage()
    with Context("acme"):
        entry = await storage.create_entry(REQUEST, response(b"a", b"b", vary="accept"), "k")
        assert await storage.get_entries("k") == []
        assert await read(entry) == b"ab"

        (found,) = await storage.get_entries("k")

        assert (found.id, found.request.url, found.response.status_code) == (entry.id, REQUEST.url, 200)
        assert found.response.headers["vary"] == "accept"
        assert found.request.headers["accept"] == "text/plain"
        assert await read(found) == b"ab"
        assert await storage.get_entries("other") == []


async def test_stream_cut_short_is_not_kept(cache: Cache) -> None:
    storage = AlacenaStorage()
    with Context("acme"):
        entry = await storage.create_entry(REQUEST, response(b"a", b"b"), "k")
        stream: Any = entry.response.stream
        await anext(stream)
        await stream.aclose()

        assert await storage.get_entries("k") == []


async def test_several_variants_stand_under_one_key(cache: Cache) -> None:
    storage = AlacenaStorage()
    with Context("acme"):
        for n in range(3):
            await read(await storage.create_entry(REQUEST, response(b"%d" % n), "k"))
        found = await storage.get_entries("k")
        await storage.remove_entry(found[1].id)

        assert [await read(entry) for entry in found] == [b"0", b"1", b"2"]
        assert [await read(entry) for entry in await storage.get_entries("k")] == [b"0", b"2"]


async def test_headers_are_replaced_and_time_goes_on(cache: Cache) -> None:
    storage = AlacenaStorage(cache, default_ttl=100)
    with Context("acme"):
        entry = await storage.create_entry(REQUEST, response(b"a", etag="1"), "k")
        await read(entry)
        await storage.update_headers(entry.id, Headers({"etag": "2"}))
        await storage.update_headers(uuid4(), Headers({"etag": "3"}))
        await storage.remove_entry(uuid4())

        (found,) = await storage.get_entries("k")
        assert found.response.headers["etag"] == "2"
        assert await read(found) == b"a"
        assert 0 < await cache.ttl(RESPONSE, str(entry.id), "acme") <= 100


async def test_large_bodies_pass_and_are_not_kept(cache: Cache) -> None:
    storage = AlacenaStorage(max_stream_size=3)
    with Context("acme"):
        assert await read(await storage.create_entry(REQUEST, response(b"ab", b"cd"), "k")) == b"abcd"
        assert await storage.get_entries("k") == []


async def test_callers_do_not_share(cache: Cache) -> None:
    storage, public = AlacenaStorage(), AlacenaStorage(public=True)
    callers = [
        Caller(tenant_id="acme"),
        Caller(tenant_id="acme", user_id="u1"),
        Caller(tenant_id="acme", permissions=frozenset({"a"})),
        Caller(tenant_id="acme", user_id="u1", permissions=frozenset({"a"})),
        Caller(tenant_id="umbrella"),
    ]
    for n, caller in enumerate(callers):
        with Serving(caller):
            assert await storage.get_entries("k") == []
            await read(await storage.create_entry(REQUEST, response(b"%d" % n), "k"))
    for n, caller in enumerate(callers):
        with Serving(caller):
            assert [await read(entry) for entry in await storage.get_entries("k")] == [b"%d" % n]
    with Serving(callers[3]):
        assert [await read(entry) for entry in await public.get_entries("k")] == [b"0"]
    assert await cache.get_many(RESPONSE, [], Scope("acme")) == {}


async def test_without_a_tenant_nothing_is_kept(cache: Cache) -> None:
    storage = AlacenaStorage()

    assert await read(await storage.create_entry(REQUEST, response(b"a"), "k")) == b"a"
    assert await storage.get_entries("k") == []


async def test_middleware_answers_by_the_rules_of_http(cache: Cache) -> None:
    calls: list[str] = []

    async def answer(request: Any) -> Answer:
        calls.append(request.headers.get("if-none-match", ""))
        if request.headers.get("if-none-match") == '"1"':
            return Answer(status_code=304, headers={"etag": '"1"', "cache-control": "max-age=0"})
        kept = request.query_params.get("kept", "max-age=60")
        return PlainTextResponse(f"for {request.headers['x-tenant']}", headers={"cache-control": kept, "etag": '"1"'})

    service: Any = ASGICacheMiddleware(Starlette(routes=[Route("/", answer)]), AlacenaStorage())
    app: Any = TenantMiddleware(service, who=lambda scope: dict(scope["headers"])[b"x-tenant"].decode())

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://service") as client:

        async def get(tenant: str, path: str = "/") -> str:
            return (await client.get(path, headers={"x-tenant": tenant})).text

        assert [await get("acme"), await get("acme"), await get("umbrella")] == ["for acme", "for acme", "for umbrella"]
        assert calls == ["", ""]  # one call a tenant
        assert [await get("acme", "/?kept=no-store") for _ in range(2)] == ["for acme"] * 2
        assert len(calls) == 4
        assert [await get("acme", "/?kept=max-age=0") for _ in range(2)] == ["for acme"] * 2
        assert calls[4:] == ["", '"1"']  # made once, then asked whether it has changed

        await CacheManager.invalidate("acme", RESPONSE)
        assert await get("acme") == "for acme"
        assert len(calls) == 7


def test_missing_framework_is_named_with_its_extra(import_without: Callable[[str, str], Any]) -> None:
    with pytest.raises(ImportError, match=r"needs hishel>=2\.0,<3: pip install 'alacena\[hishel\]'"):
        import_without("alacena.integrations.hishel", "hishel")


async def test_response_that_an_invalidation_overtook_is_not_kept(cache: Cache) -> None:
    storage = AlacenaStorage()
    with Context("acme"):
        assert await storage.get_entries("k") == []  # so the service is asked
        entry = await storage.create_entry(REQUEST, response(b"old"), "k")
        await CacheManager.invalidate("acme", RESPONSE)
        assert await read(entry) == b"old"
        assert await storage.get_entries("k") == []

        await read(await storage.create_entry(REQUEST, response(b"new"), "k"))
        (found,) = await storage.get_entries("k")
        assert await read(found) == b"new"


async def test_response_that_replaces_an_invalidated_one_is_not_kept(cache: Cache) -> None:
    """As after a revalidation: what was asked for while the old one was there is no newer than the invalidation."""
    storage = AlacenaStorage()
    with Context("acme"):
        await read(await storage.create_entry(REQUEST, response(b"old"), "k"))
        assert len(await storage.get_entries("k")) == 1  # it is stale, so the service is asked
        await CacheManager.invalidate("acme", RESPONSE)
        assert await read(await storage.create_entry(REQUEST, response(b"asked before"), "k")) == b"asked before"
        assert await storage.get_entries("k") == []


async def test_response_that_replaces_others_of_the_same_code_is_kept(cache: Cache) -> None:
    storage = AlacenaStorage()
    with Context("acme"):
        for body in (b"1", b"2"):
            await read(await storage.create_entry(REQUEST, response(body), "k"))
        first, _ = await storage.get_entries("k")
        await storage.remove_entry(first.id)
        await read(await storage.create_entry(REQUEST, response(b"3"), "k"))
        assert [await read(entry) for entry in await storage.get_entries("k")] == [b"2", b"3"]


async def test_headers_do_not_bring_an_invalidated_response_back(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = AlacenaStorage(cache)
    with Context("acme"):
        entry = await storage.create_entry(REQUEST, response(b"a", etag="1"), "k")
        await read(entry)
        ask = cache.ttl

        async def ttl(*arguments: Any, **options: Any) -> int:
            left = await ask(*arguments, **options)
            await cache.invalidate("acme", RESPONSE)
            return left

        monkeypatch.setattr(cache, "ttl", ttl)
        await storage.update_headers(entry.id, Headers({"etag": "2"}))
        assert await storage.get_entries("k") == []


async def test_equal_requests_at_one_time_are_made_once_if_the_storage_fills(cache: Cache) -> None:
    storage, gate, calls = AlacenaStorage(fills=True), asyncio.Event(), []

    async def ask(path: str = "k") -> bytes:
        with Context("acme"):
            found = await storage.get_entries(path)
            if found:
                return await read(found[0])
            calls.append(path)
            await gate.wait()
            if path == "not kept":
                return b"b"
            return await read(await storage.create_entry(REQUEST, response(b"a"), path))

    async with asyncio.timeout(30):
        running = [asyncio.create_task(ask()) for _ in range(3)]
        await until(lambda: bool(calls))
        gate.set()
        assert (await asyncio.gather(*running), calls) == ([b"a"] * 3, ["k"])
        assert await asyncio.gather(*[ask("not kept") for _ in range(3)]) == [b"b"] * 3


async def test_response_that_an_invalidation_overtook_is_not_kept_if_the_storage_fills(cache: Cache) -> None:
    storage = AlacenaStorage(fills=True)
    with Context("acme"):
        assert await storage.get_entries("k") == []
        entry = await storage.create_entry(REQUEST, response(b"old"), "k")
        await CacheManager.invalidate("acme")
        assert await read(entry) == b"old"
        assert await storage.get_entries("k") == []
