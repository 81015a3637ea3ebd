"""The identity of calls: which calls of a ``@cached`` function are one entry, and what may be decorated at all."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import itertools
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import InitVar, dataclass, field
from datetime import timedelta
from enum import Enum
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest
from pydantic import BaseModel

from alacena import CacheManager, Context, EncodeError, cached
from alacena.common.cache.call_shape import CallShape
from alacena.engine.base.errors import InvalidKeyError
from alacena.engine.codec.canonical import identity

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from alacena.engine import Cache

pytestmark = pytest.mark.usefixtures("manager")

T = TypeVar("T")


@pytest.fixture(autouse=True)
async def ambient() -> AsyncIterator[None]:
    """Every case runs for one tenant."""
    token = Context("acme")
    token.__enter__()
    yield
    token.__exit__(None, None, None)


def counted(data_type: str = "search", **options: Any) -> Any:
    """A cached function of anything, whose result is the number of the load."""
    loads = iter(range(100))

    @cached(data_type, **options)
    async def search(question: str = "q", where: Any = None, *rest: Any, **more: Any) -> int:
        return next(loads)

    return search


async def test_two_functions_of_one_type_do_not_answer_for_each_other() -> None:
    """After aio-libs/aiocache 734: a key that was not unique gave one function's result as another's."""

    @cached("search")
    async def documents(question: str) -> str:
        return f"documents about {question}"

    @cached("search")
    async def the_web(question: str) -> str:
        return f"pages about {question}"

    @cached("search", key=lambda question: question)
    async def by_key(question: str) -> str:
        return f"keys about {question}"

    @cached("search", key=lambda question: question)
    async def by_the_same_key(question: str) -> str:
        return f"the same about {question}"

    found = [await one("rent") for one in (documents, the_web, by_key, by_the_same_key)]
    assert len(set(found)) == 4
    await documents.invalidate("rent")
    assert await the_web.invalidate_all() > 0


@dataclass
class Filter:
    kinds: set[str] = field(default_factory=set)
    options: dict[str, int] = field(default_factory=dict)


class Kind(Enum):
    LEASE = "lease"


class Span(NamedTuple):
    start: int
    end: int


class Model(BaseModel):
    top_k: int = 5
    tags: frozenset[str] = frozenset()


EQUAL: dict[str, tuple[Any, Any]] = {
    "dicts": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "nested dicts": ([{"x": {"a": 1, "b": 2}}], [{"x": {"b": 2, "a": 1}}]),
    "sets": ({"a", "b", "c"}, {"c", "b", "a"}),
    "a set and a frozenset": ({"a"}, frozenset({"a"})),
    "sets of sets": ({frozenset({1, 2}), frozenset({3})}, {frozenset({3}), frozenset({2, 1})}),
    "dataclasses": (Filter({"a", "b"}, {"x": 1, "y": 2}), Filter({"b", "a"}, {"y": 2, "x": 1})),
    "models": (Model(tags={"b", "a"}), Model(top_k=5, tags={"a", "b"})),
    "arrays of two layouts": (np.array([[1, 2], [3, 4]]), np.array([[1, 3], [2, 4]]).T),
    "arrays inside of others": ({"a": [np.arange(4)[::2]]}, {"a": [np.array([0, 2])]}),
    "counters": (Counter("aab"), Counter("baa")),
    "dicts with a default": (defaultdict(list, {"a": [1], "b": []}), defaultdict(list, {"b": [], "a": [1]})),
    "a view of a dict": (MappingProxyType({"a": 1}), {"a": 1}),
    "keys of many kinds": ({(1, 2): 1, "a": 2, Kind.LEASE: 3}, {Kind.LEASE: 3, "a": 2, (1, 2): 1}),
}


@pytest.mark.parametrize("form", EQUAL)
async def test_equal_arguments_are_one_entry(form: str) -> None:
    """After python-cachier/cachier 132 and 134, joblib/joblib 235: the order of a dict, a set or keywords counted."""
    one, other = EQUAL[form]
    search = counted()
    assert await search("q", one) == await search("q", other) == await search(where=other) == 0
    assert await search.invalidate("q", other) > 0
    assert await search("q", one) == 1
    assert await search("q", one=one, two=2) == await search("q", two=2, one=other) == 2


async def test_different_arguments_are_different_entries() -> None:
    search = counted()
    values: list[Any] = [1, 1.0, True, "1", b"1", [1], (1,), {1}, {1: 1}, Filter(), Filter({"a"}), Model(), Span(1, 2)]
    values += [
        [1, 2],
        Kind.LEASE,
        "lease",
        Model,
        Filter,
        {"a": {"b": 1}},
        {"a": 1, "b": 1},
        None,
        [None],
        "",
        -1,
        2**70,
    ]
    assert len({await search("q", value) for value in values}) == len(values)
    assert await search("q", {"a": 1}) != await search("q", None, {"a": 1}) != await search("q", a=1)


SAME: dict[str, tuple[Any, Any]] = {
    "paths": (Path("/a/b"), Path("/a/b")),
    "a number of numpy": (np.int64(3), 3),
    "a fraction of numpy": (np.float64(1.5), 1.5),
    "a text of numpy": (np.str_("x"), "x"),
    "a truth of numpy": (np.bool_(True), True),
    "ranges": (range(3), range(3)),
    "patterns": (re.compile("a"), re.compile("a")),
    "fractions": (Fraction(1, 3), Fraction(2, 6)),
    "zones": (ZoneInfo("UTC"), ZoneInfo("UTC")),
}


@pytest.mark.parametrize("form", SAME)
async def test_what_pandas_and_the_standard_library_give_is_part_of_a_key(form: str) -> None:
    """A path was no argument, and a number of a data frame was another one than its equal."""
    one, other = SAME[form]
    search = counted()
    assert await search("q", one) == await search("q", other) == 0
    assert await search("q", {"in": [one]}) == await search("q", {"in": [other]}) == 1
    others = [Path("/a/c"), 4, 2.5, "y", False, range(4), re.compile("b"), Fraction(1, 2), ZoneInfo("Europe/Madrid")]
    assert len({await search("q", value) for value in others}) == len(others)


def asker(model: Any, **options: Any) -> Any:
    """A factory, as services have one for each model."""

    async def call(question: str) -> str:
        return f"{question} by {model}"

    @cached("ask", **options)
    async def ask(question: str) -> str:
        return await call(question)

    return ask


@pytest.mark.parametrize("options", [{}, {"key": lambda question: question}], ids=["arguments", "a key"])
async def test_functions_that_one_factory_makes_do_not_answer_for_each_other(options: Any) -> None:
    """As python-cachier/cachier 134: one function answered for another, here for one of the same name."""
    for models in (("small", "large"), (1, 2), (Kind.LEASE, None), (("a", 1), ("a", 2))):
        one, other, again = (asker(model, **options) for model in (*models, models[0]))
        assert await one("q") == await again("q") == f"q by {models[0]}"
        assert await other("q") == f"q by {models[1]}"
        await one.invalidate("q")
    partials = [cached("part")(functools.partial(asker(model).__wrapped__, "q")) for model in ("small", "large")]
    assert [await ask() for ask in partials] == ["q by small", "q by large"]


async def test_equal_values_around_a_function_each_count() -> None:
    def made(system: str, model: str, fallback: str) -> Any:
        @cached("ask")
        async def ask(question: str) -> str:
            return f"{system} {model} {fallback} {question}"

        return ask

    asks = [made(*words) for words in (("a", "a", "b"), ("a", "b", "b"), ("b", "a", "a"), ("a", "b", "a"))]
    assert len({await ask("q") for ask in asks}) == len(asks)


async def test_what_changes_around_a_function_is_no_part_of_its_key() -> None:
    """A source of a test, a client and a counter are no parameters: the value stays until it is invalidated."""
    price, calls, client = 1, [0], object()

    @cached("price")
    async def ask(product: str) -> tuple[int, object]:
        calls[0] += 1
        return price, client is not None

    assert await ask("p") == (1, True)
    price = 2
    assert await ask("p") == (1, True)
    assert calls == [1]
    await ask.invalidate("p")
    assert await ask("p") == (2, True)


class Books:
    async def find(self, question: str) -> str:
        return f"{question} in books"


class Pages:
    async def find(self, question: str) -> str:
        return f"{question} in pages"


async def find_books(question: str) -> str:
    return await Books().find(question)


async def find_pages(question: str) -> str:
    return await Pages().find(question)


async def answer_of(call: Any) -> str:
    answer = call("3")
    return str(await answer if inspect.isawaitable(answer) else answer)


AROUND: dict[str, tuple[Any, Any]] = {
    "functions": (find_books, find_pages),
    "cached functions": (cached("inner")(find_books), cached("inner")(find_pages)),
    "methods": (Books().find, Pages().find),
    "parts of functions": (functools.partial(find_books), functools.partial(find_pages)),
    "lambdas": (lambda question: f"{question} in books", lambda question: f"{question} in pages"),
    "lambdas that call others": (lambda it: find_books(it.strip()), lambda it: find_pages(it.strip())),
    "defaults of lambdas": tuple(lambda question, find=find: find(question) for find in (find_books, find_pages)),
    "built-in functions": (len, ascii),
    "methods of built-in types": (str.upper, str.isdigit),
    "classes": (int, float),
}


@pytest.mark.parametrize("options", [{}, {"key": lambda question: question}], ids=["arguments", "a key"])
@pytest.mark.parametrize("form", AROUND)
async def test_functions_around_other_functions_do_not_answer_for_each_other(form: str, options: Any) -> None:
    """As aio-libs/aiocache 734, by a decorator of the caller's own: it makes one function, by its name, of each that it wraps."""

    def around(call: Any) -> Any:
        @cached("around", **options)
        async def ask(question: str) -> Any:
            return await answer_of(call)

        return ask

    first, second = AROUND[form]
    one, other, again = around(first), around(second), around(first)
    assert await one("3") == await again("3")
    assert await other("3") == await answer_of(second) != await one("3")


