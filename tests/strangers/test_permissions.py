"""Permissions: what was loaded with somebody's rights is served to nobody who has others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from alacena import (
    CacheManager,
    Context,
    Scope,
    cached,
    get_embeddings_batch_with_cache,
    get_supabase_client,
    get_with_cache_aside,
)
from alacena.common.context import get_current_user_id
from alacena.common.db import close_supabase_clients, configure_supabase
from alacena.engine import Cache, LoadContext, UsageError
from alacena.engine.base.keys import Keys
from alacena.integrations.caller import Caller, Serving, current_caller

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

READERS = (
    {"user_id": "director"},
    {"user_id": "guest"},
    {"permissions": ["read", "salaries"]},
    {"permissions": ["read"]},
    {"permissions": []},
    {"user_id": "director", "permissions": ["write"]},
)


@pytest.mark.usefixtures("manager")
async def test_one_readers_rows_are_nobody_elses() -> None:
    """After vllm-project/semantic-router 1448 and diegosouzapw/OmniRoute 3740: a hit skipped the authorization."""
    for reader in READERS:
        value, metrics = await get_with_cache_aside("rows", "all", "acme", lambda r=reader: f"{r}", **reader)
        assert (value, metrics["cache_hit"]) == (f"{reader}", False)
    for reader in READERS:
        for use_memory in (True, False):
            found = await CacheManager.get("rows", "all", "acme", use_memory=use_memory, **reader)
            assert found == f"{reader}"
    assert await CacheManager.get("rows", "all", "acme") is None
    assert await CacheManager.get("rows", "all", "acme", user_id="stranger") is None
    assert await CacheManager.get_many("rows", ["all"], "acme", user_id="guest") == {"all": f"{READERS[1]}"}


@pytest.mark.usefixtures("manager")
async def test_neither_order_nor_repetition_of_permissions_counts() -> None:
    await CacheManager.set("rows", "all", 1, "acme", permissions=["b", "a", "b"])
    assert await CacheManager.get("rows", "all", "acme", permissions={"a", "b"}) == 1
    assert await CacheManager.get("rows", "all", "acme", permissions=("a", "b")) == 1
    assert await CacheManager.get("rows", "all", "acme", permissions=("ab",)) is None
    assert await CacheManager.ttl("rows", "all", "acme", permissions=("a", "b")) > 0


@pytest.mark.usefixtures("manager")
async def test_who_reads_with_permissions_is_not_served_what_the_user_alone_may_see() -> None:
    """A delegate that acts for a user with fewer rights: the user's own entry was made with all of them."""
    await CacheManager.set("rows", "all", "everything", "acme", user_id="u")
    assert await CacheManager.get("rows", "all", "acme", user_id="u", permissions=["read"]) is None
    await CacheManager.set("rows", "all", "what readers see", "acme", permissions=["read"])
    assert await CacheManager.get("rows", "all", "acme", user_id="u", permissions=["read"]) == "what readers see"


@pytest.mark.usefixtures("manager")
async def test_an_entry_that_names_no_reader_is_public_in_its_tenant() -> None:
    await CacheManager.set("rows", "all", "for everybody", "acme")
    assert await CacheManager.get("rows", "all", "acme", user_id="guest", permissions=["read"]) == "for everybody"
    assert await CacheManager.get("rows", "all", "acme", user_id="guest", search_hierarchy=False) is None
    assert await CacheManager.get("rows", "all", "other", user_id="guest") is None


@pytest.mark.usefixtures("manager")
@pytest.mark.parametrize("what", [{"resource_id": "all"}, {}, {"resource_id": "*"}])
async def test_invalidating_covers_what_readers_have(what: dict[str, Any]) -> None:
    for reader in READERS:
        await CacheManager.set("rows", "all", 1, "acme", agent_id="a", **reader)
        await CacheManager.set("rows", "all", 1, "acme", **reader)
    assert await CacheManager.invalidate("acme", "rows", **what) > 0
    for reader in READERS:
        assert await CacheManager.get("rows", "all", "acme", **reader) is None
        assert await CacheManager.get("rows", "all", "acme", agent_id="a", **reader) is None


