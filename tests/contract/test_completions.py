"""`POST /chats/{chat_id}/completions` end to end, over a real socket (conversations.md 4)."""

from itertools import pairwise
from typing import Any

import anyio
import httpx
import pytest

from app.domain.chats import Chat
from tests.conftest import Tenant
from tests.contract.asking import END, path, stored, told
from tests.service import Service, scripted, stream
from tests.upstream.fixtures import ScriptedUpstream


@pytest.mark.promise("conversations:4.3-answered", "conversations:4.4-final", "conversations:10.10-plain")
async def test_a_first_question_without_a_session_opens_one_and_is_answered(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient
) -> None:
    """4.3, 4.4: D answers, and every event carries the new session_id."""
    answer = await stream(client, "POST", path(chat), json={"question": scripted(text="To reset it, click.")})

    assert answer.status == 200
    *pieces, final, ended, done = answer.data
    assert [ended, done] == END
    assert "".join(one["data"]["answer"] for one in pieces) == "To reset it, click."
    first = pieces[0]["data"]
    assert set(first) == {"answer", "reference", "audio_binary", "id", "session_id", "created_at", "final"}
    assert (first["reference"], first["audio_binary"], first["final"]) == ({}, None, False)
    assert {one["data"]["session_id"] for one in [*pieces, final]} == {first["session_id"]}
    assert {one["data"]["id"] for one in [*pieces, final]} == {answer.headers["x-turn-id"]}
    assert final["data"] | {"created_at": 0} == {
        "answer": "",
        "reference": {},
        "prompt": "",
        "final_content": "To reset it, click.",
        "audio_binary": None,
        "id": answer.headers["x-turn-id"],
        "session_id": first["session_id"],
        "created_at": 0,
        "final": True,
    }
    messages = await stored(service, tenant, first["session_id"])
    assert [(one.role, one.content) for one in messages] == [
        ("assistant", "Hello!"),
        ("user", scripted(text="To reset it, click.")),
        ("assistant", "To reset it, click."),
    ]


@pytest.mark.promise("conversations:4.4-headers")
async def test_a_stream_has_the_headers_of_the_contract(chat: Chat, client: httpx.AsyncClient) -> None:
    """4.4, openai.md 1.3: no transformation, no buffering, no compression, a request id."""
    for body in ({"question": "How?"}, {"question": ""}):
        answer = await stream(client, "POST", path(chat), json=body, headers={"Accept-Encoding": "gzip"})
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"].startswith("no-cache")
        assert answer.headers["connection"] == "keep-alive"
        assert answer.headers["x-accel-buffering"] == "no"
        assert answer.headers["x-request-id"].startswith("req_")
        assert "content-encoding" not in answer.headers


@pytest.mark.promise("conversations:4.4-framing")
async def test_no_stream_of_ours_has_a_carriage_return_or_a_line_of_several(
    chat: Chat, client: httpx.AsyncClient
) -> None:
    """4.4: `data: ` with its space, one line of JSON, a blank line."""
    answer = await stream(client, "POST", path(chat), json={"question": scripted(text="One\r\ntwo\n\nthree")})

    assert b"\r" not in answer.raw
    for event in answer.raw.decode().removesuffix("\n\n").split("\n\n"):
        assert event.startswith("data: ") or event == ": ping"
        assert "\n" not in event
    assert answer.text == "One\r\ntwo\n\nthree"


@pytest.mark.promise("conversations:4.4-as-it-comes")
async def test_a_piece_goes_out_when_it_comes(chat: Chat, client: httpx.AsyncClient) -> None:
    """4.4: each is there while the model makes the next one."""
    async with client.stream("POST", path(chat), json={"question": scripted(pieces=3, gap_ms=200)}) as answer:
        came_s = [anyio.current_time() async for line in answer.aiter_lines() if '"answer":"word' in line]
    assert len(came_s) == 3  # none was joined with the one after it
    assert came_s[-1] - came_s[0] > 0.2


