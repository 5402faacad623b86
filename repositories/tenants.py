"""The tenant's own row."""

from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.identity import tenants
from app.domain.ids import TenantId
from app.domain.principals import StoredTenant


class TenantRepository:
    """One tenant. Never commits."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    async def add(self, name: str, *, tokens_per_day: int | None = None) -> None:
        """Insert the unit's tenant."""
        values = {"tenant_id": self._tenant_id, "name": name, "tokens_per_day": tokens_per_day}
        await self._connection.execute(insert(tenants).values(values))

    async def set_quota(self, tokens_per_day: int | None) -> None:
        """Let the tenant's keys use so many tokens per UTC day, all together; None for any number."""
        own = tenants.c.tenant_id == self._tenant_id
        await self._connection.execute(update(tenants).where(own).values(tokens_per_day=tokens_per_day))

    async def ensure(self, name: str) -> None:
        """Insert the unit's tenant unless it is there."""
        statement = pg_insert(tenants).values(tenant_id=self._tenant_id, name=name).on_conflict_do_nothing()
        await self._connection.execute(statement)

    async def get(self) -> StoredTenant | None:
        """Return the unit's tenant."""
        own = tenants.c.tenant_id == self._tenant_id
        row = (await self._connection.execute(select(tenants).where(own))).one_or_none()
        if row is None:
            return None
        created_at: datetime = row.created_at
        return StoredTenant(
            id=TenantId(row.tenant_id), name=row.name, created_at=created_at, tokens_per_day=row.tokens_per_day
        )
