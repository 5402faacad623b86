"""Sessions as clients of RAGFlow 0.22 meet them: the C22 columns of conversations.md 3."""

from typing import Any

import pytest

from tests.contract.compat22 import Old, old

__all__ = ["old"]  # a fixture, found by name

SESSION = {"id", "chat_id", "name", "user_id", "messages", "create_time", "create_date", "update_time", "update_date"}


async def opened(old: Old, **fields: Any) -> tuple[str, Any]:
    """An assistant's sessions as a path, and one session."""
    path = f"/chats/{(await old.chat())['id']}/sessions"
    return path, await old.data("POST", path, json=fields)


@pytest.mark.promise("conversations:3.2-create-22")
async def test_3_2_a_new_session(old: Old) -> None:
    path, session = await opened(old, name="First", user_id="u")

    assert set(session) == SESSION
    assert (session["name"], session["user_id"]) == ("First", "u")
    [first] = session["messages"]
    assert (first["role"], first["content"]) == ("assistant", "Hi! I'm your assistant. What can I do for you?")
    plain = await old.data("POST", path, json={})
    assert (plain["name"], plain["user_id"]) == ("New session", "")
    assert await old.refusal("POST", path, json={"name": ""}) == (102, "`name` can not be empty.")
    nobody = "/chats/nobody's/sessions"
    assert await old.refusal("POST", nobody, json={}) == (102, "You do not own the assistant.")
    long = await old.data("POST", path, json={"name": "x" * 300})
    assert len(long["name"]) == 300


@pytest.mark.promise("conversations:3.2-get-22")
async def test_3_2_one_session(old: Old) -> None:
    path, session = await opened(old)

    shown = await old.data("GET", f"{path}/{session['id']}")
    assert set(shown) == SESSION | {"avatar", "reference"}
    assert {key: shown[key] for key in SESSION - {"messages"}} == {key: session[key] for key in SESSION - {"messages"}}
    assert await old.refusal("GET", f"{path}/nothing") == (102, "Session not found!")


@pytest.mark.promise("conversations:3.2-update-22")
async def test_3_2_changing_a_session(old: Old) -> None:
    path, session = await opened(old)
    own = f"{path}/{session['id']}"

    assert await old.call("PUT", own, json={"name": "Second", "user_id": "v"}) == {"code": 0}
    assert await old.call("PUT", own, json={}) == {"code": 0}
    for where, sent, message in (
        (f"{path}/nothing", {"name": "x"}, "Session does not exist"),
        (own, {"message": []}, "`message` can not be change"),
        (own, {"messages": []}, "`message` can not be change"),
        (own, {"reference": []}, "`reference` can not be change"),
        (own, {"name": ""}, "`name` can not be empty."),
    ):
        assert await old.refusal("PUT", where, json=sent) == (102, message)
    [listed] = await old.data("GET", path)
    assert (listed["name"], listed["user_id"]) == ("Second", "v")
    await old.call("DELETE", "/chats", json={})
    assert await old.refusal("PUT", own, json={"name": "x"}) == (102, "You do not own the session")


@pytest.mark.promise("conversations:3.3-list-22")
async def test_3_3_listing_sessions(old: Old) -> None:
    path, first = await opened(old, name="a", user_id="u")
    await old.data("POST", path, json={"name": "b"})

    listed = await old.data("GET", path)
    assert [one["name"] for one in listed] == ["b", "a"]
    assert set(listed[0]) == SESSION
    assert listed[0]["messages"][0]["reference"] == []
    assert [one["id"] for one in await old.data("GET", path, params={"name": "a", "desc": "False"})] == [first["id"]]
    assert [one["id"] for one in await old.data("GET", path, params={"user_id": "u"})] == [first["id"]]
    for query in ({"id": "nothing"}, {"name": "A"}, {"user_id": "U"}, {"name": "b", "user_id": "u"}):
        assert await old.data("GET", path, params=query) == []
    assert await old.data("GET", path, params={"page_size": "0"}) == []
    assert (await old.refusal("GET", path, params={"page": "x"}))[0] == 100
    assert (await old.refusal("GET", path, params={"orderby": "nothing"}))[0] == 100
    told = await old.refusal("GET", "/chats/nobody's/sessions")
    assert told == (102, "You don't own the assistant nobody's.")


@pytest.mark.promise("conversations:3.5-delete-22", "conversations:1.2-partial-22")
async def test_3_5_deleting_sessions(old: Old) -> None:
    path, first = await opened(old)
    a, b, c = first["id"], *[(await old.data("POST", path, json={}))["id"] for _ in range(2)]

    gone = "The chat doesn't own the session x"
    partial = await old.call("DELETE", path, json={"ids": [a, a, "x"]})
    assert partial == {"code": 0, "data": {"success_count": 1, "errors": [gone]}}
    doubled = await old.call("DELETE", path, json={"ids": [b, b]})
    assert doubled == {"code": 0, "data": {"success_count": 1, "errors": [f"Duplicate session ids: {b}"]}}
    both = f"{gone}; The chat doesn't own the session y"
    assert await old.refusal("DELETE", path, json={"ids": ["x", "y", "x"]}) == (102, both)
    assert await old.refusal("DELETE", "/chats/nobody's/sessions", json={}) == (102, "You don't own the chat")
    assert (await old.refusal("DELETE", path, content="{"))[0] == 100
    assert [one["id"] for one in await old.data("GET", path)] == [c]
    assert await old.call("DELETE", path, json={"ids": None}) == {"code": 0}
    assert await old.data("GET", path) == []
