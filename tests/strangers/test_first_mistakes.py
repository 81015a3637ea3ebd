"""What is written wrong on the first day is answered with what to write, at the line where it stands."""

from __future__ import annotations

import gc
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from alacena import CacheManager, configure
from alacena.engine import UsageError

if TYPE_CHECKING:
    from alacena.engine import Cache


async def fetch(_: object = None) -> str:
    return "text"


async def test_a_lock_that_is_awaited_is_answered_with_the_block(cache: Cache) -> None:
    with pytest.raises(UsageError, match=r"async with locks\.acquire"):
        await cache.locks.acquire("reindex", tenant_id="acme")  # type: ignore[misc]


@pytest.mark.parametrize("verb", ["load", "refresh", "lookup"])
async def test_a_source_that_was_called_is_answered_with_the_function(cache: Cache, verb: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as that a coroutine was never awaited
        for wrong in (fetch(), 7, "fetch"):
            with pytest.raises(TypeError, match="pass it without calling it"):
                await getattr(cache, verb)("document", "d1", "acme", wrong)
        gc.collect()


async def test_a_worker_of_a_name_is_answered_with_the_view_of_its_queues(cache: Cache) -> None:
    with pytest.raises(UsageError, match=r"cache\.queues\.any\('ingestion'\)"):
        cache.queues.worker("ingestion", fetch)  # type: ignore[arg-type]


async def test_pairs_in_place_of_a_mapping_are_answered_with_the_mapping(manager: type[CacheManager]) -> None:
    pairs: Any = [("d1", "text")]
    with pytest.raises(TypeError, match="a mapping of values by id, not list"):
        await manager.set_many("document", pairs, "acme")


async def test_the_instance_has_the_settings_that_the_guide_speaks_of(
    manager: type[CacheManager], url: str | None
) -> None:
    assert manager.get_instance().settings.redis_url == url
    await manager.close()
    configure(namespace="next")
    assert manager.get_instance().settings.namespace == "next"
