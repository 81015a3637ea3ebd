"""Which arguments a source is given, for every shape that callers use."""

from __future__ import annotations

import gc
from functools import partial, wraps
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock

import pytest

from alacena.common.cache import source_functions
from alacena.common.cache.source_functions import SourceRequest, ask_source, depends_on, documents_in, plan
from alacena.common.context import Context
from alacena.engine.loading.load import LOAD

if TYPE_CHECKING:
    from collections.abc import Callable

CTX = Context("t")
REQUEST = SourceRequest("r", "t", CTX, agent_id="a", collection_id="c")


async def ask(function: Callable[..., Any]) -> Any:
    return await ask_source(function, plan(function), REQUEST)


class Service:
    async def two(self, resource_id, tenant_id):
        return resource_id, tenant_id

    def none(self):
        return "empty memory"

    async def __call__(self, resource_id):
        return resource_id


async def three(resource_id, tenant_id, ctx=None):
    return resource_id, tenant_id, ctx


async def other_names(doc, tenant, context):
    return doc, tenant, context


async def one(document_id):
    return document_id


async def swapped(tenant_id, key):
    return tenant_id, key


async def no_tenant(resource_id, ctx):
    return resource_id, ctx


async def keywords_only(*, tenant_id, resource_id, limit=5):
    return tenant_id, resource_id, limit


async def rest(resource_id, **kwargs):
    return resource_id, kwargs


async def with_scope(resource_id, tenant_id, agent_id=None):
    return resource_id, tenant_id, agent_id


async def unlike_names_before_known(doc=None, tenant_id=None):
    return doc, tenant_id


async def positional_only(a, b, /):
    return a, b


query = "q"


@pytest.mark.parametrize(
    ("function", "answer"),
    [
        (three, ("r", "t", CTX)),
        (other_names, ("r", "t", CTX)),
        (one, "r"),
        (swapped, ("t", "r")),
        (no_tenant, ("r", CTX)),
        (keywords_only, ("t", "r", 5)),
        (rest, ("r", {"tenant_id": "t", "ctx": CTX, "agent_id": "a", "collection_id": "c"})),
        (with_scope, ("r", "t", "a")),
        (unlike_names_before_known, ("r", "t")),
        (positional_only, ("r", "t")),
        (Service().two, ("r", "t")),
        (Service().none, "empty memory"),
        (Service(), "r"),
        (lambda: one("coroutine"), "coroutine"),
        (lambda *args: args, ("r", "t", CTX)),
        (lambda *args: one(args[1]), "t"),
        (lambda q=query: q, "q"),
        (lambda: 0, 0),
        (partial(three, tenant_id="bound"), ("r", "t", CTX)),
        (partial(lambda limit, resource_id: (limit, resource_id), 3), (3, "r")),
        (AsyncMock(return_value=[]), []),
    ],
)
async def test_every_shape_of_callable_is_served(function: Callable[..., Any], answer: Any) -> None:
    assert await ask(function) == answer


async def test_a_wrapped_function_is_asked_as_the_one_inside() -> None:
    @wraps(one)
    async def handled(*args, **kwargs):
        return await one(*args, **kwargs)

    assert await ask(handled) == "r"


async def test_a_pass_through_wrapper_gets_the_three_by_position_only() -> None:
    seen = []

    async def handled(*args, **kwargs):
        seen.append((args, kwargs))
        return await three(*args, **kwargs)

    assert await ask(handled) == ("r", "t", CTX)
    assert seen == [(("r", "t", CTX), {})]


@pytest.mark.parametrize(
    "function",
    [lambda a, b, c, d: None, lambda a, tenant_id, resource_id, ctx, b: None, lambda *, limit: None],
)
def test_parameters_that_nothing_is_known_for_are_a_type_error(function: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=r"cannot be a source: nothing is known for its parameter"):
        plan(function)


@pytest.mark.parametrize("thing", ["fetch", 3, object()])
def test_what_is_no_function_is_a_type_error(thing: Any) -> None:
    with pytest.raises(TypeError, match="must be a function"):
        plan(thing)


def test_a_function_without_a_readable_signature_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="cannot be read"):
        plan(max)


async def test_exceptions_of_a_source_pass_untouched() -> None:
    error = PermissionError("403")

    async def failing() -> None:
        raise error

    with pytest.raises(PermissionError) as raised:
        await ask(failing)
    assert raised.value is error


def test_a_function_is_inspected_once_and_not_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    inspected = []
    real = source_functions._plan
    monkeypatch.setattr(source_functions, "_plan", lambda function: inspected.append(function) or real(function))

    async def mine(resource_id):
        return resource_id

    class Own(Service):
        async def two(self, resource_id, tenant_id):
            return resource_id, tenant_id

    service = Own()
    for _ in range(3):
        plan(mine)
        plan(service.two)
        plan(Own().two)
    assert len(inspected) == 2
    inspected.clear()
    gc.collect()
    before = len(source_functions._PLANS)
    del mine
    gc.collect()
    assert len(source_functions._PLANS) == before - 1


def test_a_method_and_its_plain_function_are_not_mistaken_for_each_other() -> None:
    assert plan(Service().two).positional == ("resource_id", "tenant_id")
    assert len(plan(Service.two).positional) == 3


async def test_depends_on_reaches_the_load_under_way_and_nothing_outside_one() -> None:
    class Load:
        def __init__(self) -> None:
            self.documents: list[str] = []

        def depends_on(self, ids) -> None:
            self.documents += ids

    async def search() -> str:
        depends_on("d1", "d2")
        depends_on()
        return "found"

    load = Load()
    depends_on("outside")
    token = LOAD.set(load)
    assert await ask_source(search, plan(search), REQUEST) == "found"
    LOAD.reset(token)
    depends_on("after")
    assert load.documents == ["d1", "d2"]


@pytest.mark.parametrize(
    ("value", "documents"),
    [
        ({"document_id": "d"}, ("d",)),
        ({"metadata": {"document_id": "d"}}, ("d",)),
        ({"document_id": "", "metadata": None}, ()),
        ({"document_id": 3}, ("3",)),
        ({"document_id": True}, ()),
        ([{"document_id": "d"}], ("d",)),
        (None, ()),
    ],
)
def test_chunks_and_rows_name_their_document(value: object, documents: tuple[str, ...]) -> None:
    assert documents_in(value) == documents
