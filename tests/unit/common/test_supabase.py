"""The Supabase client's factory, without a server: what it gives, to whom, and what it refuses."""

from __future__ import annotations

import asyncio
import socket
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from alacena.common.db import close_supabase_clients, configure_supabase, get_supabase_client, get_table_name
from alacena.common.db.client import MAX_CLIENTS
from alacena.common.db.supabase_settings import SupabaseSettings
from alacena.engine.base.errors import MissingTenantError, SettingsError, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

URL = "http://127.0.0.1:9"
VARIABLES = ("SUPABASE_URL", "SUPABASE_KEY", "SUPABASE_SERVICE_KEY", "SUPABASE_SERVICE_ROLE_KEY")


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    configure_supabase()
    yield
    configure_supabase()


@pytest.fixture
async def configured() -> AsyncIterator[None]:
    configure_supabase(url=URL, key="public", service_key="secret")
    yield
    await close_supabase_clients()


@pytest.mark.usefixtures("configured")
async def test_the_client_is_the_same_awaited_or_not() -> None:
    client = get_supabase_client()
    assert await client is client
    assert await get_supabase_client() is client


@pytest.mark.usefixtures("configured")
async def test_making_a_client_opens_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    get_supabase_client().table("documents").select("*").eq("tenant_id", "a")


@pytest.mark.usefixtures("configured")
async def test_each_key_and_token_has_a_client_of_its_own() -> None:
    plain, service = get_supabase_client(), get_supabase_client(use_service_role=True)
    user = get_supabase_client(access_token="token-a")
    assert (plain.supabase_key, service.supabase_key) == ("public", "secret")
    assert user.options.headers["Authorization"] == "Bearer token-a"
    assert user.supabase_key == "public"
    assert len({id(client) for client in (plain, service, user, get_supabase_client(access_token="token-b"))}) == 4
    assert get_supabase_client(access_token="token-a") is user
    assert "token-a" not in str(plain.options.headers)


@pytest.mark.usefixtures("configured")
async def test_the_old_callers_positional_flag_is_the_service_role() -> None:
    assert get_supabase_client(True) is get_supabase_client(use_service_role=True)
    assert get_supabase_client(False) is get_supabase_client(use_service_role=False)


@pytest.mark.usefixtures("configured")
async def test_a_user_who_signs_in_does_not_take_the_shared_client_over() -> None:
    client = get_supabase_client()
    session: Any = SimpleNamespace(access_token="of-one-user")
    client.auth._notify_all_subscribers("SIGNED_IN", session)
    assert client.options.headers["Authorization"] == "Bearer public"


async def test_a_tenant_gets_its_own_token_where_one_can_be_had() -> None:
    configure_supabase(url=URL, key="public", service_key="secret", tenant_token=lambda tenant: f"token-of-{tenant}")
    assert get_supabase_client("acme").options.headers["Authorization"] == "Bearer token-of-acme"
    assert get_supabase_client("acme", use_service_role=True).options.headers["Authorization"] == "Bearer secret"
    assert get_supabase_client("acme", access_token="own").options.headers["Authorization"] == "Bearer own"
    await close_supabase_clients()


@pytest.mark.usefixtures("configured")
async def test_a_tenant_without_a_token_source_changes_no_rights() -> None:
    assert get_supabase_client("acme") is get_supabase_client()


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("blank", ["", "  "])
async def test_a_blank_tenant_is_refused(blank: str) -> None:
    with pytest.raises(MissingTenantError):
        get_supabase_client(blank)


@pytest.mark.usefixtures("configured")
async def test_a_token_and_the_service_role_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="one of the two"):
        get_supabase_client(use_service_role=True, access_token="t")


@pytest.mark.usefixtures("configured")
async def test_the_number_of_clients_is_bounded() -> None:
    first = get_supabase_client(access_token="0")
    for number in range(1, MAX_CLIENTS + 1):
        get_supabase_client(access_token=str(number))
    assert get_supabase_client(access_token="0") is not first
    last = get_supabase_client(access_token=str(MAX_CLIENTS))
    assert get_supabase_client(access_token=str(MAX_CLIENTS)) is last


