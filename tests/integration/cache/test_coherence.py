"""The coherence protocol on real servers: two caches stand for two processes."""

import asyncio

import pytest

from alacena.engine import Policy
from tests.waiting import until

TENANT = "acme"


class Source:
    """A source whose reads can be stopped between reading and answering."""

    def __init__(self, value="v1"):
        self.value = value
        self.reads = 0
        self.gate = None
        self.reading = asyncio.Event()

    async def load(self, _=None):
        self.reads += 1
        value = self.value
        self.reading.set()
        if self.gate is not None:
            await self.gate.wait()
        return value


@pytest.mark.parametrize("invalidate", ["delete", "resource", "type", "tenant", "elsewhere"])
async def test_what_was_read_before_an_invalidation_is_never_stored(cache, other, invalidate):
    source = Source()
    source.gate = asyncio.Event()
    load = asyncio.create_task(cache.load("document", "d1", TENANT, source.load))
    await source.reading.wait()

    source.value = "v2"
    writer = other if invalidate == "elsewhere" else cache
    match invalidate:
        case "delete" | "elsewhere":
            await writer.delete("document", "d1", TENANT)
        case "resource":
            await writer.invalidate(TENANT, "document", "d1")
        case "type":
            await writer.invalidate(TENANT, "document")
        case "tenant":
            await writer.invalidate(TENANT)
    source.gate.set()

    assert await load == "v1"
    for reader in (cache, other):
        assert await reader.get("document", "d1", TENANT) is None
        assert await reader.get("document", "d1", TENANT, use_memory=False) is None
    assert await other.load("document", "d1", TENANT, source.load) == "v2"


async def test_a_caller_after_an_invalidation_never_shares_a_load_from_before(cache):
    source = Source()
    source.gate = asyncio.Event()
    early = asyncio.create_task(cache.load("document", "d1", TENANT, source.load))
    await source.reading.wait()
    source.value = "v2"
    await cache.invalidate(TENANT, "document", "d1")
    late = asyncio.create_task(cache.load("document", "d1", TENANT, source.load))
    await until(lambda: source.reads == 2)
    source.gate.set()

    assert await early == "v1"
    assert await late == "v2"


async def test_a_change_elsewhere_reaches_memory_by_a_push(cache, other):
    await cache.set("document", "d1", "v1", TENANT)
    assert (await other.lookup("document", "d1", TENANT)).tier == "redis"
    assert (await other.lookup("document", "d1", TENANT)).tier == "memory"

    await cache.set("document", "d1", "v2", TENANT)
    await until(lambda: other.peek((TENANT, "document", "d1")) != "v1")

    assert await other.get("document", "d1", TENANT) == "v2"


async def test_a_filler_is_told_of_changes_to_what_it_filled(cache, other):
    await cache.load("document", "d1", TENANT, Source().load)
    await until(lambda: cache.peek((TENANT, "document", "d1")) == "v1")

    await other.delete("document", "d1", TENANT)
    await until(lambda: cache.peek((TENANT, "document", "d1")) != "v1")

    assert await cache.get("document", "d1", TENANT) is None


async def test_our_own_write_stays_in_memory(cache):
    for version in range(20):
        await cache.set("document", "d1", version, TENANT)
        await cache.get("document", "d2", TENANT)
        assert cache.peek((TENANT, "document", "d1")) == version
    await cache.load("document", "d3", TENANT, Source().load)
    await cache.get("document", "d2", TENANT)
    assert cache.peek((TENANT, "document", "d3")) == "v1"