async def test_functions_around_clients_of_two_classes_do_not_answer_for_each_other() -> None:
    def around(client: Any) -> Any:
        @cached("around")
        async def ask(question: str) -> str:
            return str(await client.find(question))

        return ask

    assert [await around(client)("q") for client in (Books(), Pages(), Books())] == [
        "q in books",
        "q in pages",
        "q in books",
    ]


class Absent:
    """A proxy of a request, as web frameworks have one, outside of any request."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("no request")


async def test_a_proxy_around_a_function_is_not_asked_for_anything() -> None:
    proxy = Absent()

    @cached("ask")
    async def ask(question: str) -> bool:
        return proxy is None

    assert await ask("q") is False


class Table:
    def __init__(self, name: str, connection: Any = None) -> None:
        self.name = name
        self.connection = connection

    def __bool__(self) -> bool:
        return False

    async def read(self, row: str) -> str:
        return f"{row} of {self.name}"


@pytest.mark.parametrize("options", [{}, {"key": lambda row: row}], ids=["arguments", "a key"])
async def test_methods_decorated_as_one_object_has_them_do_not_answer_for_each_other(options: Any) -> None:
    """As python-cachier/cachier 134: one call answered for another, here of the same method of two objects."""
    people, orders, again = (cached("row", **options)(Table(name).read) for name in ("people", "orders", "people"))
    assert await people("1") == await again("1") == "1 of people"
    assert await orders("1") == "1 of orders"
    with pytest.raises(EncodeError, match="__cache_key__"):
        await cached("row", **options)(Table("people", object()).read)("1")
    shared = cached("row", ignore=("self",), **options)(Table("people", object()).read)
    assert await shared("1") == "1 of people"


@dataclass
class Prompt:
    name: str
    flavour: InitVar[str] = ""

    def __post_init__(self, flavour: str) -> None:
        self.style = flavour

    @cached("told")
    async def tell(self) -> str:
        return self.style


class Words(list[str]):
    @cached("told")
    async def tell(self) -> str:
        return " ".join(self)


class Prices(dict[str, int]):
    @cached("told")
    async def tell(self) -> str:
        return str(dict(self))


class Row(msgspec.Struct, dict=True):
    name: str

    @cached("told")
    async def tell(self) -> str:
        return str(self.note)  # type: ignore[attr-defined]


class Hidden:
    __slots__ = ("__name",)

    def __init__(self, name: str) -> None:
        self.__name = name

    @cached("told")
    async def tell(self) -> str:
        return self.__name


@dataclass
class Repository(Generic[T]):
    name: str

    @cached("told")
    async def tell(self) -> str:
        return str(self.__orig_class__)  # type: ignore[attr-defined]


def made_class(table: str) -> Any:
    class Made:
        name = table

        def where(self) -> str:
            return table

        @cached("told")
        async def tell(self) -> str:
            return self.where()

    return Made()


def noted(row: Row, note: str) -> Row:
    row.note = note  # type: ignore[attr-defined]
    return row


OBJECTS: dict[str, Callable[[str], Any]] = {
    "what a dataclass makes when it is made": lambda word: Prompt("p", word),
    "what a list holds": lambda word: Words([word]),
    "what a dict holds": lambda word: Prices({word: 1}),
    "what a struct was given later": lambda word: noted(Row("r"), word),
    "a private slot": Hidden,
    "for what a generic class stands": lambda word: Repository[int if word == "one" else str]("r"),
    "what a class was made with": made_class,
}


@pytest.mark.parametrize("form", OBJECTS)
async def test_all_that_an_object_is_tells_it_apart(form: str) -> None:
    """As python-cachier/cachier 134: one object's result was another's, whose fields, and not all else, were equal."""
    make = OBJECTS[form]
    one, other = make("one"), make("other")
    assert await one.tell() != await other.tell()
    assert await make("one").tell() == await one.tell()
    assert await one.tell.invalidate() > 0


class Lazy:
    """A service as many are written: what is dear to make is made when it is first asked for."""

    def __init__(self, name: str) -> None:
        self.name = name

    @functools.cached_property
    def client(self) -> object:
        return object()

    @functools.cached_property
    def title(self) -> str:
        return self.name.title()

    @cached("asked")
    async def ask(self, answers: Any) -> str:
        assert self.client
        return f"{self.title} {next(ANSWERS)}"


ANSWERS = itertools.count()


async def test_what_an_object_makes_of_itself_later_is_no_part_of_it() -> None:
    """As joblib/joblib 235: equal calls had different keys, here as soon as the object had been used."""
    service = Lazy("legal")
    first = await service.ask("q")
    assert await service.ask("q") == await Lazy("legal").ask("q") == first
    await service.ask.invalidate("q")
    assert await Lazy("legal").ask("q") != first


async def test_an_argument_may_have_any_name() -> None:
    @cached("search")
    async def search(**filters: Any) -> dict[str, Any]:
        return filters

    for name in ("self", "args", "kwargs", "key", "function", "load"):
        for value in (1, 2):
            assert await search(**{name: value}) == {name: value}
            assert await search.invalidate(**{name: value})
            assert await search.refresh(**{name: value}) == {name: value}


LATER = "a coroutine"


@pytest.mark.parametrize("made", [None, object(), LATER, [object()]], ids=["nothing", "an object", LATER, "objects"])
async def test_a_key_that_would_be_one_for_all_calls_is_refused(made: Any) -> None:
    """A key function that returned nothing made one entry of all calls, and the first one answered."""

    async def later(question: str) -> str:
        return question

    @cached("keyed", key=later if made is LATER else lambda question: made)
    async def ask(question: str) -> str:
        raise AssertionError("nobody is paid for what cannot be told apart")

    with pytest.raises((InvalidKeyError, EncodeError), match="key= returned"):
        await ask("a")


async def test_a_key_may_be_any_id_or_values_together() -> None:
    for number, made in enumerate((7, UUID(int=7), Kind.LEASE, ("a", 1), ["a", 1], {"a": 1})):

        @cached(f"keyed {number}", key=lambda question, made=made: made)
        async def ask(question: str) -> str:
            return question

        assert await ask("a") == await ask("b") == "a"


PROGRAM = """
import asyncio, sys
from dataclasses import dataclass
from alacena import CacheManager, cached, configure
from alacena.engine import Cache, Settings

