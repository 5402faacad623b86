"""Connections of the pool: taken alive, given back, thrown away when they cannot be used any more."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from asyncpg import InterfaceError, PostgresError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import QueuePool

from app.domain.errors import Unavailable

_ROLLBACK_S = 5.0


class Connections:
    """The pool of one process."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @asynccontextmanager
    async def taken(self) -> AsyncGenerator[tuple[AsyncConnection, Any], None]:
        """Give a connection, and the driver's own below it.

        Raises:
            Unavailable: none came free in time: more is asked of this process than it can do. Or there is no database.
        """
        try:
            connection, raw = await self._live()
        except PoolTimeout as error:
            raise Unavailable("The service is overloaded; please try again.", retry_after_s=2) from error
        except (OSError, DBAPIError, PostgresError, InterfaceError) as error:
            raise Unavailable("The database cannot be reached; please try again.", retry_after_s=2) from error
        try:
            yield connection, raw
        finally:
            with anyio.CancelScope(shield=True):
                await connection.close()

    async def _live(self) -> tuple[AsyncConnection, Any]:
        """Return a connection that has not been dropped while it lay in the pool."""
        while True:
            connection = await self._engine.connect()
            raw: Any = (await connection.get_raw_connection()).driver_connection
            if not raw.is_closed():
                return connection, raw
            await connection.invalidate()
            await connection.close()

    @property
    def url(self) -> str:
        """Where they lead, password and all."""
        return self._engine.url.render_as_string(hide_password=False)

    @property
    def in_use(self) -> int:
        """How many are out."""
        pool = self._engine.pool
        return pool.checkedout() if isinstance(pool, QueuePool) else 0

    async def close(self) -> None:
        """Give every connection back."""
        await self._engine.dispose()


async def roll_back(connection: AsyncConnection, raw: Any) -> None:
    """Undo the transaction, cancelled or not; a connection that cannot even do that is thrown away."""
    with anyio.move_on_after(_ROLLBACK_S, shield=True) as patience:
        try:
            if raw.is_closed():
                await connection.invalidate()
            elif raw.is_in_transaction():
                await raw.execute("ROLLBACK")
        except (OSError, PostgresError, InterfaceError):
            await connection.invalidate()
    if patience.cancelled_caught:
        await connection.invalidate()
