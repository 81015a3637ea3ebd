"""Mistakes that a type checker has to find. Each line says which, and nothing runs it."""

from alacena import Cache, Policy, Settings, Tenant


async def load(context: object) -> int:
    """A loader."""
    return 1


async def mistakes(cache: Cache, acme: Tenant) -> None:
    """What an editor underlines."""
    await cache.load("document", "d1", "acme", load, time_to_live=60)  # error: call-arg
    await acme.load("document", "d1", load, ttl_s=60)  # error: call-arg
    await acme.get("document", "d1", "acme")  # error: call-arg
    await cache.explain("document", "d1", "acme", agent="support")  # error: call-arg
    acme.queues.worker(acme.queues("q"), print, threads=2)  # error: call-arg
    acme.locks.acquire("reindex", tenant_id=1)  # error: arg-type
    Settings(redis="redis://localhost")  # error: call-arg
    Policy(ttl="600")  # error: arg-type
