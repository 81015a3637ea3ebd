"""An observer that counts where answers come from."""

import asyncio
from collections import Counter

from alacena import CacheManager, LookupFinished, configure, get_with_cache_aside


# --8<-- [start:observer]
class Sources:
    def __init__(self):
        self.seen = Counter()

    def observe(self, event):
        if isinstance(event, LookupFinished):
            self.seen[event.data_type, event.source] += 1


# --8<-- [end:observer]
async def main():
    # --8<-- [start:configure]
    sources = Sources()
    configure(observers=[sources])
    # --8<-- [end:configure]
    await get_with_cache_aside("document", "d1", "acme", generate_func=lambda: "text")
    await get_with_cache_aside("document", "d1", "acme", generate_func=lambda: "text")  # memory: no event
    assert sources.seen == {("document", "loader"): 1}
    await CacheManager.close()
    print(dict(sources.seen))


asyncio.run(main())
