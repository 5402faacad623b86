"""A session deleted while an answer is made in it: the answer is told to its end, and what it cost is counted."""

import asyncio

import anyio
import pytest
from sqlalchemy import text

from app.domain.events import Done
from app.domain.ids import TurnId
from app.domain.models import ModelText
from app.domain.sessions import Session
from app.engine.follow import follow
from app.engine.turns import TurnEngine
from app.llm.scripted import ScriptedChatModel
from repositories.unit_of_work import Database
from tests.conftest import Tenant
from tests.engine.conftest import MakeAsk


async def counted_calls(database: Database, tenant: Tenant, turn_id: TurnId) -> list[tuple[str, bool]]:
    """Return purpose of each call of a turn on the ledger, and whether it cost anything."""
    async with database.unit(tenant.id) as unit:
        found = text("SELECT purpose, prompt_tokens > 0 FROM usage_ledger WHERE turn_id = :id")
        return [tuple(row) for row in await unit._connection.execute(found, {"id": turn_id})]


@pytest.mark.promise("conversations:3.5-deleted-while-answered")
async def test_the_answer_is_told_to_its_end_and_its_cost_counted_once(
    engine: TurnEngine, database: Database, tenant: Tenant, ask: MakeAsk, session: Session
) -> None:
    gate, begun = asyncio.Event(), asyncio.Event()
    model = ScriptedChatModel(ModelText("Still "), ModelText("told."), gate=gate)
    turn_id = await engine.open(ask(model, session_id=session.id))
    heard: list[object] = []

    async def listen() -> None:
        async for batch in follow(engine, tenant.id, turn_id):
            heard.extend(event for _, event in batch)
            begun.set()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            await begun.wait()
            async with database.unit(tenant.id) as unit:
                assert session.chat_id is not None
                assert await unit.sessions.delete(session.chat_id, [session.id]) == [session.id]
            gate.set()

    assert isinstance(heard[-1], Done)
    assert heard[-1].content == "Still told."
    assert await counted_calls(database, tenant, turn_id) == [("answer", True)]
    async with database.unit(tenant.id) as unit:
        assert await unit.turns.get(turn_id) is None
        assert await unit.messages.of_turn(turn_id) == []
        daily = (await unit._connection.execute(text("SELECT sum(calls) FROM usage_daily"))).scalar()
    assert daily == 1
