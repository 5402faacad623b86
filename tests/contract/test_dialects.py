"""The default dialect: envelope, codes, keys, ids (conversations.md 1, and the decisions of 12)."""

import re
from typing import Any

import httpx
import pytest

from app.domain.chats import Chat
from app.domain.principals import Scope
from repositories.chats import ChatRepository
from tests.conftest import Tenant
from tests.service import Service, scripted, stream

UNKNOWN = "Authentication error: API key is invalid!"


@pytest.mark.promise("conversations:1.2-success", "conversations:1.2-failure", "conversations:12-20-data-null")
async def test_1_2_successes_have_data_and_failures_say_that_they_have_none(client: httpx.AsyncClient) -> None:
    made = (await client.post("/api/v1/chats", json={"name": "x"})).json()
    assert (set(made), made["code"]) == ({"code", "data"}, 0)
    refused = await client.post("/api/v1/chats", json={})
    assert refused.status_code == 400
    assert refused.json() == {"code": 102, "message": "`name` is required.", "data": None}


@pytest.mark.promise("conversations:1.2-unknown-route", "conversations:1.2-wrong-method", "conversations:1.2-slashes")
async def test_1_2_routes_and_methods_nobody_serves(client: httpx.AsyncClient) -> None:
    for method, path, status, code in (
        ("GET", "/api/v1/nothing", 404, 105),
        ("PUT", "/api/v1/chats", 405, 102),
        ("POST", "/api/v1/chats//sessions", 405, 102),
        ("PUT", "/api/v1/chats//sessions/x", 404, 105),
    ):
        answer = await client.request(method, path, json={})
        assert (answer.status_code, answer.json()["code"], answer.json()["data"]) == (status, code, None), path
    assert (await client.put("/api/v1/chats", json={})).json()["message"] == "Method Not Allowed"
    assert (await client.get("/api/v1/chats/")).json() == {"code": 0, "data": []}


@pytest.mark.promise("conversations:1.2-unexpected", "conversations:1.2-unexpected-22", "conversations:1.3-codes")
async def test_1_2_what_nobody_foresaw_is_told_without_its_details(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise LookupError("401 unauthorized: a detail")

    monkeypatch.setattr(ChatRepository, "page", broken)
    answer = await client.get("/api/v1/chats")
    assert answer.status_code == 500
    assert answer.json() == {"code": 500, "message": "Internal server error", "data": None}
    old = await client.get("/compat/0.22/api/v1/chats")
    assert old.status_code == 200
    assert old.json() == {"code": 100, "message": "LookupError('Internal server error')", "data": None}


@pytest.mark.promise("conversations:1.4-messages", "conversations:1.3-codes")
async def test_1_4_calls_without_a_good_key(service: Service) -> None:
    async with service.client() as nobody:
        for header, message in (
            ({}, "`Authorization` can't be empty"),
            ({"Authorization": "Bearer"}, "Please check your authorization format."),
            ({"Authorization": "Bearer nobody"}, UNKNOWN),
            ({"Authorization": "nobody"}, UNKNOWN),
        ):
            answer = await nobody.get("/api/v1/chats", headers=header)
            assert answer.status_code == 401
            assert answer.json() == {"code": 103, "message": message, "data": None}


@pytest.mark.promise("conversations:1.4-header")
async def test_1_4_any_case_of_bearer_and_a_bare_key(service: Service, tenant: Tenant) -> None:
    async with service.client() as client:
        for value in (f"Bearer {tenant.key}", f"bearer {tenant.key}", f"BEARER  {tenant.key}", tenant.key):
            answer = await client.get("/api/v1/chats", headers={"Authorization": value})
            assert answer.status_code == 200, value


@pytest.mark.promise("conversations:1.3-codes")
async def test_1_3_a_key_that_may_not_is_told_so(service: Service, tenant: Tenant) -> None:
    reader = await service.tenant(scopes=frozenset({Scope.READ}), tenant_id=tenant.id)
    async with service.client(reader) as client:
        answer = await client.post("/api/v1/chats", json={"name": "x"})
    assert (answer.status_code, answer.json()["code"], answer.json()["data"]) == (403, 104, None)


@pytest.mark.promise("conversations:1.3-wall")
async def test_1_3_what_others_own_is_not_there(service: Service, chat: Chat) -> None:
    rival = await service.tenant()
    async with service.client(rival) as client:
        for chat_id in (chat.id, "f" * 32):
            answer = await client.post(f"/api/v1/chats/{chat_id}/completions", json={"question": "How?"})
            told = {"code": 105, "message": f"You don't own the chat {chat_id}", "data": None}
            assert (answer.status_code, answer.json()) == (404, told)


@pytest.mark.promise("conversations:1.1-setting-27", "conversations:1.1-unknown-level")
@pytest.mark.parametrize("level", ["0.27", "0.99", "on"])
async def test_1_1_a_level_nobody_speaks(client: httpx.AsyncClient, level: str) -> None:
    answer = await client.get("/api/v1/chats", headers={"X-RAGFlow-Compat": level})
    assert answer.status_code == 400
    assert answer.json() == {"code": 102, "message": f"Unknown compat level: {level}", "data": None}
    below = await client.get(f"/compat/{level}/api/v1/chats")
    assert below.status_code == 404


@pytest.mark.promise("conversations:12-2-pieces", "conversations:12-3-terminators", "conversations:12-4-space")
@pytest.mark.promise("conversations:12-5-first-question", "conversations:1.5-turn-id")
async def test_12_a_first_question_is_answered_in_pieces(chat: Chat, client: httpx.AsyncClient) -> None:
    events = await stream(
        client, "POST", f"/api/v1/chats/{chat.id}/completions", json={"question": scripted(text="One two.")}
    )

    lines = [line for line in events.raw.split(b"\n") if line and not line.startswith(b":")]
    assert all(line.startswith(b"data: ") for line in lines)
    assert events.text == "One two."
    assert events.data[-2:] == [{"code": 0, "message": "", "data": True}, "[DONE]"]
    session_id = {one["data"]["session_id"] for one in events.data[:-2]}
    assert len(session_id) == 1
    listed: Any = (await client.get(f"/api/v1/chats/{chat.id}/sessions")).json()["data"]
    messages = listed[0]["messages"]
    assert listed[0]["id"] in session_id
    assert messages[1]["id"] == messages[2]["id"] == events.data[0]["data"]["id"]
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", messages[1]["id"])
