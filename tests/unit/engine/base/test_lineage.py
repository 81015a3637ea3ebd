"""Lineage that a loader declares when it is done: exactly what ended meanwhile refuses the fill, and loss does too."""

import asyncio

import pytest

from alacena.engine import MISSING, UNCHANGED, Policy
from alacena.engine.remote.local.local_tier import _NOTED_TAGS, _Journal
from alacena.engine.remote.redis.journal import LONGEST_BYTES, NAME_BYTES, RECORD_BYTES, records, state, tells_of
from tests.unit.engine.scene import TENANT, play


def answer(*documents, takes_s=1.0):
    """A loader that knows its documents once it has read them."""

    async def load(context):
        await asyncio.sleep(takes_s)
        context.depends_on(documents)
        return f"from {documents}"

    return load


async def loaded(stage, during, *documents):
    """Whether an answer is kept after something happened during its load."""
    load = asyncio.create_task(stage.cache.load("note", "q", TENANT, answer(*documents)))
    await asyncio.sleep(0.5)
    await during()
    assert await load == f"from {documents}"
    await asyncio.sleep(0.1)
    kept = [await cache.get("note", "q", TENANT) is not None for cache in stage.caches]
    assert len(set(kept)) == 1
    return kept[0]


@pytest.mark.parametrize("server", [False, True])
def test_an_ingestion_of_other_documents_keeps_no_answer_from_being_stored(server):
    async def scenario(stage):
        async def ingest():
            for number in range(300):
                await stage.caches[-1].invalidate(TENANT, document_ids=[f"other-{number}"])

        assert await loaded(stage, ingest, "d1", "d2")

    play(scenario, server=server, processes=2 if server else 1)


@pytest.mark.parametrize("server", [False, True])
@pytest.mark.parametrize("ended", ["d1", "d2"])
def test_one_of_its_own_documents_does(server, ended):
    async def scenario(stage):
        async def edit():
            await stage.caches[-1].invalidate(TENANT, document_ids=["x", ended, "y"])

        assert not await loaded(stage, edit, "d1", "d2")
        assert stage.cache.stats()["refused_fills"] == {"generation": 1}
        assert stage.left_behind() == dict.fromkeys(stage.left_behind(), 0)
        assert await loaded(stage, lambda: asyncio.sleep(0), "d1", "d2")

    play(scenario, server=server, processes=2 if server else 1)


@pytest.mark.parametrize("server", [False, True])
def test_what_ended_before_the_load_began_does_not_matter(server):
    async def scenario(stage):
        await stage.cache.load("note", "warm", TENANT, answer("d1", takes_s=0))
        await stage.cache.invalidate(TENANT, document_ids=["d1"])
        assert await loaded(stage, lambda: asyncio.sleep(0), "d1")
        await stage.cache.invalidate(TENANT, document_ids=["d1"])
        assert await stage.cache.get("note", "q", TENANT) is None

    play(scenario, server=server)


@pytest.mark.parametrize("server", [False, True])
def test_who_asks_after_a_document_ended_does_not_get_an_answer_that_was_begun_before(server):
    async def scenario(stage):
        documents = {"d1": "old"}

        async def load(context):
            text = documents["d1"]
            await asyncio.sleep(5)
            context.depends_on("d1")
            return text

        early = asyncio.create_task(stage.cache.load("note", "q", TENANT, load))
        await asyncio.sleep(1)
        documents["d1"] = "new"
        await stage.caches[-1].invalidate(TENANT, document_ids=["d1"])
        await asyncio.sleep(1.1)
        late = [asyncio.create_task(cache.load("note", "q", TENANT, load)) for cache in stage.caches for _ in range(5)]
        assert set(await asyncio.gather(*late)) == {"new"}
        assert await early == "old"

    play(scenario, server=server, processes=2 if server else 1)


@pytest.mark.parametrize("server", [False, True])
def test_an_ingestion_of_other_documents_costs_no_load_more(server):
    async def scenario(stage):
        asked = 0

        async def load(context):
            nonlocal asked
            asked += 1
            await asyncio.sleep(3)
            context.depends_on("d1")
            return "answer"

        async def call(cache):
            await asyncio.sleep(stage.sim.chance.random() * 4)
            return await cache.load("note", "q", TENANT, load)

        async def ingest():
            for number in range(40):
                await asyncio.sleep(0.1)
                await stage.caches[-1].invalidate(TENANT, document_ids=[f"other-{number}"])

        calls = [call(cache) for cache in stage.caches for _ in range(20)]
        answers = await asyncio.gather(ingest(), *calls)
        assert set(answers[1:]) == {"answer"}
        assert asked == 1

    play(scenario, server=server, processes=2 if server else 1, seeds=range(5))


