"""Calls per key: a fixed window with a burst, told on every answer (conversations.md 11)."""

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from app.domain.limits import LimitsConfig, RateConfig
from app.domain.principals import KeyKind, Scope
from app.security.keys import make_key
from repositories.limits import LimitCounters
from routers.deps import EdgeConfig
from tests.conftest import PEPPER
from tests.pg import DatabaseUrls
from tests.service import Service, scripted, served, stream
from tests.upstream.fixtures import ScriptedUpstream

LIMITED = EdgeConfig(limits=LimitsConfig(rate=RateConfig(limit=3, burst=2, window_s=3600)))
SOON_OVER = EdgeConfig(limits=LimitsConfig(rate=RateConfig(limit=2, burst=0, window_s=1)))
REFUSAL = "Rate limit exceeded. Please retry later."

Serve = Callable[[EdgeConfig], AbstractAsyncContextManager[Service]]


@pytest.fixture
def serve(fresh_database: DatabaseUrls, upstream: ScriptedUpstream, tmp_path: Path) -> Serve:
    """Serves with these limits."""
    return lambda edge: served(fresh_database, upstream, tmp_path, edge=edge)


def told(answer: httpx.Response) -> tuple[int, int]:
    """Return limit and remaining, and check the end of the window."""
    reset = int(answer.headers["x-ratelimit-reset"])
    assert time.time() < reset <= time.time() + 3601
    assert reset % 3600 == 0
    return int(answer.headers["x-ratelimit-limit"]), int(answer.headers["x-ratelimit-remaining"])


@pytest.mark.promise(
    "conversations:11-requests-per-key",
    "conversations:11-headers",
    "conversations:11-remaining-never-below-0",
    "conversations:11-reset-is-the-end-of-the-window",
    "conversations:11-refusal-headers-and-body",
)
async def test_the_burst_is_let_through_and_the_next_call_refused(serve: Serve) -> None:
    async with serve(LIMITED) as service:
        tenant = await service.tenant()
        async with service.client(tenant) as client:
            seen = [await client.get("/api/v1/chats") for _ in range(5)]
            assert [answer.status_code for answer in seen] == [200] * 5
            assert [told(answer) for answer in seen] == [(3, 2), (3, 1), (3, 0), (3, 0), (3, 0)]
            for _ in range(2):  # the second is refused from memory
                refused = await client.get("/api/v1/chats")
                assert refused.status_code == 429
                assert refused.json() == {"code": 429, "message": REFUSAL, "data": None}
                assert told(refused) == (3, 0)
                assert 1 <= int(refused.headers["retry-after"]) <= 60
            other = await service.tenant(tenant_id=tenant.id)
            async with service.client(other) as others:  # a limit is of a key, not of a tenant
                assert told(await others.get("/api/v1/chats")) == (3, 2)


