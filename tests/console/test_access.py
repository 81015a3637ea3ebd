"""Who gets in: the token, the application's own login, and what keeps other sites, names and strangers out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from alacena import SettingsError
from alacena.ops.console import console_app
from tests.console.conftest import BEARER, TOKEN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from alacena import Cache

Clients = "Callable[..., httpx.AsyncClient]"


async def test_stranger_sees_the_page_and_nothing_of_the_cache(client_of: Callable[..., httpx.AsyncClient]) -> None:
    async with client_of(headers={}) as client:
        assert (await client.get("/")).status_code == 200
        for path in (
            "about",
            "health",
            "fleet",
            "overview",
            "tenants",
            "explain",
            "queues",
            "dead",
            "locks",
            "tokens",
            "log",
        ):
            answer = await client.get(f"/api/{path}")
            assert answer.status_code == 401, path
            assert "sign in" in answer.json()["error"]


async def test_token_is_exchanged_for_a_cookie_that_scripts_and_other_sites_do_not_get(
    client_of: Callable[..., httpx.AsyncClient],
) -> None:
    async with client_of(headers={"sec-fetch-site": "same-origin"}) as client:
        wrong = await client.post("/session", json={"token": TOKEN + "x"})
        assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)

        right = await client.post("/session", json={"token": TOKEN})
        assert right.status_code == 204
        assert "HttpOnly" in right.headers["set-cookie"]
        assert "samesite=strict" in right.headers["set-cookie"].lower()
        assert TOKEN not in right.headers["set-cookie"]
        assert (await client.get("/api/about")).status_code == 200

        await client.delete("/session")
        assert (await client.get("/api/about")).status_code == 401


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"token": 7}', b'{"token": null}', b'"' + b"x" * 20_000 + b'"'])
async def test_what_is_no_token_is_refused(client_of: Callable[..., httpx.AsyncClient], body: bytes) -> None:
    async with client_of(headers={"sec-fetch-site": "same-origin"}) as client:
        assert (await client.post("/session", content=body)).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({}, 403),
        ({"sec-fetch-site": "same-origin"}, 409),
        ({"origin": "http://localhost"}, 409),  # plain HTTP to another machine: browsers send no Sec-Fetch-Site
    ],
)
async def test_only_the_page_itself_may_act(
    client_of: Callable[..., httpx.AsyncClient], headers: dict[str, str], status: int
) -> None:
    async with client_of(headers={"sec-fetch-site": "same-origin"}, allow_actions=True) as client:
        await client.post("/session", json={"token": TOKEN})
        client.headers = httpx.Headers(headers)

        assert (await client.post("/api/do/invalidate", json={"tenant": "acme"})).status_code == status


async def test_script_with_the_token_needs_no_origin(client_of: Callable[..., httpx.AsyncClient]) -> None:
    async with client_of(allow_actions=True) as client:
        assert (await client.post("/api/do/invalidate", json={"tenant": "acme"})).status_code == 409
        client.headers["authorization"] = "Bearer something else"
        assert (await client.post("/api/do/invalidate", json={"tenant": "acme"})).status_code == 403


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.example", "[::2]"])
async def test_name_that_somebody_else_points_here_is_refused(
    client_of: Callable[..., httpx.AsyncClient], host: str
) -> None:
    async with client_of(host=host) as client:
        answer = await client.get("/api/about")

    assert answer.status_code == 421
    assert "--host-name" in answer.json()["error"]


async def test_every_answer_forbids_what_is_not_ours(client_of: Callable[..., httpx.AsyncClient]) -> None:
    async with client_of() as client:
        for path in ("/", "/static/console.js", "/static/none.js", "/api/about", "/api/explain"):
            headers = (await client.get(path)).headers
            assert "default-src 'none'" in headers["content-security-policy"]
            assert "trusted-types 'none'" in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert "cache-control" in headers


@pytest.mark.parametrize(
    "path",
    [
        "../app.py",
        "..%2fapp.py",
        "vendor/../../app.py",
        "",
        "vendor",
        "SHA256SUMS",
        "vendor/htm.LICENSE",
        "\x00.js",
        "{outside}",
        "%2F{outside}",
        "vendor/{outside}",
        "vendor//../console.js",
    ],
)
async def test_only_the_files_of_the_page_are_served(
    client_of: Callable[..., httpx.AsyncClient], path: str, tmp_path: Path
) -> None:
    """Nor one of the machine's, which `joinpath` gives for an absolute path."""
    outside = tmp_path / "x.html"
    outside.write_text("a secret")
    async with client_of() as client:
        asked = path.replace("\x00", "%00").replace("{outside}", str(outside))
        assert (await client.get("/static/" + asked)).status_code == 404


async def test_no_more_of_a_request_is_read_than_a_token_can_have(client_of: Callable[..., httpx.AsyncClient]) -> None:
    """Signing in is open to everybody: a body without an end must not fill the process."""
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1_000):
            sent += 1
            yield b"x" * 1_000

    async with client_of() as client:
        headers = {"origin": str(client.base_url).rstrip("/")}
        assert (await client.post("/session", content=body(), headers=headers)).status_code in {401, 403}
    assert sent <= 20


async def test_application_lets_in_by_its_own_login(cache: Cache) -> None:
    console = console_app(cache, signed_in=lambda request: request.headers.get("x-user"), hosts=())
    app = Starlette(routes=[Mount("/ops/cache", console)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop.example") as client:
        assert (await client.get("/ops/cache/api/about")).status_code == 401
        found = (await client.get("/ops/cache/api/about", headers={"x-user": "ana"})).json()
        assert (found["operator"], found["sign_out"], found["actions"]) == ("ana", False, False)
        assert (await client.get("/ops/cache/", headers=BEARER)).status_code == 200
        # No token is set: none is right, not even an empty one.
        for headers in ({"authorization": "Bearer "}, {"cookie": "alacena_console="}, BEARER):
            assert (await client.get("/ops/cache/api/about", headers=headers)).status_code == 401


@pytest.mark.parametrize("token", [None, ""])
def test_console_for_anybody_is_refused(token: str | None) -> None:
    with pytest.raises(SettingsError, match="token= or signed_in="):
        console_app(object(), token=token)  # type: ignore[arg-type]