@pytest.mark.usefixtures("manager")
async def test_all_of_a_user_can_be_ended_and_nothing_else() -> None:
    for reader in READERS:
        await CacheManager.set("rows", "all", 1, "acme", **reader)
    assert await CacheManager.invalidate("acme", user_id="director") > 0
    kept = [await CacheManager.get("rows", "all", "acme", search_hierarchy=False, **reader) for reader in READERS]
    assert kept == [None, 1, 1, 1, 1, None]
    assert await CacheManager.invalidate_cache("user", "acme", user_id="guest") > 0
    assert await CacheManager.invalidate("acme", "rows", "all", permissions=["read"]) > 0
    kept = [await CacheManager.get("rows", "all", "acme", search_hierarchy=False, **reader) for reader in READERS]
    assert kept == [None, None, 1, None, 1, None]
    assert await CacheManager.delete("rows", "all", "acme", permissions=[]) is True


async def test_the_engine_tells_readers_apart_as_well(cache: Cache) -> None:
    seen: list[tuple[Any, Any]] = []

    async def load(context: LoadContext) -> str:
        seen.append((context.user_id, context.permissions))
        return "loaded"

    for scope in (Scope("acme", user_id="u"), Scope("acme", permissions=["p"])):
        assert await cache.load("rows", "all", scope, load) == "loaded"
        assert await cache.load("rows", "all", scope, load) == "loaded"
    assert seen == [("u", None), (None, frozenset({"p"}))]
    assert await cache.get("rows", "all", "acme", user_id="u") == "loaded"
    assert await cache.get("rows", "all", "acme") is None
    assert await cache.invalidate("acme", "rows", "all") > 0
    assert await cache.get("rows", "all", "acme", permissions=["p"]) is None


@pytest.mark.usefixtures("manager")
async def test_cached_functions_and_embeddings_name_their_readers() -> None:
    @cached("rows")
    async def rows(user_id: str, permissions: list[str]) -> list[str]:
        return [user_id, *permissions]

    made: list[str] = []

    def embed(texts: list[str]) -> list[list[float]]:
        made.extend(texts)
        return [[1.0]] * len(texts)

    with Context("acme"):
        assert await rows("u", ["b", "a"]) == ["u", "b", "a"]
        assert await rows("u", ["a", "b"]) == ["u", "b", "a"]
        assert await rows("v", ["a", "b"]) == ["v", "a", "b"]
        await CacheManager.invalidate(None, user_id="u")
        assert await rows("u", ["a", "b"]) == ["u", "a", "b"]
        for user in ("u", "v", "u"):
            await get_embeddings_batch_with_cache(["t"], None, "m", embed, user_id=user)
    assert made == ["t", "t"]


@pytest.mark.usefixtures("manager")
async def test_a_token_in_a_load_for_everybody_is_an_error_that_names_the_remedy() -> None:
    """After GenAI-Security-Project/GenAI-LLM-Top10 126: rows of a user's policy went into an entry for all."""
    configure_supabase(url="http://127.0.0.1:9", key="public")

    def rows() -> str:
        return str(get_supabase_client(access_token="of-the-director").options.headers["Authorization"])

    @cached("rows")
    async def kept() -> str:
        return rows()

    with Context("acme"):
        with pytest.raises(UsageError, match="user_id=") as refused:
            await get_with_cache_aside("rows", "all", None, rows)
        assert "director" not in str(refused.value)
        with pytest.raises(UsageError, match="permissions="):
            await kept()
        for reader in ({"user_id": "director"}, {"permissions": ["salaries"]}):
            assert (await get_with_cache_aside("rows", "all", None, rows, **reader))[0].startswith("Bearer")
        assert rows().startswith("Bearer")  # outside a load nothing is kept
    await close_supabase_clients()
    configure_supabase()


@pytest.mark.usefixtures("manager")
async def test_a_value_for_everybody_is_not_made_of_one_readers() -> None:
    """The same by a detour: an answer for all that reads, while it is made, what is one user's."""

    async def answer() -> str:
        return f"from {await CacheManager.get('rows', 'all', user_id='director')}"

    with Context("acme"):
        await CacheManager.set("rows", "all", "salaries", user_id="director")
        with pytest.raises(UsageError, match="user_id="):
            await get_with_cache_aside("answer", "q", None, answer)
        value, _ = await get_with_cache_aside("answer", "q", None, answer, user_id="director")
    assert value == "from salaries"


