"""Forks of long sessions, and of sessions that change meanwhile: nobody waits, nothing is half there."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from app.db.conversations import messages, sessions, turns
from app.domain.ids import KeyId, SessionId
from app.domain.turns import TurnState
from repositories import session_forks
from repositories.session_forks import SessionForks
from tests.chats.world import Api, World, missing
from tests.sessions.test_turns import opened
from tests.sessions.world import add_turn, reference


@pytest.mark.promise("conversations:P-fork-long")
@pytest.mark.parametrize("at_once", [1, 2, 3, 100])
async def test_a_session_copied_in_stretches_is_copied_whole(
    api: Api, world: World, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(session_forks, "AT_ONCE", at_once)
    chat, session, path = await opened(api)
    made = [
        await add_turn(world, api, chat, session, question=f"Q{number}", references=(reference(number),))
        for number in range(3)
    ]
    await add_turn(world, api, chat, session, question="later")
    await api.ok("DELETE", f"{path}/messages/{made[1]}")  # a gap

    fork = await api.ok("POST", f"{path}/fork", json={"message_id": made[2]})

    own = (await api.ok("GET", path))["messages"][:5]
    theirs = fork["messages"]
    said = [{key: value for key, value in one.items() if key != "id"} for one in theirs]
    assert said == [{key: value for key, value in one.items() if key != "id"} for one in own]
    assert [one["id"] for one in theirs[1::2]] == [one["id"] for one in theirs[2::2]]
    rows = await world.sql(api, turns.select().where(turns.c.session_id == fork["id"]))
    assert sorted(row.id for row in rows) == sorted(one["id"] for one in theirs[1::2])


@pytest.mark.promise("conversations:P-fork-long")
async def test_a_fork_waits_for_nobody_and_nobody_waits_for_it(api: Api, world: World) -> None:
    chat, session, path = await opened(api)
    turn = await add_turn(world, api, chat, session)
    async with world.database.unit(api.tenant_id) as unit:
        assert await unit.sessions.get(SessionId(session), lock=True) is not None  # a writer that takes its time
        fork = await api.ok("POST", f"{path}/fork", json={"message_id": turn})
    assert len(fork["messages"]) == 3

    async with world.database.unit(api.tenant_id) as unit:
        source = await unit.sessions.get(SessionId(session))
        assert source is not None
        await unit.session_forks.begin(source.id, replace(source, id=SessionId("halfway")), place=2)
        await unit.session_forks.copy(source.id, SessionId("halfway"), place=2, api_key_id=KeyId("k"))
        # none of these waits for the copy that is not committed
        await api.ok("PUT", f"/chats/{chat}", json={"description": "changed"})
        await add_turn(world, api, chat, session, question="meanwhile")
        await api.session(chat)
    assert len(await api.ok("GET", f"/chats/{chat}/sessions")) == 3  # what no chat has is nowhere to be seen
    assert await api.refusal("GET", f"/chats/{chat}/sessions/halfway") == missing("Session not found!")


@pytest.mark.promise("conversations:P-fork-changed")
async def test_a_turn_that_goes_while_it_is_copied_leaves_no_fork(
    api: Api, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, session, path = await opened(api)
    turn = await add_turn(world, api, chat, session)
    copy = SessionForks.copy

    async def copy_late(self: SessionForks, *args: Any, **more: Any) -> None:
        await copy(self, *args, **more)
        await api.ok("DELETE", f"{path}/messages/{turn}")

    with monkeypatch.context() as patch:
        patch.setattr(SessionForks, "copy", copy_late)
        assert await api.refusal("POST", f"{path}/fork", json={"message_id": turn}) == missing("Message not found!")
    assert len((await world.sql(api, sessions.select())).all()) == 1
    assert len((await world.sql(api, messages.select())).all()) == 1


@pytest.mark.promise("conversations:P-fork-counted")
async def test_a_fork_is_counted_found_and_listed_as_any_session(api: Api, world: World) -> None:
    chat, session, path = await opened(api)
    turn = await add_turn(world, api, chat, session)
    await add_turn(world, api, chat, session, state=TurnState.RUNNING)
    fork = await api.ok("POST", f"{path}/fork", json={"message_id": turn, "name": "A different end"})

    listing = await api.raw("GET", f"/chats/{chat}/sessions")
    assert listing.headers["X-Total-Count"] == "2"
    assert [one["id"] for one in listing.json()["data"]] == [fork["id"], session]
    found = await api.ok("GET", f"/chats/{chat}/sessions", params={"keywords": "different"})
    assert [one["id"] for one in found] == [fork["id"]]
    assert fork["update_time"] >= fork["create_time"]
    await api.ok("DELETE", f"/chats/{chat}/sessions", json={"ids": [fork["id"]]})
    assert (await api.raw("GET", f"/chats/{chat}/sessions")).headers["X-Total-Count"] == "1"
    labels = await world.sql(api, text("SELECT session_id FROM session_labels"))
    assert [row.session_id for row in labels] == [session]
