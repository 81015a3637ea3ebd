"""The tenant comes from the surroundings; nothing is shared between two of them."""

import asyncio

from alacena import CacheManager, Context, MissingTenantError, get_current_tenant_id, with_context


# --8<-- [start:decorator]
@with_context(tenant=True)
async def count_words(document_id: str, tenant_id: str | None = None, ctx: Context | None = None):
    text = await CacheManager.get("document", document_id)  # for the tenant of the context
    return len((text or "").split())


# --8<-- [end:decorator]
async def main():
    # --8<-- [start:block]
    async with Context(tenant_id="acme"):
        await CacheManager.set("document", "d1", "three short words")
        assert await count_words("d1") == 3
    assert get_current_tenant_id() is None
    # --8<-- [end:block]
    assert await count_words("d1", tenant_id="globex") == 0  # another tenant's d1
    # --8<-- [start:missing]
    try:
        await CacheManager.get("document", "d1")
    except MissingTenantError as error:
        print(error)
    # --8<-- [end:missing]
    await CacheManager.close()


asyncio.run(main())
