"""What failures look like under `/v1`: status, type and word of each, and what they never tell (openai.md 1.6, 1.7)."""

from dataclasses import replace
from typing import Any

import anyio
import httpx
import orjson
import pytest

from app.domain.chats import Chat
from app.domain.errors import (
    BadArgument,
    Broken,
    Conflict,
    Forbidden,
    Invalid,
    KeyAbsent,
    KeyMalformed,
    Limited,
    Missing,
    ParleyError,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamRefused,
    UpstreamTimeout,
    WrongType,
)
from app.domain.events import Failed
from app.domain.limits import QuotaUsedUp
from app.domain.models import Usage
from app.domain.turns import SessionBusy
from app.engine.codec import decode, encode
from app.services.v1_models import ModelNotFound, V1Models, WrongModelKind
from app.wire.dialects import Dialect
from app.wire.openai_v1_chat import stream_error
from routers import middleware
from routers.errors import answer
from routers.streaming import error_of
from tests.service import Service
from tests.v1.raw import ask, envelope, streamed

BAD = "invalid_request_error"
TABLE: list[tuple[ParleyError, int, str, str | None]] = [
    (BadArgument("x"), 400, BAD, "invalid_value"),
    (WrongType("x"), 400, BAD, "invalid_type"),
    (Invalid("x"), 400, BAD, None),
    (Invalid("x", code="missing_required_parameter"), 400, BAD, "missing_required_parameter"),
    (UpstreamRefused("x"), 400, BAD, None),
    (UpstreamRefused("x", code="context_length_exceeded"), 400, BAD, "context_length_exceeded"),
    (WrongModelKind("x", "so"), 400, BAD, "unsupported_value"),
    (KeyAbsent("x"), 401, BAD, None),
    (KeyMalformed("x"), 401, BAD, None),
    (Unauthenticated("x"), 401, BAD, "invalid_api_key"),
    (Forbidden("x"), 403, "permission_error", "insufficient_permissions"),
    (Missing("x"), 404, BAD, None),
    (Missing("x", code="unknown_url"), 404, BAD, "unknown_url"),
    (ModelNotFound("x"), 404, BAD, "model_not_found"),
    (Invalid("x", code="method_not_supported"), 405, BAD, "method_not_supported"),
    (Invalid("x", code="request_timeout"), 408, "timeout_error", "request_timeout"),
    (Conflict("x"), 409, "conflict_error", "conflict"),
    (SessionBusy("x"), 409, "conflict_error", "conversation_locked"),
    (TooLarge("x"), 413, BAD, "request_too_large"),
    (Limited("x"), 429, "rate_limit_error", "rate_limit_exceeded"),
    (UpstreamLimited("x"), 429, "rate_limit_error", "rate_limit_exceeded"),
    (QuotaUsedUp("x", retry_after_s=9), 429, "insufficient_quota", "insufficient_quota"),
    (Broken("x"), 500, "server_error", "internal_error"),
    (UpstreamFailed("x"), 502, "server_error", "upstream_error"),
    (UpstreamFailed("x", code="upstream_unavailable"), 503, "server_error", "upstream_unavailable"),
    (Unavailable("x"), 503, "server_error", "overloaded"),
    (UpstreamTimeout("x"), 504, "server_error", "upstream_timeout"),
]
WAITS: list[tuple[float, str, str | None]] = [
    (0.1, "1", None),
    (17, "17", None),
    (60, "60", None),
    (61, "60", "false"),
    (7200, "60", "false"),
]
PROVIDERS: list[tuple[int, int, str, str | None]] = [
    (400, 400, BAD, None),
    (422, 400, BAD, None),
    (401, 502, "server_error", "upstream_error"),
    (403, 502, "server_error", "upstream_error"),
    (404, 502, "server_error", "upstream_error"),
    (429, 429, "rate_limit_error", "rate_limit_exceeded"),
    (500, 502, "server_error", "upstream_error"),
    (502, 502, "server_error", "upstream_error"),
    (503, 503, "server_error", "upstream_unavailable"),
    (529, 503, "server_error", "upstream_unavailable"),
]


@pytest.mark.promise("openai:1.6-table", "openai:1.6-envelope")
def test_each_failure_has_its_status_type_and_word() -> None:
    for error, status, kind, code in TABLE:
        told = answer(error, Dialect.OPENAI)
        param = "model" if isinstance(error, ModelNotFound | WrongModelKind) else None
        expected = {"message": error.message, "type": kind, "param": param, "code": code}
        assert (told.status_code, orjson.loads(bytes(told.body))) == (status, {"error": expected}), error


