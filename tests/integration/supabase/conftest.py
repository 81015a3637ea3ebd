"""A configured Supabase project for each test, its clients closed afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alacena.common.db import close_supabase_clients, configure_supabase

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from proving.servers.gateway import Gateway


@pytest.fixture
async def project(
    gateway: Gateway, anon_key: str, service_key: str, tenant_key: Callable[[str], str]
) -> AsyncIterator[Gateway]:
    configure_supabase(url=gateway.url, key=anon_key, service_key=service_key, tenant_token=tenant_key)
    yield gateway
    await close_supabase_clients()
    configure_supabase()
