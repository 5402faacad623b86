"""`POST /chats/{chat_id}/completions` end to end, over a real socket (conversations.md 4)."""

from itertools import pairwise
from typing import Any

import anyio
import httpx
import pytest
from sqlalchemy import text

from app.domain.chats import Chat
from app.domain.ids import SessionId
from app.domain.sessions import Message
from tests.conftest import Tenant
from tests.service import Service, scripted, stream
from tests.upstream.fixtures import ScriptedUpstream

END = [{"code": 0, "message": "", "data": True}, "[DONE]"]


def path(chat: Chat) -> str:
    return f"/api/v1/chats/{chat.id}/completions"


async def stored(service: Service, tenant: Tenant, session_id: str) -> list[Message]:
    async with service.database.unit(tenant.id) as unit:
        return (await unit.session_messages.last([SessionId(session_id)], most=5000))[SessionId(session_id)].messages


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


@pytest.mark.promise("conversations:4.3-opener")
async def test_an_empty_question_gets_the_opener_and_asks_no_model(
    chat: Chat, client: httpx.AsyncClient, upstream: ScriptedUpstream
) -> None:
    """4.3."""
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
    whole = await client.post(path(chat), json={"question": "", "stream": False})
    assert whole.json()["data"]["answer"] == "Hello!"
    assert upstream.calls() == []


@pytest.mark.promise("conversations:4.5-json")
async def test_a_json_answer_is_whole(chat: Chat, client: httpx.AsyncClient) -> None:
    """4.5, last paragraph."""
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
        question = scripted(text="To reset it", think="Hm. ")
        answer = await stream(client, "POST", path(chat), json={"question": question, **flag})
        told: list[Any]
        *told, end, done = [one if isinstance(one, str) else one["data"] for one in answer.data]
        assert (end, done) == (True, "[DONE]")
        texts = [one["answer"] for one in told]
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


@pytest.mark.promise("conversations:10.2-tokens", "conversations:4.1-variables")
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
    turn = (await client.get(f"/api/v1/turns/{answer.headers['x-turn-id']}")).json()["data"]
    assert turn["usage"]["prompt_tokens"] == 8  # words: `Speak French, {undeclared}, {"json": 1} and {`, `Bonjour?`


UPSTREAM_FAILURES: list[tuple[dict[str, Any], str]] = [
    (
        {"status": 401, "message": "bad key upstream-secret"},
        "The model provider refused the service's credential (401).",
    ),
    ({"status": 500}, "The model provider answered 500."),
    ({"status": 429, "retry_after": 0.01}, "The model provider is over its rate limit."),
    ({"status": 400, "message": "no, key=upstream-secret"}, "no, key=***"),
    ({"error_after": 0, "message": "Bearer upstream-secret broke"}, "The model provider failed: *** broke"),
    ({"cut_after": 0}, "The connection to the model provider broke."),
]


@pytest.mark.promise("conversations:4.5-json-failure", "conversations:10.11-persisting")
@pytest.mark.parametrize(("directive", "message"), UPSTREAM_FAILURES)
@pytest.mark.parametrize("is_streaming", [True, False])
async def test_a_failure_before_the_first_piece_is_a_500_and_the_question_is_kept(
    service: Service,
    tenant: Tenant,
    chat: Chat,
    client: httpx.AsyncClient,
    *,
    directive: dict[str, Any],
    message: str,
    is_streaming: bool,
) -> None:
    """1.3, 4.4: code 500 with the provider's text, sanitised; the turn is stored as failed."""
    session_id = (await client.post(path(chat), json={"question": "", "stream": False})).json()["data"]["session_id"]
    question = scripted(**directive)

    answer = await client.post(
        path(chat), json={"question": question, "session_id": session_id, "stream": is_streaming}
    )

    body = answer.json()
    assert (answer.status_code, body["code"], body["data"]) == (500, 500, None)
    assert body["message"].startswith(message), body
    assert "upstream-secret" not in answer.text
    messages = await stored(service, tenant, session_id)
    assert [(one.role, one.content, one.state) for one in messages[1:]] == [
        ("user", question, "failed"),
        ("assistant", "", "failed"),
    ]


@pytest.mark.promise("conversations:4.4-error-event")
@pytest.mark.parametrize(
    ("directive", "message"),
    [
        ({"error_after": 2, "message": "out of memory"}, "The model provider failed: out of memory"),
        ({"cut_after": 2}, "The connection to the model provider broke."),
        ({"end_after": 2}, "The model provider's answer was cut off."),
        ({"garbage_after": 2}, "The model provider"),
    ],
)
async def test_a_failure_after_the_first_piece_is_an_event_and_what_was_said_is_kept(
    service: Service,
    tenant: Tenant,
    chat: Chat,
    client: httpx.AsyncClient,
    *,
    directive: dict[str, Any],
    message: str,
) -> None:
    """4.4: HTTP stays 200; the error event, then both terminators."""
    question = scripted(gap_ms=20, pieces=8, **directive)

    answer = await stream(client, "POST", path(chat), json={"question": question})

    assert answer.status == 200
    *pieces, failure, ended, done = answer.data
    assert [ended, done] == END
    told = failure["message"]
    assert told.startswith(message), told
    assert failure == {"code": 500, "message": told, "data": {"answer": f"**ERROR**: {told}", "reference": []}}
    assert "".join(one["data"]["answer"] for one in pieces) == "word0 word1 "
    messages = await stored(service, tenant, pieces[0]["data"]["session_id"])
    assert [(one.role, one.content, one.state) for one in messages[1:]] == [
        ("user", question, "failed"),
        ("assistant", "word0 word1 ", "failed"),
    ]
    assert messages[-1].error == told


