"""Whom a call names as its end user stands in the ledger (openai.md 3.1)."""

import httpx
import pytest

from app.domain.chats import Chat
from tests.conftest import Tenant
from tests.service import Service
from tests.v1.assistants import says
from tests.v1.ledger import ledger
from tests.v1.raw import ask


@pytest.mark.promise("openai:3.1-end-user")
async def test_calls_without_a_turn_name_their_end_user(
    client: httpx.AsyncClient, service: Service, tenant: Tenant
) -> None:
    named = [{"user": "u-1"}, {"user": "u-2", "safety_identifier": "s-2"}, {"user": "nul\0 " + "é" * 3000}, {}]
    for one in named:
        assert (await client.post("/v1/chat/completions", json=ask(do={"pieces": 1}, **one))).status_code == 200
    text = {"model": "scripted", "prompt": "How?", "max_tokens": 1, "user": "u-5"}
    for path, body in (("completions", text), ("embeddings", {"model": "embed", "input": "x", "user": "u-6"})):
        assert (await client.post(f"/v1/{path}", json=body)).status_code == 200
    rows = await ledger(service, tenant, 6)
    assert [row.user_id for row in rows] == ["u-1", "s-2", "nul\ufffd " + "é" * 1995, None, "u-5", "u-6"]


@pytest.mark.promise("openai:3.1-end-user")
async def test_turns_name_their_end_user_else_the_sessions(
    client: httpx.AsyncClient, service: Service, tenant: Tenant, chat: Chat
) -> None:
    made = await client.post(f"/api/v1/chats/{chat.id}/sessions", json={"name": "s", "user_id": "anna"})
    bound = {"session_id": made.json()["data"]["id"]}
    for body in ({"user": "ben"}, {}, bound, {**bound, "safety_identifier": "carl"}, bound):
        asked = {"model": chat.id, "messages": says("So."), **body}
        assert (await client.post("/v1/chat/completions", json=asked)).status_code == 200
    rows = [row for row in await ledger(service, tenant, 5) if row.kind == "chat"]
    assert [row.user_id for row in rows] == ["ben", None, "anna", "carl", "carl"]
