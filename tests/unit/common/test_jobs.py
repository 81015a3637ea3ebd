"""Job locks of this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alacena import Context, acquire_job_lock, configure, release_job_lock
from alacena.common import runtime
from alacena.common.cache import jobs
from alacena.engine.base.errors import MissingTenantError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(autouse=True)
async def unopened() -> AsyncIterator[None]:
    yield
    await runtime.close()
    configure()
    assert jobs._HELD == {}
    assert jobs._RENEWALS == {}


async def test_the_tenant_may_be_ambient_and_must_be_somewhere() -> None:
    async with Context("t"):
        assert await acquire_job_lock("j") is True
        assert isinstance(jobs.job_lock_fence("j"), int)
    assert await release_job_lock("j", "t") is True
    for call in (acquire_job_lock("j"), release_job_lock("j")):
        with pytest.raises(MissingTenantError):
            await call


async def test_locks_are_forgotten_when_the_cache_closes() -> None:
    assert await acquire_job_lock("j", "t") is True
    await runtime.close()
    assert await release_job_lock("j", "t") is False


async def test_fences_grow_from_owner_to_owner() -> None:
    fences = []
    for _ in range(3):
        await acquire_job_lock("j", "t")
        fences.append(jobs.job_lock_fence("j", "t"))
        await release_job_lock("j", "t")
    assert fences == sorted(set(fences))


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
async def test_an_expiry_that_is_no_time_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="ttl_s"):
        await acquire_job_lock("j", "t", seconds)
