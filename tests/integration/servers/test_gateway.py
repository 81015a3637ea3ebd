"""The Supabase-shaped door: what goes through it, who may pass, and what it remembers."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from proving.servers.gateway import Gateway
    from proving.servers.postgres import Postgres


def ask(gateway: Gateway, method: str, path: str, key: str, body: bytes = b"") -> tuple[int, Any]:
    connection = http.client.HTTPConnection(gateway.url.removeprefix("http://"), timeout=60)
    try:
        connection.request(method, path, body, {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_rest_shows_a_tenant_its_own_rows(
    gateway: Gateway, postgres: Postgres, tenant_key: Callable[[str], str], service_key: str, anon_key: str
) -> None:
    postgres.execute("insert into ai.documents (tenant_id, document_id) values ('a', 'd1'), ('b', 'd2')")

    def ids(key: str) -> Any:
        status, body = ask(gateway, "GET", "/rest/v1/documents?select=document_id&order=document_id", key)
        return [row["document_id"] for row in json.loads(body)] if status == 200 else status

    assert ids(tenant_key("a")) == ["d1"]
    assert ids(tenant_key("c")) == []
    assert ids(service_key) == ["d1", "d2"]
    assert ids(anon_key) == 401
    assert ids("forged") == 401
    assert gateway.requests_to("/rest/v1/documents") == 5


def test_a_tenant_reaches_its_own_objects_only(
    gateway: Gateway, tenant_key: Callable[[str], str], service_key: str
) -> None:
    assert ask(gateway, "POST", "/storage/v1/object/files/a/x.txt", service_key, b"hello")[0] == 200
    assert ask(gateway, "GET", "/storage/v1/object/files/a/x.txt", tenant_key("a")) == (200, b"hello")
    assert ask(gateway, "GET", "/storage/v1/object/files/a/x.txt", tenant_key("b"))[0] == 403
    assert ask(gateway, "GET", "/storage/v1/object/files/a/y.txt", tenant_key("a"))[0] == 400
    status, body = ask(gateway, "POST", "/storage/v1/object/list/files", tenant_key("a"), b'{"prefix": "a/"}')
    assert (status, [entry["name"] for entry in json.loads(body)]) == (200, ["x.txt"])


@pytest.mark.parametrize("status", [429, 503])
def test_a_planned_failure_happens_once(gateway: Gateway, service_key: str, status: int) -> None:
    gateway.fail_next.append(status)
    assert ask(gateway, "GET", "/rest/v1/documents", service_key)[0] == status
    assert ask(gateway, "GET", "/rest/v1/documents", service_key) == (200, b"[]")
