"""The migrations make exactly the declared schema, and can be taken back and made again (style.md 2)."""

from typing import Any

import anyio
import asyncpg
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.ext.asyncio import create_async_engine

from app.db.metadata import Vector
from app.db.roles import APP_ROLE, create_database
from app.db.tables import metadata
from migrations.run import upgrade
from tests.pg import DatabaseServer, DatabaseUrls


def _is_vector_index(difference: Any) -> bool:
    """One partial index for each length of vectors is made as it is needed (design.md 4): none is declared."""
    return difference[0] == "remove_index" and str(difference[1].name).startswith("ix_chunks_embedding_")


async def differences(urls: DatabaseUrls) -> list[object]:
    names: dict[str, Any] = ischema_names
    names["vector"] = Vector
    engine = create_async_engine(urls.owner)

    def compare(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": False})
        return [one for one in compare_metadata(context, metadata) if not _is_vector_index(one)]

    try:
        async with engine.connect() as connection:
            return await connection.run_sync(compare)
    finally:
        await engine.dispose()


SHAPE = """
    SELECT string_agg(line, E'\\n' ORDER BY line) FROM (
        SELECT format('%s.%s %s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
                      pg_get_expr(d.adbin, d.adrelid)) AS line
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
        UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
        UNION ALL SELECT format('%s %s %s', tablename, policyname, qual) FROM pg_policies
        UNION ALL SELECT format('%s %s', conrelid::regclass, pg_get_constraintdef(oid)) FROM pg_constraint
                  WHERE connamespace = 'public'::regnamespace
        UNION ALL SELECT format('%s %s %s %s', table_name, column_name, grantee, privilege_type)
                  FROM information_schema.column_privileges WHERE table_schema = 'public'
    ) lines
"""


async def shape(urls: DatabaseUrls) -> str:
    connection = await asyncpg.connect(urls.superuser.replace("+asyncpg", ""))
    try:
        return str(await connection.fetchval(SHAPE))
    finally:
        await connection.close()


async def test_the_migrated_schema_is_the_declared_one(fresh_database: DatabaseUrls) -> None:
    assert await differences(fresh_database) == []


async def test_down_to_nothing_and_up_again_makes_the_same_schema(fresh_database: DatabaseUrls) -> None:
    """Columns, defaults, indexes, constraints, policies and grants alike."""
    before = await shape(fresh_database)
    assert "tenant_wall" in before

    await upgrade(fresh_database.owner, APP_ROLE, "base")
    assert "tenant_wall" not in await shape(fresh_database)
    await upgrade(fresh_database.owner, APP_ROLE)

    assert await shape(fresh_database) == before


OLDER_SESSIONS = """
    INSERT INTO tenants (tenant_id, name) VALUES ('t', 'T');
    INSERT INTO chats (tenant_id, id, name, llm_setting, prompt_config, similarity_threshold, vector_similarity_weight,
        top_n, top_k) VALUES ('t', 'c', 'Desk', '{}', '{}', 0.2, 0.3, 6, 1024);
    INSERT INTO sessions (tenant_id, id, chat_id, kind, name) VALUES
        ('t', 'a', 'c', 'chat', 'One'), ('t', 'b', 'c', 'chat', 'Two');
    INSERT INTO sessions (tenant_id, id, chat_id, kind, name, deleted_at) VALUES ('t', 'd', 'c', 'chat', 'Gone', now())
"""


async def test_sessions_from_before_are_counted_and_found_by_name(fresh_database: DatabaseUrls) -> None:
    """A database of the revision before, with sessions in it, becomes the same as a new one, with nothing lost."""
    new = await shape(fresh_database)
    await upgrade(fresh_database.owner, APP_ROLE, "0003")
    connection = await asyncpg.connect(fresh_database.superuser.replace("+asyncpg", ""))
    try:
        await connection.execute(OLDER_SESSIONS)
        await upgrade(fresh_database.owner, APP_ROLE)
        assert await connection.fetchval("SELECT sum(sessions) FROM session_counts") == 2
        assert await connection.fetchval("SELECT sum(sessions) FROM session_days") == 2
        labels = await connection.fetch("SELECT session_id, label FROM session_labels ORDER BY 1")
        assert [tuple(one) for one in labels] == [("a", "One\x01a"), ("b", "Two\x01b")]
        assert await connection.fetchval("SELECT count(*) FROM sessions") == 3
    finally:
        await connection.close()
    assert await shape(fresh_database) == new


OLDER_MESSAGES = """
    UPDATE sessions SET created_at = '1970-01-02 05:59:59Z';
    INSERT INTO messages (tenant_id, turn_id, role, session_id, position, content) VALUES
        ('t', '1', 'user', 'a', 0, 'Why?'), ('t', '2', 'user', 'd', 0, 'Who?'), ('t', '3', 'user', NULL, 0, 'How?')
"""
HOURS = "SELECT session_hour FROM messages ORDER BY turn_id"


async def test_messages_from_before_carry_the_hour_of_their_session(fresh_database: DatabaseUrls) -> None:
    """A database of 0004 with messages in it; down again, and up again, nothing is lost."""
    new = await shape(fresh_database)
    await upgrade(fresh_database.owner, APP_ROLE, "0004")
    connection = await asyncpg.connect(fresh_database.superuser.replace("+asyncpg", ""))
    try:
        await connection.execute(OLDER_SESSIONS + ";" + OLDER_MESSAGES)
        for target in ("head", "0004", "head"):
            await upgrade(fresh_database.owner, APP_ROLE, target)
        assert [row[0] for row in await connection.fetch(HOURS)] == [29, 29, None]
        labels = await connection.fetch("SELECT session_id, session_hour FROM session_labels ORDER BY 1")
        assert [tuple(one) for one in labels] == [("a", 29), ("b", 29)]
        content = await connection.fetch("SELECT content FROM messages ORDER BY turn_id")
        assert [row[0] for row in content] == ["Why?", "Who?", "How?"]
    finally:
        await connection.close()
    assert await shape(fresh_database) == new


async def test_migrating_twice_at_once_does_it_once(postgres_server: DatabaseServer) -> None:
    """Several processes start together on a new database."""
    async with postgres_server.database() as urls:
        await create_database(postgres_server.admin_url, urls.name)
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(upgrade, urls.owner, APP_ROLE)
        assert await differences(urls) == []
