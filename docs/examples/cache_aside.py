"""What get_with_cache_aside asks, in which order, and what it says about it."""

import asyncio

from alacena import TTL_SHORT, CacheManager, get_with_cache_aside

SUMMARIES = {"d1": "stored summary"}


# --8<-- [start:sources]
async def fetch_summary(resource_id, tenant_id, ctx):
    return SUMMARIES.get(resource_id)  # None: the database has nothing


async def write_summary(resource_id):
    return f"a new summary of {resource_id}"


# --8<-- [end:sources]
async def main():
    # --8<-- [start:read]
    value, metrics = await get_with_cache_aside(
        data_type="summary",
        resource_id="d2",
        tenant_id="acme",
        fetch_from_db_func=fetch_summary,
        generate_func=write_summary,
        ttl=TTL_SHORT,
    )
    # --8<-- [end:read]
    assert (value, metrics["source"]) == ("a new summary of d2", "generation")

    again, metrics = await get_with_cache_aside("summary", "d2", "acme", fetch_summary, write_summary)
    assert (again, metrics["source"]) == (value, "cache")

    stored, metrics = await get_with_cache_aside("summary", "d1", "acme", fetch_summary, write_summary)
    assert (stored, metrics["source"]) == ("stored summary", "supabase")

    nothing, metrics = await get_with_cache_aside("summary", "d3", "acme", fetch_summary)
    assert (nothing, metrics["source"]) == (None, "not_found")

    # --8<-- [start:falsy]
    await CacheManager.set("score", "d1", 0, "acme")
    assert await CacheManager.get("score", "d1", "acme", default="miss") == 0
    # --8<-- [end:falsy]

    # --8<-- [start:together]
    loads = 0

    async def slow():
        nonlocal loads
        loads += 1
        await asyncio.sleep(0.01)
        return "loaded once"

    answers = await asyncio.gather(*(get_with_cache_aside("report", "r1", "acme", slow) for _ in range(100)))
    assert loads == 1
    assert {value for value, _ in answers} == {"loaded once"}
    # --8<-- [end:together]
    print("one load for", len(answers), "callers")
    await CacheManager.close()


asyncio.run(main())
