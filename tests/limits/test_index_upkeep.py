"""Words of new messages come into their index while nobody waits (docs/sessions.md)."""

import asyncpg

from app.engine.index_upkeep import IndexUpkeep
from tests.conftest import Tenant
from tests.pg import DatabaseUrls
from tests.service import Service

_PENDING = "SELECT gin_clean_pending_list('ix_messages_content')"  # how many pages there were to be cleaned


async def _say(service: Service, tenant: Tenant, name: str) -> None:
    async with service.database.unit(tenant.id) as unit:
        driver = unit._driver._connection
        await driver.execute(
            "INSERT INTO sessions (tenant_id, id, kind, name) VALUES ($1, $2, 'chat', $2)", tenant.id, name
        )
        await driver.execute(
            "INSERT INTO messages (tenant_id, turn_id, role, session_id, position, content) "
            "VALUES ($1, $2, 'user', $2, 0, 'What do walruses eat?')",
            tenant.id,
            name,
        )


async def test_new_words_do_not_wait_for_a_turn_to_index_them(
    service: Service, tenant: Tenant, fresh_database: DatabaseUrls
) -> None:
    superuser = await asyncpg.connect(fresh_database.superuser.replace("+asyncpg", ""))
    try:
        await _say(service, tenant, "one")
        assert await superuser.fetchval(_PENDING) > 0, "nothing waits: the rest would show nothing"

        await _say(service, tenant, "two")
        await IndexUpkeep(service.database).round()
        assert await superuser.fetchval(_PENDING) == 0
    finally:
        await superuser.close()
