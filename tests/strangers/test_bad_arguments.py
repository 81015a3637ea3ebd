"""An argument of the wrong type, or an absurd one of the right type, is answered by an error of Alacena's own.

The public verbs are found by inspection, so that a new one is held to it by itself.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import importlib
import inspect
import logging
import pkgutil
import re
import uuid
from collections import defaultdict
from contextlib import AsyncExitStack
from decimal import Decimal
from functools import wraps
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import alacena
import alacena.integrations
from alacena import CacheManager, Context, cached, configure, configure_supabase, override, with_context
from alacena.coordination.lock import Lock
from alacena.coordination.worker import Backoff
from alacena.engine import (
    AlacenaError,
    ArgumentError,
    Cache,
    Claim,
    Event,
    InvalidKeyError,
    Policy,
    Settings,
    SystemEnvironment,
)
from alacena.engine.base.errors import show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEADLINE_S = 60.0
"""Of one call that ends at once, unless its argument makes it wait for ever."""
LONG = "x" * 1_000_000
MOST_SAID, MOST_QUOTED = 1_000, 200
"""Characters of a message, and of an argument in it."""


class Unshowable:
    """Stands for a value of the application's that cannot be shown, such as a row whose session is closed."""

    def __repr__(self) -> str:
        raise RuntimeError("the session is closed")

    def __call__(self) -> int:
        return 1

    __str__ = __format__ = __repr__  # type: ignore[assignment]


ODD: tuple[Any, ...] = (
    None, "", "\0", "\ud800", LONG, b"x", True, 0, -1, 5, 10**400, 1.5, float("nan"), float("inf"),
    Decimal("1.5"), Decimal("nan"), [], [None], [[]], ["\ud800"], ("a",), {"a"}, {}, {1: None}, {"a": object()},
    object(), len, lambda: 1, int, uuid.UUID(int=1), dt.datetime(2026, 1, 1, tzinfo=dt.UTC), Unshowable(),
    [Unshowable()], {"a": Unshowable()}, {Unshowable(): 1}, defaultdict(Unshowable()),
)  # fmt: skip


async def load(*_: Any) -> dict[str, int]:
    return {"x": 1}


async def load_all(ids: Any, *_: Any) -> dict[Any, int]:
    return dict.fromkeys(ids, 1)


async def embed(texts: Any, *_: Any) -> list[list[float]]:
    return [[1.0] for _ in texts]


NEW = "new"
"""Stands for an id that no call before has used."""
GOOD: dict[str, Any] = {
    "tenant_id": "acme", "data_type": "document", "resource_id": NEW, "resource_ids": [NEW], "texts": [NEW],
    "resources": ("document", "d1"), "value": {"a": 1}, "values": {"a": 1}, "metadata": {"document_id": "d1"},
    "loader": load, "source": load, "handler": load, "who": load, "embedding_provider": embed, "items": [], "ids": ["a"],
    "amount": 1, "limit": 10, "window_s": 10, "rate_per_s": 1.0, "burst": 5, "ttl_s": 10, "visibility_s": 10,
    "max_items": 1, "tokens": 5, "attempt": 1, "chance": 0.5, "seconds": 1, "duration_s": 0.01, "every_s": 0.01,
    "keys": {1: b"k" * 32}, "current": 1, "fence": 1, "question": "snapshot", "scope": "tenant", "name": "n",
}  # fmt: skip
"""Right arguments by the name of their parameter; text for any other."""


class Row:
    """Stands for a connection to Postgres, and for a class that is registered."""

    async def fetchval(self, *_: Any) -> int:
        return 1


GOOD_OF: dict[str, dict[str, Any]] = {
    "load_many": {"loader": load_all},
    "reset_context": {"name": "tenant_id"},
    "record": {"tokens": 5},
    "track_token_usage": {"tokens": 5},
    "delete": {"data_type": "document", "resource_id": NEW},
    "invalidate_document_update": {"document_id": "d1"},
    "check_fence": {"connection": Row()},
    "register": {"cls": Row, "dump": vars, "load": dict},
    "deserialize_from_cache": {"data": alacena.serialize_for_cache({"a": 1})},
    "check": {"history": []},
    "load": {"lines": [], "loader": load},
}
"""The same, of one verb; given though they may be left out."""