@pytest.mark.parametrize("server", [False, True])
@pytest.mark.parametrize("many", [False, True])
def test_who_comes_after_an_ending_does_not_wait_for_a_load_that_can_store_nothing(server, many):
    async def scenario(stage):
        async def slow(_):
            await asyncio.sleep(60)
            return "old"

        async def load_many(ids):
            return dict.fromkeys(ids, "new")

        early = asyncio.create_task(stage.cache.load("note", "q", TENANT, slow))
        await asyncio.sleep(1)
        await stage.cache.invalidate(TENANT, "note")
        began = stage.now()
        if many:
            assert await stage.cache.load_many("note", ["q"], TENANT, load_many) == {"q": "new"}
        else:
            assert await stage.cache.load("note", "q", TENANT, answer(takes_s=0)) == "from ()"
        assert stage.now() - began < 0.2
        await asyncio.sleep(0.1)
        assert await stage.cache.get("note", "q", TENANT) in {"new", "from ()"}
        assert await early == "old"
        assert await stage.cache.get("note", "q", TENANT) in {"new", "from ()"}

    play(scenario, server=server)


@pytest.mark.parametrize(
    "loss",
    [
        lambda server: server.keyspace.execute([b"UNLINK", b"alacena:g:{acme.0}:j"]),
        lambda server: server.keyspace.execute([b"SET", b"alacena:g:{acme.0}:j", b"n" * 8]),
        lambda server: server.keyspace.execute([b"SET", b"alacena:g:{acme.0}:j", b"n" * 4096]),
    ],
    ids=["evicted", "another release's", "somebody else's"],
)
def test_a_journal_that_was_lost_refuses_the_fill(loss):
    async def scenario(stage):
        async def lose():
            loss(stage.server)
            stage.server.flush()

        assert not await loaded(stage, lose, "d1")
        assert await loaded(stage, lambda: asyncio.sleep(0), "d1")

    play(scenario, server=True)


def test_a_journal_that_was_lost_and_begun_anew_refuses_the_fill():
    async def scenario(stage):
        async def lose_and_begin():
            stage.server.keyspace.execute([b"UNLINK", b"alacena:g:{acme.0}:j"])
            await stage.cache.load("note", "other", TENANT, answer("x", takes_s=0))
            await stage.cache.invalidate(TENANT, document_ids=["d1"])
            stage.server.keyspace.execute([b"UNLINK", b"alacena:g:{acme.0}:j"])
            await stage.cache.load("note", "another", TENANT, answer("x", takes_s=0))

        assert not await loaded(stage, lose_and_begin, "d1")

    play(scenario, server=True)


def test_an_ending_that_is_sent_again_does_not_hide_one_that_a_lost_journal_has_forgotten():
    async def scenario(stage):
        def unlink_journal():
            stage.server.keyspace.execute([b"UNLINK", b"alacena:g:{acme.0}:j"])

        await stage.cache.load("note", "warm", TENANT, answer("x", takes_s=0))
        await stage.cache.invalidate(TENANT, document_ids=["other"])

        async def lose_and_repeat():
            unlink_journal()
            await stage.cache.invalidate(TENANT, document_ids=["d1"])
            await stage.cache.load("note", "another", TENANT, answer("x", takes_s=0))
            await stage.cache.invalidate(TENANT, document_ids=["other"])

        assert not await loaded(stage, lose_and_repeat, "d1")

    play(scenario, server=True)


def test_a_journal_that_nobody_asks_for_any_more_goes_by_itself():
    async def scenario(stage):
        await stage.cache.load("note", "q", TENANT, answer("d1", takes_s=0))
        await stage.cache.invalidate(TENANT, document_ids=["d1"])
        assert stage.server.keyspace.execute([b"PTTL", b"alacena:g:{acme.0}:j"]) > 0

    play(scenario, server=True, seeds=(1,))


@pytest.mark.parametrize("server", [False, True])
def test_more_endings_than_a_journal_holds_refuse_the_fill_rather_than_be_forgotten(server):
    async def scenario(stage):
        async def flood():
            await stage.cache.invalidate(TENANT, document_ids=["d1", *(f"x{i}" for i in range(_NOTED_TAGS))])

        assert not await loaded(stage, flood, "d1")
        assert await loaded(stage, lambda: asyncio.sleep(0), "d1")
        if stage.server is not None:
            assert len(stage.server.keyspace.peek(b"alacena:g:{acme.0}:j")) <= LONGEST_BYTES

    play(scenario, server=server, seeds=(1,))


def test_who_only_ingests_leaves_no_journal():
    async def scenario(stage):
        for number in range(50):
            await stage.cache.invalidate(TENANT, document_ids=[f"d{number}"])
        assert [name for name in stage.server.keyspace.names() if b":g:" in name] == []

    play(scenario, server=True)