@pytest.mark.promise("conversations:4.3-opener")
async def test_an_empty_question_gets_the_opener_and_asks_no_model(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient, upstream: ScriptedUpstream
) -> None:
    """4.3: the same in a stream and as one JSON object, each time in a session of its own."""
    opened: list[str] = []
    for body in ({}, {"question": ""}):
        answer = await stream(client, "POST", path(chat), json=body)
        opener, *end = answer.data
        assert end == END
        data = opener["data"]
        assert opener == {
            "code": 0,
            "message": "",
            "data": {
                "answer": "Hello!",
                "reference": {},
                "audio_binary": None,
                "id": None,
                "session_id": data["session_id"],
            },
        }
        whole = (await client.post(path(chat), json={**body, "stream": False})).json()
        opened += [data["session_id"], whole["data"]["session_id"]]
        assert whole == {"code": 0, "data": data | {"session_id": opened[-1]}}
    assert len(set(opened)) == 4
    for session_id in opened:
        assert [(one.role, one.content) for one in await stored(service, tenant, session_id)] == [
            ("assistant", "Hello!")
        ]
    assert upstream.calls() == []


@pytest.mark.promise("conversations:4.5-json", "conversations:4.3-answered")
async def test_a_json_answer_is_whole(service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient) -> None:
    """4.5, last paragraph; 4.3: in a session that begins with the opener."""
    answer = await client.post(path(chat), json={"question": scripted(text="All of it."), "stream": False})

    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == {"code", "data"}
    data = body["data"]
    assert set(data) == {
        "answer",
        "reference",
        "audio_binary",
        "prompt",
        "created_at",
        "id",
        "session_id",
    }
    assert (data["answer"], data["reference"], data["id"]) == ("All of it.", {}, answer.headers["x-turn-id"])
    assert (data["audio_binary"], data["prompt"]) == (None, "")
    messages = await stored(service, tenant, data["session_id"])
    assert [one.content for one in messages] == ["Hello!", scripted(text="All of it."), "All of it."]
    assert abs(data["created_at"] - messages[-1].created_at.timestamp()) < 5


@pytest.mark.promise("conversations:10.11-persisting")
async def test_the_next_question_of_a_session_knows_the_one_before(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient
) -> None:
    """4.1, 8.2: positions are gapless, question and answer share an id."""
    first = (await client.post(path(chat), json={"question": scripted(text="One."), "stream": False})).json()["data"]
    second = await client.post(
        path(chat), json={"question": scripted(text="Two."), "session_id": first["session_id"], "stream": False}
    )

    assert second.json()["data"]["session_id"] == first["session_id"]
    messages = await stored(service, tenant, first["session_id"])
    assert [one.position for one in messages] == [0, 1, 2, 3, 4]
    assert [one.content for one in messages][2::2] == ["One.", "Two."]
    assert messages[3].turn_id == messages[4].turn_id == second.json()["data"]["id"]


@pytest.mark.promise("conversations:4.4-think")
async def test_thinking_is_told_in_tags_and_stored_apart(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient
) -> None:
    """4.4: literal `<think>` and `</think>` inside the pieces, whatever way the provider tells it."""
    for way in ("inline", "reasoning_content", "reasoning"):
        question = scripted(text="Forty two.", think="Let me see. ", think_as=way)
        answer = await stream(client, "POST", path(chat), json={"question": question})
        assert answer.text == "<think>Let me see. </think>Forty two.", way
        assert answer.data[-3]["data"]["final_content"] == "Forty two."
        last = (await stored(service, tenant, answer.data[0]["data"]["session_id"]))[-1]
        assert (last.content, last.reasoning) == ("Forty two.", "Let me see. ")


@pytest.mark.promise("conversations:4.5-legacy")
async def test_legacy_streams_hold_the_whole_text_so_far(chat: Chat, client: httpx.AsyncClient) -> None:
    """4.5."""
    for flag in ({"legacy": True}, {"stream_mode": "cumulative"}):
        question = scripted(text="To reset it", think="Hm. ", gap_ms=5)
        answer = await stream(client, "POST", path(chat), json={"question": question, **flag})
        events: list[Any]
        *events, end, done = [one if isinstance(one, str) else one["data"] for one in answer.data]
        assert (end, done) == (True, "[DONE]")
        texts = [one["answer"] for one in events]
        assert texts[0].startswith("<think>")
        assert texts[0] != texts[-1]
        assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
        assert texts[-1] == "<think>Hm. </think>To reset it"


