"""What limits leave behind, across tenants: counters nobody needs any more, and sessions nobody writes to."""

from dataclasses import dataclass

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import SessionId, TenantId

_EXPIRE = tuple(
    map(
        text,
        (
            """DELETE FROM open_streams s WHERE NOT EXISTS (
                SELECT FROM processes p WHERE p.id = s.process_id AND p.lease_until > clock_timestamp())""",
            """DELETE FROM quota_reservations r WHERE NOT EXISTS (
                SELECT FROM processes p WHERE p.id = r.process_id AND p.lease_until > clock_timestamp())""",
            "DELETE FROM quota_days WHERE day < (clock_timestamp() AT TIME ZONE 'UTC')::date - 2",
        ),
    )
)

# No index serves a comparison with the volatile clock_timestamp: by it every live session would be read.
IDLE = text("""
    SELECT tenant_id, id FROM sessions
    WHERE updated_at < statement_timestamp() - make_interval(days => :days) AND deleted_at IS NULL
    ORDER BY updated_at LIMIT :most
""")

ENDED = text("""
    SELECT tenant_id, id FROM sessions
    WHERE deleted_at < statement_timestamp() - make_interval(days => :days)
    ORDER BY deleted_at LIMIT :most
""")
"""`IDLE` and `ENDED` are the statements of `IdleSessions`, for those who look at their plans."""


class LimitDispatch:
    """Counters of all tenants. Runs as the dispatch role; never commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def expire(self) -> None:
        """Delete counters of days that are over, and of processes that are gone."""
        for statement in _EXPIRE:
            await self._connection.execute(statement)


@dataclass(frozen=True, slots=True)
class IdleSession:
    """A session nobody has written to for long."""

    tenant_id: TenantId
    session_id: SessionId


class IdleSessions:
    """Idle sessions of all tenants. Runs as the dispatch role; never commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def find(self, *, days: int, most: int) -> list[IdleSession]:
        """Return live sessions without a write for `days`, the longest idle first."""
        return await self._found(IDLE, days, most)

    async def ended(self, *, days: int, most: int) -> list[IdleSession]:
        """Return what is left of sessions that ended `days` ago or earlier."""
        return await self._found(ENDED, days, most)

    async def _found(self, statement: TextClause, days: int, most: int) -> list[IdleSession]:
        rows = await self._connection.execute(statement, {"days": days, "most": most})
        return [IdleSession(TenantId(row.tenant_id), SessionId(row.id)) for row in rows]
