"""`/v1/completions` (openai.md 10)."""

import httpx
import pytest

from app.domain.chats import Chat
from tests.conftest import Tenant
from tests.service import Service, scripted
from tests.v1.ledger import ledger
from tests.v1.raw import assert_framed, streamed


@pytest.mark.promise("openai:10-completions", "openai:T-13")
async def test_a_text_is_continued(client: httpx.AsyncClient, service: Service, tenant: Tenant) -> None:
    body = {"model": "scripted", "prompt": scripted(text="and so on"), "top_k": 2}
    whole = (await client.post("/v1/completions", json=body)).json()
    assert (whole["object"], whole["model"], whole["id"][:5]) == ("text_completion", "scripted", "cmpl-")
    assert whole["choices"] == [{"index": 0, "text": "and so on", "logprobs": None, "finish_reason": "stop"}]
    events = await streamed(client, body | {"stream_options": {"include_usage": True}}, "/v1/completions")
    assert_framed(events.raw)
    *chunks, usage, _ = events.data
    assert b'"usage"' not in (await streamed(client, body, "/v1/completions")).raw
    assert {one["model"] for one in chunks} == {"scripted"}
    assert {(one["object"], one["id"], one["usage"]) for one in chunks} == {("text_completion", chunks[0]["id"], None)}
    assert "".join(one["choices"][0]["text"] for one in chunks) == "and so on"
    assert [one["choices"][0]["finish_reason"] for one in chunks][-1] == "stop"
    assert (usage["choices"], usage["usage"]) == ([], whole["usage"])
    assert service.upstream.calls()[0]["path"] == "/v1/completions"
    assert service.upstream.calls()[0]["body"]["top_k"] == 2
    assert len(await ledger(service, tenant, 3)) == 3
    two = (await client.post("/v1/completions", json=body | {"n": 2})).json()
    assert [(one["index"], one["text"]) for one in two["choices"]] == [(0, "and so on"), (1, "and so on")]


@pytest.mark.promise("openai:10-completions")
async def test_who_continues_no_text(client: httpx.AsyncClient, chat: Chat) -> None:
    for body, param, code in (
        ({"model": chat.id, "prompt": "x"}, "model", "unsupported_value"),
        ({"model": "plain", "prompt": "x"}, "model", "unsupported_value"),
        ({"model": "scripted"}, "prompt", "missing_required_parameter"),
        ({"model": "scripted", "prompt": ["a", 1]}, "prompt.1", "invalid_type"),
        ({"model": "scripted", "prompt": "x", "logprobs": 3}, "logprobs", "unsupported_parameter"),
        ({"model": "scripted", "prompt": ["x", "y"], "n": 2}, "n", "unsupported_parameter"),
        ({"model": "scripted", "prompt": "x", "temperature": 3}, "temperature", "invalid_value"),
        ({"model": "scripted", "prompt": []}, "prompt", "invalid_value"),
        ({"model": "able", "prompt": "x", "logprobs": 6}, "logprobs", "invalid_value"),
    ):
        answer = await client.post("/v1/completions", json=body)
        error = answer.json()["error"]
        assert (answer.status_code, error["param"], error["code"]) == (400, param, code), body
