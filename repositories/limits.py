"""What keys have used, counted over all processes: calls of a window, and streams that are open.

Every call waits for these counters, so they have a connection of their own and one statement a round trip; each
statement is a transaction of its own, which becomes the dispatch role inside (migrations/limit_functions.py).
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import asyncpg
from sqlalchemy import make_url

from app.domain.ids import ProcessId
from app.domain.limits import KeyOfTenant, Taken
from repositories.statements import Driver, Statement

if TYPE_CHECKING:
    from asyncpg import Connection, Record

_TAKE = Statement("SELECT * FROM take_requests(:tenants, :keys, :wanted, :window_s)")

_HOLD = Statement("SELECT hold_streams(:process, :tenants, :keys, :held, :wanted, :most)")


class RequestCounter(Protocol):
    """Counts calls in windows, exactly, however many processes count."""

    async def take(self, wanted: Mapping[KeyOfTenant, int], window_s: float) -> dict[KeyOfTenant, Taken]:
        """Count `wanted` calls of each key in the window of now; return how many it then has."""
        ...

    async def close(self) -> None:
        """Give back what it holds."""
        ...


class LimitCounters:
    """Counters in Postgres, over one connection that is made when first needed and again when it drops.

    Whatever goes wrong with it is raised; the next call begins with a new connection.
    """

    def __init__(self, database_url: str, *, timeout_s: float = 5.0) -> None:
        self._dsn = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._timeout_s = timeout_s
        self._connection: Connection[Record] | None = None
        self._turn = anyio.Lock()  # a connection runs one statement at a time
        self.connects = 0

    async def take(self, wanted: Mapping[KeyOfTenant, int], window_s: float) -> dict[KeyOfTenant, Taken]:
        """Count `wanted` calls of each key in the window of now; return how many it then has."""
        keys = sorted(wanted)
        values = {
            "tenants": [tenant_id for tenant_id, _ in keys],
            "keys": [key_id for _, key_id in keys],
            "wanted": [wanted[key] for key in keys],
            "window_s": window_s,
        }
        rows = await self._all(_TAKE, values)
        return {
            (row["tenant"], row["key"]): Taken(used=row["used"], ends_at=row["ends_at"], left_s=row["left_s"])
            for row in rows
        }

    async def hold(
        self, process_id: ProcessId, held: Mapping[KeyOfTenant, int], wanted: Mapping[KeyOfTenant, int], most: int
    ) -> dict[KeyOfTenant, int]:
        """Note how many streams of each key this process has open, and ask for `wanted` more of some.

        Returns how many more it may open of each: over all live processes together, at most `most` of a key are open.
        """
        keys = sorted(held)
        values = {
            "process": process_id,
            "tenants": [tenant_id for tenant_id, _ in keys],
            "keys": [key_id for _, key_id in keys],
            "held": [held[key] for key in keys],
            "wanted": [wanted.get(key, 0) for key in keys],
            "most": most,
        }
        granted = (await self._all(_HOLD, values))[0][0]
        return dict(zip(keys, granted, strict=True))

    async def close(self) -> None:
        """Give the connection back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                await connection.close(timeout=1)

    async def _all(self, statement: Statement, values: dict[str, Any]) -> Any:
        async with self._turn:
            try:
                with anyio.fail_after(self._timeout_s):
                    connection = await self._connected()
                    return await Driver(connection).all(statement, values)
            except BaseException:
                broken, self._connection = self._connection, None
                if broken is not None:
                    broken.terminate()
                raise

    async def _connected(self) -> "Connection[Record]":
        if self._connection is None or self._connection.is_closed():
            settings = {"application_name": "parley-limits", "statement_timeout": str(int(self._timeout_s * 1000))}
            self._connection = await asyncpg.connect(self._dsn, server_settings=settings)
            self.connects += 1
        return self._connection
