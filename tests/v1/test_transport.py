"""What every call under `/v1` has in common (openai.md 1)."""

import gzip
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from app.domain.chats import Chat
from app.domain.principals import Scope
from app.main import WebConfig, build_app
from app.security.keys import make_key
from tests.conftest import PEPPER, Tenant
from tests.service import Service, on_a_socket
from tests.v1.raw import ask, envelope

ROUTES = [
    ("GET", "/v1/models"),
    ("GET", "/v1/models/x"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/embeddings"),
]
POSTS = [path for method, path in ROUTES if method == "POST"]


@pytest.mark.promise("openai:T-01", "openai:T-02", "openai:1.2-bearer", "openai:1.6-envelope")
async def test_a_key_is_asked_for(service: Service, tenant: Tenant) -> None:
    async with service.client() as nobody:
        for method, path in ROUTES:
            absent = await nobody.request(method, path)
            wrong = await nobody.request(method, path, headers={"Authorization": "Bearer no such key at all"})
            assert (absent.status_code, wrong.status_code) == (401, 401)
            assert (envelope(absent)["code"], envelope(absent)["type"]) == (None, "invalid_request_error")
            assert (envelope(wrong)["code"], envelope(wrong)["type"]) == ("invalid_api_key", "invalid_request_error")
        spaced = make_key(tenant_id=tenant.id, pepper=PEPPER, now=datetime.now(UTC), secret="Bearer of  a key")
        async with service.database.unit(tenant.id) as unit:
            await unit.keys.add(spaced.stored, spaced.hash)
        for told, status in (
            (f"bEARER {tenant.key}", 200),
            (f"Bearer {tenant.key} and more", 401),
            ("Bearer Bearer of  a key", 200),
            ("Bearer Bearer of a key", 401),
            ("Bearer Bearer", 401),
        ):
            answer = await nobody.get("/v1/models", headers={"Authorization": told})
            assert answer.status_code == status, told
    reader = await service.tenant(scopes=frozenset({Scope.READ}), tenant_id=tenant.id)
    async with service.client(reader) as client:
        refused = await client.post("/v1/chat/completions", json=ask())
    assert (refused.status_code, envelope(refused)["code"]) == (403, "insufficient_permissions")
    assert envelope(refused)["type"] == "permission_error"


@pytest.mark.promise("openai:T-01", "openai:1.4-other-tenant")
async def test_of_another_tenant_is_as_if_missing(service: Service, chat: Chat) -> None:
    async with service.client(await service.tenant()) as other:
        answer = await other.post("/v1/chat/completions", json=ask("How?", chat.id))
        missing = await other.post("/v1/chat/completions", json=ask("How?", "0" * 32))
    assert (answer.status_code, envelope(answer)["code"], envelope(answer)["param"]) == (
        404,
        "model_not_found",
        "model",
    )
    assert envelope(missing) == envelope(answer) | {"message": envelope(answer)["message"].replace(chat.id, "0" * 32)}


@pytest.mark.promise("openai:T-03", "openai:T-04", "openai:1.6-envelope", "openai:1.6-shape-400", "openai:tier-c")
async def test_what_cannot_be_read_or_is_not_served(client: httpx.AsyncClient) -> None:
    for method, path, status, code in (
        ("POST", "/v1/moderations", 404, "unknown_url"),
        ("POST", "/v1/audio/speech", 404, "unknown_url"),
        ("POST", "/v1/images/generations", 404, "unknown_url"),
        ("POST", "/v1/audio/transcriptions", 404, "unknown_url"),
        ("POST", "/v1/batches", 404, "unknown_url"),
        ("POST", "/v1/uploads", 404, "unknown_url"),
        ("POST", "/v1/responses/compact", 404, "unknown_url"),
        ("GET", "/v1/realtime", 404, "unknown_url"),
        ("POST", "/v1/fine_tuning/jobs", 404, "unknown_url"),
        ("POST", "/v1/assistants", 404, "unknown_url"),
        ("POST", "/v1/threads", 404, "unknown_url"),
        ("GET", "/v1", 404, "unknown_url"),
        ("DELETE", "/v1/models/scripted", 405, "method_not_supported"),
        ("GET", "/v1/chat/completions/x/y/z", 404, "unknown_url"),
        ("PUT", "/v1/embeddings", 405, "method_not_supported"),
    ):
        answer = await client.request(method, path)
        assert (answer.status_code, envelope(answer)["code"]) == (status, code), path
        assert envelope(answer)["type"] == "invalid_request_error"
        assert path in envelope(answer)["message"]
    json_type = {"content-type": "application/json"}
    for path in POSTS:
        for content, headers in (
            (b"{", json_type),
            (b"[1]", json_type),
            (b"null", json_type),
            (b"", json_type),
            (b'{"model": "\xff"}', json_type),
            (b"[" * 5000, json_type),
            (b'{"model": "scripted"}', {"content-type": "text/plain"}),
            (b"model=scripted", {"content-type": "application/x-www-form-urlencoded"}),
            (gzip.compress(b"{}"), {"content-type": "application/json", "content-encoding": "gzip"}),
        ):
            answer = await client.post(path, content=content, headers=headers)
            assert answer.status_code == 400, content[:40]
            assert (envelope(answer)["type"], bool(envelope(answer)["message"])) == ("invalid_request_error", True)


@pytest.mark.promise("openai:T-04", "openai:12-unknown")
async def test_whatever_stands_in_a_field_there_is_no_500(client: httpx.AsyncClient, chat: Chat) -> None:
    odd: list[Any] = [0, -1, 1.5, True, "x", "", [], [None], {}, {"type": []}, [{"role": [], "type": {}}], [[]], 2**70]
    cases: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
        (
            "/v1/chat/completions",
            ask(),
            (
                "model", "messages", "stream", "stream_options", "temperature", "n", "stop", "logit_bias", "metadata",
                "tools", "tool_choice", "response_format", "extra_body", "top_logprobs", "user", "seed",
            ),
        ),
        (
            "/v1/chat/completions",
            ask("How?", chat.id),
            (
                "messages", "stop", "metadata", "tools", "tool_choice", "response_format", "user", "session_id",
                "conversation", "variables", "dataset_ids", "metadata_condition", "reference", "of_tomorrow",
            ),
        ),
        (
            "/v1/completions",
            {"model": "scripted", "prompt": "How?"},
            ("model", "prompt", "stream", "n", "logprobs", "stop", "echo"),
        ),
        (
            "/v1/embeddings",
            {"model": "embed", "input": "x"},
            ("model", "input", "dimensions", "encoding_format", "user"),
        ),
    ]  # fmt: skip
    for path, base, names in cases:
        for name in names:
            for value in odd if base["model"] != chat.id else ("x", *odd[-6:]):
                answer = await client.post(path, json={**base, name: value})
                assert answer.status_code in (200, 400, 404), (path, name, value, answer.text)
                if answer.status_code != 200:
                    envelope(answer)


