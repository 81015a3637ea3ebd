"""A look-up and a store that belong together: one caller makes the value, the others wait for it."""

import asyncio

from alacena import Cache, ClaimError


async def ask_model(question):
    await asyncio.sleep(0.01)
    return f"an answer to {question}"


# --8<-- [start:adapter]
class AnswerCache:
    """What many frameworks ask of a cache: one method that looks up, and one that stores."""

    def __init__(self, cache, tenant_id):
        self.cache, self.tenant_id, self.claims = cache, tenant_id, {}

    async def look_up(self, question):
        claim = await self.cache.begin_claim("answer", question, self.tenant_id, life_s=30)
        if not claim.found:
            self.claims[question] = claim
        return claim.value

    async def update(self, question, answer):
        claim = self.claims.pop(question, None)
        if claim is not None:
            await claim.store(answer)


# --8<-- [end:adapter]
async def main():
    async with Cache() as cache:
        asked = 0

        # --8<-- [start:block]
        async def answer(question):
            nonlocal asked
            async with cache.claim("answer", question, "acme", document_ids=["d1"]) as claim:
                if claim.found:
                    return claim.value
                asked += 1
                value = await ask_model(question)
                await claim.store(value)
                return value

        answers = await asyncio.gather(*(answer("q1") for _ in range(100)))
        assert asked == 1
        assert set(answers) == {"an answer to q1"}
        # --8<-- [end:block]

        async with cache.claim("answer", "q2", "acme", document_ids=["d1"]) as claim:
            await cache.invalidate("acme", document_ids=["d1"])
            assert not await claim.store("made from d1 as it was")
        assert await cache.get("answer", "q2", "acme") is None

        async with cache.claim("answer", "q3", "acme") as claim:
            pass  # the next one has the claim
        try:
            await claim.store("too late")
        except ClaimError as error:
            print(error)

        answers = AnswerCache(cache, "acme")
        assert await answers.look_up("q4") is None
        other = asyncio.create_task(answers.look_up("q4"))  # waits for what is stored
        await answers.update("q4", "an answer")
        assert await other == "an answer"


asyncio.run(main())