@dataclass(frozen=True)
class Filter:
    tags: frozenset

@cached("search")
async def search(tags, tenant_id="acme", **more):
    return sys.argv[2]

async def main():
    names = {"alpha", "beta", "gamma", "delta", "epsilon"}
    arguments = {"tags": {"any": names, "of": [Filter(frozenset(names))]}, **{name: names for name in names}}
    configure(redis_url=sys.argv[1], redis_budget_s=5.0)
    if sys.argv[2] == "invalidate":
        print(await search.invalidate(**arguments))
    else:
        print(await search(**arguments))
    sets = (await CacheManager.cache()).sets
    await sets.add("names", frozenset(names), frozenset({frozenset(names)}), tenant_id="acme")
    print(len(await sets.members("names", tenant_id="acme")), await sets.contains("names", frozenset(names), tenant_id="acme"))
    await CacheManager.close()

asyncio.run(main())
"""


def in_a_process(url: str, what: str, seed: int) -> list[str]:
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, url, what],
        env={**os.environ, "PYTHONHASHSEED": str(seed)},
        capture_output=True,
        text=True,
        check=True,
    )
    return ended.stdout.split()


async def test_equal_arguments_are_one_entry_in_every_process(url: str | None) -> None:
    """After snad-space/ztf-viewer 628 and marimo-team/marimo 9829: with another hash seed a set was another argument."""
    if url is None:
        pytest.skip("processes share nothing without a server")
    member = ["2", "True"]
    assert await asyncio.to_thread(in_a_process, url, "old", 1) == ["old", *member]
    assert await asyncio.to_thread(in_a_process, url, "new", 2) == ["old", *member]
    assert await asyncio.to_thread(in_a_process, url, "invalidate", 3) == ["1", *member]
    assert await asyncio.to_thread(in_a_process, url, "new", 4) == ["new", *member]


async def test_equal_values_are_one_member_of_a_set(cache: Cache) -> None:
    """Members are compared by their bytes, and equal dicts had others."""
    assert await cache.sets.add("s", {"a": 1, "b": {1, 2}}, tenant_id="acme") == 1
    assert await cache.sets.add("s", {"b": {2, 1}, "a": 1}, tenant_id="acme") == 0
    assert await cache.sets.contains("s", {"b": {1, 2}, "a": 1}, tenant_id="acme")
    assert await cache.sets.members("s", tenant_id="acme") == [{"a": 1, "b": {1, 2}}]
    assert await cache.sets.remove("s", {"b": {1, 2}, "a": 1}, tenant_id="acme") == 1


class Service:
    """A service whose results depend on what it was made with."""

    def __init__(self, model: str) -> None:
        self.model = model

    @cached("answer")
    async def answer(self, question: str = "q") -> str:
        return f"{self.model}: {question}"

    @classmethod
    @cached("name")
    async def name(cls) -> str:
        return cls.__name__

    @staticmethod
    @cached("plain")
    async def plain(question: str) -> str:
        return question

    @cached("other")
    async def other(this, question: str) -> str:
        return f"{this.model}: {question}"

    @property
    @cached("described")
    async def described(self) -> str:
        return self.model


class Derived(Service):
    """A subclass that asks its base."""

    async def answer(self, question: str = "q") -> str:
        return f"derived {await super().answer(question)}"


async def test_two_objects_do_not_answer_for_each_other() -> None:
    """After aio-libs/aiocache 129 and python-cachier/cachier 112: one object's method answered for the other's."""
    small, large, again = Service("small"), Service("large"), Service("small")
    assert [await small.answer("q"), await large.answer("q"), await again.answer("q")] == [
        "small: q",
        "large: q",
        "small: q",
    ]
    assert [await small.other("q"), await large.other("q")] == ["small: q", "large: q"]
    assert [await small.described, await large.described] == ["small", "large"]
    assert [await Service.name(), await Derived.name(), await small.name()] == ["Service", "Derived", "Service"]
    assert await Service.plain("q") == await small.plain("q") == "q"
    assert await Derived("small").answer("q") == "derived small: q"
    assert await Service.answer(large, "q") == "large: q"
    assert await large.answer.invalidate("q") > 0
    large.model = "other"
    assert await large.answer("q") == "other: q"


async def test_an_object_with_a_connection_says_what_tells_it_apart() -> None:
    connection = object()

    class Silent:
        def __init__(self) -> None:
            self.connection = connection

        @cached("row")
        async def row(self, row_id: str) -> str:
            return row_id

    class Stated(Silent):
        __slots__ = ("project",)

        def __init__(self, project: str) -> None:
            super().__init__()
            self.project = project

        def __cache_key__(self) -> str:
            return self.project

        @cached("of")
        async def of(self) -> str:
            return self.project

        @cached("shared", ignore=("self",))
        async def shared(self) -> str:
            return self.project

    with pytest.raises(EncodeError, match="__cache_key__"):
        await Silent().row("r")
    assert await Stated("a").row("r") == "r"
    assert [await Stated("a").of(), await Stated("b").of(), await Stated("a").of()] == ["a", "b", "a"]
    assert [await Stated("a").shared(), await Stated("b").shared()] == ["a", "a"]


async def test_a_partials_own_arguments_count() -> None:
    async def ask(model: str, question: str, top_k: int = 5) -> tuple[str, str, int]:
        return model, question, top_k

    small = cached("ask")(functools.partial(ask, "small"))
    large = cached()(functools.partial(functools.partial(ask, top_k=9), "large"))
    assert await small("q") == ("small", "q", 5)
    assert await large("q") == ("large", "q", 9)
    assert await cached("ask")(functools.partial(ask, "large"))("q") == ("large", "q", 5)


def plain(question: str) -> str:
    return question


async def tokens(question: str) -> Any:
    yield question


async def coroutine(question: str) -> str:
    return question


@pytest.mark.parametrize(
    ("decorate", "remedy"),
    [
        (lambda: cached("x")(plain), "async def"),
        (lambda: cached("x")(tokens), "generator"),
        (lambda: cached("x")(lambda: (yield)), "generator"),
        (lambda: cached(coroutine), "parentheses"),
        (lambda: cached("x")(classmethod(coroutine)), "above"),
        (lambda: cached("x")(staticmethod(coroutine)), "above"),
        (lambda: cached("x")("no function"), "async function"),
        (lambda: cached("x")(functools.partial(plain, "q")), "async def"),
    ],
)
def test_what_cannot_be_cached_is_refused_where_it_is_decorated(decorate: Any, remedy: str) -> None:
    """After long2ice/fastapi-cache 36 and Krukov/cashews 107: accepted, and a riddle at the call."""
    with pytest.raises(TypeError, match=remedy):
        decorate()


@cached("module level")
async def at_module_level(question: str, top_k: int = 5) -> str:
    """A question."""
    return question


async def test_a_decorated_function_looks_like_what_it_wraps() -> None:
    """After fastapi/fastapi 679 and long2ice/fastapi-cache 69: a method asked for ``self``, a task was never run."""
    service = Service("small")
    for function in (at_module_level, service.answer, Service.answer, Service.name, Service.plain, service.other):
        assert inspect.iscoroutinefunction(function)
        assert asyncio.iscoroutinefunction(function)
        assert inspect.iscoroutinefunction(function.__call__)
    assert str(inspect.signature(at_module_level)) == str(inspect.signature(at_module_level.__wrapped__))
    assert list(inspect.signature(service.answer).parameters) == ["question"]
    assert list(inspect.signature(Service.answer).parameters) == ["self", "question"]
    assert list(inspect.signature(Service.name).parameters) == []
    assert (at_module_level.__name__, at_module_level.__doc__) == ("at_module_level", "A question.")
    assert service.answer.__qualname__ == "Service.answer"
    assert service.answer == service.answer
    assert copy.deepcopy(at_module_level) is copy.copy(at_module_level) is at_module_level
    assert await copy.copy(service.answer)("q") == "small: q"
    assert CallShape(coroutine, frozenset()).name == f"{__name__}.coroutine"
    assert await CacheManager.get("module level", "q") is None


NUMPYS = [
    (np.timedelta64(5, "Y"), np.timedelta64(5, "M")),
    (np.timedelta64(5, "ns"), np.timedelta64(5, "ps")),
    (np.timedelta64(5, "ns"), 5),
    (np.datetime64("2026-01-01T00:00:00", "ns"), int(np.datetime64("2026-01-01T00:00:00", "ns").astype(int))),
    (timedelta, frozenset({"class", "datetime", "timedelta"})),
]


@pytest.mark.parametrize(("one", "other"), NUMPYS, ids=["years", "nanoseconds", "a number", "a moment", "a class"])
def test_a_span_is_not_its_bare_number_and_a_class_no_set(one: Any, other: Any) -> None:
    """After joblib/joblib#235: what two arguments look like inside is not what tells them apart."""
    assert identity(one) != identity(other)
    assert identity(one) == identity(one)


async def test_a_parameter_that_is_ignored_must_be_there() -> None:
    """grantjenks/python-diskcache 240 in its kind: what was to be left out counted, and nothing was ever found again."""

    async def rows(request_id: str, table: str) -> str:
        return table

    with pytest.raises(TypeError, match=r"rows has no parameter 'request', .* it has request_id, table"):
        cached("rows", ignore=("request",))(rows)
    kept = cached("rows", ignore=("request_id", "self"))(rows)
    assert await kept("r1", "t") == await kept(request_id="r2", table="t")

    async def any_rows(**names: str) -> list[str]:
        return sorted(names)

    assert await cached("rows", ignore="request")(any_rows)(request="r1", table="t") == ["request", "table"]