@pytest.mark.promise(
    "openai:T-05",
    "openai:1.3-headers",
    "openai:1.2-accept",
    "openai:1.2-client-request-id",
    "openai:1.3-ratelimit-headers",
)
async def test_every_answer_has_an_id_of_its_own(client: httpx.AsyncClient, chat: Chat) -> None:
    mine = {"X-Client-Request-Id": "req_mine", "X-Request-Id": "req_mine-too"}
    mine |= {"OpenAI-Beta": "assistants=v2", "OpenAI-Organization": "o", "OpenAI-Project": "p"}
    events = mine | {"Accept": "text/event-stream"}
    path, text = "/v1/chat/completions", {"model": "scripted", "prompt": "How?"}
    answers = [
        await client.get("/v1/models", headers=mine),
        await client.get("/v1/nothing", headers=mine),
        await client.put("/v1/embeddings", headers=mine),
        await client.post(path, json=ask(do={"status": 500}), headers=mine),
        await client.post("/v1/embeddings", json={"model": "embed", "input": "x"}, headers=events),
        *[await client.post(path, json=ask("How?", one), headers=events) for one in ("scripted", chat.id)],
        await client.post(path, json=ask(stream=False), headers=events),
        await client.post("/v1/completions", json=text, headers=events),
    ]
    accepts = mine | {"Accept": "application/json"}
    streams = [
        await client.post(path, json=ask("How?", one, stream=True), headers=accepts) for one in ("able", chat.id)
    ]
    streams.append(await client.post("/v1/completions", json=text | {"stream": True}, headers=accepts))
    ids = [answer.headers["x-request-id"] for answer in (*answers, *streams)]
    assert len({*ids}) == len(ids)
    assert all(one.startswith("req_") and "mine" not in one for one in ids)
    for answer in (*answers, *streams):
        assert answer.headers["openai-processing-ms"].isdecimal()
        assert answer.headers["openai-version"] == "2020-10-01"
        assert not [name for name in answer.headers if name.startswith("x-ratelimit")]  # this key has no limit
    assert {answer.headers["content-type"] for answer in answers} == {"application/json"}
    for answer in streams:
        headers = answer.headers
        assert headers["content-type"] == "text/event-stream; charset=utf-8"
        assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-cache, no-transform", "no")
        assert "content-length" not in headers


