"""Statements that every turn and every search pays for, sent straight to the driver.

SQLAlchemy's pool hands out the connection and its Core serves every other repository; a statement costs a third of the
time when asyncpg runs it without the layers between, and hundreds of rows even less.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncpg import Connection, Record

_NAME = re.compile(r"(?<!:):([a-z_]+)")


class Statement:
    """SQL with `:named` parameters, each of which becomes one numbered parameter."""

    __slots__ = ("_names", "sql")

    def __init__(self, sql: str) -> None:
        self._names: list[str] = list(dict.fromkeys(_NAME.findall(sql)))
        self.sql = _NAME.sub(lambda found: f"${self._names.index(found[1]) + 1}", sql)

    def arguments(self, values: dict[str, Any]) -> list[Any]:
        """Return the values in the order of their numbers; every one must be there."""
        return [values[name] for name in self._names]


class Driver:
    """An asyncpg connection inside a transaction that somebody else begins and ends."""

    __slots__ = ("_connection",)

    def __init__(self, connection: "Connection[Record]") -> None:
        self._connection = connection

    async def all(self, statement: Statement, values: dict[str, Any]) -> "Sequence[Record]":
        """Run `statement` and return its rows."""
        return await self._connection.fetch(statement.sql, *statement.arguments(values))

    async def first(self, statement: Statement, values: dict[str, Any]) -> "Record | None":
        """Run `statement` and return its first row."""
        return await self._connection.fetchrow(statement.sql, *statement.arguments(values))

    async def scalar(self, statement: Statement, values: dict[str, Any]) -> Any:
        """Run `statement` and return the first column of its first row, None without one."""
        return await self._connection.fetchval(statement.sql, *statement.arguments(values))

    async def set(self, settings: str) -> None:
        """Run one or more `SET LOCAL`, parted by `;`, in one round trip."""
        await self._connection.execute(settings)

    async def run(self, statement: Statement, values: dict[str, Any]) -> int:
        """Run `statement` and return how many rows it touched."""
        status = await self._connection.execute(statement.sql, *statement.arguments(values))
        return int(status.rsplit(" ", 1)[-1])
