"""A key knows when it was last used, to the minute (conversations.md 8.2)."""

from datetime import UTC, datetime
from typing import Any

import pytest

from app.domain.ids import TenantId, new_id
from app.security.authenticator import Authenticator
from app.security.keys import make_key
from repositories.unit_of_work import Database
from tests.conftest import PEPPER


@pytest.mark.promise("conversations:8.2-used")
async def test_the_use_of_a_key_is_noted_at_most_once_a_minute(database: Database) -> None:
    now = 1000.0
    made = make_key(tenant_id=TenantId(new_id()), pepper=PEPPER, now=datetime.now(UTC))
    async with database.unit(made.stored.tenant_id) as unit:
        await unit.tenants.add("someone")
        await unit.keys.add(made.stored, made.hash)
    authenticator = Authenticator(database, PEPPER, monotonic=lambda: now)

    async def used() -> Any:
        await authenticator.caller(f"Bearer {made.secret}")
        async with database.unit(made.stored.tenant_id) as unit:
            key = await unit.keys.get(made.stored.id)
        assert key is not None
        return key.last_used_at

    first = await used()
    assert first is not None
    now += 59
    assert await used() == first
    now += 2
    assert await used() > first