@pytest.mark.parametrize("server", [False, True])
def test_ten_thousand_chunks_are_ended_in_a_handful_of_commands(server):
    async def scenario(stage):
        documents = [f"d{number % 50}" for number in range(10_000 if server else 1_000)]
        for number in range(50):
            await stage.cache.set("chunk", f"c{number}", number, TENANT, document_ids=[f"d{number}"])
        counts = await asyncio.gather(*(stage.cache.invalidate(TENANT, document_ids=[d]) for d in documents))
        assert all(count > 0 for count in counts)
        assert await stage.cache.get_many("chunk", [f"c{n}" for n in range(50)], TENANT) == {}

    play(scenario, server=server, seeds=(1,))


@pytest.mark.parametrize("buckets", [{}, {"acme": 4}])
@pytest.mark.parametrize("server", [False, True])
def test_exactly_the_answers_that_used_a_document_are_gone(server, buckets):
    async def scenario(stage):
        used = {f"q{number}": [f"d{stage.sim.chance.randrange(40)}" for _ in range(3)] for number in range(100)}
        for question, documents in used.items():
            await stage.cache.load("answer", question, TENANT, answer(*documents, takes_s=0))
        await asyncio.sleep(0.2)
        edited = {"d3", "d7"}
        await stage.caches[-1].invalidate(TENANT, document_ids=edited)
        await asyncio.sleep(0.1)
        for cache in stage.caches:
            for question, documents in used.items():
                kept = await cache.get("answer", question, TENANT) is not None
                assert kept == (not edited & set(documents)), question

    play(scenario, server=server, processes=2 if server else 1, tenant_buckets=buckets, seeds=(1, 2))


def test_a_part_of_a_journal_tells_what_ended_and_distrusts_everything_else(environment):
    name = environment.token(NAME_BYTES)
    remembered = state(name, 80)
    since = records(["a", "b"])
    assert len(since) == 2 * RECORD_BYTES
    assert tells_of(name, since, remembered, ["x", "a"])
    assert tells_of(name, since, remembered, ["b"])
    assert not tells_of(name, since, remembered, ["x", "y"])
    assert not tells_of(name, since, remembered, [])
    assert not tells_of(name, b"", remembered, ["a"])
    for lost in (b"", name[:4], environment.token(NAME_BYTES)):
        assert tells_of(lost, since, remembered, ["x"])
    assert state(name, 80) != state(name, 88), "each ending makes another state"


def test_the_journal_of_a_process_remembers_in_order_and_forgets_safely():
    journal = _Journal()
    start = journal.position
    journal.note("a")
    after_a = journal.position
    journal.note("b")
    assert journal.tells_of("a", start)
    assert not journal.tells_of("a", after_a)
    assert journal.tells_of("b", after_a)
    assert not journal.tells_of("c", start)
    for number in range(_NOTED_TAGS):
        journal.note(f"x{number}")
    assert journal.tells_of("c", start), "what was forgotten may be anything"
    assert not journal.tells_of("c", journal.position - 10)


@pytest.mark.parametrize("server", [False, True])
@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("memory", [False, True])
def test_what_is_unchanged_still_depends_on_what_it_was_made_from(server, early, memory):
    async def scenario(stage):
        async def load(context):
            if context.previous is not MISSING:
                assert context.previous_tags == ("t", "document:d1")
                return UNCHANGED
            context.depends_on("d1")
            return {"from": "d1"}

        options = {"tags": ["t"], "use_memory": memory} if early else {"use_memory": memory}
        await stage.cache.load("note", "q", TENANT, load, tags=["t"], use_memory=memory)
        for _ in range(2):
            await asyncio.sleep(11)
            assert await stage.caches[-1].load("note", "q", TENANT, load, **options) == {"from": "d1"}
            await asyncio.sleep(0.1)
            assert await stage.cache.get("note", "q", TENANT) is not None
        await stage.caches[-1].invalidate(TENANT, document_ids=["d1"])
        await asyncio.sleep(0.1)
        assert await stage.cache.get("note", "q", TENANT) is None

    policy = Policy(ttl=10, stale_if_error_s=60)
    play(scenario, server=server, processes=2 if server else 1, policy=policy)


@pytest.mark.parametrize("server", [False, True])
def test_what_is_unchanged_is_not_stored_where_its_document_ended_meanwhile(server):
    async def scenario(stage):
        async def load(context):
            if context.previous is not MISSING:
                await asyncio.sleep(2)
                return UNCHANGED
            context.depends_on("d1")
            return "answer"

        await stage.cache.load("note", "q", TENANT, load)
        await asyncio.sleep(11)
        again = asyncio.create_task(stage.cache.load("note", "q", TENANT, load))
        await asyncio.sleep(1)
        await stage.caches[-1].invalidate(TENANT, document_ids=["d1"])
        assert await again == "answer"
        await asyncio.sleep(0.1)
        assert await stage.cache.get("note", "q", TENANT) is None

    policy = Policy(ttl=10, stale_if_error_s=60)
    play(scenario, server=server, processes=2 if server else 1, policy=policy)
