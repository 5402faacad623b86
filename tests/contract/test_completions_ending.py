"""Turns that fail, are left, stopped or asked for again (conversations.md 4.4, 4.5, 8.2)."""

from collections.abc import AsyncGenerator
from typing import Any

import anyio
import httpx
import pytest
from sqlalchemy import text

from app.domain.chats import Chat
from app.services.completions import CompletionsConfig
from routers.deps import EdgeConfig
from routers.streaming import respond
from tests.conftest import Tenant
from tests.contract.asking import END, path, stored
from tests.service import Service, scripted, stream
from tests.upstream.fixtures import ScriptedUpstream

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


@pytest.mark.promise("conversations:4.4-error-event", "conversations:4.5-json-failure")
@pytest.mark.parametrize(
    ("directive", "message"),
    [
        ({"error_after": 2, "message": "out of memory"}, "The model provider failed: out of memory"),
        ({"cut_after": 2}, "The connection to the model provider broke."),
        ({"end_after": 2}, "The model provider's answer was cut off."),
        ({"garbage_after": 2}, "The model provider"),
        ({"error_after": 2, "message": "Bearer upstream-secret broke"}, "The model provider failed: *** broke"),
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
    """4.4: HTTP stays 200; the error event, then both terminators; 4.5: a JSON answer has no byte yet."""
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
    whole = await client.post(path(chat), json={"question": question, "stream": False})
    assert (whole.status_code, whole.json()) == (500, {"code": 500, "message": told, "data": None})


@pytest.mark.promise("conversations:4.4-ping")
async def test_a_silent_stream_says_ping_and_goes_on(chat: Chat, client: httpx.AsyncClient) -> None:
    """4.4: comment lines while the model is silent; openai.md T-12."""
    answer = await stream(client, "POST", path(chat), json={"question": scripted(pieces=3, gap_ms=1500)})

    assert answer.raw.count(b": ping\n\n") >= 2
    assert answer.text == "word0 word1 word2 "
    assert answer.data[-2:] == END


@pytest.mark.promise("conversations:4.4-ping")
@pytest.mark.parametrize(("ping_s", "says_ping"), [(0.05, True), (0, False)])
async def test_a_ping_every_0_seconds_is_none(ping_s: float, says_ping: bool) -> None:
    async def silent() -> AsyncGenerator[bytes, None]:
        yield b"data: 1\n\n"
        await anyio.sleep(0.3)
        yield b"data: 2\n\n"

    sent: list[bytes] = []

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    async def receive() -> Any:
        await anyio.sleep_forever()

    answer = respond(silent(), EdgeConfig(ping_s=ping_s), None)
    assert answer.ping_interval == ping_s or (not ping_s and answer.ping_interval > 86_400)
    with anyio.fail_after(5):
        await answer({"type": "http", "method": "POST"}, receive, send)
    assert b"".join(sent).replace(b": ping\n\n", b"") == b"data: 1\n\ndata: 2\n\n"
    assert (b": ping\n\n" in sent) is says_ping


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


@pytest.mark.promise("conversations:4.4-disconnect", "conversations:10.11-persisting")
@pytest.mark.parametrize("by", ["the call", "the setting"])
async def test_a_call_may_ask_to_be_stopped_with_its_socket(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient, upstream: ScriptedUpstream, by: str
) -> None:
    """4.4, on_disconnect=stop: the model call ends within 200 ms, what was said is kept."""
    body = {"question": scripted(pieces=3, stall_after=2)}
    if by == "the call":
        body["on_disconnect"] = "stop"
    else:
        service.parts.completions._config = CompletionsConfig(on_disconnect="stop")
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
        kept = [(one.role, one.content, one.state) for one in await unit.messages.of_turn(turn.id)]
        assert kept == [("user", body["question"], "stopped"), ("assistant", "word0 word1 ", "stopped")]
        spent = text("SELECT completion_tokens FROM usage_ledger WHERE turn_id = :id")
        assert (await unit._connection.execute(spent, {"id": turn_id})).scalar_one() == 2


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


@pytest.mark.promise("conversations:8.2-one-at-a-time")
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
