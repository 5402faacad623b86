"""The tenant wall, read from the catalogue of a migrated database and tried on every table (design.md 1.4)."""

import datetime
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import ARRAY, Table, delete, insert, select, text, update
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR
from sqlalchemy.exc import DBAPIError

from app.db.metadata import Vector
from app.db.roles import APP_ROLE, OWNER_ROLE
from app.db.tables import metadata
from app.db.walls import DISPATCH_GRANTS, DISPATCH_ROLE
from app.domain.ids import TenantId
from repositories.unit_of_work import Database
from tests.pg import DatabaseUrls

SERVICE_TABLES = {"alembic_version", "processes"}
"""Tables of no tenant: which processes live, and which revision the schema is at."""

A, B = TenantId("a" * 32), TenantId("b" * 32)
TENANT_TABLES = [table for table in metadata.sorted_tables if "tenant_id" in table.columns]


@pytest.fixture
async def superuser(fresh_database: DatabaseUrls) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(fresh_database.superuser.replace("+asyncpg", ""))
    yield connection
    await connection.close()


def value_for(column: Any, tenant: str) -> Any:
    """Return something a column can hold; text names the tenant, so that rows of two refer to their own."""
    kind = column.type
    if column.name == "tenant_id":
        return tenant
    if isinstance(kind, JSONB):
        return {}
    if isinstance(kind, ARRAY):
        return []
    if isinstance(kind, TSVECTOR):
        return text("to_tsvector('simple', 'word')")
    if isinstance(kind, Vector):
        return text("'[1,0]'::vector")
    match kind.python_type.__name__:
        case "str":
            return f"x-{tenant}"
        case "bytes":
            return tenant.encode()
        case "int" | "float" | "Decimal":
            return 1
        case "bool":
            return False
        case "date":
            return datetime.date(2026, 1, 1)
        case "datetime":
            return datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
        case other:
            raise AssertionError(f"{column}: say what a {other} may hold")


def row_for(table: Table, tenant: str) -> dict[str, Any]:
    return {
        column.name: value_for(column, tenant)
        for column in table.columns
        if column.identity is None and column.computed is None
    }


async def fill(database: Database) -> None:
    """Put one row of each of two tenants into every table."""
    for tenant in (A, B):
        async with database.unit(tenant) as unit:
            for table in TENANT_TABLES:
                await unit._connection.execute(insert(table).values(row_for(table, tenant)))


def test_every_table_is_a_tenants_or_known_as_the_services() -> None:
    others = {table.name for table in metadata.sorted_tables} - {table.name for table in TENANT_TABLES}
    assert others <= SERVICE_TABLES


async def test_every_table_of_a_tenant_has_its_wall_up(superuser: Any) -> None:
    """Enabled and forced, with a policy for reading and one for writing, the primary key led by tenant_id."""
    rows = await superuser.fetch("""
        SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity,
               (SELECT array_agg(p.polname::text ORDER BY p.polname) FROM pg_policy p WHERE p.polrelid = c.oid) AS policies,
               (SELECT pg_get_expr(p.polqual, p.polrelid) FROM pg_policy p
                 WHERE p.polrelid = c.oid AND p.polname = 'tenant_wall') AS seen,
               (SELECT pg_get_expr(p.polwithcheck, p.polrelid) FROM pg_policy p
                 WHERE p.polrelid = c.oid AND p.polname = 'tenant_wall') AS written,
               (SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
                 WHERE i.indrelid = c.oid AND i.indisprimary) AS first_of_key,
               EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id') AS is_tenants
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p')
    """)  # noqa: E501
    assert {row["relname"] for row in rows} == {table.name for table in metadata.sorted_tables} | SERVICE_TABLES
    for row in rows:
        if not row["is_tenants"]:
            assert row["relname"] in SERVICE_TABLES
            continue
        name = row["relname"]
        assert row["relrowsecurity"], name
        assert row["relforcerowsecurity"], name
        assert row["first_of_key"] == "tenant_id", name
        assert row["policies"] == (["dispatch", "tenant_wall"] if name in DISPATCH_GRANTS else ["tenant_wall"]), name
        for expression in (row["seen"], row["written"]):
            assert "tenant_id = current_setting('parley.tenant'" in expression, name


async def test_every_index_that_makes_unique_leads_with_the_tenant(superuser: Any) -> None:
    """A unique index over tenants would tell one of another's rows; keys are found by their hash alone."""
    rows = await superuser.fetch(
        """
        SELECT i.indexrelid::regclass::text AS name, a.attname
        FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
        WHERE i.indisunique AND n.nspname = 'public' AND c.relname <> ALL($1)
    """,
        list(SERVICE_TABLES),
    )
    assert {row["name"] for row in rows if row["attname"] != "tenant_id"} == {"uq_api_keys_hash"}


async def test_the_roles_can_do_no_more_than_they_must(superuser: Any) -> None:
    rows = await superuser.fetch(
        "SELECT * FROM pg_roles WHERE rolname = ANY($1)", [APP_ROLE, DISPATCH_ROLE, OWNER_ROLE]
    )
    assert len(rows) == 3
    for row in rows:
        powers = ("rolsuper", "rolbypassrls", "rolcreatedb", "rolcreaterole", "rolreplication", "rolinherit")
        assert not any(row[power] for power in powers), row["rolname"]
    owned = await superuser.fetchval(
        "SELECT count(*) FROM pg_class WHERE relowner = ANY(ARRAY[$1::regrole, $2::regrole]::oid[])",
        APP_ROLE,
        DISPATCH_ROLE,
    )
    assert owned == 0


