"""What every call under `/v1` has in common (openai.md 1)."""

import gzip
import time
from typing import Any

import httpx
import openai
import pytest

from app.domain.chats import Chat
from app.domain.limits import LimitsConfig, RateConfig
from app.domain.principals import Scope
from app.main import WebConfig, build_app
from routers.deps import EdgeConfig
from routers.v1 import relaying
from tests.conftest import Tenant
from tests.pg import DatabaseUrls
from tests.service import Service, on_a_socket, served
from tests.tasks import in_a_task
from tests.upstream.fixtures import ScriptedUpstream
from tests.v1.raw import ask, streamed

ROUTES = [
    ("GET", "/v1/models"),
    ("GET", "/v1/models/x"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/embeddings"),
]
POSTS = [path for method, path in ROUTES if method == "POST"]


def envelope(answer: httpx.Response) -> dict[str, Any]:
    """Return the error of an answer, which must be there and whole."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    told = answer.json()
    assert set(told) == {"error"}
    assert set(told["error"]) == {"message", "type", "param", "code"}
    error: dict[str, Any] = told["error"]
    return error


@pytest.mark.promise("openai:T-01", "openai:T-02", "openai:1.2-bearer", "openai:1.6-envelope")
async def test_a_key_is_asked_for(service: Service, tenant: Tenant) -> None:
    async with service.client() as nobody:
        for method, path in ROUTES:
            absent = await nobody.request(method, path)
            wrong = await nobody.request(method, path, headers={"Authorization": "Bearer no such key at all"})
            assert (absent.status_code, wrong.status_code) == (401, 401)
            assert (envelope(absent)["code"], envelope(absent)["type"]) == (None, "invalid_request_error")
            assert envelope(wrong)["code"] == "invalid_api_key"
        known = await nobody.get("/v1/models", headers={"Authorization": f"bEARER {tenant.key}"})
        assert known.status_code == 200
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
        ("POST", "/v1/batches", 404, "unknown_url"),
        ("GET", "/v1", 404, "unknown_url"),
        ("DELETE", "/v1/models/scripted", 405, "method_not_supported"),
        ("GET", "/v1/chat/completions/x/y/z", 404, "unknown_url"),
        ("PUT", "/v1/embeddings", 405, "method_not_supported"),
    ):
        answer = await client.request(method, path)
        assert (answer.status_code, envelope(answer)["code"]) == (status, code), path
        assert envelope(answer)["type"] == "invalid_request_error"
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
            assert envelope(answer)["message"]


@pytest.mark.promise("openai:T-04", "openai:12-unknown")
async def test_whatever_stands_in_a_field_there_is_no_500(client: httpx.AsyncClient) -> None:
    odd: list[Any] = [0, -1, 1.5, True, "x", "", [], [None], {}, {"type": []}, [{"role": [], "type": {}}], [[]], 2**70]
    fields = {
        "/v1/chat/completions": (
            "model", "messages", "stream", "stream_options", "temperature", "n", "stop", "logit_bias", "metadata",
            "tools", "tool_choice", "response_format", "extra_body", "top_logprobs", "user", "seed",
        ),
        "/v1/completions": ("model", "prompt", "stream", "n", "logprobs", "stop", "echo"),
        "/v1/embeddings": ("model", "input", "dimensions", "encoding_format", "user"),
    }  # fmt: skip
    bases = (ask(), {"model": "scripted", "prompt": "How?"}, {"model": "embed", "input": "x"})
    for (path, names), base in zip(fields.items(), bases, strict=True):
        for name in names:
            for value in odd:
                answer = await client.post(path, json={**base, name: value})
                assert answer.status_code in (200, 400, 404), (path, name, value, answer.text)
                if answer.status_code != 200:
                    envelope(answer)


@pytest.mark.promise("openai:T-05", "openai:1.3-headers", "openai:1.2-accept", "openai:1.2-client-request-id")
async def test_every_answer_has_an_id_of_its_own(client: httpx.AsyncClient) -> None:
    mine = {"X-Client-Request-Id": "mine", "X-Request-Id": "mine-too", "OpenAI-Beta": "assistants=v2"}
    answers = [
        await client.get("/v1/models", headers=mine),
        await client.get("/v1/nothing", headers=mine),
        await client.post("/v1/chat/completions", json=ask(), headers=mine),
        await client.post("/v1/chat/completions", json=ask(stream=True), headers=mine | {"Accept": "application/json"}),
        await client.post("/v1/chat/completions", json=ask(do={"status": 500}), headers=mine),
    ]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len({*ids}) == 5
    assert all(one.startswith("req_") for one in ids)
    assert all(int(answer.headers["openai-processing-ms"]) >= 0 for answer in answers)
    stream = answers[3].headers
    assert stream["content-type"] == "text/event-stream; charset=utf-8"
    assert (stream["cache-control"], stream["x-accel-buffering"]) == ("no-cache, no-transform", "no")
    assert "content-length" not in stream


@pytest.mark.promise("openai:T-09", "openai:1.7-retry-after", "openai:T-05")
async def test_too_many_calls_are_told_when_to_come_back(
    fresh_database: DatabaseUrls, upstream: ScriptedUpstream, tmp_path: Any
) -> None:
    edge = EdgeConfig(limits=LimitsConfig(rate=RateConfig(limit=2, window_s=2.0)))
    async with in_a_task(served(fresh_database, upstream, tmp_path, edge=edge)) as service:
        tenant = await service.tenant()
        async with service.client(tenant) as client:
            answers = [await client.post("/v1/chat/completions", json=ask()) for _ in range(6)]
            limited = [one for one in answers if one.status_code == 429]
            assert limited
            assert envelope(limited[0])["code"] == "rate_limit_exceeded"
            assert envelope(limited[0])["type"] == "rate_limit_error"
            assert 1 <= int(limited[0].headers["retry-after"]) <= 2
        async with openai.AsyncOpenAI(base_url=f"{service.base_url}/v1", api_key=tenant.key) as official:
            answer = await official.chat.completions.create(**ask())  # it waits as it is told, and comes again
            assert answer.choices[0].message.content


@pytest.mark.promise("openai:T-10", "openai:1.7-no-retry")
async def test_a_used_up_quota_is_not_asked_again(service: Service, tenant: Tenant) -> None:
    from app.db.identity import tenants

    async with service.database.unit(tenant.id) as unit:
        await unit._connection.execute(tenants.update().values(tokens_per_day=1))
    async with openai.AsyncOpenAI(base_url=f"{service.base_url}/v1", api_key=tenant.key) as official:
        await official.chat.completions.create(**ask())  # what is left may be overdrawn by one call
        with pytest.raises(openai.RateLimitError) as refused:
            await official.chat.completions.create(**ask())
    assert refused.value.request.headers["x-stainless-retry-count"] == "0"  # of the attempt that was the last
    assert (refused.value.code, refused.value.type) == ("insufficient_quota", "insufficient_quota")
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert int(refused.value.response.headers["retry-after"]) <= 60


@pytest.mark.promise("openai:T-11", "openai:1.7-retry-after")
async def test_each_attempt_is_one_call_of_the_provider(service: Service, tenant: Tenant) -> None:
    async with openai.AsyncOpenAI(base_url=f"{service.base_url}/v1", api_key=tenant.key) as official:
        with pytest.raises(openai.InternalServerError) as failed:
            await official.chat.completions.create(**ask(do={"status": 401}))
    assert failed.value.code == "upstream_error"
    assert len(service.upstream.calls()) == 3
    assert len({call["body_hash"] for call in service.upstream.calls()}) == 1


@pytest.mark.promise("openai:T-12", "openai:1.8-ping", "openai:1.9-budget")
async def test_silence_is_filled_with_comments(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, service: Service, tenant: Tenant
) -> None:
    """With a budget of 0.2 s and a ping each second: what is 10 s and 15 s outside of tests."""
    monkeypatch.setattr(relaying.RelayedStream.__init__, "__kwdefaults__", {"budget_s": 0.2, "once": None})
    body = ask(do={"text": "At last.", "first_ms": 2500}, stream=True)
    begun = time.monotonic()
    async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.status_code == 200
        assert time.monotonic() - begun < 1
        raw = await answer.aread()
    assert raw.count(b": ping\n\n") >= 2
    assert raw.endswith(b"data: [DONE]\n\n")
    async with openai.AsyncOpenAI(base_url=f"{service.base_url}/v1", api_key=tenant.key) as official:
        stream = await official.chat.completions.create(**body)
        chunks = [chunk async for chunk in stream]
    assert "".join(one.choices[0].delta.content or "" for one in chunks) == "At last."
    late = await streamed(client, ask(do={"status": 400, "head_ms": 600, "message": "Too odd."}))
    assert late.status == 200
    assert late.data[-1]["error"]["message"] == "Too odd."
    assert b"[DONE]" not in late.raw


@pytest.mark.promise("openai:T-14", "openai:1.2-gzip")
async def test_a_stream_is_flushed_as_it_comes(client: httpx.AsyncClient) -> None:
    body = ask(do={"pieces": 10, "gap_ms": 100}, stream=True)
    begun = time.monotonic()
    async with client.stream("POST", "/v1/chat/completions", json=body, headers={"Accept-Encoding": "gzip"}) as answer:
        assert "content-encoding" not in answer.headers
        arrivals = [time.monotonic() - begun async for _ in answer.aiter_raw()]
    assert len(arrivals) >= 8
    assert arrivals[-1] - arrivals[0] > 0.6


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
        answer = await page.get("/v1/models", headers=tenant.auth | {"Origin": "https://page.example"})
    assert preflight.status_code == 200
    allowed = preflight.headers["access-control-allow-headers"].lower()
    assert all(
        one in allowed for one in ("authorization", "content-type", "x-stainless-lang", "x-stainless-retry-count")
    )
    exposed = answer.headers["access-control-expose-headers"].lower()
    for name in ("x-request-id", "retry-after", "retry-after-ms", "x-should-retry", "openai-processing-ms",
                 "openai-poll-after-ms", "x-ratelimit-remaining-requests"):  # fmt: skip
        assert name in exposed


@pytest.mark.promise("openai:T-18")
async def test_a_body_too_large(service: Service, tenant: Tenant) -> None:
    async with service.client(tenant) as client:
        large = ask("x" * (9 << 20))
        answer = await client.post("/v1/chat/completions", json=large)
        assert (answer.status_code, envelope(answer)["code"]) == (413, "request_too_large")
        assert (await client.post("/v1/chat/completions", json=ask())).status_code == 200


@pytest.mark.promise("openai:1.1-aliases")
async def test_old_names_below_v1_keep_their_dialect(client: httpx.AsyncClient) -> None:
    for path in ("/v1/system/nothing", "/v1/document/nothing", "/v1/api/nothing", "/v1/conversation/x", "/v1/search/x"):
        assert set((await client.get(path)).json()) == {"code", "message", "data"}
