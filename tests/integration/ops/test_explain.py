"""What ``alacena explain`` says first, for each reason that the server can tell."""

import asyncio
import json

import pytest

from alacena.engine import Cache, Policy, Settings


@pytest.fixture
def why(alacena, redis_server):
    """The reason and the sentence for document d1 of acme."""

    def ask(*words, tenant="acme"):
        done = alacena("explain", "document", "d1", "--tenant", tenant, "--json", *words, url=redis_server.url)
        assert done.exit_code == 0, done.output
        said = json.loads(done.stdout)
        return said["reason"], said["sentence"]

    return ask


@pytest.fixture
def on(work, redis_server):
    return lambda job, **settings: work(redis_server.url, job, **settings)


def load(document="d1", **options):
    async def job(cache):
        await cache.load("document", document, "acme", lambda: {"text": "a"}, **options)

    return job


def test_never_stored(why):
    code, sentence = why()

    assert code == "never"
    assert sentence.startswith("Never stored")


def test_fresh_and_served_from_redis(why, on):
    on(load())

    assert why()[0] == "redis"
    assert "served from Redis" in why()[1]


def test_absent_is_not_guessed_at(why, on):
    """Expired, evicted, deleted and refused leave nothing on the server: the command says that it does not know."""
    on(load("other"))
    code, sentence = why()

    assert code == "absent"
    assert "has not seen it" in sentence


@pytest.mark.parametrize(
    ("ending", "named"),
    [
        ({"document_ids": ["d1"]}, "document d1"),
        ({"tags": ["prices"]}, "tag prices"),
        ({"data_type": "document"}, "type document"),
        ({}, "tenant"),
    ],
)
def test_invalidated_names_what_ended_and_is_not_shown_as_valid(ending, named, why, on, alacena, redis_server):
    async def job(cache):
        await load(document_ids=["d1"], tags=["prices"])(cache)
        await cache.invalidate("acme", **ending)

    on(job)
    code, sentence = why()

    assert code == "invalidated"
    assert named in sentence
    shown = alacena("explain", "document", "d1", "--tenant", "acme", url=redis_server.url).stdout
    assert "entry.valid\tFalse" in shown
    assert f"entry.why\tended: {named}" in shown


def test_invalidated_by_its_name(why, on):
    async def job(cache):
        await load()(cache)
        await cache.invalidate("acme", "document", "d1")

    on(job)
    code, sentence = why()

    assert code == "invalidated"
    assert "d1" in sentence


def test_stored_for_an_agent_only(why, on):
    async def job(cache):
        await cache.set("document", "d1", {"a": 1}, "acme", agent_id="a1")

    on(job)

    assert why()[0] == "other_scope"
    assert "agent a1" in why()[1]
    assert why("--agent", "a1")[0] == "redis"


def test_stored_for_the_tenant_and_asked_for_an_agent(why, on):
    on(load())
    code, sentence = why("--agent", "a1")

    assert code == "wider_scope"
    assert "the tenant as a whole" in sentence


def test_stored_for_another_tenant(why, on):
    on(load())
    code, sentence = why(tenant="rival")

    assert code == "other_tenant"
    assert "acme" in sentence


def test_an_id_that_only_begins_alike_is_another(why, on):
    on(load("d11"))

    assert why()[0] == "absent"


def test_expired_and_kept_as_stale(why, redis_server):
    async def job():
        policies = {"document": Policy(ttl=0.02, stale_if_error_s=60.0)}
        settings = Settings(redis_url=redis_server.url, ttl_jitter_ratio=0.0, redis_budget_s=5.0)
        async with Cache(settings, policies=policies) as cache:
            await load()(cache)
            while (await cache.explain("document", "d1", "acme"))["entry"]["fresh_for_s"] > 0:
                await asyncio.sleep(0)

    asyncio.run(job())
    code, sentence = why()

    assert code == "stale"
    assert sentence.startswith("Expired 0.")


def test_held_by_a_write_block_and_being_loaded(redis_server, work, alacena):
    said = {}

    async def ask():
        words = ("explain", "document", "d1", "--tenant", "acme", "--json")
        done = await asyncio.to_thread(alacena, *words, url=redis_server.url)
        return json.loads(done.stdout)

    async def job(cache):
        async with cache.write("acme", ("document", "d1")):
            said["held"] = await ask()

        async def slow():
            said["loading"] = await ask()
            return {"a": 1}

        await cache.load("document", "d1", "acme", slow)

    work(redis_server.url, job)

    assert said["held"]["reason"] == "held"
    assert "write block" in said["held"]["sentence"]
    assert said["loading"]["reason"] == "loading"
    assert "being loaded by " in said["loading"]["sentence"]


