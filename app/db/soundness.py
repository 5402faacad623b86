"""Is a database fit for the service? Looks at versions, the app role and the tenant wall; changes nothing."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg
from sqlalchemy import make_url

from app.db.walls import DISPATCH_ROLE

if TYPE_CHECKING:
    from asyncpg import Connection, Record

LEAST_SERVER = 15
LEAST_VECTOR = (0, 7)

_ROLE = "SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
_OWNED = """
    SELECT EXISTS (SELECT FROM pg_database WHERE datname = current_database() AND pg_has_role(datdba, 'MEMBER'))
        OR EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                    WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND pg_has_role(c.relowner, 'MEMBER'))
"""
_WALLS = """
    SELECT c.relname AS table, c.relrowsecurity AND c.relforcerowsecurity AS has_wall
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
     WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') ORDER BY 1
"""
_DISPATCH = "SELECT pg_has_role(current_user, oid, 'MEMBER') FROM pg_roles WHERE rolname = $1"
_VECTOR = "SELECT extversion FROM pg_extension WHERE extname = 'vector'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one look at the database showed. `fix` says what to do, and is empty when all is well."""

    name: str
    told: str
    fix: str = ""

    @property
    def is_fine(self) -> bool:
        """Whether nothing is to be done."""
        return not self.fix


async def look_at(app_url: str) -> list[Finding]:
    """Return what is found at `app_url`, reached as the app role.

    Raises:
        OSError, asyncpg.PostgresError: it cannot be reached.
    """
    async with _connected(app_url) as connection:
        return [
            await _server(connection),
            await _vector(connection),
            await _role(connection),
            await _dispatch(connection),
            await _walls(connection),
        ]


async def look_at_role(app_url: str) -> Finding:
    """Return whether row-level security binds the role of `app_url`. Raises as `look_at`."""
    async with _connected(app_url) as connection:
        return await _role(connection)


async def _server(connection: "Connection[Record]") -> Finding:
    version = connection.get_server_version()
    told = f"PostgreSQL {version.major}.{version.minor}"
    fix = "" if version.major >= LEAST_SERVER else f"use PostgreSQL {LEAST_SERVER} or newer"
    return Finding(name="database server", told=told, fix=fix)


async def _vector(connection: "Connection[Record]") -> Finding:
    version = await connection.fetchval(_VECTOR)
    if version is None:
        return Finding(
            name="extension vector",
            told="is not there",
            fix="install pgvector on the server, then run `parley migrate`",
        )
    numbers = tuple(int(part) for part in str(version).split(".")[:2])
    fix = "" if numbers >= LEAST_VECTOR else "install pgvector 0.7 or newer, then ALTER EXTENSION vector UPDATE"
    return Finding(name="extension vector", told=str(version), fix=fix)


async def _role(connection: "Connection[Record]") -> Finding:
    role = await connection.fetchrow(_ROLE)
    if role is None:
        return Finding(name="database role", told="is unknown", fix="run `parley migrate`")
    faults = [
        *(["is a superuser"] if role["rolsuper"] else []),
        *(["has BYPASSRLS"] if role["rolbypassrls"] else []),
        *(["is an owner"] if not role["rolsuper"] and await connection.fetchval(_OWNED) else []),
    ]
    fix = (
        "tenants would not be kept apart: let PARLEY_DATABASE_URL name the role parley_app, which `parley migrate` "
        "makes, and PARLEY_DATABASE_OWNER_URL the owner"
    )
    told = f"{role['rolname']} {' and '.join(faults)}" if faults else f"{role['rolname']}, bound by row-level security"
    return Finding(name="database role", told=told, fix=fix if faults else "")


async def _dispatch(connection: "Connection[Record]") -> Finding:
    may = await connection.fetchval(_DISPATCH, DISPATCH_ROLE)
    told = f"{DISPATCH_ROLE} " + ("may be taken" if may else "may not be taken" if may is False else "is not there")
    return Finding(name="dispatch role", told=told, fix="" if may else "run `parley migrate`")


async def _walls(connection: "Connection[Record]") -> Finding:
    rows = await connection.fetch(_WALLS)
    open_tables = [row["table"] for row in rows if not row["has_wall"]]
    if not rows:
        return Finding(name="tenant wall", told="there are no tables", fix="run `parley migrate`")
    if open_tables:
        told = f"row-level security is not forced on {', '.join(open_tables)}"
        fix = "; ".join(
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY" for table in open_tables
        )
        return Finding(name="tenant wall", told=told, fix=fix)
    return Finding(name="tenant wall", told=f"row-level security is forced on all {len(rows)} tables of tenants")


@asynccontextmanager
async def _connected(url: str) -> AsyncGenerator["Connection[Record]", None]:
    dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        yield connection
    finally:
        await connection.close()
