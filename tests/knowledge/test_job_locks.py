"""Who changes several jobs at once locks them in one order: cancelling and renewing never wait for each other."""

from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest
from sqlalchemy import text

from app.domain.datasets import ClaimedJob
from repositories.unit_of_work import Database
from tests.conftest import Tenant
from tests.locks import until_waiting

_LOCK = text("SELECT id FROM jobs WHERE tenant_id = :tenant AND id = :id FOR UPDATE")

Act = Callable[[Database, Tenant, list[ClaimedJob]], Coroutine[Any, Any, None]]


async def cancel(database: Database, tenant: Tenant, jobs: list[ClaimedJob]) -> None:
    async with database.unit(tenant.id) as unit:
        assert len(await unit.jobs.cancel("parse", ["a", "b"])) == 2


async def renew(database: Database, tenant: Tenant, jobs: list[ClaimedJob]) -> None:
    async with database.dispatch() as dispatch:
        assert len(await dispatch.jobs.renew(jobs, lease_s=60)) == 2


@pytest.mark.parametrize("act", [cancel, renew])
async def test_several_jobs_are_locked_by_their_ids(database: Database, tenant: Tenant, act: Act) -> None:
    jobs: list[ClaimedJob] = []
    for subject in ("b", "a"):  # so that the order of the subjects is not that of the ids
        async with database.unit(tenant.id) as unit:
            await unit.jobs.add("parse", [subject])
        async with database.dispatch() as dispatch:
            claimed = await dispatch.jobs.claim(owner="p", kinds=["parse"], lease_s=60)
        assert claimed is not None
        jobs.insert(0, claimed)
    younger, older = jobs
    assert older.id < younger.id

    async with anyio.create_task_group() as tasks, database.unit(tenant.id) as other:
        await other._connection.execute(_LOCK, {"tenant": tenant.id, "id": older.id})
        tasks.start_soon(act, database, tenant, jobs)
        await until_waiting(database, tenant.id)
        await other._connection.execute(_LOCK, {"tenant": tenant.id, "id": younger.id})
