"""Names and user ids as long as an index holds; what is longer is refused and no failure of ours (openai.md 1.6)."""

import secrets
from typing import Any

import httpx
import pytest

from app.domain.chats import Chat
from app.domain.sessions import WORD_MOST_BYTES
from tests.service import scripted

LONGEST = secrets.token_hex(WORD_MOST_BYTES // 2)  # not to be compressed, so that it takes its room in an index
TOO_LONG = LONGEST + "x"


@pytest.fixture
async def session_id(client: httpx.AsyncClient, chat: Chat) -> str:
    made = await client.post(f"/api/v1/chats/{chat.id}/sessions", json={"name": "s"})
    found: str = made.json()["data"]["id"]
    return found


async def asked(client: httpx.AsyncClient, chat: Chat, **more: Any) -> httpx.Response:
    body = {"question": scripted(), "stream": False, **more}
    return await client.post(f"/api/v1/chats/{chat.id}/completions", json=body)


async def test_a_user_id_may_be_as_long_as_an_index_holds(
    client: httpx.AsyncClient, chat: Chat, session_id: str
) -> None:
    path = f"/api/v1/chats/{chat.id}/sessions"
    turn = (await asked(client, chat, session_id=session_id)).json()["data"]["id"]
    for user_id, status in ((LONGEST, 200), (TOO_LONG, 400)):
        answers = [
            await client.post(path, json={"user_id": user_id}),
            await client.put(f"{path}/{session_id}", json={"user_id": user_id}),
            await client.post(f"{path}/{session_id}/fork", json={"message_id": turn, "user_id": user_id}),
            await asked(client, chat, user_id=user_id),
            await asked(client, chat, question="", user_id=user_id),
        ]
        assert [answer.status_code for answer in answers] == [status] * len(answers), answers[-1].text
        if status == 400:
            assert {answer.json()["message"] for answer in answers} == {"`user_id` is longer than 2000 bytes."}
    listed = await client.get(path, params={"user_id": LONGEST})
    assert len(listed.json()["data"]) == 5
    assert (await client.get("/api/v1/system/stats")).status_code == 200


@pytest.mark.parametrize("name", ["user", "safety_identifier"])
async def test_so_may_that_of_v1(client: httpx.AsyncClient, chat: Chat, session_id: str, name: str) -> None:
    messages = [{"role": "user", "content": scripted()}]
    for user_id, status in ((LONGEST, 200), (TOO_LONG, 400)):
        body = {"model": chat.id, "messages": messages, "session_id": session_id, name: user_id}
        answer = await client.post("/v1/chat/completions", json=body)
        assert answer.status_code == status, answer.text
    assert answer.json()["error"]["param"] == name


async def test_names_of_0_22_have_that_limit_only(client: httpx.AsyncClient, chat: Chat, session_id: str) -> None:
    path = f"/compat/0.22/api/v1/chats/{chat.id}/sessions"
    assert (await client.post(path, json={"name": LONGEST})).json()["code"] == 0
    assert (await client.put(f"{path}/{session_id}", json={"name": LONGEST})).json()["code"] == 0
    refused = await client.post(path, json={"name": TOO_LONG})
    assert refused.json() == {"code": 102, "message": "Name is longer than 2000 bytes."}
    listed = await client.get(path, params={"orderby": "name", "page_size": "1"})
    following = await client.get(path, params={"orderby": "name", "after": listed.headers["X-Next-Cursor"]})
    assert [len(page.json()["data"]) for page in (listed, following)] == [1, 1]