@pytest.mark.promise("conversations:4.2-errors")
@pytest.mark.parametrize("is_streaming", [True, False])
async def test_what_can_be_refused_is_refused_before_the_200(
    service: Service,
    tenant: Tenant,
    chat: Chat,
    client: httpx.AsyncClient,
    upstream: ScriptedUpstream,
    *,
    is_streaming: bool,
) -> None:
    """4.2."""
    other = await service.chat(tenant)
    rival = await service.chat(await service.tenant())
    session_id = (await client.post(path(other), json={"question": "", "stream": False})).json()["data"]["session_id"]
    strict = await service.chat(
        tenant,
        prompt_config={
            "system": "Speak {tongue}. {knowledge}",
            "prologue": "",
            "parameters": [{"key": "knowledge", "optional": False}, {"key": "tongue", "optional": False}],
        },
    )
    zeros = "0" * 32
    tries: list[tuple[str, dict[str, Any], int, int, str]] = [
        (path(rival), {"question": "?"}, 404, 105, f"You don't own the chat {rival.id}"),
        (path(chat).replace(chat.id, zeros), {"question": "?"}, 404, 105, f"You don't own the chat {zeros}"),
        (path(chat), {"question": "?", "session_id": session_id}, 404, 105, f"You don't own the session {session_id}"),
        (path(chat), {"question": "?", "session_id": zeros}, 404, 105, f"You don't own the session {zeros}"),
        (path(other), {"session_id": session_id}, 400, 102, "Please input your question."),
        (path(strict), {"question": "?"}, 400, 102, "Miss parameter: tongue"),
        (path(chat), {"question": "?", "kb_ids": [zeros]}, 404, 105, f"You don't own the dataset {zeros}"),
        (path(chat), {"question": "?", "name": ""}, 400, 102, "`name` can not be empty."),
        (path(chat), {"messages": []}, 400, 102, "`messages` must be a non-empty list."),
    ]
    for url, body, status, code, message in tries:
        answer = await client.post(url, json=body | {"stream": is_streaming})
        assert (answer.status_code, answer.json()) == (status, {"code": code, "message": message, "data": None})
    assert upstream.calls() == []


@pytest.mark.promise("conversations:10.2-tokens", "conversations:4.1-variables", "conversations:10.10-plain")
async def test_a_variable_reaches_the_model_and_a_stray_brace_does_no_harm(
    service: Service, tenant: Tenant, client: httpx.AsyncClient, upstream: ScriptedUpstream
) -> None:
    """10.2: only declared tokens are replaced."""
    prompt = {
        "system": 'Speak {tongue}, {undeclared}, {"json": 1} and {',
        "prologue": "",
        "parameters": [{"key": "tongue", "optional": False}],
    }
    chat = await service.chat(tenant, prompt_config=prompt)

    answer = await client.post(path(chat), json={"question": "Bonjour?", "tongue": "French", "stream": False})

    assert answer.status_code == 200
    assert answer.json()["data"]["reference"] == {}
    assert told(upstream) == [("system", 'Speak French, {undeclared}, {"json": 1} and {'), ("user", "Bonjour?")]


async def test_the_same_idempotency_key_gets_the_same_turn_again(
    chat: Chat, client: httpx.AsyncClient, upstream: ScriptedUpstream
) -> None:
    """design.md 1.5."""
    body = {"question": scripted(text="Once only.")}
    headers = {"Idempotency-Key": "one"}
    first = await stream(client, "POST", path(chat), json=body, headers=headers)
    again = await stream(client, "POST", path(chat), json=body, headers=headers)
    other = await client.post(path(chat), json={"question": "Else?"}, headers=headers)

    assert again.headers["x-turn-id"] == first.headers["x-turn-id"]
    assert again.raw == first.raw
    assert len(upstream.calls()) == 1
    assert (other.status_code, other.json()["code"]) == (400, 102)


async def test_usage_obeys_the_sum_law_and_is_the_providers(chat: Chat, client: httpx.AsyncClient) -> None:
    """openai.md 3.3, design.md 1.6."""
    tries: list[tuple[dict[str, Any], bool]] = [({}, False), ({"no_usage": True}, True)]
    for directive, is_estimated in tries:
        question = scripted(text="Two words", think="One two three", **directive)
        answer = await client.post(path(chat), json={"question": question, "stream": False})
        turn = (await client.get(f"/api/v1/turns/{answer.headers['x-turn-id']}")).json()["data"]
        usage = turn["usage"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        assert (usage["completion_tokens"], usage["reasoning_tokens"]) == (5, 3)
        assert usage["estimated"] is is_estimated
        assert turn["state"] == "done"
