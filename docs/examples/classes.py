"""A class of yours, registered once, comes back from Redis as itself."""

import asyncio
from dataclasses import dataclass

from alacena import CacheManager, register


# --8<-- [start:register]
@dataclass(frozen=True)
class Answer:
    text: str
    sources: tuple[str, ...]


register(Answer, name="rag.Answer")
# --8<-- [end:register]


async def main():
    await CacheManager.set("answer", "q1", Answer("30 days", ("lease",)), "acme")
    answer = await CacheManager.get("answer", "q1", "acme", use_memory=False)
    assert answer == Answer("30 days", ("lease",))
    await CacheManager.close()
    print(answer)


asyncio.run(main())
