"""Locks for jobs: owner, renewal and release by two plain functions, for code that has no block to put around its work.

New code should prefer ``async with cache.locks.acquire(...) as lock``: it also stops the work when the lock is lost.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from alacena.common import runtime
from alacena.common.cache.tenancy import tenant_of
from alacena.constants import JOB_LOCK_EXPIRY, JOB_LOCK_PREFIX
from alacena.engine import BackendError, LockLostError
from alacena.engine.base.scope import identifier, tenant_text

if TYPE_CHECKING:
    from alacena.engine import Cache

# A renewal that fails leaves time for another one before the lock lapses.
_RENEW_RATIO: Final = 1 / 3


# Not compared by value: it is a key of what belongs to this one taking, and a job's lock can be taken again.
@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """A job lock of this process."""

    cache: Cache
    name: str
    tenant_id: str
    token: str
    fence: int
    ttl_s: float
    owner: asyncio.Task[object] | None


_TAKEN: Final[ContextVar[frozenset[_Held]]] = ContextVar("alacena.job_locks", default=frozenset())
"""The locks that were taken in this context: tasks that it starts since then inherit them."""

_HELD: Final[dict[tuple[str, str], _Held]] = {}
_RENEWALS: Final[dict[_Held, asyncio.Task[None]]] = {}


async def acquire_job_lock(job_id: str, tenant_id: str | None = None, expiry_seconds: float = JOB_LOCK_EXPIRY) -> bool:
    """Takes the lock of a job, unless it is taken: by another process, or another task of this one.

    The lock is renewed for as long as the task that took it runs, and lapses ``expiry_seconds`` after that task, or
    its process, has ended without releasing it.

    Args:
        job_id: The job.
        tenant_id: The tenant; left out: the ambient tenant.
        expiry_seconds: For how long the lock outlives its holder.

    Returns:
        Whether this call took it.

    Raises:
        MissingTenantError: There is no tenant.
        BackendError: Redis failed: the lock is not had.

    Cost: 1 round trip, and 1 each ``expiry_seconds / 3`` while it is held.
    Cancellation: a lock that may have been taken is given back in the background.
    """
    tenant, job_id = _job(job_id, tenant_id)
    cache = await runtime.opened()
    # Made here and not by the lock: if the reply is lost, only a token that is known can give the lock back.
    name, token = f"{JOB_LOCK_PREFIX}:{job_id}", runtime.PROCESS.environment.token(16).hex()
    try:
        fence = await cache.locks.try_acquire(name, tenant_id=tenant, ttl_s=expiry_seconds, token=token)
    except (BackendError, LockLostError, asyncio.CancelledError):
        # Either error may come after the server has granted the lock: it would be held for its whole expiry by nobody.
        cache.locks.withdraw(name, tenant_id=tenant, token=token, ttl_s=expiry_seconds)
        raise
    if fence is None:
        return False
    held = _Held(cache, name, tenant, token, fence, expiry_seconds, asyncio.current_task())
    _HELD[tenant, job_id] = held
    # A new set: tasks that were started before keep the one that they inherited. Locks that are over are left out, or a
    # task that takes one after another would keep them all.
    _TAKEN.set(frozenset((*(one for one in _TAKEN.get() if one in _RENEWALS), held)))
    _RENEWALS[held] = renewal = runtime.own(_renew(held, held.owner))
    renewal.add_done_callback(lambda _: _forget(held, job_id))
    return True


async def release_job_lock(job_id: str, tenant_id: str | None = None) -> bool:
    """Gives back the lock of a job, if the caller has taken it.

    The taker is the task that acquired the lock, with the tasks that it started since. While that task runs, no one
    else's release counts: a ``finally`` around an `acquire_job_lock` that said ``False`` gives nothing back.

    Returns:
        ``True`` if it was held until now; ``False`` if it was not the caller's, or had lapsed meanwhile: another owner
        may have it, and keeps it.

    Cost: 1 round trip.
    Atomicity: the owner is compared and the lock deleted in one step.
    """
    name = _job(job_id, tenant_id)
    held = _HELD.get(name)
    if held is None or not _is_takers(held):
        return False
    # Before the await: a second release meanwhile says False, and no renewal is sent after the release.
    del _HELD[name]
    _RENEWALS[held].cancel()
    return await held.cache.locks.release(held.name, tenant_id=held.tenant_id, token=held.token)


def job_lock_fence(job_id: str, tenant_id: str | None = None) -> int | None:
    """Returns the fencing number of a lock that this process has taken, ``None`` for others.

    It grows with every owner. Write it along with the job's rows, and refuse smaller ones there: that is what
    keeps a holder that was paused too long from undoing the work of the next one.
    """
    held = _HELD.get(_job(job_id, tenant_id))
    return None if held is None else held.fence


def _job(job_id: object, tenant_id: str | None) -> tuple[str, str]:
    return tenant_text(tenant_of(tenant_id)), identifier("job_id", job_id)


def _is_takers(held: _Held) -> bool:
    """Returns whether the running code may give the lock back.

    A lock that was taken in a task made for that call, as ``asyncio.wait_for`` makes one, has no taker that runs: its
    task has ended.
    """
    if held in _TAKEN.get():
        return True
    return held.owner is None or held.owner.done() or held.owner is asyncio.current_task()


async def _renew(held: _Held, owner: asyncio.Task[object] | None) -> None:
    """Renews while the owner runs; then remembers the lock until it has lapsed, so that it can still be released."""
    while owner is not None and not owner.done():
        # wait() and not sleep(): the renewals end with their owner, and wait() neither raises its error nor cancels it.
        await asyncio.wait({owner}, timeout=held.ttl_s * _RENEW_RATIO)
        if not owner.done() and not await _renew_once(held):
            return
    await asyncio.sleep(held.ttl_s)


def _forget(held: _Held, job_id: str) -> None:
    del _RENEWALS[held]
    # 1. The lock lapses. 2. Another task of this process takes the job's lock anew. 3. The old renewal ends. The newer
    # lock stands under the same name, and stays.
    if _HELD.get((held.tenant_id, job_id)) is held:
        del _HELD[held.tenant_id, job_id]


async def _renew_once(held: _Held) -> bool:
    """Returns whether the lock is still ours, as far as can be told."""
    try:
        return await held.cache.locks.renew(held.name, tenant_id=held.tenant_id, token=held.token, ttl_s=held.ttl_s)
    # An error does not say that the lock is lost. Only the server's word that the token has no lock ends the renewals.
    except BackendError:
        return True