@pytest.mark.promise("openai:T-16", "openai:1.3-cors")
async def test_pages_may_call(service: Service, tenant: Tenant) -> None:
    app = build_app(service.parts, WebConfig(cors_origins=("https://page.example",)))
    headers = {
        "Origin": "https://page.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type, x-stainless-lang, x-stainless-retry-count",
    }
    async with on_a_socket(app) as base_url, httpx.AsyncClient(base_url=base_url) as page:
        preflight = await page.options("/v1/chat/completions", headers=headers)
        origin = {"Origin": "https://page.example"}
        answers = [
            await page.get("/v1/models", headers=tenant.auth | origin),
            await page.get("/v1/models", headers=origin),
            await page.post("/v1/chat/completions", json=ask(stream=True), headers=tenant.auth | origin),
        ]
    assert preflight.status_code == 200
    assert "POST" in preflight.headers["access-control-allow-methods"]
    allowed = preflight.headers["access-control-allow-headers"].lower()
    assert all(
        one in allowed for one in ("authorization", "content-type", "x-stainless-lang", "x-stainless-retry-count")
    )
    assert [answer.status_code for answer in answers] == [200, 401, 200]
    for answer in (preflight, *answers):
        assert answer.headers["access-control-allow-origin"] in ("https://page.example", "*")
    limits = {f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens")}
    for answer in answers:
        exposed = set(answer.headers["access-control-expose-headers"].lower().split(", "))
        assert exposed >= limits | {
            "x-request-id", "retry-after", "retry-after-ms", "x-should-retry", "openai-processing-ms",
            "openai-poll-after-ms",
        }  # fmt: skip


@pytest.mark.promise("openai:T-18")
async def test_a_body_too_large(service: Service, tenant: Tenant) -> None:
    """Whether its length is told or not; what comes after it on the same connection is answered."""

    async def in_parts() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield b"x" * (1 << 20)

    async with service.client(tenant) as client:
        places: set[Any] = set()
        contents: tuple[Any, ...] = (b"x" * (9 << 20), in_parts())
        for content in contents:
            headers = {"content-type": "application/json"}
            answer = await client.post("/v1/chat/completions", content=content, headers=headers)
            assert (answer.status_code, envelope(answer)["code"]) == (413, "request_too_large")
            assert envelope(answer)["type"] == "invalid_request_error"
            after = await client.post("/v1/chat/completions", json=ask())
            assert after.status_code == 200
            places |= {one.extensions["network_stream"].get_extra_info("client_addr") for one in (answer, after)}
        assert len(places) == 1


@pytest.mark.promise("openai:1.1-aliases")
async def test_old_names_below_v1_keep_their_dialect(client: httpx.AsyncClient) -> None:
    for path in ("/v1/system/nothing", "/v1/document/nothing", "/v1/api/nothing", "/v1/conversation/x", "/v1/search/x"):
        assert set((await client.get(path)).json()) == {"code", "message", "data"}
    for path in ("/v1/conversations/x", "/v1/systems", "/v1/searches/x"):
        assert envelope(await client.get(path))["code"] == "unknown_url"
