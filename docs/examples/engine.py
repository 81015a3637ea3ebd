"""The engine without the guide's dialect: no globals, everything passed in."""

import asyncio

from alacena import Cache, Policy, Scope, Settings


async def load_profile(context):
    context.cost(tokens=120, usd=0.002)
    return {"id": context.resource_id, "name": "Ada"}


async def main():
    # --8<-- [start:open]
    policies = {"profile": Policy(ttl=600, stale_if_error_s=3600, negative_ttl_s=5)}
    async with Cache(Settings.from_env(), policies=policies) as cache:
        profile = await cache.load("profile", "u1", "acme", load_profile)
        # --8<-- [end:open]
        assert profile == {"id": "u1", "name": "Ada"}
        # --8<-- [start:scope]
        scope = Scope("acme", agent_id="support")
        await cache.set("prompt", "p1", "Be brief.", "acme")
        assert await cache.get("prompt", "p1", scope) == "Be brief."  # the tenant's answers for the agent's
        await cache.set("prompt", "p1", "Be kind.", scope)
        assert await cache.get("prompt", "p1", scope) == "Be kind."
        assert await cache.get("prompt", "p1", "acme") == "Be brief."
        # --8<-- [end:scope]
        # --8<-- [start:lookup]
        lookup = await cache.lookup("profile", "u1", "acme")
        assert (lookup.found, lookup.source, lookup.tier) == (True, "cache", "memory")

        # --8<-- [end:lookup]
        # --8<-- [start:many]
        async def load_all(ids):
            return {one: one.upper() for one in ids}

        words = await cache.load_many("word", ["a", "b", "a"], "acme", load_all)
        assert words == {"a": "A", "b": "B"}
        # --8<-- [end:many]
        # --8<-- [start:explain]
        for name, what in (await cache.explain("profile", "u1", "acme")).items():
            print(f"{name}: {what}")
        print(dict(cache.guarantee()))
        print(cache.stats())
        # --8<-- [end:explain]


asyncio.run(main())
