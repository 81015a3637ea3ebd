"""A: the class itself."""

from __future__ import annotations

import ast
import asyncio
import inspect
from pathlib import Path
from typing import Any

import pytest

import alacena.common
from alacena import (
    CacheManager,
    Policy,
    configure,
    get_default_ttl_for_data_type,
    get_embeddings_batch_with_cache,
)
from alacena.common import runtime
from alacena.common.cache import primitives


@pytest.mark.usefixtures("cache")
async def test_a1_no_method_is_defined_twice_and_every_one_runs() -> None:
    for source in Path(alacena.common.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                names = [
                    f.name
                    for f in node.body
                    if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef)
                    and not any("overload" in ast.dump(d) or "setter" in ast.dump(d) for d in f.decorator_list)
                ]
                assert len(names) == len(set(names)), (source, node.name)
    manager = CacheManager.get_instance()
    assert await CacheManager.set("document", "d", 1, "t") is True
    assert await manager.set("document", "d2", 2, "t") is True
    assert await manager.get("document", "d", "t") == 1
    assert await CacheManager.ttl("document", "d", "t") > 0
    assert await CacheManager.delete("document", "d", "t") is True
    assert await CacheManager.invalidate("t", "document") > 0
    assert await CacheManager.set_many("document", {"a": 1, "b": 2}, "t") is True
    assert await CacheManager.get_many("document", ["a", "b", "c"], "t") == {"a": 1, "b": 2}
    assert await manager.rpush("l", 1, "t") == 1
    assert await manager.llen("l", "t") == 1
    assert await manager.lrange("l", 0, -1, "t") == [1]
    assert await manager.lpop("l", "t") == 1
    assert await manager.increment_counter("c", 2, tenant_id="t") == 2
    assert await manager.get_counter("c", tenant_id="t") == 2
    assert await manager.add_to_set("s", "m", "t") == 1
    assert await manager.get_set_members("s", "t") == ["m"]
    assert await manager.remove_from_set("s", "m", "t") == 1
    assert await manager.set_nx("k", "v", "t") is True


@pytest.mark.usefixtures("cache")
async def test_a2_a_batch_of_embeddings_that_was_paid_for_arrives() -> None:
    async def provider(texts: list[str]) -> list[list[float]]:
        return [[1.0] for _ in texts]

    embeddings, metrics = await get_embeddings_batch_with_cache(["a", "b"], "t", "m", provider)
    assert embeddings == [[1.0], [1.0]]
    assert metrics["source"] == "generation"


def test_a3_ttls_are_attributes_of_the_class() -> None:
    assert (CacheManager.ttl_short, CacheManager.ttl_standard, CacheManager.ttl_extended) == (300, 3600, 86400)
    assert CacheManager.ttl_permanent is None
    assert CacheManager.get_instance().ttl_extended == 86400


@pytest.mark.usefixtures("cache")
async def test_a4_documented_verbs_exist_with_the_documented_parameters() -> None:
    manager = CacheManager.get_instance()
    await manager.rpush(list_name="l", value="x", tenant_id="t")
    assert await manager.lrange(list_name="l", start=0, end=-1, tenant_id="t") == ["x"]
    assert await manager.lpop(list_name="l", tenant_id="t") == "x"
    assert await manager.set_nx(key="t:k", value="v", ex=5) is True
    assert await CacheManager.set_if_not_exists("lock", "j", value="v", ttl=5, tenant_id="t") is True
    assert await CacheManager.set_if_not_exists("lock", "j", value="v", ttl=5, tenant_id="t") is False


@pytest.mark.usefixtures("unopened")
async def test_a5_initialize_and_invalidate_cache_are_called_on_the_class() -> None:
    assert await CacheManager.initialize() is True
    await CacheManager.set("document", "d", 1, "t")
    assert await CacheManager.invalidate_cache(scope="tenant", tenant_id="t") > 0
    assert await CacheManager.get("document", "d", "t") is None


@pytest.mark.usefixtures("unopened")
async def test_a6_settings_take_effect() -> None:
    configure(policies={"document": Policy(ttl=7.0), "secret": Policy(use_memory=False)}, ttl_jitter_ratio=0.0)
    await CacheManager.set("document", "d", 1, "t")
    assert await CacheManager.ttl("document", "d", "t") == 7
    assert get_default_ttl_for_data_type("document") == 7
    assert get_default_ttl_for_data_type("file") == 86400


@pytest.mark.usefixtures("cache")
async def test_a7_any_depth_of_nested_reads_answers() -> None:
    async def level(depth: int) -> Any:
        if depth == 0:
            return await CacheManager.get("document", "d", "t")
        return await level(depth - 1) if depth % 2 else await asyncio.create_task(level(depth - 1))

    await CacheManager.set("document", "d", "deep", "t")
    assert await level(60) == "deep"


def test_the_instance_verbs_do_not_exist_on_the_class_and_few_names_do() -> None:
    public = {name for name in dir(CacheManager) if not name.startswith("_")}
    on_the_instance_only = {name for name in public if not hasattr(CacheManager, name)}
    assert on_the_instance_only == {
        "rpush",
        "lpop",
        "lrange",
        "llen",
        "set_nx",
        "increment_counter",
        "get_counter",
        "add_to_set",
        "remove_from_set",
        "get_set_members",
    }
    assert len(public) <= 30
    assert all(isinstance(inspect.getattr_static(primitives.Primitives, n).__doc__, str) for n in on_the_instance_only)
    assert CacheManager.get_instance() is CacheManager.get_instance()
    assert runtime.PROCESS.cache is None