@pytest.mark.parametrize("scope", [{}, {"collection_id": "k"}, {"agent_id": "a", "conversation_id": "v"}])
async def test_a_scope_dies_in_one_step_everywhere(cache, other, scope):
    for number in range(50):
        await cache.set("answer", f"q{number}", number, TENANT, **scope)
        assert await other.get("answer", f"q{number}", TENANT, **scope) == number
    await cache.set("answer", "q0", "kept", "rival", **scope)
    await cache.set("note", "n1", "kept", TENANT, **scope)

    assert await cache.invalidate(TENANT, "answer", **scope) > 0
    await until(lambda: len(other._parts.memory.entries) == 0 or other.peek((TENANT, "answer", "q1")) != 1)

    for reader in (cache, other):
        for number in range(50):
            assert await reader.get("answer", f"q{number}", TENANT, **scope) is None
        assert await reader.get("answer", "q0", "rival", **scope) == "kept"
        assert await reader.get("note", "n1", TENANT, **scope) == "kept"


async def test_an_answer_dies_with_any_document_it_used(cache, other):
    async def answer(context):
        context.depends_on(["d1", "d2"])
        return "from d1 and d2"

    async def other_answer(context):
        context.depends_on("d3")
        return "from d3"

    await cache.load("answer", "q1", TENANT, answer)
    await cache.load("answer", "q2", TENANT, other_answer)
    await until(lambda: cache.peek((TENANT, "answer", "q2")) == "from d3")
    assert await other.get("answer", "q1", TENANT) == "from d1 and d2"
    assert await other.get("answer", "q2", TENANT) == "from d3"

    await other.invalidate(TENANT, document_ids=["d2"])
    await until(lambda: cache.peek((TENANT, "answer", "q1")) != "from d1 and d2")

    for reader in (cache, other):
        assert await reader.get("answer", "q1", TENANT) is None
        assert await reader.get("answer", "q2", TENANT) == "from d3"


async def test_a_document_edited_while_an_answer_is_made_leaves_no_answer(cache, other):
    gate, reading = asyncio.Event(), asyncio.Event()

    async def answer(context):
        reading.set()
        await gate.wait()
        context.depends_on("d1")
        return "from the old d1"

    load = asyncio.create_task(cache.load("answer", "q1", TENANT, answer))
    await reading.wait()
    await other.invalidate(TENANT, document_ids=["d1"])
    gate.set()

    assert await load == "from the old d1"
    assert await other.get("answer", "q1", TENANT) is None
    await until(lambda: cache.stats()["refused_fills"] == {"generation": 1})


async def test_a_caller_after_an_edit_never_shares_an_answer_that_used_the_old_document(cache):
    gate, reading = asyncio.Event(), asyncio.Event()
    document = {"text": "old"}

    async def answer(context):
        text = document["text"]
        reading.set()
        await gate.wait()
        context.depends_on("d1")
        return f"from the {text} d1"

    early = asyncio.create_task(cache.load("answer", "q1", TENANT, answer))
    await reading.wait()
    document["text"] = "new"
    await cache.invalidate(TENANT, document_ids=["d1"])
    late = asyncio.create_task(cache.load("answer", "q1", TENANT, answer))
    await cache.get("document", "another", TENANT, use_memory=False)
    gate.set()

    assert await early == "from the old d1"
    assert await late == "from the new d1"


async def test_readers_bypass_what_a_transaction_holds(cache, other):
    source = Source()
    await other.load("document", "d1", TENANT, source.load)

    async with cache.write(TENANT, ("document", "d1")):
        assert await other.load("document", "d1", TENANT, source.load) == "v1"
        assert await other.get("document", "d1", TENANT, use_memory=False) is None
        source.value = "v2"

    assert await other.load("document", "d1", TENANT, source.load) == "v2"
    assert await cache.get("document", "d1", TENANT) == "v2"


async def test_lost_generations_make_misses(cache, other, redis_server):
    await cache.set("document", "d1", "v1", TENANT)
    assert await other.get("document", "d1", TENANT) == "v1"
    for key in redis_server.call("KEYS", "alacena:g:*"):
        redis_server.call("DEL", key)
    await until(lambda: other.peek((TENANT, "document", "d1")) != "v1")

    assert await other.get("document", "d1", TENANT) is None
    assert await cache.get("document", "d1", TENANT) is None


