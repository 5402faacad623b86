"""A statement that the database ends is told as a passing failure (503), never as a fault of ours."""

import anyio
import pytest
from sqlalchemy import text

from app.domain.ids import ChatId
from tests.chats.world import Api, World
from tests.locks import until_waiting

_WAITERS = "SELECT {what}(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@pytest.mark.parametrize(
    ("ended_by", "message"),
    [
        ("pg_cancel_backend", "The database took too long for this; please ask for less, or try again."),
        ("pg_terminate_backend", "The database could not finish this; please try again."),
    ],
)
async def test_a_statement_that_is_ended_is_told_as_passing(
    api: Api, world: World, ended_by: str, message: str
) -> None:
    chat = ChatId((await api.chat())["id"])
    answers: list[tuple[int, object, str | None]] = []

    async def rename() -> None:
        answer = await api.raw("PUT", f"/chats/{chat}", json={"name": "Renamed"})
        answers.append((answer.status_code, answer.json()["message"], answer.headers.get("retry-after")))

    async with anyio.create_task_group() as tasks, world.database.unit(api.tenant_id) as holder:
        await holder.chats.get(chat, lock=True)
        tasks.start_soon(rename)
        await until_waiting(world.database, api.tenant_id)
        await world.sql(api, text(_WAITERS.format(what=ended_by)))

    assert [(status, told) for status, told, _ in answers] == [(503, message)]
    assert answers[0][2] is not None
    assert (await api.ok("GET", f"/chats?id={chat}"))[0]["name"] != "Renamed"