def test_lost_state_is_named(start_redis, work, alacena):
    server = start_redis(tcp=True, extra=["--enable-debug-command", "local"])
    work(server.tcp_url, load())
    server.call("DEBUG", "CHANGE-REPL-ID")
    done = alacena("explain", "document", "d1", "--tenant", "acme", url=server.tcp_url)

    assert "lost the state" in done.stdout


def test_bytes_of_somebody_else_are_named(valkey_server, alacena):
    valkey_server.call("SET", "alacena:e:{acme.0}:document:d1", "not ours")
    done = alacena("explain", "document", "d1", "--tenant", "acme", url=valkey_server.url)

    assert "Stored, and not served" in done.stdout


def test_served_from_memory_in_the_process_that_has_it(redis_server):
    from alacena.ops.read_explanation import reason

    async def job():
        settings = Settings(redis_url=redis_server.url, redis_budget_s=5.0)
        async with Cache(settings) as cache:
            await load()(cache)
            await cache.get("document", "d1", "acme")
            return reason(await cache.explain("document", "d1", "acme"), "acme")

    assert asyncio.run(job()).code == "memory"


def test_without_a_server_it_says_so(alacena):
    done = alacena("explain", "document", "d1", "--tenant", "acme")

    assert done.exit_code == 0
    assert "No server is configured" in done.stdout


def test_a_server_that_is_away_ends_with_3(alacena):
    done = alacena("explain", "document", "d1", "--tenant", "acme", "--json", url="redis://127.0.0.1:1")

    assert done.exit_code == 3
    assert json.loads(done.stdout)["code"] == 3


def test_a_user_who_may_not_search_is_told_the_rest(start_redis, alacena, work):
    server = start_redis(users=["app on >pw ~* &* +@all -scan"], tcp=True)
    url = f"redis://app:pw@127.0.0.1:{server.port}"
    work(url, load("other"))
    done = alacena("explain", "document", "d1", "--tenant", "acme", url=url)

    assert done.exit_code == 0
    assert "Nothing is stored" in done.stdout
    assert "Looked for elsewhere: not possible, NOPERM" in done.stdout


def test_a_right_that_a_command_needs_leads_to_doctor(start_redis, alacena):
    server = start_redis(users=["app on >pw ~* &* +@all -mget"], tcp=True)
    done = alacena("explain", "document", "d1", "--tenant", "acme", url=f"redis://app:pw@127.0.0.1:{server.port}")

    assert done.exit_code == 1
    assert "`alacena doctor` says what to grant" in done.output


@pytest.mark.parametrize(
    ("whose", "words", "told"),
    [
        ({"user_id": "ana"}, ("--user", "ana"), "user ana"),
        ({"permissions": ["read", "pay"]}, ("--permission", "pay", "--permission", "read"), "permissions ~"),
    ],
    ids=["user", "permissions"],
)
def test_an_entry_of_a_reader_is_told_from_none_and_can_be_asked_for(
    whose, words, told, why, on, alacena, redis_server
):
    """As any cache with readers in its keys: the operator looks for what one user is served."""

    async def job(cache):
        await cache.set("document", "d1", "x", "acme", **whose)

    on(job)
    code, sentence = why()
    assert code == "other_scope"
    assert f"stored for {told}" in sentence
    assert why(*words)[0] == "redis"
    listed = alacena("keys", "--json", url=redis_server.url).stdout
    assert told.split()[-1] in listed
    shown = alacena("get", "document", "d1", "--tenant", "acme", *words, url=redis_server.url)
    assert (shown.exit_code, shown.stdout.strip()) == (0, "x")


def test_an_entry_of_a_wider_scope_is_named_with_its_reader(why, on):
    async def job(cache):
        await cache.set("document", "d1", "x", "acme", permissions=["read", "pay"])

    on(job)
    code, sentence = why("--user", "ana", "--permission", "read", "--permission", "pay")
    assert code == "wider_scope"
    assert "permissions pay, read" in sentence