@pytest.mark.promise("conversations:11-headers", "conversations:11-checked-after-auth-before-validation")
async def test_every_authenticated_answer_tells_how_the_key_stands(serve: Serve) -> None:
    """Streams, refusals of every sort, a missing scope; what is not authenticated tells and counts nothing."""
    edge = EdgeConfig(limits=LimitsConfig(rate=RateConfig(limit=7, burst=0, window_s=3600)))
    async with serve(edge) as service:
        tenant = await service.tenant()
        chat = await service.chat(tenant)
        path = f"/api/v1/chats/{chat.id}/completions"
        async with service.client(tenant) as client, service.client() as nobody:
            streamed = await stream(client, "POST", path, json={"question": scripted(pieces=2)})
            assert streamed.headers["content-type"].startswith("text/event-stream")
            assert streamed.headers["x-ratelimit-remaining"] == "6"
            for expected, answer in (
                (400, await client.post(path, content=b"{")),
                (404, await client.get("/api/v1/turns/none")),
                (404, await client.post(path, json={"question": "x", "session_id": "none"})),
            ):
                assert answer.status_code == expected
                assert "x-ratelimit-reset" in answer.headers
            assert told(answer) == (7, 3)
            openai = await client.post(
                f"/api/v1/chats_openai/{chat.id}/chat/completions",
                json={"model": "m", "stream": False, "messages": [{"role": "user", "content": scripted(pieces=2)}]},
            )
            assert told(openai) == (7, 2)
            assert openai.headers["x-ratelimit-limit-requests"] == "7"
            assert openai.headers["x-ratelimit-remaining-requests"] == "2"
            assert openai.headers["x-ratelimit-reset-requests"].endswith("s")
            assert openai.headers["openai-version"] == "2020-10-01"
            assert not {"openai-version", "openai-processing-ms"} & set(answer.headers)
            for answer in (
                await nobody.get("/api/v1/chats"),
                await nobody.get("/api/v1/chats", headers={"Authorization": "Bearer nonsense"}),
                await client.get("/livez"),
                await client.get("/readyz"),
                await client.get("/v1/system/healthz"),
                await client.get("/openapi.json"),
            ):
                assert "x-ratelimit-limit" not in answer.headers
            assert told(await client.get("/api/v1/chats")) == (7, 1)
            assert told(await client.get("/api/v1/chats")) == (7, 0)
            refused = await client.post(path, content=b"{")  # before anything is validated
            assert (refused.status_code, refused.json()["message"]) == (429, REFUSAL)
            gone = await client.get("/livez")
            assert gone.status_code == 200
        narrow = await service.tenant(frozenset({Scope.READ}))
        async with service.client(narrow) as client:
            forbidden = await client.post("/api/v1/chats", json={"name": "x"})
            assert (forbidden.status_code, told(forbidden)) == (403, (7, 6))


@pytest.mark.promise("conversations:11-limits-in-every-dialect", "conversations:11-refusal-headers-and-body")
async def test_ragflow_clients_are_limited_too(serve: Serve) -> None:
    async with serve(SOON_OVER) as service:
        tenant = await service.tenant()
        async with service.client(tenant) as client:
            answers = [await client.get("/compat/0.22/api/v1/chats") for _ in range(12)]
            refused = [answer for answer in answers if answer.status_code == 429]
            assert refused
            assert refused[0].json() == {"code": 429, "message": REFUSAL, "data": None}
            assert refused[0].headers["retry-after"] == "1"
            assert refused[0].headers["x-ratelimit-remaining"] == "0"


@pytest.mark.promise("conversations:11-embed-tokens-count-with-their-key")
async def test_a_token_counts_with_the_key_it_hangs_on(serve: Serve) -> None:
    async with serve(LIMITED) as service:
        tenant = await service.tenant()
        chat = await service.chat(tenant)
        child = make_key(
            tenant_id=tenant.id, pepper=PEPPER, now=datetime.now(UTC), kind=KeyKind.EMBED, parent_id=tenant.key_id
        )
        async with service.database.unit(tenant.id) as unit:
            await unit.keys.add(child.stored, child.hash)
        async with service.client(tenant) as client:
            assert told(await client.get("/api/v1/chats")) == (3, 2)
            page, token = f"/api/v1/chatbots/{chat.id}/info", {"Authorization": f"Bearer {child.secret}"}
            by_child = await client.get(page, headers=token)
            assert (by_child.status_code, told(by_child)) == (200, (3, 1))
            assert told(await client.get("/api/v1/chats")) == (3, 0)
            assert [(await client.get(page, headers=token)).status_code for _ in range(3)] == [200, 200, 429]
            assert (await client.get("/api/v1/chats")).status_code == 429


@pytest.mark.promise("conversations:11-database-away")
async def test_without_the_database_a_call_is_refused_as_unavailable(serve: Serve) -> None:
    async with serve(LIMITED) as service:
        tenant = await service.tenant()
        async with service.client(tenant) as client:
            assert (await client.get("/api/v1/chats")).status_code == 200
            counters = service.parts.limits.requests._counter
            assert isinstance(counters, LimitCounters)
            there, counters._dsn = counters._dsn, "postgresql://nobody@127.0.0.1:1/none"
            await counters.close()
            away = await client.get("/api/v1/chats")
            assert (away.status_code, away.json()["code"]) == (503, 500)
            assert away.headers["retry-after"] == "2"
            counters._dsn = there
            assert (await client.get("/api/v1/chats")).status_code == 200
