"""The job that removes many sessions rests when it keeps failing, and begins again (conversations.md 3.5)."""

from typing import Any

import pytest

from app.ingest.retrying import RetryConfig
from app.ingest.session_removal import SessionRemoval
from repositories import sessions as session_repository
from tests.chats.world import Api, World


@pytest.mark.promise("1.7-never-half-deleted")
async def test_a_removal_that_keeps_failing_begins_again(
    api: Api, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_repository, "DELETED_AT_ONCE", 1)
    chat = (await api.chat())["id"]
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