@pytest.mark.promise("conversations:4.4-ping")
async def test_a_silent_stream_says_ping_and_goes_on(chat: Chat, client: httpx.AsyncClient) -> None:
    """4.4: comment lines while the model is silent; openai.md T-12."""
    answer = await stream(client, "POST", path(chat), json={"question": scripted(pieces=3, gap_ms=1500)})

    assert answer.raw.count(b": ping\n\n") >= 2
    assert answer.text == "word0 word1 word2 "
    assert answer.data[-2:] == END


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


@pytest.mark.promise("conversations:4.4-disconnect")
async def test_a_turn_of_a_session_runs_on_when_its_caller_leaves(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient
) -> None:
    """4.4, on_disconnect=finish."""
    question = scripted(pieces=30, gap_ms=10)
    async with client.stream("POST", path(chat), json={"question": question}) as answer:
        turn_id = answer.headers["x-turn-id"]
        async for _ in answer.aiter_bytes():
            break

    turn = await service.parts.engine.ended(tenant.id, turn_id, timeout_s=5)  # type: ignore[arg-type]
    async with service.database.unit(tenant.id) as unit:
        messages = await unit.messages.of_turn(turn.id)
    assert messages[-1].content == "".join(f"word{n} " for n in range(30))
    assert messages[-1].state == "done"


async def test_a_call_may_ask_to_be_stopped_with_its_socket(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient, upstream: ScriptedUpstream
) -> None:
    """4.4, on_disconnect=stop: the model call ends within 200 ms, what was said is kept."""
    body = {"question": scripted(pieces=3, stall_after=2), "on_disconnect": "stop"}
    async with client.stream("POST", path(chat), json=body) as answer:
        turn_id = answer.headers["x-turn-id"]
        async for _ in answer.aiter_bytes():
            break
    begun = anyio.current_time()
    await upstream.wait_for(lambda calls: calls[0]["cancelled"])

    assert anyio.current_time() - begun < 1.0
    turn = await service.parts.engine.ended(tenant.id, turn_id, timeout_s=5)  # type: ignore[arg-type]
    assert turn.state.value == "stopped"
    async with service.database.unit(tenant.id) as unit:
        assert (await unit.messages.of_turn(turn.id))[-1].content == "word0 word1 "


async def test_a_running_turn_is_stopped_by_its_route_and_its_stream_ends_in_order(
    chat: Chat, client: httpx.AsyncClient
) -> None:
    """design.md 1.1; openai.md 1.10."""
    seen = b""
    async with client.stream("POST", path(chat), json={"question": scripted(pieces=3, stall_after=2)}) as answer:
        async for chunk in answer.aiter_bytes():
            seen += chunk
            if b"word1" in seen and b"final_content" not in seen:
                stopped = await client.post(f"/api/v1/turns/{answer.headers['x-turn-id']}/stop")
                assert stopped.json()["data"]["state"] == "stopped"
    assert b'"final_content":"word0 word1 "' in seen
    assert seen.endswith(b'data: {"code":0,"message":"","data":true}\n\ndata: [DONE]\n\n')


async def test_a_failed_turn_is_no_part_of_what_the_model_is_told_next(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient
) -> None:
    """openai.md 1.7."""
    first = await stream(client, "POST", path(chat), json={"question": scripted("Secret?", error_after=1, gap_ms=5)})
    session_id = first.data[0]["data"]["session_id"]

    answer = await client.post(path(chat), json={"question": "And now?", "session_id": session_id, "stream": False})

    turn = (await client.get(f"/api/v1/turns/{answer.headers['x-turn-id']}")).json()["data"]
    assert turn["usage"]["prompt_tokens"] == len(["Be", "brief.", "And", "now?"])


@pytest.mark.parametrize("bad", ["\u0000", "a\u0000b"])
async def test_a_model_that_says_nul_does_not_block_its_session(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient, *, bad: str
) -> None:
    """Postgres holds no NUL: the answer is kept without it, the turn ends, the next one is answered."""
    question = scripted(text=f"One {bad} two", think=f"x{bad}")
    first = await stream(client, "POST", path(chat), json={"question": question})
    session_id = first.data[0]["data"]["session_id"]
    second = await client.post(
        path(chat), json={"question": scripted(text="Fine."), "session_id": session_id, "stream": False}
    )
    assert first.data[-2:] == END
    assert first.data[-3]["data"]["final"] is True
    assert second.json()["data"]["answer"] == "Fine."


async def test_sessions_questions_are_answered_one_after_the_other(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient
) -> None:
    """8.2: of several at once in one session, each waits for the one before."""
    session_id = (await client.post(path(chat), json={"question": "", "stream": False})).json()["data"]["session_id"]

    async def ask(number: int) -> None:
        body = {"question": scripted(str(number), text=f"A{number}"), "session_id": session_id, "stream": False}
        assert (await client.post(path(chat), json=body)).json()["data"]["answer"] == f"A{number}"

    async with anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(ask, number)
    messages = await stored(service, tenant, session_id)
    assert [one.position for one in messages] == list(range(13))
    async with service.database.unit(tenant.id) as unit:
        running = await unit._connection.execute(text("SELECT count(*) FROM turns WHERE state = 'running'"))
        assert running.scalar_one() == 0