async def stored(cache: Cache) -> None:
    """Wait until what was loaded is stored, or refused: it happens behind the answer."""
    parts = cache._parts
    assert parts is not None
    while tasks := parts.flights.tasks:
        await asyncio.wait(tasks)


LEAKS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a user's, for all with the same permissions": ({"user_id": "ana"}, {"permissions": ["read"]}),
    "a user's, for another user": ({"user_id": "ana"}, {"user_id": "bob"}),
    "a user's, for the same one with fewer rights": ({"user_id": "ana"}, {"user_id": "ana", "permissions": ["read"]}),
    "of more permissions": ({"permissions": ["read", "salaries"]}, {"permissions": ["read"]}),
    "of other permissions": ({"permissions": ["salaries"]}, {"permissions": ["read"]}),
    "of a user with permissions": ({"user_id": "ana", "permissions": ["read"]}, {"permissions": ["read"]}),
    "a user's, for all": ({"user_id": "ana"}, {}),
}
NO_LEAKS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a user's, for the same user": ({"user_id": "ana"}, {"user_id": "ana"}),
    "of permissions, for a user": ({"permissions": ["read"]}, {"user_id": "ana"}),
    "of fewer permissions": ({"permissions": ["read"]}, {"permissions": ["salaries", "read"]}),
    "of no permissions": ({"permissions": []}, {"permissions": ["read"]}),
    "everybody's": ({}, {"permissions": ["read"]}),
    "an agent's": ({"agent_id": "support"}, {}),
}


@pytest.mark.usefixtures("manager")
@pytest.mark.parametrize("case", LEAKS | NO_LEAKS)
async def test_a_value_is_not_made_of_what_not_all_its_readers_may_see(case: str) -> None:
    """As aurelio-labs/semantic-router 1448, one load further in: an answer for many, made from one user's rows."""
    inner, outer = (LEAKS | NO_LEAKS)[case]

    async def answer() -> Any:
        return (await get_with_cache_aside("rows", "all", None, lambda: "salaries", **inner))[0]

    with Context("acme"):
        if case in LEAKS:
            with pytest.raises(UsageError, match="user_id="):
                await get_with_cache_aside("answer", "q", None, answer, **outer)
            assert await CacheManager.get("answer", "q", **outer) is None
        else:
            _, metrics = await get_with_cache_aside("answer", "q", None, answer, **outer)
            assert metrics["stored"]


@pytest.mark.parametrize("nested", [False, True], ids=["at once", "through another load"])
@pytest.mark.parametrize("many", [False, True], ids=["load", "load_many"])
@pytest.mark.parametrize("case", LEAKS | NO_LEAKS)
async def test_the_engine_keeps_for_its_caller_what_is_made_of_one_readers(
    cache: Cache, case: str, *, many: bool, nested: bool
) -> None:
    """The same in the engine, whose verbs take any scope: the value is its caller's alone, and not stored."""
    inner, outer = (LEAKS | NO_LEAKS)[case]
    await cache.set("rows", "all", "salaries", "acme", **inner)
    scope = Scope("acme", **outer)

    async def read(*_: Any) -> Any:
        return await cache.get("rows", "all", "acme", search_hierarchy=False, **inner)

    async def read_further_in(*_: Any) -> Any:
        return await cache.load("digest", "all", scope, read)

    source = read_further_in if nested else read
    if many:

        async def answer(ids: list[str]) -> dict[str, Any]:
            return dict.fromkeys(ids, await source())

        assert await cache.load_many("answer", ["q"], scope, answer) == {"q": "salaries"}
    else:
        assert await cache.load("answer", "q", scope, source) == "salaries"
    await stored(cache)
    found = [await cache.lookup(kind, "all" if kind == "digest" else "q", scope) for kind in ("answer", "digest")]
    assert [one.found for one in found] == [case in NO_LEAKS, case in NO_LEAKS and nested]


def test_the_keys_of_readers_are_injective() -> None:
    parts = [None, "a", "b", "a:u=b", "=", ",", "a,b", "1:a"]
    sets = [None, (), ("a",), ("a", "b"), ("a,b",), ("1:a",), ("a1:b",)]
    keys, scopes = (
        Keys(),
        [
            Scope("t", agent_id=agent, user_id=user, permissions=permissions)
            for agent in parts
            for user in parts
            for permissions in sets
        ],
    )
    entries = [keys.entry("d", "r", scope) for scope in scopes]
    assert len({entry.entry for entry in entries}) == len({entry.ident for entry in entries}) == len(scopes)
    assert [entry.scope for entry in entries] == scopes


