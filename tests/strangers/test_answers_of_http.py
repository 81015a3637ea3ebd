"""Answers of HTTP: kept for one user or for all of a tenant, they hand on no cookie, and end with their documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hishel import Headers, Request, Response

from alacena import Context
from alacena.integrations.hishel import AlacenaStorage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from alacena.engine import Cache

REQUEST = Request("GET", "http://service/answers/1", Headers({"accept": "application/json"}))
NAMED = b'{"answer": "30 days", "sources": [{"document_id": "d1"}]}'


async def _keep(storage: AlacenaStorage, body: bytes, headers: dict[str, str]) -> Any:
    async def stream() -> AsyncIterator[bytes]:
        yield body

    entry = await storage.create_entry(REQUEST, Response(200, Headers(headers), stream()), "k")
    assert [chunk async for chunk in entry.response.stream] == [body]  # type: ignore[union-attr]
    return entry


async def test_a_cookie_is_handed_to_nobody_else(cache: Cache) -> None:
    """After agno-agi/agno 8664: answers that users share carried the session of the one who had asked first."""
    storage = AlacenaStorage(cache, public=True)
    with Context("acme", user_id="ana"):
        await _keep(storage, b"a", {"Set-Cookie": "session=ana", "Cache-Control": "max-age=60"})
    with Context("acme", user_id="bob"):
        assert await storage.get_entries("k") == []
        kept = await _keep(storage, b"a", {"Cache-Control": "max-age=60"})
        await storage.update_headers(kept.id, Headers({"ETag": "1", "Set-Cookie": "session=bob"}))
    with Context("acme", user_id="ana"):
        (found,) = await storage.get_entries("k")
        assert found.response.headers["etag"] == "1"
        assert "set-cookie" not in found.response.headers


@pytest.mark.parametrize("is_renewed", [False, True])
async def test_an_answer_ends_with_the_documents_that_its_body_names(cache: Cache, *, is_renewed: bool) -> None:
    """run-llama/llama_index#8832 in its kind: a body of JSON named its sources, and was given when these had changed."""
    storage = AlacenaStorage(cache)
    with Context("acme"):
        kept = await _keep(storage, NAMED, {})
        if is_renewed:
            await storage.update_headers(kept.id, Headers({"ETag": "2"}))
        await cache.invalidate("acme", document_ids=["d2"])
        assert len(await storage.get_entries("k")) == 1
        await cache.invalidate("acme", document_ids=["d1"])
        assert await storage.get_entries("k") == []
