"""Sessions end when nobody writes to them, and hold so many messages and no more (conversations.md 11)."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest

from app.building import parts
from app.domain.chats import Chat
from app.domain.ids import SessionId
from app.engine import retention
from app.engine.retention import Retention
from app.engine.turns import EngineConfig
from repositories import session_retention
from repositories.failures import DATABASE_FAILURES
from repositories.session_retention import SessionRetention
from repositories.statements import Statement
from repositories.unit_of_work import Database
from tests.conftest import Tenant
from tests.pg import DatabaseUrls
from tests.service import Service, scripted, served
from tests.tasks import in_a_task
from tests.upstream.fixtures import ScriptedUpstream

OnFull = Literal["trim", "reject"]


@pytest.fixture
def on_full() -> OnFull:
    return "trim"


@pytest.fixture
async def service(
    fresh_database: DatabaseUrls, upstream: ScriptedUpstream, tmp_path: Path, on_full: OnFull
) -> AsyncIterator[Service]:
    """Sessions of six messages at most."""
    engine = EngineConfig(max_session_messages=6, on_full=on_full)
    async with in_a_task(served(fresh_database, upstream, tmp_path, engine=engine)) as found:
        yield found


async def ask(service: Service, tenant: Tenant, chat: Chat, text: str, session_id: str | None = None) -> Any:
    """Ask something; the answer repeats nothing but says `text` so that turns can be told apart."""
    body = {"question": scripted(text, text=f"answer to {text}"), "session_id": session_id, "stream": False}
    async with service.client(tenant) as client:
        return (await client.post(f"/api/v1/chats/{chat.id}/completions", json=body)).json()


async def one(service: Service, tenant: Tenant, sql: str, *values: Any) -> Any:
    async with service.database.unit(tenant.id) as unit:
        return await unit._driver._connection.fetchval(sql, *values)


async def contents(service: Service, tenant: Tenant, session_id: str) -> list[str]:
    """Return what is stored of a session, in order and without directives."""
    async with service.database.unit(tenant.id) as unit:
        stored = await unit._driver._connection.fetch(
            "SELECT content FROM messages WHERE session_id = $1 ORDER BY position", session_id
        )
    return [message["content"].split(" @@")[0] for message in stored]


async def age(service: Service, tenant: Tenant, session_id: str, days: int) -> None:
    await one(
        service, tenant, "UPDATE sessions SET updated_at = now() - make_interval(days => $2) WHERE id = $1",
        session_id, days,
    )  # fmt: skip


@pytest.mark.promise("conversations:11-trim", "conversations:11-messages-per-session")
async def test_the_oldest_turns_make_room_for_the_newest(service: Service) -> None:
    """Six messages: the opener, which is no turn, and two turns; the third makes the first go, with what was its."""
    tenant = await service.tenant()
    chat = await service.chat(tenant)
    session_id = (await ask(service, tenant, chat, "q1"))["data"]["session_id"]
    first_turn = await one(service, tenant, "SELECT id FROM turns")
    await one(
        service, tenant,
        """INSERT INTO message_references (tenant_id, turn_id, number, chunk_id, document_id, document_name, dataset_id,
               content, is_cited) VALUES ($1, $2, 0, 'c', 'd', 'n', 's', 'text', true)""",
        tenant.id, first_turn,
    )  # fmt: skip
    spent = await one(service, tenant, "SELECT count(*) FROM usage_ledger")
    await ask(service, tenant, chat, "q2", session_id)
    assert await contents(service, tenant, session_id) == ["Hello!", "q1", "answer to q1", "q2", "answer to q2"]
    for number in range(3, 7):
        answer = await ask(service, tenant, chat, f"q{number}", session_id)
        assert answer["code"] == 0
        before, now = f"q{number - 1}", f"q{number}"
        assert await contents(service, tenant, session_id) == [
            "Hello!", before, f"answer to {before}", now, f"answer to {now}",
        ]  # fmt: skip
    assert await one(service, tenant, "SELECT count(*) FROM message_references") == 0
    assert await one(service, tenant, "SELECT count(*) FROM turns") == 2
    assert await one(service, tenant, "SELECT count(*) FROM usage_ledger") == 6 > spent
    assert await one(service, tenant, "SELECT round FROM sessions") == 6
    assert await one(service, tenant, "SELECT next_position FROM sessions") == 13  # positions are never used again


@pytest.mark.promise("conversations:11-reject")
@pytest.mark.parametrize("on_full", ["reject"])
async def test_a_full_session_refuses_the_next_turn_and_stores_nothing_of_it(service: Service) -> None:
    tenant = await service.tenant()
    chat = await service.chat(tenant)
    session_id = (await ask(service, tenant, chat, "q1"))["data"]["session_id"]
    await ask(service, tenant, chat, "q2", session_id)
    before = await contents(service, tenant, session_id)
    async with service.client(tenant) as client:
        refused = await client.post(
            f"/api/v1/chats/{chat.id}/completions", json={"question": "q3", "session_id": session_id}
        )
    assert refused.status_code == 400
    assert refused.json() == {"code": 102, "message": "Session message limit reached.", "data": None}
    assert await contents(service, tenant, session_id) == before
    assert await one(service, tenant, "SELECT count(*) FROM turns WHERE state = 'running'") == 0
    assert (await ask(service, tenant, chat, "other"))["code"] == 0  # a session of its own


@pytest.mark.promise("conversations:11-retention", "conversations:4.2-session-expired")
async def test_idle_sessions_go_with_all_that_is_theirs_but_what_they_cost(service: Service) -> None:
    tenant, rival = await service.tenant(), await service.tenant()
    chat, others = await service.chat(tenant), await service.chat(rival)
    idle = (await ask(service, tenant, chat, "idle"))["data"]["session_id"]
    fresh = (await ask(service, tenant, chat, "fresh"))["data"]["session_id"]
    foreign = (await ask(service, rival, others, "foreign"))["data"]["session_id"]
    await age(service, tenant, idle, 31)
    await age(service, tenant, fresh, 29)
    await age(service, rival, foreign, 31)
    spent = await one(service, tenant, "SELECT sum(prompt_tokens + completion_tokens) FROM usage_daily")
    retention = Retention(service.database, 30)
    assert await retention.round() == 2
    assert await retention.round() == 0
    assert await contents(service, tenant, idle) == []
    assert await contents(service, tenant, fresh) == ["Hello!", "fresh", "answer to fresh"]
    assert await one(service, tenant, "SELECT count(*) FROM turns") == 1
    assert await one(service, tenant, "SELECT name || user_id FROM sessions WHERE id = $1", idle) == ""
    assert await one(service, tenant, "SELECT sum(prompt_tokens + completion_tokens) FROM usage_daily") == spent
    async with service.client(tenant) as client:
        for body in ({"question": "x"}, {"question": "x", "stream": False}):
            gone = await client.post(f"/api/v1/chats/{chat.id}/completions", json={**body, "session_id": idle})
            assert gone.status_code == 404
            assert gone.json() == {"code": 105, "message": "Session does not exist", "data": None}
        listed = (await client.get(f"/api/v1/chats/{chat.id}/sessions")).json()["data"]
        assert [session["id"] for session in listed] == [fresh]
    await one(service, tenant, "UPDATE sessions SET deleted_at = now() - interval '31 days' WHERE id = $1", idle)
    await retention.round()
    assert await one(service, tenant, "SELECT count(*) FROM sessions") == 1


@pytest.mark.promise("conversations:11-retention")
async def test_a_session_ends_whole_or_not_at_all(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database goes away after the messages were deleted, before the turns: nothing of it has happened."""
    tenant = await service.tenant()
    chat = await service.chat(tenant)
    session_id = (await ask(service, tenant, chat, "q1"))["data"]["session_id"]
    await age(service, tenant, session_id, 31)
    with monkeypatch.context() as patch:
        going = Statement(
            """WITH gone AS (SELECT pg_terminate_backend(pg_backend_pid())) SELECT :tenant, :ids, * FROM gone"""
        )
        patch.setattr(session_retention, "_DELETE_TURNS", going)
        with pytest.raises(DATABASE_FAILURES):
            await Retention(service.database, 30).round()
    assert await contents(service, tenant, session_id) == ["Hello!", "q1", "answer to q1"]
    assert await one(service, tenant, "SELECT count(*) FROM sessions WHERE deleted_at IS NULL") == 1
    assert await Retention(service.database, 30).round() == 1
    assert await one(service, tenant, "SELECT count(*) FROM messages") == 0
    assert await one(service, tenant, "SELECT count(*) FROM turns") == 0