async def test_flushall_empties_memory_too(cache, other, redis_server):
    await cache.set("document", "d1", "v1", TENANT)
    assert await other.get("document", "d1", TENANT) == "v1"
    redis_server.call("FLUSHALL")
    await until(
        lambda: other.peek((TENANT, "document", "d1")) != "v1" and cache.peek((TENANT, "document", "d1")) != "v1"
    )

    assert await cache.get("document", "d1", TENANT) is None


async def test_a_killed_connection_takes_memory_with_it_and_comes_back(cache, other, redis_server):
    await cache.set("document", "d1", "v1", TENANT)
    assert await other.get("document", "d1", TENANT) == "v1"

    redis_server.call("CLIENT", "KILL", "TYPE", "normal")
    await until(lambda: other.peek((TENANT, "document", "d1")) != "v1")
    await until(lambda: other.guarantee()["memory"] and cache.guarantee()["memory"])

    assert await other.get("document", "d1", TENANT) == "v1"


async def test_another_history_makes_everything_a_miss(open_cache, start_redis):
    server = start_redis(extra=["--enable-debug-command", "yes"])
    cache = await open_cache(redis_url=server.url)
    await cache.set("document", "d1", "v1", TENANT)
    server.call("DEBUG", "CHANGE-REPL-ID")
    await until(lambda: cache.peek((TENANT, "document", "d1")) != "v1")

    assert await cache.get("document", "d1", TENANT) is None
    assert await cache.set("document", "d1", "v2", TENANT)
    assert await cache.get("document", "d1", TENANT, use_memory=False) == "v2"


async def test_a_paused_server_ends_the_right_to_serve_from_memory(open_cache, redis_server):
    cache = await open_cache(staleness_bound_s=0.3, redis_budget_s=0.02)
    await cache.set("document", "d1", "v1", TENANT)
    redis_server.process.pause()
    try:
        await until(lambda: cache.peek((TENANT, "document", "d1")) != "v1")
        assert await cache.load("document", "d1", TENANT, Source("from the source").load) == "from the source"
    finally:
        redis_server.process.resume()
    await until(lambda: cache.guarantee()["memory"])

    async def found():
        return await cache.get("document", "d1", TENANT) == "v1"

    await until(found)  # a read has 20 ms here, and a busy machine may take longer


async def test_a_cold_key_is_loaded_once_across_processes(open_cache):
    caches = [await open_cache() for _ in range(4)]
    source = Source()
    source.gate = asyncio.Event()
    loads = [asyncio.create_task(c.load("document", "d1", TENANT, source.load)) for c in caches for _ in range(50)]
    await source.reading.wait()
    for one in caches:
        await one.get("document", "another", TENANT, use_memory=False)
    source.gate.set()

    assert set(await asyncio.gather(*loads)) == {"v1"}
    assert source.reads == 1


async def test_the_loader_of_a_dead_process_is_replaced_when_its_lease_ends(open_cache):
    dying, cache = await open_cache(lease_s=0.2), await open_cache(lease_s=0.2, lease_poll_s=0.05)
    source = Source()
    source.gate = asyncio.Event()
    load = asyncio.create_task(dying.load("document", "d1", TENANT, source.load))
    await source.reading.wait()
    dying._parts.remote.renew = lambda _: None
    source.gate = None

    assert await cache.load("document", "d1", TENANT, source.load) == "v1"
    assert source.reads == 2
    load.cancel()
    await asyncio.gather(load, return_exceptions=True)


async def test_foreign_bytes_under_our_key_are_a_miss(cache, redis_server):
    await cache.set("document", "d1", "v1", TENANT)
    await cache.set("document", "d2", "v2", TENANT)
    stolen = redis_server.call("GET", "alacena:e:{acme.0}:document:d2").encode("utf-8", "surrogateescape")
    redis_server.call("SET", "alacena:e:{acme.0}:document:d1", stolen)
    for entry in (b"", b"garbage", stolen[:40], stolen[:-1], stolen + b"x"):
        redis_server.call("SET", "alacena:e:{acme.0}:document:d1", entry)
        assert await cache.get("document", "d1", TENANT, use_memory=False) is None
    assert await cache.load("document", "d1", TENANT, Source("new").load) == "new"
    assert cache.stats()["rejected_entries"] >= 5


