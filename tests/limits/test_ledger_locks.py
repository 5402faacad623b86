"""Rows of the ledger are written while turns of the same tenant end: nobody waits in a circle."""

import anyio
from sqlalchemy import text

from app.domain.ids import KeyId
from app.domain.models import Usage
from app.domain.retrieval import ModelCall
from app.services.ledger import Entry, Ledger
from repositories.unit_of_work import Database
from tests.conftest import Tenant
from tests.locks import until_waiting

_COUNT = text("INSERT INTO quota_days (tenant_id, day, subject, used) SELECT tenant_id, day, '', 0 FROM usage_daily")
_SUM = text("SELECT calls FROM usage_daily FOR UPDATE")
_DAY = text("SELECT used FROM quota_days FOR UPDATE")


async def test_rows_of_two_keys_are_written_while_a_turn_of_one_of_them_ends(
    database: Database, tenant: Tenant
) -> None:
    usage = Usage(prompt_tokens=1, completion_tokens=2)
    call = ModelCall(kind="chat", purpose="answer", model="m", provider="p", usage=usage, duration_ms=1)
    ledger = Ledger(database)
    entries = [Entry(tenant_id=tenant.id, key_id=KeyId(key), call=call) for key in ("a", "b")]
    async with database.unit(tenant.id) as unit:
        await unit.usage.add([call], api_key_id=KeyId("b"))
        await unit._connection.execute(_COUNT)

    async with anyio.create_task_group() as tasks:
        async with database.unit(tenant.id) as ending:
            assert (await ending._connection.execute(_SUM)).scalar_one() == 1  # first the sums of its key
            for entry in entries:
                ledger.add(entry)
            tasks.start_soon(ledger.run)
            await until_waiting(database, tenant.id)
            assert (await ending._connection.execute(_DAY)).scalar_one() == 3  # then the tenant's day; key a is counted
        with anyio.fail_after(10):
            for entry in entries:
                await entry.written.wait()
        tasks.cancel_scope.cancel()

    async with database.unit(tenant.id) as unit:
        assert (await unit._connection.execute(_DAY)).scalar_one() == 6