@pytest.mark.promise("conversations:11-retention")
async def test_a_session_in_use_is_not_idle_and_0_days_is_never(service: Service) -> None:
    tenant = await service.tenant()
    chat = await service.chat(tenant)
    session_id = (await ask(service, tenant, chat, "q1"))["data"]["session_id"]
    async with service.client(tenant) as client:
        slow = {"question": scripted(stall_after=2, gap_ms=1), "session_id": session_id}
        async with client.stream("POST", f"/api/v1/chats/{chat.id}/completions", json=slow):
            await age(service, tenant, session_id, 31)
            assert await Retention(service.database, 30).round() == 0
    with anyio.fail_after(5):
        await Retention(service.database, 0).run()  # returns at once
    assert len(await contents(service, tenant, session_id)) >= 4


@pytest.mark.promise("conversations:11-retention")
async def test_a_service_looks_for_idle_sessions_as_long_as_it_runs(
    fresh_database: DatabaseUrls, upstream: ScriptedUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds: list[int] = []
    second = anyio.Event()

    async def round_of(self: Retention) -> int:
        rounds.append(self._days)
        if len(rounds) == 1:
            raise OSError("the database is away")  # told, and tried again
        second.set()
        return 0

    monkeypatch.setattr(Retention, "round", round_of)
    monkeypatch.setattr(retention, "_LOOK_EVERY_S", 0.01)

    def of_30_days(database: Database, _: int) -> Retention:
        return Retention(database, 30)

    monkeypatch.setattr(parts, "Retention", of_30_days)
    async with in_a_task(served(fresh_database, upstream, tmp_path)):
        with anyio.fail_after(5):
            await second.wait()
    assert rounds[:2] == [30, 30]


@pytest.mark.promise("conversations:11-retention")
async def test_many_idle_sessions_go_in_small_batches(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    end = SessionRetention.end

    async def noted(self: SessionRetention, session_ids: Sequence[SessionId], *, days: int) -> int:
        ended.append(await end(self, session_ids, days=days))
        return ended[-1]

    monkeypatch.setattr(SessionRetention, "end", noted)
    tenant = await service.tenant()
    chat = await service.chat(tenant)
    await one(
        service, tenant,
        """INSERT INTO sessions (tenant_id, id, kind, chat_id, name, updated_at)
           SELECT $1, 's' || n, 'chat', $2, 'x', now() - interval '40 days' FROM generate_series(1, 250) n""",
        tenant.id, chat.id,
    )  # fmt: skip
    assert await Retention(service.database, 30).round() == 250
    assert ended == [100, 100, 50]
    assert await one(service, tenant, "SELECT count(*) FROM sessions WHERE deleted_at IS NULL") == 0


async def test_idle_sessions_that_hold_much_go_one_after_the_other(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_retention, "PLACES_AT_ONCE", 5)
    tenant = await service.tenant()
    chat = await service.chat(tenant)
    await one(
        service, tenant,
        """INSERT INTO sessions (tenant_id, id, kind, chat_id, name, next_position, updated_at)
           SELECT $1, 's' || n, 'chat', $2, 'x', 3 * n, now() - interval '40 days' FROM generate_series(1, 4) n""",
        tenant.id, chat.id,
    )  # fmt: skip
    ended: list[int] = []
    for _ in range(4):
        async with service.database.unit(tenant.id) as unit:
            ended.append(await unit.session_retention.end([SessionId(f"s{n}") for n in (1, 2, 3, 4)], days=30))
    assert ended == [2, 1, 1, 0]  # 3 places and 6, then 9, then 12: never more than one beyond the 5
    assert await one(service, tenant, "SELECT count(*) FROM sessions WHERE deleted_at IS NULL") == 0
