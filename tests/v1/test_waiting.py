"""When callers of `/v1` are to come back, and what they hear while they wait (openai.md 1.3, 1.7 to 1.9)."""

import time
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import openai
import pytest

from app.domain.chats import Chat
from app.domain.limits import LimitsConfig, RateConfig
from app.settings import Settings
from routers import streaming
from routers.deps import EdgeConfig
from routers.v1 import relaying
from tests.conftest import Tenant
from tests.pg import DatabaseUrls
from tests.service import Service, served
from tests.tasks import in_a_task
from tests.upstream.fixtures import ScriptedUpstream
from tests.v1.raw import ask, assert_framed, envelope, streamed


@pytest.fixture
async def limited(fresh_database: DatabaseUrls, upstream: ScriptedUpstream, tmp_path: Any) -> AsyncIterator[Service]:
    """A service that takes two calls of a key in two seconds."""
    edge = EdgeConfig(limits=LimitsConfig(rate=RateConfig(limit=2, window_s=2.0)))
    async with in_a_task(served(fresh_database, upstream, tmp_path, edge=edge)) as service:
        yield service


@pytest.mark.promise("openai:T-09", "openai:1.7-retry-after", "openai:1.3-ratelimit-headers", "openai:11-limits-across")
async def test_too_many_calls_are_told_when_to_come_back(limited: Service) -> None:
    """Calls of the native API count too; the official client sends the same again, once it may."""
    tenant = await limited.tenant()
    attempts: list[tuple[str, bytes, float]] = []  # what its retry count was, what was sent, and when
    refusals: list[tuple[float, float]] = []  # when, and for how long

    async def sent(request: httpx.Request) -> None:
        attempts.append((request.headers["x-stainless-retry-count"], request.content, time.monotonic()))

    async def came(response: httpx.Response) -> None:
        if response.status_code == 429:
            refusals.append((time.monotonic(), float(response.headers["retry-after"])))

    http: Any = httpx.AsyncClient(event_hooks={"request": [sent], "response": [came]})
    async with (
        limited.client(tenant) as client,
        http,
        openai.AsyncOpenAI(base_url=f"{limited.base_url}/v1", api_key=tenant.key, http_client=http) as official,
    ):
        first = await client.get("/v1/models")
        native = refused = first
        answer: Any = None
        while not (refusals and refused.status_code == 429):  # else the window ended in between
            attempts.clear()
            refusals.clear()
            while (native := await client.get("/api/v1/chats")).status_code == 200:
                pass
            refused = await client.post("/v1/chat/completions", json=ask())
            answer = await official.chat.completions.create(**ask())
    assert native.status_code == 429
    assert (envelope(refused)["type"], envelope(refused)["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert refused.headers["retry-after"] in ("1", "2")
    for told, left in ((first, "1"), (refused, "0")):
        assert told.headers["x-ratelimit-limit-requests"] == "2"
        assert told.headers["x-ratelimit-remaining-requests"] == left
        assert told.headers["x-ratelimit-reset-requests"].rstrip("ms").isdecimal()
    assert answer.choices[0].message.content
    assert [count for count, _, _ in attempts] == [str(at) for at in range(len(refusals) + 1)]
    assert len({body for _, body, _ in attempts}) == 1
    for (_, _, again), (came_at, wait_s) in zip(attempts[1:], refusals, strict=True):
        assert wait_s <= again - came_at + 0.05


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


@pytest.mark.promise("openai:T-11")
async def test_each_attempt_is_one_call_of_the_provider(service: Service, tenant: Tenant) -> None:
    async with openai.AsyncOpenAI(base_url=f"{service.base_url}/v1", api_key=tenant.key) as official:
        with pytest.raises(openai.InternalServerError) as failed:
            await official.chat.completions.create(**ask(do={"status": 401}))
    assert failed.value.code == "upstream_error"
    assert len(service.upstream.calls()) == 3
    assert len({call["body_hash"] for call in service.upstream.calls()}) == 1


@pytest.mark.promise("openai:T-12", "openai:1.8-ping", "openai:1.9-budget")
async def test_silence_is_filled_with_comments(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, service: Service, tenant: Tenant, chat: Chat
) -> None:
    """With a budget of 0.2 s and a ping each second: what is 10 s and 15 s outside of tests."""
    assert relaying.RelayedStream.__init__.__kwdefaults__ == {"budget_s": 10, "once": None}
    assert (streaming.FIRST_PIECE_BUDGET_S, EdgeConfig().ping_s) == (10, 15)
    assert Settings.model_fields["sse_ping"].default == 15
    monkeypatch.setattr(relaying.RelayedStream.__init__, "__kwdefaults__", {"budget_s": 0.2, "once": None})
    monkeypatch.setattr(streaming, "FIRST_PIECE_BUDGET_S", 0.2)
    async with anyio.create_task_group() as tasks:
        for model in ("scripted", chat.id):
            tasks.start_soon(assert_silence_is_filled, client, model)
            tasks.start_soon(assert_the_client_waits, service, tenant, model)
            tasks.start_soon(assert_a_late_failure_is_an_event, client, model)


async def assert_silence_is_filled(client: httpx.AsyncClient, model: str) -> None:
    body = ask("How?", model, do={"text": "At last.", "first_ms": 2800}, stream=True)
    begun = time.monotonic()
    async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.status_code == 200
        assert time.monotonic() - begun < 1
        raw = await answer.aread()
    assert raw.count(b": ping\n\n") >= 2
    assert_framed(raw)


async def assert_the_client_waits(service: Service, tenant: Tenant, model: str) -> None:
    body = ask("How now?", model, do={"text": "At last.", "first_ms": 2800}, stream=True)
    async with openai.AsyncOpenAI(base_url=f"{service.base_url}/v1", api_key=tenant.key) as official:
        stream = await official.chat.completions.create(**body)
        chunks = [chunk async for chunk in stream]
    assert "".join(one.choices[0].delta.content or "" for one in chunks) == "At last."


async def assert_a_late_failure_is_an_event(client: httpx.AsyncClient, model: str) -> None:
    for status, message, param, code in (
        (400, "Too odd.", "top_k", None),
        (400, "This is over the maximum context.", "messages", "context_length_exceeded"),
        (529, "The model provider answered 529.", None, "upstream_unavailable"),
    ):
        do = {"status": status, "head_ms": 400, "message": message, "param": param}
        late = await streamed(client, ask("How?", model, do=do))
        assert late.status == 200
        assert b"[DONE]" not in late.raw
        error = late.data[-1]["error"]
        assert (error["message"], error["param"], error["code"]) == (message, param, code)
        assert error["type"] == ("invalid_request_error" if status == 400 else "server_error")


@pytest.mark.promise("openai:1.8-ping")
async def test_silence_is_filled_from_the_first_byte_on() -> None:
    """Also while the budget for that byte would still last."""
    sent: list[bytes] = []

    async def run(give: relaying.Give) -> None:
        await give(b"one")
        await anyio.sleep(0.35)
        await give(b"two")

    async def receive() -> Any:
        await anyio.sleep_forever()

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    await relaying.RelayedStream(run, bytes, ping_s=0.1)({}, receive, send)
    assert sent[1] == b"one"
    assert sent[-2:] == [b"two", b""]
    assert set(sent[2:-2]) == {b": ping\n\n"}
    assert len(sent[2:-2]) >= 2


@pytest.mark.promise("openai:T-14", "openai:1.2-gzip")
async def test_a_stream_is_flushed_as_it_comes(client: httpx.AsyncClient, chat: Chat) -> None:
    async def assert_flushed(model: str) -> None:
        body = ask("How?", model, do={"pieces": 10, "gap_ms": 100}, stream=True)
        begun, gzipped = time.monotonic(), {"Accept-Encoding": "gzip, deflate"}
        async with client.stream("POST", "/v1/chat/completions", json=body, headers=gzipped) as answer:
            assert "content-encoding" not in answer.headers
            arrivals = [time.monotonic() - begun async for _ in answer.aiter_raw()]
        assert len(arrivals) >= 8
        assert arrivals[-1] - arrivals[0] > 0.6

    async with anyio.create_task_group() as tasks:
        for model in ("scripted", chat.id):
            tasks.start_soon(assert_flushed, model)