WAITS = {
    ("reserve", "wait_s"): "it waits for an item as long as it was told to",
    ("reserve_any", "wait_s"): "as `reserve`",
    ("acquire", "wait_s"): "it waits for a lock as long as it was told to",
    ("take", "wait_s"): "as `acquire`",
    ("ask", "process"): "it waits for a process that is not there, and that may be slow",
    ("begin", "life_s"): "a claim that has begun waits for its own end if it is begun once more",
    ("FaultProxy", "listen"): "it makes a unix socket, which the system may refuse",
}
"""Parameters that are left out, because a right value makes the verb wait, or leaves something behind."""
OWN = "the argument is a function of the caller's, and its error is passed on as it is"
TOLERATED = {
    ("load", "loader"): OWN,
    ("lookup", "loader"): OWN,
    ("refresh", "loader"): OWN,
    ("load_many", "loader"): OWN,
    ("cached", "key"): OWN,
    ("all_rows", "query"): OWN,
    ("get_with_cache_aside", "validation_func"): OWN,
    ("get_embeddings_batch_with_cache", "embedding_provider"): OWN,
    ("peek", "ident"): "the hit in memory itself: the verbs that call it say what is wrong with the key",
    ("peek_entry", "ident"): "as `peek`",
    ("CachedTransform", "*"): "a model of pydantic's: its own error names the field",
    ("CachedEmbedding", "*"): "as `CachedTransform`",
}
"""Verbs and parameters that may end in another error, with the reason."""
LIFE = {"open", "close", "initialize", "stop", "run", "run_once", "drain", "begin"}
"""Verbs that begin or end what is swept."""
MADE_HERE = {"Claim", "LoadContext", "Reading", "Tenant"}
"""Classes whose instances the library makes."""
WHOLE_PROCESS = {"configure", "configure_supabase", "install_as_common", "override"}
"""Verbs that change the process; they have tests of their own."""


@pytest.fixture
async def ground() -> Any:
    """What has public verbs, by a name, with an open cache in memory behind it."""
    configure(redis_url=None, ttl_jitter_ratio=0.0)
    await CacheManager.initialize()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(CacheManager.close)
        yield await doors_of(stack, await stack.enter_async_context(Cache(Settings())))


async def doors_of(stack: AsyncExitStack, cache: Cache) -> dict[str, Any]:
    """Returns a cache, its parts, and what they make."""
    acme = cache.tenant("acme")
    queue = cache.queues("q", tenant_id="acme")
    await queue.push(1)
    (item,) = await queue.reserve()
    budget = cache.budgets("b", limit=10, tenant_id="acme")
    doors = {
        "Cache": cache,
        "Tenant": acme,
        "CacheManager": CacheManager.get_instance(),
        "Queue": queue,
        "AllTenants": cache.queues.any("q"),
        "SomeTenants": cache.queues.any("q", tenant_ids=["acme"]),
        "Item": item,
        "Budget": budget,
        "Reservation": await budget.reserve(1),
        "Lock": await cache.locks.take("l", tenant_id="acme"),
        "Claim": await cache.begin_claim("document", "c1", "acme"),
        "Reading": await stack.enter_async_context(cache.reading("acme")),
        "Policy": Policy(),
    }
    for owner in (cache, acme):
        for name in dir(owner):
            part = None if name.startswith("_") else getattr(owner, name)
            is_part = type(part).__module__.startswith("alacena.") and not inspect.ismethod(part)
            if is_part and not isinstance(part, SystemEnvironment):
                doors[f"{type(owner).__name__}.{name}"] = part
    return doors


