"""The three roles and the databases they use; made as superuser, by the embedded profile and by the tests.

`parley_owner` owns the database and runs migrations. `parley_app` owns nothing, so row-level security binds it.
`parley_dispatch` is what `parley_app` becomes (SET ROLE) for the few statements that look across tenants.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import asyncpg
from sqlalchemy import make_url

from app.db.walls import DISPATCH_ROLE

if TYPE_CHECKING:
    from asyncpg import Connection, Record

OWNER_ROLE = "parley_owner"
APP_ROLE = "parley_app"

EXTENSIONS = ("vector", "pg_trgm", "btree_gin")  # not every build trusts a database's owner to make them

# Row-level security keeps an index from being asked a question before the wall is checked, unless the question can
# tell nothing about rows it refuses. `tsvector @@ tsquery` returns true or false and its errors name no row, so it is
# one, and so is `ILIKE`; saying so lets searches use the text indexes (42 ms without, 2 ms with it, over 25,000
# chunks). Where no superuser can say it, searches are right but read the dataset's chunks.
LEAKPROOF = ("ts_match_vq(tsvector, tsquery)", "texticlike(text, text)")

_ROLES_LOCK = 7_012_027_101_120  # one process makes roles at a time; any fixed number
_PLAIN = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS NOINHERIT"
_ROLES = ((OWNER_ROLE, True), (APP_ROLE, True), (DISPATCH_ROLE, False))  # and whether it may log in
_HAS_ATTRIBUTES = """
    SELECT rolname = current_user OR rolcanlogin = $2 AND NOT
           (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls OR rolinherit)
      FROM pg_roles WHERE rolname = $1
"""


async def create_roles(superuser_url: str, *, app_password: str | None = None) -> None:
    """Make the roles, or give existing ones these attributes; with `app_password`, set that of `parley_app`.

    The role that calls is left as it is: an outside database may have `parley_owner` as its superuser. A caller who
    may only create roles is enough where none of them has to be changed.
    """
    async with _connected(superuser_url) as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _ROLES_LOCK)
        for role, can_login in _ROLES:
            attributes = f"{'LOGIN' if can_login else 'NOLOGIN'} {_PLAIN}"
            is_right = await connection.fetchval(_HAS_ATTRIBUTES, role, can_login)
            if is_right is None:
                await connection.execute(f"CREATE ROLE {role} {attributes}")
            elif not is_right:
                await connection.execute(f"ALTER ROLE {role} {attributes}")
        # NOINHERIT of the member makes the grant one that has to be asked for with SET ROLE
        await connection.execute(f"GRANT {DISPATCH_ROLE} TO {APP_ROLE}")
        if app_password is not None:
            literal = await connection.fetchval("SELECT quote_literal($1::text)", app_password)
            await connection.execute(f"ALTER ROLE {APP_ROLE} PASSWORD {literal}")


async def create_database(superuser_url: str, name: str, *, template: str | None = None) -> None:
    """Make database `name`, owned by `parley_owner` and open to `parley_app` alone, unless it exists.

    With `template` it starts as a copy of that database, to which nobody may be connected. The extensions that
    migrations rely on are there in the end, which only a superuser can see to.
    """
    async with _connected(superuser_url) as connection:
        quoted = await _quoted(connection, name)
        if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
            # copying files beats copying through the log: 10-20 ms to 100 in memory, 280 to 370 on a busy disk
            source = f" TEMPLATE {await _quoted(connection, template)} STRATEGY file_copy" if template else ""
            with suppress(
                asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError
            ):  # another process has made it meanwhile
                await connection.execute(f"CREATE DATABASE {quoted} OWNER {OWNER_ROLE}{source}")
        await connection.execute(f"REVOKE ALL ON DATABASE {quoted} FROM PUBLIC")
        await connection.execute(f"GRANT CONNECT, TEMPORARY ON DATABASE {quoted} TO {APP_ROLE}")
    if template is None:
        inside = make_url(superuser_url).set(database=name).render_as_string(hide_password=False)
        async with _connected(inside) as connection:
            for extension in EXTENSIONS:
                await connection.execute(f"CREATE EXTENSION IF NOT EXISTS {extension}")
            for function in LEAKPROOF:
                await connection.execute(f"ALTER FUNCTION pg_catalog.{function} LEAKPROOF")


async def drop_database(superuser_url: str, name: str) -> None:
    """Drop database `name` if it exists, cutting off whoever is connected."""
    async with _connected(superuser_url) as connection:
        await connection.execute(f"DROP DATABASE IF EXISTS {await _quoted(connection, name)} WITH (FORCE)")


@asynccontextmanager
async def _connected(url: str) -> AsyncGenerator["Connection[Record]", None]:
    dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def _quoted(connection: "Connection[Record]", name: str) -> str:
    return str(await connection.fetchval("SELECT quote_ident($1)", name))
