"""`parley tenants quota`: what an operator sets holds for the tenant's calls (design.md 1.6)."""

from pathlib import Path

import pytest

from app.domain.ids import TenantId
from repositories.unit_of_work import Database
from tests.operations.running import environment, parley
from tests.pg import DatabaseUrls


@pytest.mark.promise("conversations:11-tokens-per-day")
async def test_an_operator_sets_and_lifts_the_quota_of_a_tenant(
    fresh_database: DatabaseUrls, database: Database, tmp_path: Path
) -> None:
    tenant_id = TenantId("acme-id")
    async with database.unit(tenant_id) as unit:
        await unit.tenants.add("acme")
    env = environment(tmp_path, {"DATABASE_URL": fresh_database.app, "SECRET_KEY": "tests"})
    for arguments, stored in ((("acme", "5000"), 5000), (("--", "acme", "-1"), None)):
        done = parley("tenants", "quota", *arguments, env=env, folder=tmp_path)
        assert (done.returncode, done.stdout) == (0, "quota set of acme-id\n"), done.stderr
        async with database.unit(tenant_id) as unit:
            tenant = await unit.tenants.get()
        assert tenant is not None
        assert tenant.tokens_per_day == stored
