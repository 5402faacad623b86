"""The default dialect: envelope, codes, keys, ids (conversations.md 1, and the decisions of 12)."""

import re
import uuid
from dataclasses import replace
from typing import Any

import httpx
import pytest

from app.domain.chats import Chat
from app.domain.principals import Scope
from app.main import build_app, describe
from repositories.chats import ChatRepository
from tests.conftest import Tenant
from tests.service import Service, on_a_socket, scripted, stream

UNKNOWN = "Authentication error: API key is invalid!"

SERVED = """
POST GET DELETE /api/v1/chats
GET PUT PATCH DELETE /api/v1/chats/{}
POST GET DELETE /api/v1/chats/{}/sessions
GET PUT PATCH /api/v1/chats/{}/sessions/{}
DELETE /api/v1/chats/{}/sessions/{}/messages/{}
PUT /api/v1/chats/{}/sessions/{}/messages/{}/feedback
POST /v1/conversation/delete_msg
POST /v1/conversation/thumbup
POST /api/v1/chats/{}/completions
POST /api/v1/chat/completions
POST /api/v1/chats_openai/{}/chat/completions
POST /api/v1/openai/{}/chat/completions
POST /api/v1/sessions/ask
POST /api/v1/sessions/related_questions
POST /api/v1/chat/recommendation
POST /api/v1/chat/mindmap
POST /api/v1/chatbots/{}/completions
GET /api/v1/chatbots/{}/info
POST /api/v1/searchbots/ask
POST /api/v1/searchbots/retrieval_test
POST /api/v1/searchbots/related_questions
POST /api/v1/searchbots/mindmap
GET /api/v1/searchbots/detail
POST GET /api/v1/searches
GET PUT DELETE /api/v1/searches/{}
POST /api/v1/searches/{}/completions
POST /api/v1/searches/{}/completion
POST /v1/search/create
POST /v1/search/list
GET /v1/search/detail
POST /v1/search/update
POST /v1/search/rm
POST /v1/conversation/ask
GET /api/v1/system/stats
GET /v1/api/stats
POST GET /api/v1/system/tokens
DELETE /api/v1/system/tokens/{}
POST /v1/system/new_token
GET /v1/system/token_list
DELETE /v1/system/token/{}
"""
"""The rows of 13 that parley serves, agents aside, with the older paths of 7.8, 8.3, 8.4 and 9."""


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
    made = (await client.post("/api/v1/chats//", json={"name": "x"})).json()["data"]
    assert (await client.get(f"/api/v1//chats/{made['id']}/")).json() == {"code": 0, "data": made}


@pytest.mark.promise("conversations:13-routes")
def test_13_every_row_is_served() -> None:
    page: Any = describe()
    paths: dict[str, dict[str, Any]] = page["paths"]
    served = {f"{method.upper()} {re.sub('{[^}]*}', '{}', path)}" for path in paths for method in paths[path]}
    assert "POST /api/v1/chat/recommandation" in served  # codespell:ignore
    rows = [line.split() for line in SERVED.split("\n") if line]

    assert {f"{method} {row[-1]}" for row in rows for method in row[:-1]} - served == set()


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
            ({"Authorization": ""}, "`Authorization` can't be empty"),
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
    mounted = await client.get("/compat/0.22/api/v1/chats", headers={"X-RAGFlow-Compat": level})
    assert (mounted.status_code, mounted.json()) == (400, answer.json())


@pytest.mark.promise("conversations:1.1-setting", "conversations:1.1-header")
async def test_1_1_the_setting_is_for_every_request_that_names_no_level(service: Service, tenant: Tenant) -> None:
    edge = replace(service.parts.edge, is_compat22=True)
    refused = {"code": 102, "message": "The chat doesn't exist"}
    async with (
        on_a_socket(build_app(replace(service.parts, edge=edge))) as base_url,
        httpx.AsyncClient(base_url=base_url, headers=tenant.auth) as client,
    ):
        for headers, status, body in (
            ({}, 200, refused),
            ({"X-RAGFlow-Compat": "0.22"}, 200, refused),
            ({"X-RAGFlow-Compat": "off"}, 404, {"code": 105, "message": refused["message"], "data": None}),
            ({"X-RAGFlow-Compat": "1"}, 400, {"code": 102, "message": "Unknown compat level: 1", "data": None}),
        ):
            answer = await client.get("/api/v1/chats?id=x", headers=headers)
            assert (answer.status_code, answer.json()) == (status, body)


@pytest.mark.promise("conversations:1.5-ids")
async def test_1_5_ids_of_what_is_made(client: httpx.AsyncClient, chat: Chat) -> None:
    made = [
        (await client.post("/api/v1/chats", json={"name": "x"})).json()["data"]["id"],
        (await client.post(f"/api/v1/chats/{chat.id}/sessions", json={})).json()["data"]["id"],
        (await client.post("/api/v1/searches", json={"name": "x"})).json()["data"]["search_id"],
    ]

    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in made), made
    assert len(set(made)) == 3


@pytest.mark.promise("conversations:12-2-pieces", "conversations:12-3-terminators", "conversations:12-4-space")
@pytest.mark.promise("conversations:12-5-first-question", "conversations:1.5-turn-id")
async def test_12_a_first_question_is_answered_in_pieces(chat: Chat, client: httpx.AsyncClient) -> None:
    events = await stream(
        client, "POST", f"/api/v1/chats/{chat.id}/completions", json={"question": scripted(pieces=3, gap_ms=20)}
    )

    lines = [line for line in events.raw.split(b"\n") if line and not line.startswith(b":")]
    assert all(line.startswith(b"data: ") for line in lines)
    assert events.text == "word0 word1 word2 "
    assert "word0 " in [one["data"]["answer"] for one in events.data[:-2]]  # by itself
    assert events.data[-2:] == [{"code": 0, "message": "", "data": True}, "[DONE]"]
    session_id = {one["data"]["session_id"] for one in events.data[:-2]}
    assert len(session_id) == 1
    listed: Any = (await client.get(f"/api/v1/chats/{chat.id}/sessions")).json()["data"]
    messages = listed[0]["messages"]
    assert listed[0]["id"] in session_id
    assert messages[1]["id"] == messages[2]["id"] == events.data[0]["data"]["id"]
    assert str(uuid.UUID(messages[1]["id"], version=4)) == messages[1]["id"]
    assert {one["data"]["id"] for one in events.data[:-2]} == {messages[1]["id"]}
