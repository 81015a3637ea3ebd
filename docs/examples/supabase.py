"""Rows of Supabase as the source. Needs SUPABASE_URL and SUPABASE_KEY, and the extra ``supabase``."""

import asyncio
import os

from alacena import CacheManager, get_with_cache_aside


# --8<-- [start:loader]
async def fetch_document(resource_id, tenant_id):
    from alacena.common.db.supabase import get_supabase_client

    rows = (
        await get_supabase_client()
        .table("documents")
        .select("*")
        .eq("document_id", resource_id)
        .eq("tenant_id", tenant_id)
        .limit(1)
        .execute()
    )
    return rows.data[0] if rows.data else None


# --8<-- [end:loader]
async def main():
    if not os.environ.get("SUPABASE_URL"):
        print("set SUPABASE_URL and SUPABASE_KEY to ask a real project")
        return
    from alacena.common.db.supabase import close_supabase_clients

    print(await get_with_cache_aside("document", "d1", "acme", fetch_document))
    await CacheManager.close()
    await close_supabase_clients()


asyncio.run(main())