def rows_of_the_user() -> str:
    """A source that asks for the ambient user, as one that sets a row-level security variable does."""
    return f"rows of {get_current_user_id()}"


@cached("own rows")
async def own_rows() -> str:
    return rows_of_the_user()


async def _many() -> Any:
    cache = await CacheManager.cache()
    found = await cache.load_many("own rows", ["q"], "acme", lambda ids: dict.fromkeys(ids, rows_of_the_user()))
    return found["q"]


async def _by_the_block() -> Any:
    with Context() as block:
        block.user_id = get_current_user_id()

    def rows() -> str:
        return f"rows of {block.user_id}"

    return (await get_with_cache_aside("own rows", "q", "acme", rows))[0]


async def _nested() -> Any:
    async def outer() -> Any:
        return (await get_with_cache_aside("own rows", "inner", "acme", rows_of_the_user))[0]

    return (await get_with_cache_aside("own answer", "q", "acme", outer))[0]


ASKED: dict[str, Callable[[], Awaitable[Any]]] = {
    "cache-aside": lambda: _first(get_with_cache_aside("own rows", "q", "acme", rows_of_the_user)),
    "a cached function": own_rows,
    "by its ctx": lambda: _first(
        get_with_cache_aside("own rows", "q", "acme", lambda ctx: f"rows of {ctx.get_user_id()}")
    ),
    "by the block that is around it": _by_the_block,
    "many": _many,
    "inside another load": _nested,
    "nothing": lambda: _first(get_with_cache_aside("no rows", "q", "acme", lambda: get_current_user_id() and None)),
}


async def _first(work: Awaitable[tuple[Any, Any]]) -> Any:
    return (await work)[0]


@pytest.mark.parametrize("door", ASKED)
async def test_what_a_source_made_for_the_ambient_user_is_nobody_elses(
    manager: type[CacheManager], door: str, caplog: pytest.LogCaptureFixture
) -> None:
    """After vllm-project/semantic-router 2134: the rows that one user's policy let through were the next one's hit."""

    async def as_user(user: str) -> Any:
        with Context("acme", user_id=user):
            return await ASKED[door]()

    expected = [None, None] if door == "nothing" else ["rows of ana", "rows of bob"]
    assert [await as_user("ana"), await as_user("bob")] == expected
    together = await asyncio.gather(*(as_user(user) for user in ("ana", "bob", "ana")))
    assert together == [*expected, expected[0]]
    assert "user_id=..." in caplog.text


async def test_what_a_source_made_for_the_ambient_permissions_is_for_no_others(manager: type[CacheManager]) -> None:
    """As vllm-project/semantic-router 1448, for a caller without a user: a service with a set of permissions."""

    def rows() -> str:
        return f"rows for {sorted(current_caller().permissions or ())}"

    async def ask(*permissions: str) -> Any:
        with Serving(Caller(tenant_id="acme", permissions=frozenset(permissions))):
            return (await get_with_cache_aside("own rows", "q", generate_func=rows))[0]

    assert await ask("salaries") == "rows for ['salaries']"
    assert await ask("menus") == "rows for ['menus']"


async def test_what_names_its_reader_is_kept_whoever_its_source_asks(manager: type[CacheManager]) -> None:
    """The metrics say why a value is not kept, and naming the user mends it."""
    loads: list[str | None] = []

    def source() -> str:
        loads.append(get_current_user_id())
        return rows_of_the_user()

    with Context("acme", user_id="ana"):
        _, metrics = await get_with_cache_aside("own rows", "q", generate_func=source)
        assert (metrics["stored"], metrics["reason"]) == (False, "reader")
        for _ in range(2):
            value, metrics = await get_with_cache_aside("own rows", "q", generate_func=source, user_id="ana")
            assert value == "rows of ana"
    assert metrics["cache_hit"]
    with Context("acme"):  # nobody is ambient: there is nobody whose value it could be
        for _ in range(2):
            assert (await get_with_cache_aside("own rows", "q", generate_func=source))[0] == "rows of None"
    assert loads == ["ana", "ana", None]
