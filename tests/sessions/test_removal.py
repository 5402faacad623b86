"""Many sessions are gone at once and removed by a job, which begins again when it fails (conversations.md 3.5)."""

import asyncio
import contextlib
from typing import Any

import pytest

from app.db.conversations import sessions
from app.domain.ids import ChatId
from app.ingest.retrying import RetryConfig
from app.ingest.session_removal import SessionRemoval
from repositories import sessions as session_repository
from tests.chats.world import Api, World
from tests.sessions.rows import add_rows, total


@pytest.fixture
async def chat(api: Api) -> str:
    return str((await api.chat())["id"])


@pytest.mark.promise("1.7-never-half-deleted")
async def test_a_removal_that_keeps_failing_begins_again(
    api: Api, world: World, chat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_repository, "DELETED_AT_ONCE", 1)
    for _ in range(3):
        await api.session(chat)
    await api.ok("DELETE", f"/chats/{chat}/sessions")
    fails = [True] * 5
    remove = session_repository.SessionRepository.remove_hidden

    async def flaky(self: Any, *args: Any, **more: Any) -> int:
        if fails:
            fails.pop()
            raise ConnectionError("the database went away")
        return await remove(self, *args, **more)

    monkeypatch.setattr(session_repository.SessionRepository, "remove_hidden", flaky)
    removal = SessionRemoval(world.database, retry=RetryConfig(attempts=2, backoff_s=0, rest_s=0))
    attempts: list[int] = []

    for _ in range(6):
        async with world.database.dispatch() as dispatch:
            job = await dispatch.jobs.claim(owner="p", kinds=["delete_sessions"], lease_s=30)
        assert job is not None
        attempts.append(job.attempts)
        await removal.run(job)

    assert attempts == [1, 2, 1, 2, 1, 2]
    async with world.database.unit(api.tenant_id) as unit:
        ended = await unit.jobs.latest("delete_sessions", [chat])
    assert ended is not None
    assert (ended.state, ended.progress) == ("done", 1.0)


@pytest.mark.promise("conversations:P-delete-many")
async def test_very_many_sessions_are_gone_at_once_and_removed_by_a_job(
    api: Api, world: World, chat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_repository, "DELETED_AT_ONCE", 3)
    monkeypatch.setattr("app.ingest.session_removal.AT_ONCE", 4)
    ids = await add_rows(world, api, chat, 10)

    answer = await api.raw("DELETE", f"/chats/{chat}/sessions")

    assert answer.json() == {"code": 0, "data": {"success_count": 10}}
    listed = await api.raw("GET", f"/chats/{chat}/sessions")
    assert (listed.json()["data"], listed.headers["X-Total-Count"]) == ([], "0")
    for query in ({"keywords": "n1"}, {"id": ids[0]}, {"name": "n1"}, {"orderby": "name"}):
        assert await api.ok("GET", f"/chats/{chat}/sessions", params=query) == []
    assert (await api.refusal("GET", f"/chats/{chat}/sessions/{ids[0]}"))[2] == "Session not found!"
    assert (await api.refusal("PUT", f"/chats/{chat}/sessions/{ids[0]}", json={}))[2] == "Session does not exist"
    assert (await api.refusal("DELETE", f"/chats/{chat}/sessions", json={"ids": ids[:1]}))[0] == 404
    async with world.database.unit(api.tenant_id) as unit:
        assert await total(world, api, chat) == (0, 10)
        late = await add_rows(world, api, chat, 1)  # by a process whose clock is behind
    assert [one["id"] for one in await api.ok("GET", f"/chats/{chat}/sessions")] == late
    session = await api.session(chat)
    assert [one["id"] for one in await api.ok("GET", f"/chats/{chat}/sessions")] == [session["id"], *late]

    async with world.database.dispatch() as dispatch:
        job = await dispatch.jobs.claim(owner="p", kinds=["delete_sessions"], lease_s=30)
    assert job is not None
    await SessionRemoval(world.database).run(job)

    assert await total(world, api, chat) == (2, 2)
    assert [one["id"] for one in await api.ok("GET", f"/chats/{chat}/sessions")] == [session["id"], *late]
    async with world.database.unit(api.tenant_id) as unit:
        ended = await unit.jobs.latest("delete_sessions", [chat])
    assert ended is not None
    assert (ended.state, ended.progress) == ("done", 1.0)
    await api.ok("DELETE", f"/chats/{chat}/sessions", json={"ids": [session["id"]]})
    assert await total(world, api, chat) == (1, 1)


@pytest.mark.promise("conversations:P-delete-many")
async def test_few_sessions_with_very_many_messages_are_removed_a_few_at_a_time(
    api: Api, world: World, chat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_repository, "PLACES_AT_ONCE", 50)
    await add_rows(world, api, chat, 5)
    await world.sql(api, sessions.update().values(next_position=30))

    assert await api.ok("DELETE", f"/chats/{chat}/sessions") == {"success_count": 5}

    assert await api.ok("GET", f"/chats/{chat}/sessions") == []
    removed: list[int] = []
    for _ in range(4):
        async with world.database.unit(api.tenant_id) as unit:
            removed.append(await unit.sessions.remove_hidden(ChatId(chat), most=500))
    assert removed == [2, 2, 1, 0]


@pytest.mark.promise("conversations:P-delete-many")
async def test_sessions_that_begin_while_all_are_deleted_are_counted_right(
    api: Api, world: World, chat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_repository, "DELETED_AT_ONCE", 2)
    ids = await add_rows(world, api, chat, 30)

    async def delete_some() -> None:
        with contextlib.suppress(AssertionError):  # gone already
            await api.ok("DELETE", f"/chats/{chat}/sessions", json={"ids": ids[:5]})

    await asyncio.gather(
        *(api.session(chat) for _ in range(8)),
        api.ok("DELETE", f"/chats/{chat}/sessions"),
        delete_some(),
        *(api.session(chat) for _ in "12"),
    )

    answer = await api.raw("GET", f"/chats/{chat}/sessions")
    assert answer.headers["X-Total-Count"] == str(len(answer.json()["data"]))
    assert (await total(world, api, chat))[0] == len(answer.json()["data"])
