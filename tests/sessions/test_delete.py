"""Deleting sessions: conversations.md 3.5."""

from typing import Any

import pytest

from app.db.conversations import message_references, messages, session_labels, sessions, turn_events, turns
from app.domain.turns import TurnState
from tests.chats.world import Api, World, invalid, missing
from tests.sessions.world import add_turn, reference


@pytest.mark.promise("conversations:3.5-all")
@pytest.mark.parametrize(
    ("content", "left"),
    [
        ("", 0),
        ("{}", 0),
        ('{"ids":null}', 0),
        ('{"ids":[]}', 0),
        ('{"ids":[],"delete_all":true}', 0),
        ('{"ids":null,"delete_all":false}', 2),
        ('{"delete_all":false}', 2),
    ],
)
async def test_3_5_without_ids_all_of_the_chat_are_deleted(api: Api, content: str, left: int) -> None:
    chat, other = [(await api.chat())["id"] for _ in range(2)]
    for chat_id in (chat, chat, other):
        await api.session(chat_id)

    answer = await api.raw("DELETE", f"/chats/{chat}/sessions", content=content)

    assert answer.json() == {"code": 0, "data": {"success_count": 2 - left}}
    assert len(await api.ok("GET", f"/chats/{chat}/sessions")) == left
    assert len(await api.ok("GET", f"/chats/{other}/sessions")) == 1


@pytest.mark.promise("conversations:3.5-outcomes")
async def test_3_5_outcomes_of_a_deletion_by_ids(api: Api) -> None:
    chat, other = [(await api.chat())["id"] for _ in range(2)]
    a, b, c = [(await api.session(chat))["id"] for _ in range(3)]
    foreign = (await api.session(other))["id"]
    path = f"/chats/{chat}/sessions"

    async def delete(*ids: str) -> Any:
        return (await api.raw("DELETE", path, json={"ids": ids})).json()

    assert await delete(a) == {"code": 0, "data": {"success_count": 1}}
    assert await delete(b, foreign, b) == {
        "code": 0,
        "message": "Partially deleted 1 sessions with 2 errors",
        "data": {
            "success_count": 1,
            "errors": [f"The chat doesn't own the session {foreign}", f"Duplicate session ids: {b}"],
        },
    }
    told = await api.refusal("DELETE", path, json={"ids": ["x", a]})
    assert told == missing(f"The chat doesn't own the session x; The chat doesn't own the session {a}")
    assert [session["id"] for session in await api.ok("GET", path)] == [c]
    assert len(await api.ok("GET", f"/chats/{other}/sessions")) == 1


@pytest.mark.promise("conversations:3.5-hard")
@pytest.mark.parametrize("state", [TurnState.DONE, TurnState.RUNNING])
async def test_3_5_everything_said_goes_with_a_session_even_while_a_turn_runs(
    api: Api, world: World, state: TurnState
) -> None:
    chat = (await api.chat())["id"]
    session = (await api.session(chat))["id"]
    await add_turn(world, api, chat, session, references=(reference(0),), cited=(0,))
    await add_turn(world, api, chat, session, state=state)

    await api.ok("DELETE", f"/chats/{chat}/sessions", json={"ids": [session]})

    for table in (sessions, messages, turns, message_references, turn_events, session_labels):
        assert (await world.sql(api, table.select())).all() == []


@pytest.mark.promise("conversations:3.5-refusals")
async def test_3_5_not_owned(api: Api, rival: Api) -> None:
    chat = (await rival.chat())["id"]
    await rival.session(chat)

    for chat_id in (chat, "unknown", "%00"):
        told = await api.refusal("DELETE", f"/chats/{chat_id}/sessions", json={"ids": "x"})
        assert told == missing("You don't own the chat")
    assert len(await rival.ok("GET", f"/chats/{chat}/sessions")) == 1


@pytest.mark.promise("conversations:3.5-refusals")
async def test_3_5_ids_of_the_wrong_type(api: Api) -> None:
    chat = (await api.chat())["id"]

    session = (await api.session(chat))["id"]
    sent: list[tuple[str, str]] = [
        ('{"ids": "x"}', "`ids` should be a list of strings."),
        (f'{{"ids": ["{session}", 5]}}', "`ids` should be a list of strings."),
        ('{"delete_all": 1}', "`delete_all` must be a boolean."),
        ('{"ids": [', "Malformed JSON syntax: Missing commas/brackets or invalid encoding"),
        ("[]", "Request body must be a JSON object."),
    ]
    for content, message in sent:
        assert await api.refusal("DELETE", f"/chats/{chat}/sessions", content=content) == invalid(message)
    assert len(await api.ok("GET", f"/chats/{chat}/sessions")) == 1