async def test_round_trips_are_as_promised(cache, redis_server):
    def calls():
        stats = redis_server.call("INFO", "commandstats").splitlines()
        counted = ("cmdstat_get", "cmdstat_mget", "cmdstat_eval", "cmdstat_unlink")
        pairs = [line.split(":") for line in stats if line.startswith(counted)]
        return {name.removeprefix("cmdstat_"): int(rest.split("calls=")[1].split(",")[0]) for name, rest in pairs}

    async def spent(work):
        redis_server.call("CONFIG", "RESETSTAT")
        await work
        return calls()

    await cache.set("document", "d0", 1, TENANT)
    assert await spent(cache.get("document", "d0", TENANT)) == {}
    assert (await spent(cache.get("document", "d0", TENANT, use_memory=False))) == {"get": 1}
    assert (await spent(cache.set("document", "d1", 1, TENANT)))["evalsha"] == 1
    assert (await spent(cache.delete("document", "d1", TENANT))) == {"eval": 1}  # with its name in the journal
    assert (await spent(cache.invalidate(TENANT, "document"))) == {"eval": 1}


async def test_stale_is_served_when_the_source_fails_and_never_when_it_was_invalidated(open_cache):
    policy = Policy(ttl=0.05, stale_if_error_s=60)
    cache = await open_cache(policies={"price": policy})

    async def fails(_):
        raise ConnectionError("the source is down")

    await cache.set("price", "p1", "old", TENANT)
    await until(lambda: cache.peek((TENANT, "price", "p1")) != "old")
    lookup = await cache.lookup("price", "p1", TENANT, fails)
    assert (lookup.value, lookup.source) == ("old", "stale")

    await cache.invalidate(TENANT, "price", "p1")
    with pytest.raises(ConnectionError):
        await cache.load("price", "p1", TENANT, fails)


async def test_a_burst_of_invalidations_is_one_command(cache, redis_server):
    await cache.set("document", "d1", 1, TENANT, document_ids=["d1"])
    redis_server.call("CONFIG", "RESETSTAT")

    counts = await asyncio.gather(*(cache.invalidate(TENANT, document_ids=["d1"]) for _ in range(10_000)))

    stats = redis_server.call("INFO", "commandstats").splitlines()
    assert all(count > 0 for count in counts)
    assert [line.split(",")[0] for line in stats if line.startswith("cmdstat_eval:")] == ["cmdstat_eval:calls=1"]
    assert await cache.get("document", "d1", TENANT) is None


async def test_a_document_can_be_ended_on_a_server_that_is_full(open_cache, start_redis):
    server = start_redis(maxmemory_bytes=50_000_000, maxmemory_policy="noeviction")
    cache = await open_cache(redis_url=server.url)

    async def load(context):
        context.depends_on("d1")
        return "answer"

    await cache.load("answer", "q1", TENANT, load)
    await until(lambda: cache.get("answer", "q1", TENANT, use_memory=False))
    server.call("CONFIG", "SET", "maxmemory", "1000")

    assert await cache.invalidate(TENANT, document_ids=["d1"]) > 0
    assert cache.guarantee()["removals_owed"] == 0
    assert await cache.get("answer", "q1", TENANT) is None


async def test_an_entry_of_a_scope_that_a_process_has_not_met_is_found(cache, other):
    """It knows the generations of tenant and type, and not those of the scope: it asks for these, and does not miss."""
    await cache.set("document", "d1", "the agent's", TENANT, agent_id="a1")
    await cache.set("document", "d2", "the tenant's", TENANT)
    assert await other.get("document", "d2", TENANT) == "the tenant's"
    for use_memory in (False, True):
        found = await other.get("document", "d1", TENANT, agent_id="a1", search_hierarchy=False, use_memory=use_memory)
        assert found == "the agent's"
