"""Tokens per day, of keys and of tenants: reserved before a call, settled by what it cost (design.md 1.6)."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from app.db.engine import create_engine
from app.domain.errors import Limited
from app.domain.ids import KeyId, TenantId, new_id
from app.domain.limits import TokenQuota
from app.domain.models import Usage
from app.domain.retrieval import ModelCall
from app.engine.lease import Lease, new_process_id
from app.security.keys import make_key
from app.security.quotas import Quotas
from repositories.unit_of_work import Database
from tests.conftest import PEPPER, Tenant
from tests.pg import DatabaseUrls
from tests.service import Service, scripted, served
from tests.tasks import in_a_task
from tests.upstream.fixtures import ScriptedUpstream

ASK = {"model": "m", "messages": [{"role": "user", "content": scripted(pieces=5)}], "stream": False}

SPENT = ModelCall(
    kind="chat",
    purpose="answer",
    model="m",
    provider="p",
    usage=Usage(prompt_tokens=100, completion_tokens=11),
    duration_ms=1,
)


@pytest.fixture
async def service(fresh_database: DatabaseUrls, upstream: ScriptedUpstream, tmp_path: Path) -> AsyncIterator[Service]:
    async with in_a_task(served(fresh_database, upstream, tmp_path)) as found:
        yield found


async def limited_tenant(service: Service, *, of_key: int | None = None, of_tenant: int | None = None) -> Tenant:
    """Make a tenant with one key, either of which may have a quota."""
    tenant_id = TenantId(new_id())
    made = make_key(tenant_id=tenant_id, pepper=PEPPER, now=datetime.now(UTC), tokens_per_day=of_key)
    async with service.database.unit(tenant_id) as unit:
        await unit.tenants.add("someone", tokens_per_day=of_tenant)
        await unit.keys.add(made.stored, made.hash)
    return Tenant(tenant_id, made.stored.id, made.secret)


async def counted(database: Database, tenant_id: TenantId, subject: str) -> tuple[int, int]:
    """Return what is used and reserved today of one quota."""
    async with database.unit(tenant_id) as unit:
        row = await unit._driver._connection.fetchrow(
            """SELECT (SELECT sum(used) FROM quota_days WHERE subject = $1),
                      (SELECT coalesce(sum(tokens), 0) FROM quota_reservations WHERE subject = $1)""",
            subject,
        )
    assert row is not None
    return int(row[0] or 0), int(row[1])


async def ask(client: httpx.AsyncClient, chat_id: str, **changes: Any) -> httpx.Response:
    return await client.post(f"/api/v1/chats_openai/{chat_id}/chat/completions", json=ASK | changes)


@pytest.mark.promise("conversations:11-tokens-per-day", "openai:1.7-quota-is-not-retried")
@pytest.mark.parametrize("whose", ["key", "tenant"])
async def test_calls_at_once_cannot_pass_a_quota(service: Service, whose: str) -> None:
    """Each would cost more than is left; without reservations all would find something left.

    While one is under way the others are told to come back soon: it may leave something. Then nothing is left.
    """
    quota = {"of_key": 10} if whose == "key" else {"of_tenant": 10}
    tenant = await limited_tenant(service, **quota)
    chat = await service.chat(tenant)
    answers: list[httpx.Response] = []
    slow = scripted(pieces=5, gap_ms=30)
    body = {"messages": [{"role": "user", "content": slow}]}
    async with service.client(tenant) as client:
        async with anyio.create_task_group() as tasks:

            async def one() -> None:
                answers.append(await ask(client, chat.id, **body))

            for _ in range(12):
                tasks.start_soon(one)
        last = await ask(client, chat.id)
    assert sorted(answer.status_code for answer in answers) == [200] + [429] * 11
    named = "this API key" if whose == "key" else "this tenant"
    early = next(answer for answer in answers if answer.status_code == 429)
    assert f"left of the 10 tokens per day of {named}" in early.json()["error"]["message"]
    assert early.json()["error"]["type"] == "rate_limit_error"
    assert early.headers["retry-after"] == "2"
    assert "x-should-retry" not in early.headers
    error = last.json()["error"]
    assert last.status_code == 429
    assert error["type"] == error["code"] == "insufficient_quota"
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%d")
    assert f"10 tokens per day of {named}" in error["message"]
    assert f"{tomorrow}T00:00:00Z" in error["message"]
    assert last.headers["x-should-retry"] == "false"
    usage = next(answer for answer in answers if answer.status_code == 200).json()["usage"]
    subject = tenant.key_id if whose == "key" else ""
    assert await counted(service.database, tenant.id, subject) == (usage["total_tokens"], 0)


@pytest.mark.promise("conversations:11-tokens-per-day")
async def test_what_is_left_lets_a_call_through_and_what_it_cost_is_counted(service: Service) -> None:
    tenant = await limited_tenant(service, of_key=5000, of_tenant=6000)
    chat = await service.chat(tenant)
    async with service.client(tenant) as client:
        costs = [(await ask(client, chat.id)).json()["usage"]["total_tokens"] for _ in range(3)]
    assert await counted(service.database, tenant.id, tenant.key_id) == (sum(costs), 0)
    assert await counted(service.database, tenant.id, "") == (sum(costs), 0)


@pytest.mark.promise("conversations:11-quota-of-tokens-that-hang-on-a-key")
async def test_a_quota_set_later_that_day_knows_what_was_used_before(service: Service) -> None:
    """By the key itself and by what hangs on it; what another key used is not its own."""
    tenant = await service.tenant()
    chat = await service.chat(tenant)
    child, other = KeyId(new_id()), KeyId(new_id())
    async with service.database.unit(tenant.id) as unit:
        made = make_key(tenant_id=tenant.id, pepper=PEPPER, now=datetime.now(UTC), parent_id=tenant.key_id)
        await unit.keys.add(made.stored, made.hash)
        child = made.stored.id
        for key_id in (tenant.key_id, child, other):
            await unit.usage.add([SPENT], api_key_id=key_id)
    quotas = Quotas(service.database, service.parts.engine.process_id)
    quota = TokenQuota(key_id=tenant.key_id, of_key=223)
    async with quotas.held(tenant.id, quota, 1):
        assert await counted(service.database, tenant.id, tenant.key_id) == (222, 1)
        with pytest.raises(Limited) as refused:
            async with quotas.held(tenant.id, quota, 1):
                raise AssertionError("not entered")
        assert refused.value.code is None  # one of 223 tokens is left, and reserved
        async with service.database.unit(tenant.id) as unit:
            await unit.usage.add([SPENT], api_key_id=child)
    assert await counted(service.database, tenant.id, tenant.key_id) == (333, 0)
    assert chat.tenant_id == tenant.id


@pytest.mark.promise("conversations:11-tokens-per-day")
@pytest.mark.parametrize("directive", [{"status": 500}, {"cut_after": 2}, {"stall_after": 2}])
async def test_a_failed_or_stopped_turn_leaves_nothing_reserved(service: Service, directive: dict[str, Any]) -> None:
    tenant = await limited_tenant(service, of_tenant=100_000)
    chat = await service.chat(tenant)
    message = {"role": "user", "content": scripted(pieces=5, **directive)}
    async with service.client(tenant) as client:
        if "stall_after" in directive:
            with pytest.raises(httpx.ReadTimeout):
                await client.post(
                    f"/api/v1/chats_openai/{chat.id}/chat/completions", json=ASK | {"messages": [message]}, timeout=0.5
                )
        else:
            assert (await ask(client, chat.id, messages=[message])).status_code >= 500
    with anyio.fail_after(5):
        while service.parts.engine.running_count:  # noqa: ASYNC110 (the engine tells nobody)
            await anyio.sleep(0.01)
    used, reserved = await counted(service.database, tenant.id, "")
    assert reserved == 0
    async with service.database.unit(tenant.id) as unit:
        on_ledger = await unit._driver._connection.fetchval(
            "SELECT coalesce(sum(prompt_tokens + completion_tokens), 0) FROM usage_ledger"
        )
    assert used == on_ledger


@pytest.mark.promise("conversations:11-reservations-of-the-dead")
async def test_what_a_dead_process_reserved_does_not_count(fresh_database: DatabaseUrls, database: Database) -> None:
    tenant_id, quota = TenantId(new_id()), TokenQuota(key_id=KeyId("k"), of_key=10)
    async with database.unit(tenant_id) as unit:
        await unit.tenants.add("someone")
    dead, alive = new_process_id(), new_process_id()
    await Lease(database, dead, kind="api").take()
    await Lease(database, alive, kind="api").take()
    living = Quotas(database, alive)
    async with database.quotas_alone(tenant_id) as quotas:
        await Quotas(database, dead).reserve(quotas, "turn", quota, 10)
        with pytest.raises(Limited, match="Calls under way"):
            await living.reserve(quotas, "other", quota, 10)
    await Lease(database, dead, kind="api").leave()
    async with living.held(tenant_id, quota, 10):
        async with database.dispatch() as dispatch:
            await dispatch.limits.expire()
        assert await counted(database, tenant_id, "k") == (0, 10)


@pytest.mark.promise("conversations:11-reservations-of-the-dead")
async def test_a_release_that_failed_is_made_up_for(fresh_database: DatabaseUrls, database: Database) -> None:
    tenant_id, quota = TenantId(new_id()), TokenQuota(key_id=KeyId("k"), of_key=10)
    process_id = new_process_id()
    async with database.unit(tenant_id) as unit:
        await unit.tenants.add("someone")
    await Lease(database, process_id, kind="api").take()
    nowhere = Database(create_engine("postgresql+asyncpg://nobody@127.0.0.1:1/none", pool_size=1))
    quotas = Quotas(nowhere, process_id)
    async with database.quotas_alone(tenant_id) as repository:
        await quotas.reserve(repository, "call", quota, 10)
    await quotas.release(tenant_id, "call")
    assert await counted(database, tenant_id, "k") == (0, 10)
    quotas._database = database
    await quotas.release_left()
    assert await counted(database, tenant_id, "k") == (0, 0)
    await nowhere.close()


async def test_an_expected_cost_names_everything_that_is_known(service: Service) -> None:
    from app.security.quotas import ANSWER_TOKENS, estimate

    assert estimate(["a" * 400], None) == 100 + ANSWER_TOKENS
    assert estimate(["a" * 400, "b" * 40], 7, more=3) == 110 + 7 + 3


@pytest.mark.promise("conversations:11-quota-of-tokens-that-hang-on-a-key")
@pytest.mark.parametrize("of_tenant", [True, False])
async def test_the_first_call_of_a_day_waits_for_what_is_being_written(
    fresh_database: DatabaseUrls, database: Database, of_tenant: bool
) -> None:
    """A turn of yesterday ends while the first of today opens: its tokens are counted, whoever commits first."""
    tenant_id, key_id = TenantId(new_id()), KeyId("k")
    quota = TokenQuota(key_id=key_id, of_tenant=1000) if of_tenant else TokenQuota(key_id=key_id, of_key=1000)
    process_id = new_process_id()
    async with database.unit(tenant_id) as unit:
        await unit.tenants.add("someone")
    await Lease(database, process_id, kind="api").take()
    quotas = Quotas(database, process_id)
    is_reserved = anyio.Event()

    async def first() -> None:
        async with quotas.held(tenant_id, quota, 5):
            is_reserved.set()

    async with anyio.create_task_group() as tasks, database.unit(tenant_id) as unit:
        await unit.usage.add([SPENT], api_key_id=key_id)
        tasks.start_soon(first)
        with anyio.move_on_after(0.2):
            await is_reserved.wait()
        assert not is_reserved.is_set()
    assert await counted(database, tenant_id, "" if of_tenant else key_id) == (111, 0)
    async with database.unit(tenant_id) as unit:
        await unit.usage.add([SPENT], api_key_id=key_id)
    assert await counted(database, tenant_id, "" if of_tenant else key_id) == (222, 0)


@pytest.mark.promise("conversations:11-tokens-per-day")
async def test_a_call_over_midnight_counts_on_the_day_it_is_written(
    fresh_database: DatabaseUrls, database: Database
) -> None:
    """What it reserved yesterday holds nothing of today; what it cost is today's."""
    tenant_id, quota = TenantId(new_id()), TokenQuota(key_id=KeyId("k"), of_key=150)
    process_id = new_process_id()
    async with database.unit(tenant_id) as unit:
        await unit.tenants.add("someone")
    await Lease(database, process_id, kind="api").take()
    quotas = Quotas(database, process_id)
    async with quotas.held(tenant_id, quota, 150):
        async with database.unit(tenant_id) as unit:  # midnight
            for table in ("quota_days", "quota_reservations"):
                await unit._driver._connection.execute(f"UPDATE {table} SET day = day - 1")  # noqa: S608 (a constant)
        async with quotas.held(tenant_id, quota, 100):
            with pytest.raises(Limited):
                async with quotas.held(tenant_id, TokenQuota(key_id=KeyId("k"), of_key=100), 1):
                    raise AssertionError("not entered")
        async with database.unit(tenant_id) as unit:
            await unit.usage.add([SPENT], api_key_id=KeyId("k"))
        async with quotas.held(tenant_id, quota, 10):  # 39 are left
            pass
    async with database.unit(tenant_id) as unit:
        days = await unit._driver._connection.fetch("SELECT used FROM quota_days ORDER BY day")
        held = await unit._driver._connection.fetchval("SELECT count(*) FROM quota_reservations")
    assert ([row["used"] for row in days], held) == ([0, 111], 0)