def verbs_of(door: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yields the public verbs of an object, by name."""
    if isinstance(door, dict):
        yield from door.items()
        return
    if callable(door):
        yield "()", door
    for name in dir(door):
        static = inspect.getattr_static(door, name)
        if not name.startswith("_") and name not in LIFE and not isinstance(static, property):
            verb = getattr(door, name)
            if callable(verb):
                yield name, verb


def functions_of(module: Any) -> dict[str, Any]:
    """Returns the public functions and classes of a module, by name; errors, events and protocols are none."""
    found = {}
    for name in getattr(module, "__all__", None) or dir(module):
        one = getattr(module, name)
        home = str(getattr(one, "__module__", ""))
        # Without `__all__` a module's own are those that are written in it.
        is_own = home.startswith("alacena") if hasattr(module, "__all__") else home == module.__name__
        if name.startswith("_") or not is_own or not callable(one) or name in MADE_HERE | WHOLE_PROCESS:
            continue
        if inspect.isclass(one) and (issubclass(one, BaseException | Event) or getattr(one, "_is_protocol", False)):
            continue
        found[name] = one
    return found


def calls_of(name: str, verb: Callable[..., Any]) -> Iterator[tuple[str, Any, tuple[Any, ...], dict[str, Any]]]:
    """Yields calls with one odd argument each: the parameter, the odd value, and all arguments."""
    parameters = list(inspect.signature(verb).parameters.values())
    own = GOOD_OF.get(name, {})
    good = GOOD | own
    for odd in parameters:
        if odd.kind is odd.VAR_KEYWORD or (name, odd.name) in WAITS:
            continue
        for value in ODD:
            args: list[Any] = []
            kwargs: dict[str, Any] = {}
            for one in parameters:
                right = value if one is odd else fresh(good.get(one.name, "x"))
                if one.kind in (one.POSITIONAL_ONLY, one.VAR_POSITIONAL):
                    args.append(right)
                elif (
                    one is odd
                    or one.name == "tenant_id"
                    or (one.default is one.empty and one.kind is not one.VAR_KEYWORD)
                ):
                    kwargs[one.name] = right
            if any(one.kind is one.VAR_POSITIONAL for one in parameters):
                before = [one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
                args = [kwargs.pop(one) for one in before if one in kwargs] + args
            yield odd.name, value, tuple(args), kwargs


NUMBERS = count()


def fresh(right: Any) -> Any:
    """Returns a right argument; an id is another one each time, so that nothing is answered by what was stored before."""
    if isinstance(right, str) and right == NEW:
        return f"{NEW}{next(NUMBERS)}"
    return [fresh(one) for one in right] if isinstance(right, list) else right


async def outcome_of(verb: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> BaseException | None:
    """Runs a call to its end; returns the error that it ended with."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            made = verb(*args, **kwargs)
            if hasattr(made, "__aenter__") and not isinstance(made, Cache):
                async with made:
                    pass
            elif hasattr(made, "__enter__"):
                with made:
                    pass
            elif inspect.isawaitable(made):
                made = await made
            # Left open, it would keep the next call waiting.
            if isinstance(made, Claim):
                await made.close()
            elif isinstance(made, Lock):
                await made.release()
    except Exception as error:  # noqa: BLE001 - any error is what is looked for
        return error
    return None


def fault_of(error: BaseException | None) -> str | None:
    """Returns what is wrong with the end of a call, ``None`` if nothing is."""
    if error is None:
        return None
    if isinstance(error, TimeoutError) and not str(error):
        return "does not end"
    if not isinstance(error, AlacenaError):
        return f"{type(error).__name__}: {error!s:.150}"
    return fault_in(str(error))


def fault_in(said: str) -> str | None:
    """Returns what is wrong with the words of an error or of the log."""
    if len(said) > MOST_SAID:
        return f"says {len(said)} characters: {said:.80}"
    return f"quotes too much: {said:.80}" if "x" * (MOST_QUOTED + 1) in said else None


async def sweep(door: Any) -> list[str]:
    """Calls every verb of a door with every odd value in place of each argument; returns the faults."""
    faults: dict[str, list[str]] = {}
    for name, verb in verbs_of(door):
        for parameter, value, args, kwargs in calls_of(name, verb):
            fault = fault_of(await outcome_of(verb, args, kwargs))
            if fault is not None and not TOLERATED.keys() & {(name, parameter), (name, "*")}:
                faults.setdefault(f"{name}({parameter}): {fault}", []).append(f"{show(value):.20}")
    return [f"{fault} <- {', '.join(values)}" for fault, values in faults.items()]


def expect_none(faults: list[str]) -> None:
    assert not faults, "\n".join(faults)


DOORS = (
    "Cache", "Tenant", "CacheManager", "Queue", "AllTenants", "SomeTenants", "Item", "Budget", "Reservation", "Lock", "Claim",
    "Reading", "Policy", "Cache.budgets", "Cache.counters", "Cache.flags", "Cache.ledger", "Cache.limits",
    "Cache.lists", "Cache.locks", "Cache.queues", "Cache.sets", "Cache.settings", "Tenant.budgets", "Tenant.counters",
    "Tenant.flags", "Tenant.ledger", "Tenant.limits", "Tenant.lists", "Tenant.locks", "Tenant.queues", "Tenant.scope",
    "Tenant.sets",
)  # fmt: skip


async def test_every_door_of_a_cache_is_swept(ground: dict[str, Any]) -> None:
    assert sorted(ground) == sorted(DOORS), "name the new door in DOORS"


@pytest.mark.parametrize("door", DOORS)
async def test_a_verb_refuses_what_it_cannot_take(
    ground: dict[str, Any], door: str, caplog: pytest.LogCaptureFixture
) -> None:
    GOOD["process"] = (await ground["Cache"].fleet())[0].name
    GOOD_OF["worker"] = {"source": ground["Queue"]}
    GOOD_OF["nack"] = {"item": ground["Item"]} if door == "Queue" else {}
    with caplog.at_level(logging.INFO, "alacena"):
        expect_none(await sweep(ground[door]))
    expect_none([fault for record in caplog.records if (fault := fault_in(record.getMessage()))])


@pytest.mark.parametrize(
    "module",
    [
        "alacena",
        "alacena.engine",
        "alacena.common.cache.helpers",
        "alacena.common.context",
        "alacena.common.db",
        "alacena.common.tracking",
        "alacena.sources.ledger",
        "alacena.sources.postgres",
        "alacena.sources.psycopg",
        "alacena.sources.storage",
        "alacena.testing.doubles",
        "alacena.testing.proxy",
        "alacena.testing.staleness",
        "alacena.testing.trouble",
    ],
)
@pytest.mark.usefixtures("ground")
async def test_a_function_refuses_what_it_cannot_take(module: str, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip(f"alacena.{module.partition('.')[2]}".rstrip("."))
    with caplog.at_level(logging.INFO, "alacena"):
        expect_none(await sweep(functions_of(importlib.import_module(module))))
    expect_none([fault for record in caplog.records if (fault := fault_in(record.getMessage()))])


PAGES = Path(__file__).parents[2] / "docs" / "en"
INTEGRATIONS = [f"alacena.integrations.{one.name}" for one in pkgutil.iter_modules(alacena.integrations.__path__)]


@pytest.mark.parametrize("module", INTEGRATIONS)
@pytest.mark.usefixtures("ground")
async def test_an_integration_refuses_what_it_cannot_take(module: str) -> None:
    """Of its names, those that the pages name are for users; the others are asked by the framework."""
    try:
        imported = importlib.import_module(module)
    except ImportError as error:
        pytest.skip(str(error))
    pages = "\n".join(page.read_text("utf-8") for page in PAGES.rglob("*.md"))
    names = set(re.findall(rf"from {module} import ([^\n]+)", pages))
    public = {name.strip() for line in names for name in line.split("#")[0].strip("()").split(",")}
    found = {name: one for name, one in functions_of(imported).items() if name in public}
    expect_none(await sweep(found))


def applied(decorator: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a verb with a decorator's parameters, which decorates a function and calls that."""

    @wraps(decorator)
    async def apply(*args: Any, **kwargs: Any) -> Any:
        @decorator(*args, **kwargs)
        async def work(name: str) -> str:
            return name

        with Context(tenant_id="acme"):
            return await work(fresh(NEW))

    return apply


@pytest.mark.usefixtures("ground")
async def test_a_decorator_refuses_what_it_cannot_take() -> None:
    def flags(**given: Any) -> Any:
        return with_context(**given)

    # Without the function, which is its first parameter.
    parameters = list(inspect.signature(with_context).parameters.values())[1:]
    flags.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    expect_none(await sweep({"cached": applied(cached), "with_context": applied(flags)}))


async def test_the_parts_of_a_worker_refuse_what_they_cannot_take() -> None:
    """A wait that is none would be found out by the first item that fails, in a worker that has run for days."""
    expect_none(await sweep({"Backoff": Backoff}))


async def test_a_configuration_refuses_what_it_cannot_take() -> None:
    @wraps(Settings)
    def configure_setting(**settings: Any) -> None:
        configure(**settings)

    try:
        expect_none(await sweep({"configure": configure, "Settings": configure_setting}))
        expect_none(await sweep({"configure_supabase": configure_supabase}))
        expect_none(await sweep({"override": override}))
    finally:
        configure()
        configure_supabase()


@pytest.mark.parametrize("value", ODD, ids=lambda value: f"{show(value):.20}")
async def test_a_close_with_an_odd_time_refuses_it_or_ends(value: Any) -> None:
    cache = await Cache(Settings()).open()
    fault = fault_of(await outcome_of(cache.close, (), {"timeout_s": value}))
    await cache.close()
    assert fault is None


async def test_items_of_which_one_is_none_are_all_left_as_they_are(cache: Cache) -> None:
    queue = cache.queues("q", tenant_id="acme")
    await queue.push_many([1, 2])
    items: list[Any] = await queue.reserve(2)
    for wrong in (None, "item", 5):
        for verb in (queue.ack, queue.give_back, lambda given: queue.extend(given, 60.0)):
            with pytest.raises(ArgumentError, match=r"items must be an item that reserve\(\) gave"):
                await verb([*items, wrong])
    with pytest.raises(ArgumentError, match="item must be an item"):
        await queue.nack(None)  # type: ignore[arg-type]
    stats = await queue.stats()
    assert (stats.ready, stats.in_flight, stats.acked) == (0, 2, 0)
    assert await queue.ack(items) == []


async def test_a_take_that_is_refused_takes_no_turn_and_no_item(cache: Cache) -> None:
    """The view over all tenants moves on with each look: one that could not take must not have looked."""
    queue, everybody = cache.queues("q", tenant_id="acme"), cache.queues.any("q")
    await queue.push(1)
    wrong: Any
    for wrong in ("\ud800", "", 5.5):
        for source in (queue, everybody):
            with pytest.raises(InvalidKeyError, match="token"):
                await source.take(1, 60.0, wrong)
    for wrong in (None, "x", float("nan"), -1, 10**400):
        for source in (queue, everybody):
            with pytest.raises(ArgumentError, match="max_items must"):
                await source.take(wrong, 60.0)
            with pytest.raises(ArgumentError, match="visibility_s must"):
                await source.take(1, wrong)
    assert [item.value for item in await everybody.reserve()] == [1]


async def test_values_and_ids_that_are_no_lists_push_nothing(cache: Cache) -> None:
    queue = cache.queues("q", tenant_id="acme")
    wrong: Any
    for wrong in ("abc", None, 5):
        with pytest.raises(ArgumentError, match="values must be a list of values"):
            await queue.push_many(wrong)
    for wrong in ("ab", 5, [None, "b"]):
        with pytest.raises((ArgumentError, InvalidKeyError)):
            await queue.push_many([1, 2], ids=wrong)
    assert (await queue.stats()).pushed == 0


async def test_figures_that_are_none_count_nothing(cache: Cache) -> None:
    """A use whose flag or mode is no such thing could be counted and never be read again."""
    wrong: Any
    for wrong in (None, "yes", 1):
        with pytest.raises(ArgumentError, match="saved must be True or False"):
            await cache.ledger.record("acme", 5, model="m", saved=wrong)
        with pytest.raises(ArgumentError, match='mode must be "fast", "safe" or "durable"'):
            await cache.ledger.record("acme", 5, model="m", mode=wrong)
    for wrong in ("input", 5, [("input", 5)]):
        with pytest.raises(ArgumentError, match="parts must be a mapping"):
            await cache.ledger.record("acme", 5, model="m", parts=wrong)
    assert (await cache.ledger.totals("acme")).rows == ()


async def test_of_several_invalidations_none_is_done_if_one_cannot_be(manager: type[CacheManager]) -> None:
    await manager.set("document", "d1", "text", "acme")
    wrong: Any
    for wrong in (
        [{"data_type": []}],
        [{"data_typ": "chunk"}],
        ["chunk"],
        [{"data_type": "chunk", "resource_id": 1.5}],
        5,
    ):
        with pytest.raises((ArgumentError, InvalidKeyError)):
            await alacena.invalidate_coordinated("acme", "document", "d1", wrong)
    assert await manager.get("document", "d1", "acme") == "text"


async def test_a_provider_that_is_none_is_refused_though_all_texts_are_cached(manager: type[CacheManager]) -> None:
    assert manager is CacheManager
    await alacena.get_embeddings_batch_with_cache(["a"], "acme", "m", embed)
    with pytest.raises(ArgumentError, match="pass it without calling it"):
        await alacena.get_embeddings_batch_with_cache(["a"], "acme", "m", embed(["a"]))  # type: ignore[arg-type]


async def test_the_letters_of_one_id_are_no_ids(manager: type[CacheManager]) -> None:
    await manager.set("document", "d", "text", "acme")
    with pytest.raises(InvalidKeyError, match="resource_ids must be a list of ids, not the one id 'd1'"):
        await manager.get_many("document", "d1", "acme")


async def test_ids_of_numpy_are_ids_alone_and_in_an_array(cache: Cache) -> None:
    numpy = pytest.importorskip("numpy")
    await cache.set("answer", "q1", "text", "acme", document_ids=numpy.array([1, 2]))
    assert await cache.invalidate("acme", document_ids=numpy.int64(2)) > 0
    assert await cache.get("answer", "q1", "acme") is None


async def test_a_name_that_no_utf8_carries_keeps_no_process_from_being_seen(
    open_cache: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The counts of all tenants are told in one report."""
    one = await open_cache()
    await one.set("document", "d1", "text", "\ud800")
    with caplog.at_level(logging.WARNING, "alacena"):
        (member,) = await one.fleet()
    assert {row.tenant_id for row in member.snapshot.rows} >= {"\\ud800"}
    with pytest.raises(alacena.UsageError, match="could not answer 'explain'"):
        await one.ask(member.name, "explain", {"data_type": "document"})
    assert caplog.records == []
    with pytest.raises(alacena.SettingsError, match="process_name: holds a lone surrogate"):
        Settings(process_name="\ud800")


class Detached:
    """An object of the application's that cannot be shown, as a row whose session is closed."""

    def __repr__(self) -> str:
        raise RuntimeError("the session is closed")


async def test_an_id_that_cannot_be_shown_is_refused_all_the_same(cache: Cache) -> None:
    for refused in (
        cache.get("document", Detached(), "acme"),  # type: ignore[arg-type]
        cache.set("document", "d1", 1, Detached()),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidKeyError, match="a Detached that cannot be shown"):
            await refused
