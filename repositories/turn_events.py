"""The event log of turns: rows of several events each, in order of their numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.db.walls import TENANT_SETTING
from app.domain.ids import TenantId, TurnId
from repositories.statements import Driver, Statement


@dataclass(frozen=True, slots=True)
class LogEntry:
    """Events `first_number` to `last_number` of a turn, encoded; `fence` proves whose turn it is."""

    turn_id: TurnId
    fence: int
    first_number: int
    last_number: int
    payload: bytes


_SET_TENANT = Statement(f"SELECT set_config('{TENANT_SETTING}', :tenant, true)")

# A process that lost its turn writes nothing: the join demands its fence and a turn still running. The foreign key
# locks the turns in this order, in which those lock them who delete sessions.
_APPEND = Statement("""
    INSERT INTO turn_events (tenant_id, turn_id, first_number, last_number, payload)
    SELECT t.tenant_id, t.id, e.first_number, e.last_number, e.payload
    FROM unnest(CAST(:turn_ids AS text[]), CAST(:fences AS bigint[]), CAST(:firsts AS int[]), CAST(:lasts AS int[]),
                CAST(:payloads AS bytea[])) AS e(turn_id, fence, first_number, last_number, payload)
    JOIN turns t ON t.tenant_id = :tenant AND t.id = e.turn_id AND t.fence = e.fence AND t.state = 'running'
    ORDER BY t.session_id, t.id
    ON CONFLICT (tenant_id, turn_id, first_number) DO UPDATE SET  -- stored before, and never told so
        last_number = excluded.last_number, payload = excluded.payload
""")

_DELIVERED = Statement("""
    UPDATE turns SET delivered_at = clock_timestamp()
    WHERE tenant_id = :tenant AND id = ANY(CAST(:turn_ids AS text[])) AND delivered_at IS NULL
""")

_AFTER = Statement("""
    SELECT payload FROM turn_events
    WHERE tenant_id = :tenant AND turn_id = :turn_id AND last_number > :after
    ORDER BY first_number
""")

_HAS_ANY = Statement("SELECT EXISTS (SELECT FROM turn_events WHERE tenant_id = :tenant AND turn_id = :turn_id)")


class TurnEventRepository:
    """The log of one tenant's turns. Never commits."""

    def __init__(self, driver: Driver, tenant_id: TenantId) -> None:
        self._driver = driver
        self._tenant_id = tenant_id

    async def after(self, turn_id: TurnId, number: int) -> list[bytes]:
        """Return the payloads that hold every event numbered above `number`, in order.

        The first may also hold earlier events.
        """
        values = {"tenant": self._tenant_id, "turn_id": turn_id, "after": number}
        return [row["payload"] for row in await self._driver.all(_AFTER, values)]

    async def is_expired(self, turn_id: TurnId) -> bool:
        """Say whether nothing is left of the turn's log."""
        values = {"tenant": self._tenant_id, "turn_id": turn_id}
        return not await self._driver.scalar(_HAS_ANY, values)


class LogBatch:
    """Appends for several tenants in turn, in one transaction. Never commits."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def append(self, tenant_id: TenantId, entries: Sequence[LogEntry]) -> None:
        """Add `entries` of one tenant."""
        await self._driver.scalar(_SET_TENANT, {"tenant": tenant_id})
        await _append(self._driver, tenant_id, entries)

    async def delivered(self, tenant_id: TenantId, turn_ids: Sequence[TurnId]) -> None:
        """Note that these turns' answers reached their callers whole."""
        await self._driver.scalar(_SET_TENANT, {"tenant": tenant_id})
        await self._driver.run(_DELIVERED, {"tenant": tenant_id, "turn_ids": list(turn_ids)})


async def _append(driver: Driver, tenant_id: TenantId, entries: Sequence[LogEntry]) -> None:
    values = {
        "tenant": tenant_id,
        "turn_ids": [entry.turn_id for entry in entries],
        "fences": [entry.fence for entry in entries],
        "firsts": [entry.first_number for entry in entries],
        "lasts": [entry.last_number for entry in entries],
        "payloads": [entry.payload for entry in entries],
    }
    await driver.run(_APPEND, values)