def test_each_event_loop_has_clients_of_its_own() -> None:
    configure_supabase(url=URL, key="public")

    async def client_and_close() -> object:
        client = get_supabase_client()
        await close_supabase_clients()
        return client

    assert asyncio.run(client_and_close()) is not asyncio.run(client_and_close())


def test_a_client_made_outside_of_a_loop_is_closed_by_the_loop_that_closes() -> None:
    configure_supabase(url=URL, key="public")
    client = get_supabase_client()
    assert get_supabase_client() is client
    asyncio.run(close_supabase_clients())
    assert get_supabase_client() is not client
    asyncio.run(close_supabase_clients())


async def test_closing_is_idempotent_and_new_clients_follow() -> None:
    configure_supabase(url=URL, key="public")
    client = get_supabase_client()
    await close_supabase_clients()
    await close_supabase_clients()
    assert client.postgrest.session.is_closed
    assert get_supabase_client() is not client
    await close_supabase_clients()


async def test_the_environment_fills_in_what_code_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", "http://127.0.0.1:8")
    monkeypatch.setenv("SUPABASE_KEY", "env-public")
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", "env-secret")
    configure_supabase(key="code-public")
    client, service = get_supabase_client(), get_supabase_client(use_service_role=True)
    assert (str(client.supabase_url), client.supabase_key) == ("http://127.0.0.1:8/", "code-public")
    assert service.supabase_key == "env-secret"
    await close_supabase_clients()


async def test_a_lone_service_key_serves_plain_calls() -> None:
    configure_supabase(url=URL, service_key="secret")
    assert get_supabase_client().supabase_key == "secret"
    with pytest.raises(SettingsError, match="SUPABASE_KEY"):
        get_supabase_client(use_service_role=False)
    await close_supabase_clients()


def test_all_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(SettingsError, match=r"missing: SUPABASE_URL .*configure_supabase\(url=.*; SUPABASE_KEY "):
        get_supabase_client()
    with pytest.raises(SettingsError, match=r"SUPABASE_URL .*; SUPABASE_SERVICE_KEY or SUPABASE_SERVICE_ROLE_KEY "):
        get_supabase_client(use_service_role=True)


@pytest.mark.parametrize(
    ("url", "timeout_s", "complaint"),
    [
        ("abc.supabase.co", 1.0, "must start with https://"),
        ("https://abc.supabase.co/rest/v1/", 1.0, "without /rest/v1"),
        ("https://abc.supabase.co", 0.0, "timeout_s must be a positive number"),
        ("ftp://x", float("nan"), "must start with https://.*; timeout_s"),
    ],
)
def test_wrong_settings_are_refused_where_they_are_given(url: str, timeout_s: float, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        configure_supabase(url=url, timeout_s=timeout_s)


def test_keys_are_not_in_the_representation() -> None:
    assert "hush" not in repr(SupabaseSettings(url=URL, key="hush", service_key="hush"))


def test_a_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_supabase(url=URL, key="public")
    monkeypatch.setattr("alacena.common.db.supabase._process._registry", None)
    monkeypatch.delitem(sys.modules, "alacena.common.db.client")
    monkeypatch.setitem(sys.modules, "supabase", None)
    with pytest.raises(SettingsError, match=r"pip install 'alacena\[supabase\]'"):
        get_supabase_client()


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("documents",), "ai.documents"),
        (("brand_new",), "ai.brand_new"),
        (("tenants",), "public.tenants"),
        (("public_sessions",), "public.public_sessions"),
        (("audit.rows",), "audit.rows"),
        (("documents", "public"), "public.documents"),
    ],
)
def test_tables_have_the_schema_that_callers_expect(arguments: tuple[str, ...], name: str) -> None:
    assert get_table_name(*arguments) == name


def test_a_table_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a name"):
        get_table_name(" ")
