"""Who deletes sessions locks in the order of everybody else: the chat, its sessions, their turns; nobody deadlocks."""

from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from sqlalchemy import text

from app.domain.ids import ChatId, SessionId, TurnId
from app.domain.sessions import Session
from app.domain.turns import TurnState
from app.ingest.retrying import RetryConfig
from app.ingest.session_removal import SessionRemoval
from repositories import sessions
from repositories.jobs import DELETE_SESSIONS
from repositories.turn_events import LogEntry
from repositories.unit_of_work import UnitOfWork
from tests.chats.world import Api, World
from tests.locks import until_waiting
from tests.sessions.world import add_turn

_AGE = text("UPDATE sessions SET updated_at = updated_at - interval '9 days'")


async def opened(world: World, api: Api) -> ChatId:
    """A chat with two old sessions, `b` and then `a`: the order of the ids is not that of the rows."""
    chat = ChatId((await api.chat())["id"])
    now = datetime.now(UTC)
    async with world.database.unit(api.tenant_id) as unit:
        for age_h, name in ((2, "b"), (1, "a")):
            begun = now - timedelta(hours=age_h)
            session = Session(id=SessionId(name), chat_id=chat, name=name, created_at=begun, updated_at=begun)
            await unit.sessions.add(session)
    await world.sql(api, _AGE)
    return chat


Act = Callable[[UnitOfWork], Awaitable[Any]]


def in_a_unit(world: World, api: Api, act: Act) -> Callable[[], Coroutine[Any, Any, None]]:
    """Return what does `act` in a unit of its own."""

    async def run() -> None:
        async with world.database.unit(api.tenant_id) as unit:
            await act(unit)

    return run


async def test_deleting_some_sessions_and_all_of_them_at_once_both_end(api: Api, world: World) -> None:
    chat = await opened(world, api)

    async with anyio.create_task_group() as tasks, world.database.unit(api.tenant_id) as writer:
        await writer.sessions.get(SessionId("b"), lock=True)
        tasks.start_soon(in_a_unit(world, api, lambda unit: unit.sessions.delete(chat, ["a", "b"])))  # has locked a
        await until_waiting(world.database, api.tenant_id, 1)
        tasks.start_soon(in_a_unit(world, api, lambda unit: unit.sessions.delete_all(chat)))
        await until_waiting(world.database, api.tenant_id, 2)

    assert await api.ok("GET", f"/chats/{chat}/sessions") == []


async def test_sessions_end_for_idleness_while_all_are_deleted(api: Api, world: World) -> None:
    chat = await opened(world, api)
    idle = [SessionId("a"), SessionId("b")]

    async with anyio.create_task_group() as tasks, world.database.unit(api.tenant_id) as editor:
        await editor.chats.get(chat, lock=True)
        tasks.start_soon(in_a_unit(world, api, lambda unit: unit.sessions.delete_all(chat)))
        await until_waiting(world.database, api.tenant_id, 1)
        tasks.start_soon(in_a_unit(world, api, lambda unit: unit.session_retention.end(idle, days=7)))
        await until_waiting(world.database, api.tenant_id, 2)

    assert await api.ok("GET", f"/chats/{chat}/sessions") == []


async def test_all_are_deleted_again_while_the_job_of_the_first_time_is_at_work(
    api: Api, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "DELETED_AT_ONCE", 0)
    chat = await opened(world, api)
    await in_a_unit(world, api, lambda unit: unit.jobs.add_one(DELETE_SESSIONS, chat))()
    async with world.database.dispatch() as dispatch:
        job = await dispatch.jobs.claim(owner="p", kinds=[DELETE_SESSIONS], lease_s=30)
    assert job is not None

    async def delete_all(unit: UnitOfWork) -> None:
        assert await unit.sessions.delete_all(chat) == (2, True)
        assert await unit.jobs.add_one(DELETE_SESSIONS, chat) is None

    async with anyio.create_task_group() as tasks, world.database.unit(api.tenant_id) as editor:
        await editor.chats.get(chat, lock=True)
        tasks.start_soon(in_a_unit(world, api, delete_all))
        await until_waiting(world.database, api.tenant_id, 1)
        tasks.start_soon(SessionRemoval(world.database, retry=RetryConfig(attempts=1, rest_s=None)).run, job)
        await until_waiting(world.database, api.tenant_id, 2)

    async with world.database.unit(api.tenant_id) as unit:
        ended = await unit.jobs.latest(DELETE_SESSIONS, [chat])
    assert ended is not None
    assert (ended.state, ended.progress_msg.endswith("2 sessions removed.")) == ("done", True)


async def test_sessions_are_deleted_while_the_log_of_their_turns_is_written(api: Api, world: World) -> None:
    chat = await opened(world, api)
    a, b = [await add_turn(world, api, chat, name, state=TurnState.RUNNING) for name in ("a", "b")]

    def entry(turn_id: TurnId) -> LogEntry:
        return LogEntry(turn_id, fence=1, first_number=1, last_number=1, payload=b"[]")

    async with anyio.create_task_group() as tasks, world.database.log_batch() as log:
        await log.append(api.tenant_id, [entry(a)])
        tasks.start_soon(in_a_unit(world, api, lambda unit: unit.sessions.delete_all(chat)))
        await until_waiting(world.database, api.tenant_id, 1)
        await log.append(api.tenant_id, [entry(b)])

    assert await api.ok("GET", f"/chats/{chat}/sessions") == []


async def test_a_batch_of_the_log_locks_turns_in_the_order_of_their_sessions(api: Api, world: World) -> None:
    chat = await opened(world, api)
    b, a = [await add_turn(world, api, chat, name, state=TurnState.RUNNING) for name in ("b", "a")]
    entries = [LogEntry(turn_id, fence=1, first_number=1, last_number=1, payload=b"[]") for turn_id in (b, a)]
    lock = text("SELECT id FROM turns WHERE id = :id FOR UPDATE")

    async def append() -> None:
        async with world.database.log_batch() as log:
            await log.append(api.tenant_id, entries)

    async with anyio.create_task_group() as tasks, world.database.unit(api.tenant_id) as deletion:
        await deletion._connection.execute(lock, {"id": a})
        tasks.start_soon(append)
        await until_waiting(world.database, api.tenant_id, 1)
        await deletion._connection.execute(lock, {"id": b})

    async with world.database.unit(api.tenant_id) as unit:
        assert [await unit.turn_events.after(turn, 0) for turn in (a, b)] == [[b"[]"], [b"[]"]]
