"""The engine without the guide's dialect: no globals, everything passed in."""

import asyncio

from alacena import Cache, Policy, Settings


async def load_profile(context):
    context.cost(tokens=120, usd=0.002)
    return {"id": context.resource_id, "name": "Ada"}


async def main():
    # --8<-- [start:open]
    policies = {"profile": Policy(ttl=600, stale_if_error_s=3600, negative_ttl_s=5)}
    async with Cache(Settings.from_env(), policies=policies) as cache:
        acme = cache.tenant("acme")
        profile = await acme.load("profile", "u1", load_profile)
        # --8<-- [end:open]
        assert profile == {"id": "u1", "name": "Ada"}
        # --8<-- [start:scope]
        support = cache.tenant("acme", agent_id="support")
        await acme.set("prompt", "p1", "Be brief.")
        assert await support.get("prompt", "p1") == "Be brief."  # the tenant's answers for the agent's
        await support.set("prompt", "p1", "Be kind.")
        assert await support.get("prompt", "p1") == "Be kind."
        assert await acme.get("prompt", "p1") == "Be brief."
        # --8<-- [end:scope]
        # --8<-- [start:lookup]
        lookup = await acme.lookup("profile", "u1")
        assert (lookup.found, lookup.source, lookup.tier) == (True, "cache", "memory")

        # --8<-- [end:lookup]
        # --8<-- [start:many]
        async def load_all(ids):
            return {one: one.upper() for one in ids}

        words = await acme.load_many("word", ["a", "b", "a"], load_all)
        assert words == {"a": "A", "b": "B"}
        # --8<-- [end:many]
        # --8<-- [start:explain]
        for name, what in (await acme.explain("profile", "u1")).items():
            print(f"{name}: {what}")
        print(dict(cache.guarantee()))
        print(cache.stats())
        # --8<-- [end:explain]


asyncio.run(main())
