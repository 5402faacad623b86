"""Turns followed, stopped and closed by another process than the one that runs them (design.md 1.1)."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import anyio
from sqlalchemy import text

from app.domain.chats import Chat
from app.domain.events import Failed, Numbered, Stopped, TextPiece, is_last
from app.domain.models import ModelItem, ModelText
from app.domain.sessions import Session
from app.domain.turns import TurnState
from app.engine.closing import GONE
from app.engine.follow import follow
from app.engine.log import WINDOW
from app.engine.turns import TurnEngine
from app.llm.scripted import ScriptedChatModel
from repositories.unit_of_work import Database
from tests.conftest import Tenant
from tests.engine.conftest import MakeAsk, MakeProcess, Process, gather
from tests.engine.following import PIECES, api, asked, other, rest

__all__ = ["asked", "other"]  # fixtures, found by name


async def test_another_process_follows_live(
    process: Process, other: Process, tenant: Tenant, ask: MakeAsk, session: Session
) -> None:
    """What one process writes another shows while it runs, in order, without a gap."""
    model = ScriptedChatModel(ModelText("One "), ModelText("two"), hang=True)
    turn_id = await process.engine.open(ask(model, session_id=session.id))
    seen: list[Numbered] = []
    async with aclosing(follow(other.engine, tenant.id, turn_id)) as events:
        with anyio.fail_after(5):
            async for batch in events:
                seen += batch
                if TextPiece("two") in [event for _, event in seen]:
                    break
    assert [number for number, _ in seen] == list(range(1, len(seen) + 1))
    assert (await other.engine.get(tenant.id, turn_id)).state is TurnState.RUNNING
    await process.engine.stop(tenant.id, turn_id)


async def test_another_process_stops_a_turn(
    process: Process, other: Process, tenant: Tenant, ask: MakeAsk, session: Session
) -> None:
    model = ScriptedChatModel(ModelText("Half"), hang=True)
    turn_id = await process.engine.open(ask(model, session_id=session.id))
    with anyio.fail_after(5):
        await model.reached.wait()
        await other.engine.stop(tenant.id, turn_id)
        turn = await other.engine.ended(tenant.id, turn_id, timeout_s=5)
        assert turn.state is TurnState.STOPPED
        await model.closed.wait()
    ending = (await gather(other.engine, tenant, turn_id))[-1][1]
    assert isinstance(ending, Stopped)
    assert ending.content == "Half"


async def expire_lease(process: Process) -> None:
    async with process.database.service() as service:
        statement = text("UPDATE processes SET lease_until = clock_timestamp() - interval '1 second' WHERE id = :id")
        await service._connection.execute(statement, {"id": process.process_id})


async def test_a_dead_processs_turn_is_closed_by_another_and_the_dead_one_writes_nothing_more(
    process: Process, other: Process, database: Database, tenant: Tenant, ask: MakeAsk, session: Session
) -> None:
    """design.md 1.1: failed with its partial text, one answer, and the fence keeps the zombie out."""
    gate = asyncio.Event()

    class Halfway(ScriptedChatModel):
        async def stream(
            self, messages: Any, options: Any, *, deadline_s: float
        ) -> AsyncGenerator[list[ModelItem], None]:
            yield [ModelText("Stored. ")]
            await gate.wait()
            yield [ModelText("Too late.")]

    turn_id = await process.engine.open(ask(Halfway(), session_id=session.id))
    with anyio.fail_after(5):
        async for batch in follow(other.engine, tenant.id, turn_id):
            if TextPiece("Stored. ") in [event for _, event in batch]:
                break
    await expire_lease(process)

    assert await other.caretaker.adopt() == 1

    events = await gather(other.engine, tenant, turn_id)
    ending = events[-1][1]
    assert isinstance(ending, Failed)
    assert (ending.content, ending.message) == ("Stored. ", GONE)
    assert ending.usage.is_estimated
    assert events[-1][0] == events[-2][0] + WINDOW + 1  # new to whoever saw what was never stored
    before = await _everything(database, tenant)
    gate.set()
    with anyio.fail_after(15):
        while process.engine.running_count:  # noqa: ASYNC110
            await anyio.sleep(0.01)
    await process.engine.writer.write()
    assert await _everything(database, tenant) == before
    assert [event for _, event in await gather(process.engine, tenant, turn_id)] == [event for _, event in events]
    assert await other.caretaker.adopt() == 0
    async with database.unit(tenant.id) as unit:
        messages = await unit.messages.of_turn(turn_id)
    assert [(one.role, one.content, one.state) for one in messages][1:] == [("assistant", "Stored. ", "failed")]


async def _everything(database: Database, tenant: Tenant) -> list[Any]:
    found: list[Any] = []
    async with database.unit(tenant.id) as unit:
        for table in ("turns", "messages", "turn_events", "usage_ledger", "usage_daily", "sessions"):
            rows = await unit._connection.execute(text(f"SELECT * FROM {table} ORDER BY 1, 2, 3"))  # noqa: S608
            found.append([tuple(row) for row in rows])
    return found


async def test_a_follower_of_the_dead_process_who_saw_more_than_was_stored_still_gets_the_ending(
    make_process: MakeProcess, other: Process, tenant: Tenant, ask: MakeAsk, session: Session
) -> None:
    """app/engine/log.py WINDOW: the ending's number is past everything anybody can have seen."""
    async with make_process(log_interval_s=60.0, log_batch_bytes=10**9).running() as dying:
        model = ScriptedChatModel(*map(ModelText, PIECES), hang=True)
        turn_id = await dying.engine.open(ask(model, session_id=session.id))
        with anyio.fail_after(5):
            await model.reached.wait()
        seen: list[Numbered] = []
        async with aclosing(follow(dying.engine, tenant.id, turn_id)) as events:
            async for batch in events:
                seen += batch
                if len(seen) >= len(PIECES):
                    break
        await expire_lease(dying)
        assert await other.caretaker.adopt() == 1

        async with api(other) as client:
            found = await rest(client, tenant, turn_id, seen[-1][0])
        assert b'"code":500' in found
        assert found.endswith(b"data: [DONE]\n\n")


async def test_a_turn_whose_opening_was_lost_is_closed_by_its_own_process(
    process: Process, database: Database, tenant: Tenant, chat: Chat, ask: MakeAsk, session: Session
) -> None:
    """A commit whose answer never came leaves a turn that nobody drives."""
    turn_id = await process.engine.open(ask(ScriptedChatModel(hang=True), session_id=session.id))
    del process.engine._running[turn_id]
    async with database.unit(tenant.id) as unit:
        await unit._connection.execute(text("UPDATE turns SET created_at = created_at - interval '1 minute'"))

    await process.caretaker.round()

    assert (await process.engine.get(tenant.id, turn_id)).state is TurnState.FAILED


async def test_followers_on_both_processes_see_one_sequence(
    process: Process, other: Process, tenant: Tenant, ask: MakeAsk, engine: TurnEngine
) -> None:
    """However late a follower comes, and wherever: the same events under the same numbers."""
    model = ScriptedChatModel(*map(ModelText, PIECES[:100]), gap_s=0.001)
    turn_id = await process.engine.open(ask(model))
    found: list[list[Numbered]] = []

    async def read(one: Process, wait_s: float) -> None:
        await anyio.sleep(wait_s)
        found.append(await gather(one.engine, tenant, turn_id))

    async with anyio.create_task_group() as tasks:
        for n in range(8):
            tasks.start_soon(read, (process, other)[n % 2], n * 0.03)
    assert all(one == found[0] for one in found)
    assert is_last(found[0][-1][1])
