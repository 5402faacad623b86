"""Waiting until somebody waits: for tests in which transactions meet in a certain order."""

import anyio
from sqlalchemy import text

from app.domain.ids import TenantId
from repositories.unit_of_work import Database

_WAITING = text("SELECT count(*) FROM pg_locks WHERE NOT granted")


async def until_waiting(database: Database, tenant_id: TenantId, number: int = 1) -> None:
    """Return when so many locks are waited for."""
    with anyio.fail_after(10):
        while True:
            async with database.unit(tenant_id) as unit:
                if (await unit._connection.execute(_WAITING)).scalar_one() >= number:
                    return
            await anyio.sleep(0.01)
