"""The service's own bookkeeping: which processes live, and waking others up."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import ProcessId

_REGISTER = text("""
    INSERT INTO processes (id, kind, host, pid, lease_until)
    VALUES (:id, :kind, :host, :pid, clock_timestamp() + make_interval(secs => :lease_s))
""")
_RENEW = text("""
    UPDATE processes SET lease_until = clock_timestamp() + make_interval(secs => :lease_s) WHERE id = :id
""")
_LEAVE = text("DELETE FROM processes WHERE id = :id")
_OTHERS = text("""
    SELECT EXISTS (SELECT FROM processes WHERE id <> :id AND kind = :kind AND lease_until > clock_timestamp())
""")
_FORGET_ALL = text("DELETE FROM processes")
_FORGET_DEAD = text("DELETE FROM processes WHERE lease_until < clock_timestamp() - interval '1 hour'")
_NOTIFY = text("SELECT pg_notify(:channel, :payload)")


class ServiceRepository:
    """Rows of no tenant. Never commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def register(self, process_id: ProcessId, *, kind: str, host: str, pid: int, lease_s: float) -> None:
        """Note that a process lives, for `lease_s` seconds at first."""
        values = {"id": process_id, "kind": kind, "host": host, "pid": pid, "lease_s": lease_s}
        await self._connection.execute(_REGISTER, values)

    async def renew(self, process_id: ProcessId, *, lease_s: float) -> bool:
        """Live on for `lease_s` seconds; false when others have forgotten the process already."""
        return (await self._connection.execute(_RENEW, {"id": process_id, "lease_s": lease_s})).rowcount == 1

    async def has_others(self, process_id: ProcessId, *, kind: str) -> bool:
        """Say whether another live process of this kind is known."""
        found = await self._connection.execute(_OTHERS, {"id": process_id, "kind": kind})
        return bool(found.scalar_one())

    async def leave(self, process_id: ProcessId) -> None:
        """Forget a process that ends in order."""
        await self._connection.execute(_LEAVE, {"id": process_id})

    async def forget_all(self) -> None:
        """Forget every process: only for a service that just started on a database of its own."""
        await self._connection.execute(_FORGET_ALL)

    async def forget_dead(self) -> None:
        """Forget processes whose lease ended an hour ago or earlier."""
        await self._connection.execute(_FORGET_DEAD)

    async def notify(self, channel: str, payloads: list[str]) -> None:
        """Wake the listeners of `channel`, once per payload."""
        for payload in payloads:
            await self._connection.execute(_NOTIFY, {"channel": channel, "payload": payload})
