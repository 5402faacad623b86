"""What crosses the tenant wall: finding work and keys. Sees no content (app/db/walls.py)."""

from dataclasses import dataclass
from functools import cached_property

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.identity import api_keys, tenants
from app.domain.ids import TenantId, TurnId
from app.domain.principals import StoredKey, StoredTenant
from repositories.expiry import Expiry
from repositories.job_dispatch import JobDispatch
from repositories.keys import KEYS_OF_CALLERS, stored_key
from repositories.limit_dispatch import IdleSessions, LimitDispatch


@dataclass(frozen=True, slots=True)
class OrphanedTurn:
    """A running turn whose process is gone."""

    tenant_id: TenantId
    turn_id: TurnId
    fence: int


_ORPHANED_TURNS = text("""
    SELECT t.tenant_id, t.id, t.fence
    FROM turns t LEFT JOIN processes p ON p.id = t.owner
    WHERE t.state = 'running' AND (p.id IS NULL OR p.lease_until < clock_timestamp())
    ORDER BY t.created_at
    LIMIT :most
""")

_STOP_REQUESTED = text(
    "SELECT tenant_id, id FROM turns WHERE owner = :owner AND state = 'running' AND is_stop_requested"
)

_TURNS_OF = text("""
    SELECT tenant_id, id, fence FROM turns
    WHERE owner = :owner AND state = 'running' AND created_at < clock_timestamp() - make_interval(secs => :older_s)
""")

_TIDY_SESSION_INDEXES = text("SELECT tidy_session_indexes()")

_WITH_STRAY_BLOBS = text("SELECT DISTINCT tenant_id FROM stray_blobs WHERE due_at <= statement_timestamp() LIMIT :most")


class DispatchRepository:
    """Work that belongs to no tenant. Runs as the dispatch role; never commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @cached_property
    def expiry(self) -> Expiry:
        """What is kept for a while only."""
        return Expiry(self._connection)

    @cached_property
    def limits(self) -> LimitDispatch:
        """What keys have used, of all tenants."""
        return LimitDispatch(self._connection)

    @cached_property
    def idle_sessions(self) -> IdleSessions:
        """Sessions that nobody writes to any more, of all tenants."""
        return IdleSessions(self._connection)

    @cached_property
    def jobs(self) -> JobDispatch:
        """The queue of all tenants."""
        return JobDispatch(self._connection)

    async def find_keys(self, digests: list[bytes]) -> dict[bytes, StoredKey]:
        """Return the keys whose secrets have these keyed hashes, by hash; they end when their parents do."""
        rows = await self._connection.execute(KEYS_OF_CALLERS.where(api_keys.c.hash == func.any(digests)))
        return {bytes(row.hash): stored_key(row) for row in rows}

    async def tenants(self) -> list[StoredTenant]:
        """Return every tenant, oldest first."""
        rows = await self._connection.execute(select(tenants).order_by(tenants.c.created_at, tenants.c.tenant_id))
        return [
            StoredTenant(
                id=TenantId(row.tenant_id), name=row.name, created_at=row.created_at, tokens_per_day=row.tokens_per_day
            )
            for row in rows
        ]

    async def orphaned_turns(self, most: int) -> list[OrphanedTurn]:
        """Return running turns whose process has no live lease, oldest first."""
        rows = await self._connection.execute(_ORPHANED_TURNS, {"most": most})
        return [OrphanedTurn(TenantId(row.tenant_id), TurnId(row.id), row.fence) for row in rows]

    async def stop_requested(self, owner: str) -> list[TurnId]:
        """Return the running turns of process `owner` that somebody wants stopped."""
        rows = await self._connection.execute(_STOP_REQUESTED, {"owner": owner})
        return [TurnId(row.id) for row in rows]

    async def turns_of(self, owner: str, *, older_s: float) -> list[OrphanedTurn]:
        """Return the running turns of process `owner` that began more than `older_s` seconds ago."""
        rows = await self._connection.execute(_TURNS_OF, {"owner": owner, "older_s": older_s})
        return [OrphanedTurn(TenantId(row.tenant_id), TurnId(row.id), row.fence) for row in rows]

    async def tidy_session_indexes(self) -> None:
        """Put words of new messages into their index, unless somebody is at it."""
        await self._connection.execute(_TIDY_SESSION_INDEXES)

    async def with_stray_blobs(self, most: int) -> list[TenantId]:
        """Return tenants that have blobs to be deleted."""
        rows = await self._connection.execute(_WITH_STRAY_BLOBS, {"most": most})
        return [TenantId(row.tenant_id) for row in rows]
