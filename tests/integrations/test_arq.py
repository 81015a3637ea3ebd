"""arq: the tenant travels with a job. The functions are held alone, and with arq's own worker if it is installed."""

from __future__ import annotations

from typing import Any

import pytest

from alacena import CacheManager, Context, configure, get_current_tenant_id
from alacena.common.context import get_current_user_id
from alacena.common.runtime import PROCESS
from alacena.integrations.arq import enqueue, open_in_worker, tenant_job


@tenant_job
async def see(ctx: dict[Any, Any], *args: Any, **kwargs: Any) -> list[Any]:
    """A job."""
    return [get_current_tenant_id(), get_current_user_id(), list(args), kwargs]


class Pool:
    """Runs a job where it is enqueued."""

    async def enqueue_job(self, function: str, *args: Any, **kwargs: Any) -> Any:
        own = {name: value for name, value in kwargs.items() if not name.startswith("_")}
        with Context("elsewhere", agent_id="a1"):  # what a worker's own surroundings say does not count
            return await see({}, *args, **own)


async def test_job_works_for_who_enqueued_it() -> None:
    with Context("acme", user_id="u1"):
        assert await enqueue(Pool(), "see", 1, other=2, _job_id="j") == ["acme", "u1", [1], {"other": 2}]
        assert get_current_tenant_id() == "acme"
    assert await enqueue(Pool(), "see") == [None, None, [], {}]
    assert await Pool().enqueue_job("see") == [None, None, [], {}]


async def test_worker_opens_and_closes_the_cache() -> None:
    configure()
    hooks, ctx = open_in_worker(namespace="arq-test"), {}

    await hooks["on_startup"](ctx)
    assert ctx["cache"] is await CacheManager.cache()
    assert ctx["cache"].settings.namespace == "arq-test"
    await hooks["on_shutdown"](ctx)

    assert PROCESS.cache is None
    configure()


@pytest.mark.filterwarnings("ignore:Call to deprecated close:DeprecationWarning")
async def test_arq_itself(valkey_server: Any) -> None:
    """Needs arq, which needs redis<6: in an environment of its own."""
    pytest.importorskip("arq")
    from arq.connections import ArqRedis
    from arq.worker import Worker

    pool = ArqRedis.from_url(valkey_server.url)
    try:
        with Context("acme", user_id="u1"):
            job = await enqueue(pool, "see", 1, other=2)
        same = await enqueue(pool, "see", _job_id=job.job_id)
        assert same is None
        startup, shutdown = open_in_worker().values()
        worker = Worker(
            [see], redis_pool=pool, on_startup=startup, on_shutdown=shutdown, burst=True, handle_signals=False
        )
        await worker.main()
        assert await job.result(timeout=60) == ["acme", "u1", [1], {"other": 2}]
        await worker.close()
    finally:
        await pool.aclose()
        await CacheManager.close()