async def test_without_a_tenant_no_row_is_seen(database: Database, fresh_database: DatabaseUrls) -> None:
    await fill(database)
    connection = await asyncpg.connect(fresh_database.app.replace("+asyncpg", ""))
    try:
        for table in TENANT_TABLES:
            assert await connection.fetchval(f"SELECT count(*) FROM {table.name}") == 0, table.name  # noqa: S608
            assert await connection.execute(f"DELETE FROM {table.name}") == "DELETE 0"  # noqa: S608
        await connection.execute("SELECT set_config('parley.tenant', '', false)")
        for table in TENANT_TABLES:
            assert await connection.fetchval(f"SELECT count(*) FROM {table.name}") == 0, table.name  # noqa: S608
    finally:
        await connection.close()


async def test_a_statement_without_its_filter_shows_changes_and_deletes_nothing_foreign(database: Database) -> None:
    """A repository that forgot `WHERE tenant_id = …` leaks nothing, in any table."""
    await fill(database)
    async with database.unit(A) as unit:
        for table in TENANT_TABLES:
            rows = (await unit._connection.execute(select(table))).all()
            assert [row.tenant_id for row in rows] == [A], table.name
    async with database.unit(A) as unit:
        for table in TENANT_TABLES:
            changed = await unit._connection.execute(update(table).values(tenant_id=table.c.tenant_id))
            assert changed.rowcount == 1, table.name
    async with database.unit(A) as unit:
        for table in reversed(TENANT_TABLES):
            await unit._connection.execute(delete(table))
    async with database.unit(B) as unit:
        for table in TENANT_TABLES:
            rows = (await unit._connection.execute(select(table))).all()
            assert [row.tenant_id for row in rows] == [B], table.name


async def test_no_row_can_be_written_for_or_moved_to_another_tenant(database: Database) -> None:
    """WITH CHECK, in every table."""
    await fill(database)
    for table in TENANT_TABLES:
        with pytest.raises(DBAPIError, match="row-level security"):
            async with database.unit(A) as unit:
                await unit._connection.execute(insert(table).values(row_for(table, "c" * 32)))
        with pytest.raises(DBAPIError, match=r"row-level security|violates foreign key|permission denied"):
            async with database.unit(A) as unit:
                await unit._connection.execute(update(table).values(tenant_id=B))


def granted(table: str) -> set[str] | None:
    """Return the columns dispatch may read, None for all."""
    grants = [grant for grant in DISPATCH_GRANTS.get(table, ()) if grant.startswith("SELECT")]
    if "SELECT" in grants:
        return None
    return {name.strip() for grant in grants for name in grant.removeprefix("SELECT (").removesuffix(")").split(",")}


async def test_the_dispatch_role_sees_the_granted_columns_and_no_other(database: Database) -> None:
    """app/db/walls.py: never a message, chunk, prompt or body."""
    await fill(database)
    for table in TENANT_TABLES:
        columns = granted(table.name)
        for column in table.columns:
            statement = text(f"SELECT {column.name} FROM {table.name}")  # noqa: S608
            if columns is None or column.name in columns:
                async with database.dispatch() as dispatch:
                    assert len((await dispatch._connection.execute(statement)).all()) == 2, column
            else:
                with pytest.raises(DBAPIError, match="permission denied"):
                    async with database.dispatch() as dispatch:
                        await dispatch._connection.execute(statement)


async def test_the_dispatch_role_never_sees_content(database: Database) -> None:
    secret = {"messages": "content", "chunks": "content", "turn_events": "payload", "idempotency": "body"}
    for table, column in secret.items():
        with pytest.raises(DBAPIError, match="permission denied"):
            async with database.dispatch() as dispatch:
                await dispatch._connection.execute(text(f"SELECT {column} FROM {table}"))  # noqa: S608


async def test_a_unit_leaves_neither_its_tenant_nor_its_role_behind(database: Database) -> None:
    """Connections are reused: what one transaction set is gone in the next."""
    await fill(database)
    for _ in range(30):
        async with database.unit(A) as unit:
            assert (await unit._connection.execute(text("SELECT count(*) FROM messages"))).scalar_one() == 1
        async with database.dispatch() as dispatch:
            assert (await dispatch._connection.execute(text("SELECT current_user"))).scalar_one() == DISPATCH_ROLE
        async with database.service() as service:
            found = (await service._connection.execute(text("SELECT current_user, count(*) FROM chats"))).one()
            assert tuple(found) == (APP_ROLE, 0)


@pytest.mark.parametrize("silly", ["", "a'; DROP TABLE chats; --", "a b", "ä", "a\x00b"])
async def test_a_tenant_id_is_never_spliced_unchecked(database: Database, silly: str) -> None:
    with pytest.raises(ValueError, match="tenant id"):
        async with database.unit(TenantId(silly)):
            pass
