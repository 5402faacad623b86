"""What the ledger holds of a tenant."""

from typing import Any

import anyio
from sqlalchemy import text

from tests.conftest import Tenant
from tests.service import Service


async def ledger(service: Service, tenant: Tenant, count: int) -> list[Any]:
    """Return the tenant's rows, oldest first, once there are `count`; fail after five seconds."""
    found: list[Any] = []
    with anyio.fail_after(5):
        while len(found) < count:
            async with service.database.unit(tenant.id) as unit:
                statement = text("SELECT * FROM usage_ledger ORDER BY id")
                found = list((await unit._connection.execute(statement)).all())
            await anyio.sleep(0.02)
    return found
