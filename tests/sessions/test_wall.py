"""The tenant wall on every route of chats and sessions: a rival finds nothing and changes nothing."""

from typing import Any

import pytest

from tests.chats.world import Api

ROUTES: list[tuple[str, str, Any]] = [
    ("GET", "/chats/{chat}", None),
    ("PUT", "/chats/{chat}", {"description": "mine now"}),
    ("PATCH", "/chats/{chat}", {"description": "mine now"}),
    ("DELETE", "/chats/{chat}", None),
    ("DELETE", "/chats", {"ids": ["{chat}"]}),
    ("POST", "/chats/{chat}/sessions", {}),
    ("GET", "/chats/{chat}/sessions", None),
    ("GET", "/chats/{chat}/sessions/{session}", None),
    ("PUT", "/chats/{chat}/sessions/{session}", {"name": "mine now"}),
    ("PATCH", "/chats/{chat}/sessions/{session}", {"name": "mine now"}),
    ("DELETE", "/chats/{chat}/sessions", {"ids": ["{session}"]}),
    ("DELETE", "/chats/{chat}/sessions", {}),
    ("GET", "/chats/{chat}/sessions/{session}/messages", None),
    ("GET", "/chats/{chat}/sessions/{session}/export", None),
    ("POST", "/chats/{chat}/sessions/{session}/fork", {"message_id": "x"}),
    ("DELETE", "/chats/{chat}/sessions/{session}/messages/x", None),
    ("PUT", "/chats/{chat}/sessions/{session}/messages/x/feedback", {"thumbup": True}),
    ("PUT", "/chats/{own}/sessions/{session}", {"name": "mine now"}),
    ("GET", "/chats/{own}/sessions/{session}", None),
    ("DELETE", "/chats/{own}/sessions", {"ids": ["{session}"]}),
]


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
async def test_another_tenants_things_are_missing(api: Api, rival: Api, method: str, path: str, body: Any) -> None:
    chat = await api.chat()
    session = await api.session(chat["id"])
    names = {"chat": chat["id"], "session": session["id"], "own": (await rival.chat())["id"]}
    if body and "ids" in body:
        body = {"ids": [each.format(**names) for each in body["ids"]]}

    assert (await rival.refusal(method, path.format(**names), json=body))[:2] == (404, 105)

    assert await api.ok("GET", f"/chats/{chat['id']}") == chat
    (kept,) = await api.ok("GET", f"/chats/{chat['id']}/sessions")
    assert (kept["name"], kept["update_time"]) == (session["name"], session["update_time"])


async def test_lists_and_deletions_of_all_stay_on_their_side(api: Api, rival: Api, make_dataset: Any) -> None:
    docs = await make_dataset()
    chat = await api.chat(dataset_ids=[docs])

    assert await rival.ok("GET", "/chats") == []
    assert await rival.ok("DELETE", "/chats") == {"success_count": 0}
    told = await rival.refusal("POST", "/chats", json={"name": "x", "dataset_ids": [docs]})
    assert told == (404, 105, f"You don't own the dataset {docs}")
    assert [each["id"] for each in await api.ok("GET", "/chats")] == [chat["id"]]
