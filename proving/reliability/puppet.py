"""A process that does what it is told, one verb at a time: for trials in which the order of things matters."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from alacena.engine import Cache, Policy, Settings
from proving.reliability.crew import Member, crew
from proving.reliability.journal import now
from proving.reliability.roaming import leaked
from proving.reliability.truth import Truth

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from proving.stand.workers import Talk

TENANT = "acme"
KIND = "document"


class Puppet:
    """The verbs. Each takes and gives what JSON can carry; a version of 0 means that nothing was found."""

    def __init__(self, cache: Cache, truth: Truth, load_s: float) -> None:
        self._cache = cache
        self._truth = truth
        self._load_s = load_s
        self._gate = asyncio.Event()
        self._started: list[asyncio.Task[int]] = []
        self.complaints: list[str] = []

    async def get(self, keys: Sequence[int], *, use_memory: bool = True) -> list[int]:
        """What the tiers hold."""
        found = [await self._cache.get(KIND, f"d{key}", TENANT, use_memory=use_memory) for key in keys]
        return [value or 0 for value in found]

    async def load(self, keys: Sequence[int], *, use_memory: bool = True, tags: Sequence[str] = ()) -> list[int]:
        """What reads return that may ask the source, all at a time."""
        return list(await asyncio.gather(*(self._load(key, use_memory=use_memory, tags=tags) for key in keys)))

    async def fill(self, keys: Sequence[int]) -> int:
        """Load, and wait until the values are on the remote tier; how many are."""
        await self.load(keys)
        for _ in range(100):
            found = await self._cache.get_many(KIND, [f"d{key}" for key in keys], TENANT, use_memory=False)
            if len(found) == len(keys):
                break
            await asyncio.sleep(0.02)
        return len(found)

    async def begin(self, keys: Sequence[int]) -> None:
        """Begin loads that read the source and then wait for :meth:`finish`."""
        self._gate.clear()
        before = sum(self._truth.loads(key) for key in keys)
        self._started = [asyncio.create_task(self._load(key, gated=True)) for key in keys]
        while sum(self._truth.loads(key) for key in keys) < before + len(set(keys)):
            await asyncio.sleep(0.002)

    async def finish(self) -> list[int]:
        """Let the loads go on; what their callers got."""
        self._gate.set()
        return list(await asyncio.gather(*self._started))

    async def invalidate(self, keys: Sequence[int]) -> int:
        """Invalidate resources, all at a time; how many were acknowledged."""
        done = await asyncio.gather(*(self._cache.invalidate(TENANT, KIND, f"d{key}") for key in keys))
        return sum(count > 0 for count in done)

    async def end(self, scope: str) -> int:
        """Invalidate the tenant, the type, or everything that carries a tag."""
        if scope == "tenant":
            return await self._cache.invalidate(TENANT)
        if scope == "type":
            return await self._cache.invalidate(TENANT, KIND)
        return await self._cache.invalidate(TENANT, tags=[scope])

    async def set_all(self, keys: Sequence[int], version: int) -> int:
        """Store a version under each key, all at a time; how many were."""
        return sum(await asyncio.gather(*(self._cache.set(KIND, f"d{key}", version, TENANT) for key in keys)))

    async def spin(self, key: int, seconds: float, *, load: bool = False) -> list[tuple[float, float, int]]:
        """Read one key again and again; each time that the answer changed: when asked, when answered, what."""
        seen: list[tuple[float, float, int]] = []
        until = now() + seconds
        while now() < until:
            called_at = now()
            version = await self._load(key) if load else await self._cache.get(KIND, f"d{key}", TENANT) or 0
            if not seen or seen[-1][2] != version:
                seen.append((called_at, now(), version))
            else:
                seen[-1] = (called_at, now(), version)
            await asyncio.sleep(0.001)
        return seen

    async def peeked(self, keys: Sequence[int], version: int, deadline_s: float) -> list[float]:
        """How long it took until memory did not hold that version of each key any more, in seconds."""
        began, took = now(), [-1.0] * len(keys)
        while -1.0 in took and now() < began + deadline_s:
            for index, key in enumerate(keys):
                if took[index] < 0 and self._cache.peek((TENANT, KIND, f"d{key}")) != version:
                    took[index] = now() - began
            await asyncio.sleep(0.001)
        return took

    async def stats(self) -> dict[str, int]:
        """What the cache counted."""
        return {name: count for name, count in self._cache.stats().items() if isinstance(count, int)}

    async def guarantee(self) -> dict[str, Any]:
        """What the cache says that it can promise now."""
        return dict(self._cache.guarantee())

    async def clock(self) -> float:
        """The time, to see that it is awake."""
        return now()

    async def _load(self, key: int, *, gated: bool = False, use_memory: bool = True, tags: Sequence[str] = ()) -> int:
        async def source(_: object) -> int:
            version = self._truth.load(key)
            await (self._gate.wait() if gated else asyncio.sleep(self._load_s))
            return version

        value: int = await self._cache.load(KIND, f"d{key}", TENANT, source, use_memory=use_memory, tags=tags)
        return value


class Strings:
    """The other end: how the trial pulls."""

    def __init__(self, member: Member) -> None:
        self.member = member

    async def pull(self, verb: str, *arguments: Any, **options: Any) -> Any:
        """Have a verb done, and its answer.

        Raises:
            RuntimeError: The verb raised, or the process is gone.
        """
        self.begin(verb, *arguments, **options)
        return await self.answer()

    def begin(self, verb: str, *arguments: Any, **options: Any) -> None:
        """Have a verb done, without waiting."""
        self.member.tell(msgspec.json.encode([verb, arguments, options]).decode())

    async def answer(self) -> Any:
        """What the verb that was begun gave."""
        said = await self.member.hear()
        if said is None or "error" in said:
            raise RuntimeError("the process is gone" if said is None else said["error"])
        return said["answer"]


@asynccontextmanager
async def puppets(
    home: Path, urls: Sequence[str], *, load_s: float = 0.0, **settings: Any
) -> AsyncIterator[list[Strings]]:
    """A puppet for each URL; their source is the file ``truth`` in the folder."""
    arguments = [{"url": url, "truth": str(home / "truth"), "load_s": load_s, "settings": settings} for url in urls]
    async with crew("proving.reliability.puppet:obey", arguments) as members:
        yield [Strings(member) for member in members]


async def served(puppet: Strings, deadline_s: float = 20.0) -> None:
    """Wait until a puppet's cache has a server and serves from memory.

    Raises:
        TimeoutError: It does not.
    """
    async with asyncio.timeout(deadline_s):
        while True:
            promised = await puppet.pull("guarantee")
            if promised["connected"] and promised["memory"]:
                return
            await asyncio.sleep(0.05)


async def obey(
    talk: Talk, *, url: str, truth: str, load_s: float = 0.0, settings: Mapping[str, Any] | None = None
) -> None:
    """Open a cache and do what is said, until nothing is said any more."""
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(str(context)))
    with Truth(truth) as source:
        options = {"ttl_jitter_ratio": 0.0, **(settings or {})}
        async with Cache(Settings(redis_url=url, **options), policies={KIND: Policy(ttl=3600)}) as cache:
            puppet = Puppet(cache, source, load_s)
            talk.say("ready")
            while word := await talk.hear():
                if word == "close":
                    break
                verb, arguments, options = msgspec.json.decode(word)
                try:
                    talk.say({"answer": await getattr(puppet, verb)(*arguments, **options)})
                except Exception as error:
                    talk.say({"error": repr(error)})
        talk.say({"answer": [*complaints, *await leaked()]})