@pytest.mark.promise("openai:3.6-stream-error")
def test_a_turn_that_failed_keeps_its_word_and_its_field() -> None:
    """For whoever follows it again, on whichever process; turns of older releases have none."""
    plain = Failed(content="", cited=(), usage=Usage(), ended_s=1.0, kind="upstream_refused", message="Too long.")
    failed = replace(plain, code="context_length_exceeded", param="messages")
    assert decode(encode([(3, failed)])) == [(3, failed)]
    [[number, kind, stored]] = orjson.loads(encode([(3, plain)]))
    del stored["code"], stored["param"]
    assert decode(orjson.dumps([[number, kind, stored]])) == [(3, plain)]
    told = stream_error(failed)["error"]
    assert told == orjson.loads(bytes(answer(error_of(failed), Dialect.OPENAI).body))["error"]
    assert (told["code"], told["param"], told["type"]) == ("context_length_exceeded", "messages", BAD)


@pytest.mark.promise("openai:1.7-retry-after", "openai:1.7-no-retry")
def test_nobody_is_told_to_wait_longer_than_clients_do() -> None:
    for after_s, told, again in WAITS:
        headers = answer(Limited("x", retry_after_s=after_s), Dialect.OPENAI).headers
        assert (headers["retry-after"], headers.get("x-should-retry")) == (told, again), after_s
    assert "retry-after" not in answer(Limited("x"), Dialect.OPENAI).headers
    assert answer(UpstreamFailed("x", is_final=True), Dialect.OPENAI).headers["x-should-retry"] == "false"


@pytest.mark.promise("openai:1.6-envelope", "openai:1.6-no-secrets")
async def test_what_nobody_expected_is_a_500_that_tells_nothing(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("SELECT secret FROM /srv/place.py")

    monkeypatch.setattr(V1Models, "listed", broken)
    monkeypatch.setattr(V1Models, "resolve", broken)
    for failed in (await client.get("/v1/models"), await client.post("/v1/chat/completions", json=ask(stream=True))):
        error = envelope(failed)
        assert (failed.status_code, error["type"], error["code"]) == (500, "server_error", "internal_error")
        assert "SELECT" not in failed.text
        assert "place.py" not in failed.text


@pytest.mark.promise(
    "openai:1.6-upstream", "openai:CC-18", "openai:CC-18-assistant", "openai:1.9-budget", "openai:1.7-retry-after"
)
async def test_a_providers_failures_are_translated(client: httpx.AsyncClient, chat: Chat) -> None:
    """Of raw models and assistants, streams too: nothing was said yet, so it is a status."""
    for model in ("scripted", chat.id):
        for is_streaming in (False, True):
            for sent, status, kind, code in PROVIDERS:
                do = {"status": sent, "message": "It is odd.", "param": "top_k", "retry_after": 17}
                body = ask(f"{model} {is_streaming}?", model, do=do, stream=is_streaming)
                failed = await client.post("/v1/chat/completions", json=body)
                error = envelope(failed)
                assert (failed.status_code, error["type"], error["code"]) == (status, kind, code), failed.text
                if status == 400:
                    assert (error["message"], error["param"]) == ("It is odd.", "top_k")
                if status == 429:
                    assert (failed.headers["retry-after"], error["param"]) == ("17", None)
        body = ask("Long?", model, do={"status": 429, "retry_after": 300})  # longer than clients wait
        failed = await client.post("/v1/chat/completions", json=body)
        assert (failed.headers["retry-after"], failed.headers["x-should-retry"]) == ("60", "false")


@pytest.mark.promise("openai:1.6-no-secrets")
async def test_a_providers_words_hold_no_key(client: httpx.AsyncClient, service: Service, chat: Chat) -> None:
    words = "The key upstream-secret of Bearer abc123 is wrong."
    for model in ("scripted", chat.id):
        for directive in ({"status": 400}, {"status": 401}, {"error_after": 2}):
            told = await streamed(client, ask("How?", model, do={**directive, "message": words}))
            assert b'"error"' in told.raw
            assert b"upstream-secret" not in told.raw
            assert b"abc123" not in told.raw
    assert {call["authorization"] for call in service.upstream.calls()} == {"Bearer upstream-secret"}


@pytest.mark.promise("openai:1.2-logged")
async def test_what_clients_say_of_their_calls_is_logged(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[dict[str, Any]] = []

    class Log:
        def info(self, _: str, **fields: Any) -> None:
            lines.append(fields)

    monkeypatch.setattr(middleware, "log", Log())
    headers = {"x-stainless-retry-count": "2", "X-Client-Request-Id": "mine"}
    await client.post("/v1/chat/completions", json=ask(), headers=headers)
    await client.get("/v1/models")
    with anyio.fail_after(5):
        while len(lines) < 2:  # noqa: ASYNC110 (a line is written when its answer has gone)
            await anyio.sleep(0.01)
    assert [(one.get("retry"), one.get("client_request_id")) for one in lines] == [("2", "mine"), (None, None)]
