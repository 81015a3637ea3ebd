"""``get_supabase_client()`` against PostgREST over Postgres, row-level security included."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from supabase import PostgrestAPIError

from alacena.common.db import close_supabase_clients, configure_supabase, get_supabase_client, get_table_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from proving.servers.gateway import Gateway
    from proving.servers.postgres import Postgres

DOCUMENTS = """
insert into ai.documents (tenant_id, document_id, title, metadata) values
    ('a', 'd1', 'first of a', '{"pages": 3}'), ('a', 'd2', 'second of a', '{}'), ('b', 'd1', 'first of b', '{}')
"""


@pytest.fixture(autouse=True)
def _documents(project: Gateway, postgres: Postgres) -> None:
    postgres.execute(DOCUMENTS)


def ids(result: Any) -> list[tuple[str, str]]:
    return sorted((row["tenant_id"], row["document_id"]) for row in result.data)


async def fetch_from_supabase(resource_id, tenant_id, ctx):  # type: ignore[no-untyped-def]  # as the guide writes it
    supabase = get_supabase_client()
    result = (
        await supabase.table("documents")
        .select("*")
        .eq("document_id", resource_id)
        .eq("tenant_id", tenant_id)
        .execute()
    )
    return result.data[0] if result.data else None


@pytest.fixture
def _service_key_only(project: Gateway, service_key: str) -> None:
    configure_supabase(url=project.url, service_key=service_key)


@pytest.mark.usefixtures("_service_key_only")
async def test_the_guides_loader_runs_as_it_is_written() -> None:
    document = await fetch_from_supabase("d1", "a", None)
    assert (document["title"], document["metadata"]) == ("first of a", {"pages": 3})
    assert (await fetch_from_supabase("d1", "b", None))["title"] == "first of b"
    assert await fetch_from_supabase("d2", "b", None) is None


async def test_a_tenants_token_sees_that_tenants_rows_only(tenant_key: Callable[[str], str]) -> None:
    for tenant, own in (("a", [("a", "d1"), ("a", "d2")]), ("b", [("b", "d1")]), ("c", [])):
        by_token = get_supabase_client(access_token=tenant_key(tenant))
        assert ids(await by_token.table("documents").select("*").execute()) == own
        by_tenant = get_supabase_client(tenant)
        assert ids(await by_tenant.table("documents").select("*").execute()) == own


async def test_a_token_holds_even_where_the_query_asks_for_another_tenant() -> None:
    table = get_supabase_client("a").table("documents")
    assert (await table.select("*").eq("tenant_id", "b").execute()).data == []


async def test_a_token_cannot_write_into_another_tenant(postgres: Postgres) -> None:
    client = get_supabase_client("a")
    with pytest.raises(PostgrestAPIError) as refused:
        await client.table("documents").insert({"tenant_id": "b", "document_id": "planted"}).execute()
    assert refused.value.code == "42501"
    await client.table("documents").update({"title": "stolen"}).eq("tenant_id", "b").execute()
    await client.table("documents").delete().eq("tenant_id", "b").execute()
    assert postgres.execute("select title from ai.documents where tenant_id = 'b'") == "first of b"


async def test_tenants_do_not_mix_when_they_ask_at_the_same_time() -> None:
    async def own(tenant: str) -> bool:
        rows = (await get_supabase_client(tenant).table("documents").select("*").execute()).data
        return {row["tenant_id"] for row in rows} == {tenant}

    assert all(await asyncio.gather(*(own(tenant) for tenant in "ab" * 10)))


async def test_the_public_key_alone_sees_nothing() -> None:
    with pytest.raises(PostgrestAPIError) as refused:
        await get_supabase_client().table("documents").select("*").execute()
    assert refused.value.code == "42501"


async def test_the_service_role_sees_all_and_may_be_awaited() -> None:
    client = await get_supabase_client(use_service_role=True)
    assert len(ids(await client.table("documents").select("*").execute())) == 3


async def test_table_names_with_a_schema_are_looked_up_there() -> None:
    client = get_supabase_client(use_service_role=True)
    result = await client.table(get_table_name("documents")).select("title").eq("document_id", "d2").execute()
    assert result.data == [{"title": "second of a"}]
    tenants = client.table(get_table_name("tenants"))
    assert (await tenants.insert({"tenant_id": "a", "name": "Acme"}).execute()).data[0]["name"] == "Acme"


async def test_one_client_makes_one_request_a_query(project: Gateway) -> None:
    for _ in range(3):
        await get_supabase_client("a").table("documents").select("*").execute()
    assert project.requests == ["GET /rest/v1/documents"] * 3


async def test_a_function_is_called_with_the_tenants_rights(postgres: Postgres) -> None:
    postgres.execute(
        "insert into ai.document_chunks (tenant_id, chunk_id, document_id, embedding)"
        " values ('a', 'c1', 'd1', '[1,0,0]'), ('a', 'c2', 'd1', '[0,1,0]'), ('b', 'c3', 'd1', '[0,2,0]')"
    )
    found = await get_supabase_client("a").rpc("match_chunks", {"query": [0, 2, 0], "match_count": 3}).execute()
    assert [row["chunk_id"] for row in found.data] == ["c2", "c1"]


def test_a_client_made_before_the_loop_works_in_it() -> None:
    client = get_supabase_client(use_service_role=True)

    async def run() -> int:
        try:
            return len((await client.table("documents").select("*").execute()).data)
        finally:
            await close_supabase_clients()

    assert asyncio.run(run()) == 3
