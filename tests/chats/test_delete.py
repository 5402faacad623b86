"""Deleting assistants: conversations.md 2.5, DELETE."""

from typing import Any

import pytest

from app.db.conversations import sessions
from tests.chats.world import Api, World, invalid, missing


@pytest.mark.promise("conversations:2.5-delete-all")
@pytest.mark.parametrize(
    ("content", "left"),
    [
        ("", 0),
        ("{}", 0),
        ("null", 0),
        ('{"ids":null}', 0),
        ('{"ids":[]}', 0),
        ('{"ids":null,"delete_all":true}', 0),
        ('{"ids":[],"delete_all":true}', 0),
        ('{"delete_all":true}', 0),
        ('{"ids":null,"delete_all":false}', 2),
        ('{"ids":[],"delete_all":false}', 2),
        ('{"delete_all":false}', 2),
    ],
)
async def test_2_5_without_ids_all_are_deleted_unless_delete_all_is_false(
    api: Api, rival: Api, content: str, left: int
) -> None:
    for who in (api, api, rival):
        await who.chat()

    answer = await api.raw("DELETE", "/chats", content=content)

    assert answer.json() == {"code": 0, "data": {"success_count": 2 - left}}
    assert len(await api.ok("GET", "/chats")) == left
    assert len(await rival.ok("GET", "/chats")) == 1


@pytest.mark.promise("conversations:2.5-delete-outcomes", "conversations:1.2-partial")
async def test_2_5_outcomes_of_a_deletion_by_ids(api: Api, rival: Api) -> None:
    a, b, c, d = [(await api.chat())["id"] for _ in range(4)]
    foreign = (await rival.chat())["id"]

    async def delete(*ids: str, is_all: bool = False) -> Any:
        return (await api.raw("DELETE", "/chats", json={"ids": ids, "delete_all": is_all})).json()

    assert await delete(a) == {"code": 0, "data": {"success_count": 1}}
    assert await delete("x", b, foreign, b) == {
        "code": 0,
        "message": "Partially deleted 1 chats with 3 errors",
        "data": {
            "success_count": 1,
            "errors": ["Assistant(x) not found.", f"Assistant({foreign}) not found.", f"Duplicate assistant ids: {b}"],
        },
    }
    assert await delete(c, c, is_all=True) == {
        "code": 0,
        "message": "Partially deleted 1 chats with 1 errors",
        "data": {"success_count": 1, "errors": [f"Duplicate assistant ids: {c}"]},
    }
    refusal = await api.refusal("DELETE", "/chats", json={"ids": ["x", a, "x"]})
    gone = f"Assistant(x) not found.; Assistant({a}) not found.; Duplicate assistant ids: x"
    assert refusal == missing(gone)
    assert [chat["id"] for chat in await api.ok("GET", "/chats")] == [d]
    assert [chat["id"] for chat in await rival.ok("GET", "/chats")] == [foreign]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"ids": "x"}, "`ids` should be a list of strings."),
        ({"ids": {}}, "`ids` should be a list of strings."),
        ({"ids": [1]}, "`ids` should be a list of strings."),
        ({"ids": [None]}, "`ids` should be a list of strings."),
        ({"delete_all": "yes"}, "`delete_all` must be a boolean."),
        ({"delete_all": None}, "`delete_all` must be a boolean."),
    ],
)
async def test_2_5_a_body_of_the_wrong_types_deletes_nothing(api: Api, body: Any, message: str) -> None:
    await api.chat()

    assert await api.refusal("DELETE", "/chats", json=body) == invalid(message)
    assert len(await api.ok("GET", "/chats")) == 1


@pytest.mark.promise("conversations:2.5-delete-soft", "conversations:2.5-delete-one")
@pytest.mark.parametrize("how", ["one", "by ids", "all"])
async def test_2_5_a_deleted_assistant_frees_its_name_and_hides_its_sessions(api: Api, world: World, how: str) -> None:
    chat = await api.chat(name="One")
    session = await api.session(chat["id"])

    if how == "one":
        answer = await api.raw("DELETE", f"/chats/{chat['id']}")
        assert answer.json() == {"code": 0, "data": True}
    else:
        await api.ok("DELETE", "/chats", json={"ids": [chat["id"]]} if how == "by ids" else {})

    await api.chat(name="one")
    assert await api.refusal("GET", f"/chats/{chat['id']}") == missing("You do not own the chat")
    path = f"/chats/{chat['id']}/sessions"
    assert await api.refusal("GET", path) == missing(f"You don't own the assistant {chat['id']}.")
    assert await api.refusal("POST", path, json={}) == missing("You do not own the assistant.")
    assert await api.refusal("DELETE", path, json={}) == missing("You don't own the chat")
    assert await api.refusal("GET", f"{path}/{session['id']}") == missing("Session not found!")
    assert await api.refusal("PUT", f"{path}/{session['id']}", json={}) == missing("You do not own the session")
    assert len((await world.sql(api, sessions.select())).all()) == 1  # stored, but out of reach


@pytest.mark.promise("conversations:2.5-delete-one")
async def test_2_5_delete_one_that_is_not_there(api: Api, rival: Api) -> None:
    chat = await rival.chat()

    for chat_id in (chat["id"], "unknown", "%00"):
        assert await api.refusal("DELETE", f"/chats/{chat_id}") == missing("You do not own the chat")
