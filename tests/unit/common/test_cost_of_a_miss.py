"""How many steps of this library a read takes that misses: a promise that no clock is needed for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import alacena
from alacena import Cache, Settings
from alacena.common.cache.aside import get_with_cache_aside
from alacena.common.runtime import override
from alacena.engine.loading.load import LoadContext, adapt

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import FrameType

ROOT = str(Path(alacena.__file__).parent)


async def count_calls(read: Callable[[str], Coroutine[Any, Any, Any]], name: str) -> int:
    """Returns how often code of the library was entered by one read; it is warm by then."""
    for number in range(3):
        await read(f"{name}-{number}")
    calls = 0

    def note(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        calls += event == "call" and frame.f_code.co_filename.startswith(ROOT)

    reading = read(f"{name}-counted")
    sys.setprofile(note)
    try:
        await reading
    finally:
        sys.setprofile(None)
    return calls


async def test_the_guides_verb_adds_few_steps_to_a_load() -> None:
    async def source(resource_id: str) -> str:
        return f"text of {resource_id}"

    async def loader(context: LoadContext) -> str:
        return f"text of {context.resource_id}"

    async with Cache(Settings()) as cache:
        with override(cache):
            engine = await count_calls(lambda one: cache.load("document", one, "acme", loader), "load")
            guide = await count_calls(lambda one: get_with_cache_aside("document", one, "acme", source), "aside")
    assert engine <= 145
    assert guide - engine <= 30


async def test_a_loader_that_is_async_and_takes_the_context_is_called_as_it_is() -> None:
    async def loader(context: LoadContext) -> str:
        return context.resource_id

    class Loader:
        async def __call__(self, context: LoadContext) -> str:
            return context.resource_id

    called = Loader()
    assert adapt(loader) is loader
    assert adapt(called) is called


def test_a_loader_of_another_kind_is_wrapped() -> None:
    async def streams(_: LoadContext) -> Any:
        yield 1

    async def takes_nothing() -> int:
        return 1

    async def keeps_its_default(number: int = 1) -> int:
        return number

    for loader in (streams, takes_nothing, keeps_its_default, lambda _: 1):
        assert adapt(loader) is not loader
