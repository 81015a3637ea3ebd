"""arq: a job works for the tenant of the code that enqueued it, and a worker opens the cache when it starts.

arq itself is not imported: a worker is told of functions, and a pool is any object with ``enqueue_job``.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Protocol, TypeVar

from alacena import CacheManager, configure
from alacena.engine.base.arguments import check_part
from alacena.integrations.caller import Serving, ambient_ids, ids_in, labels_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping

P = ParamSpec("P")
R = TypeVar("R")

LABELS: Final = "alacena_labels"
"""The keyword argument of a job that says whom it is for; `tenant_job` takes it off."""


class Pool(Protocol):
    """The part of arq's ``ArqRedis`` that `enqueue` needs."""

    async def enqueue_job(self, function: str, *args: Any, **kwargs: Any) -> Any:
        """Enqueues a job."""


async def enqueue(pool: Pool, function: str, *args: Any, **kwargs: Any) -> Any:
    """Enqueues a job for the ambient tenant, and returns the result of ``pool.enqueue_job``.

    Args:
        pool: arq's pool.
        function: The name of a function that `tenant_job` decorates.
        args: The job's own arguments.
        kwargs: Likewise, and arq's ``_job_id``, ``_defer_by`` and the rest.
    """
    check_part(pool, "pool", "enqueue_job", "arq's pool")
    return await pool.enqueue_job(function, *args, **kwargs, **{LABELS: labels_of(ambient_ids(), {})})


def tenant_job(function: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Runs a job for the tenant that it was enqueued for with `enqueue`; one enqueued otherwise, for no tenant.

    ::

        @tenant_job
        async def ingest(ctx, document_id): ...
    """

    @wraps(function)
    async def run(*args: P.args, **kwargs: P.kwargs) -> R:
        labels: Any = kwargs.pop(LABELS, None)
        with Serving(ids_in(labels or {})):
            return await function(*args, **kwargs)

    return run


def open_in_worker(**configuration: Any) -> dict[str, Callable[[MutableMapping[Any, Any]], Awaitable[None]]]:
    """Returns ``on_startup`` and ``on_shutdown`` for a worker: they open the process-wide cache, as ``ctx["cache"]``.

    ::

        class WorkerSettings:
            functions = [ingest]
            on_startup, on_shutdown = open_in_worker().values()

    Args:
        configuration: The arguments of `configure`; without any, the earlier configuration, else the environment.
    """

    async def on_startup(ctx: MutableMapping[Any, Any]) -> None:
        if configuration:
            configure(**configuration)
        ctx["cache"] = await CacheManager.cache()

    async def on_shutdown(_: Mapping[Any, Any]) -> None:
        await CacheManager.close()

    return {"on_startup": on_startup, "on_shutdown": on_shutdown}
