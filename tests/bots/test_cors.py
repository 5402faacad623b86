"""Which pages may read what routes for pages answer (conversations.md 7.1; openai.md 1.3)."""

from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from app.domain.chats import Chat
from app.domain.limits import LimitsConfig, RateConfig
from app.main import WebConfig, build_app
from routers.deps import EdgeConfig
from tests.bots.world import SHOP, embedded, minted, page, visiting
from tests.conftest import Tenant
from tests.pg import DatabaseUrls
from tests.service import Service, on_a_socket, scripted, served
from tests.upstream.fixtures import ScriptedUpstream

ALLOWED = "access-control-allow-origin"


def preflight(origin: str, method: str = "POST") -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang",
    }


@pytest.mark.promise("conversations:7.1-cors")
async def test_a_preflight_is_allowed_to_any_origin_on_routes_for_pages_alone(service: Service, chat: Chat) -> None:
    async with service.client() as bare:
        for name in ("completions", "info"):
            for origin in (SHOP, "https://anywhere.example"):
                answer = await bare.options(f"/api/v1/chatbots/{chat.id}/{name}", headers=preflight(origin))
                assert (answer.status_code, answer.content) == (204, b"")
                assert answer.headers[ALLOWED] == origin
                assert answer.headers["access-control-allow-headers"] == "authorization,content-type,x-stainless-lang"
                assert answer.headers["access-control-allow-methods"] == "GET, POST"
                assert "Origin" in answer.headers["vary"]
                assert "access-control-allow-credentials" not in answer.headers
        for path in (f"/api/v1/chatbots/{chat.id}/visitor_tokens", f"/api/v1/chats/{chat.id}/completions"):
            answer = await bare.options(path, headers=preflight(SHOP))
            assert ALLOWED not in answer.headers


@pytest.mark.promise("conversations:7.1-cors")
async def test_a_visitors_page_reads_answers_streams_and_refusals(service: Service, tenant: Tenant, chat: Chat) -> None:
    bot = await visiting(service, tenant, chat.id, "ada")
    async with bot.client:
        session_id = await bot.session()
        body = {"question": scripted(pieces=2), "session_id": session_id}
        answers = [
            await bot.client.get(f"{bot.path}/info"),
            await bot.client.post(f"{bot.path}/completions", json=body),
            await bot.ask(question="x", session_id="unknown"),
            await bot.ask(question=5),
        ]
    assert [answer.status_code for answer in answers] == [200, 200, 404, 400]
    assert answers[1].headers["content-type"].startswith("text/event-stream")
    for answer in answers:
        assert answer.headers[ALLOWED] == SHOP
        assert {"x-request-id", "x-turn-id"} <= set(answer.headers["access-control-expose-headers"].split(", "))
        assert "Origin" in answer.headers["vary"]


@pytest.mark.promise("conversations:7.1-cors")
async def test_pages_of_other_origins_read_nothing(service: Service, tenant: Tenant, chat: Chat) -> None:
    token = await minted(service, tenant, chat.id, "ada")
    for bot in (
        page(service, token, chat.id, "https://evil.example"),
        replace(await embedded(service, tenant, chat.id)),
    ):
        async with bot.client:
            headers = {"Origin": bot.client.headers.get("origin", "https://evil.example")}
            answer = await bot.client.get(f"{bot.path}/info", headers=headers)
            assert ALLOWED not in answer.headers


@pytest.mark.promise("conversations:7.1-cors")
async def test_a_page_reads_why_its_token_opens_nothing_any_more(service: Service, chat: Chat) -> None:
    """Nobody knows the token, so nobody knows its origin; the answer holds nothing but the refusal."""
    for prefix, status, code in (("", 401, 103), ("/compat/0.22", 200, 102)):
        for token in ("unknown", "two words"):
            async with page(service, token, chat.id, SHOP).client as client:
                for path in (f"/api/v1/chatbots/{chat.id}/info", "/api/v1/searchbots/detail?search_id=x"):
                    answer = await client.get(f"{prefix}{path}")
                    assert (answer.status_code, answer.json()["code"]) == (status, code)
                    assert answer.headers[ALLOWED] == SHOP


@pytest.mark.promise("conversations:7.1-cors", "conversations:11-headers")
async def test_a_page_reads_that_it_asked_too_often(
    fresh_database: DatabaseUrls, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    edge = EdgeConfig(limits=LimitsConfig(rate=RateConfig(limit=4, window_s=3600), max_streams=1))
    async with served(fresh_database, upstream, tmp_path, edge=edge) as service:
        tenant = await service.tenant()
        chat = await service.chat(tenant)
        bot = await visiting(service, tenant, chat.id, "ada")
        async with bot.client:
            slow = {"question": scripted(pieces=2, stall_after=1), "session_id": await bot.session()}
            async with bot.client.stream("POST", f"{bot.path}/completions", json=slow) as streamed:
                answers = [streamed, await bot.client.post(f"{bot.path}/completions", json={})]
            answers.append(await bot.client.get(f"{bot.path}/info"))
        assert [answer.status_code for answer in answers] == [200, 429, 429]
        assert answers[1].json()["message"] == "Too many concurrent streams."
        assert answers[2].json()["message"] == "Rate limit exceeded. Please retry later."
        for answer in answers:
            assert answer.headers[ALLOWED] == SHOP
            assert answer.headers["x-ratelimit-limit"] == "4"
            exposed = answer.headers["access-control-expose-headers"].split(", ")
            assert {"retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"} <= set(exposed)


@pytest.mark.promise("conversations:7.1-embed-origins")
@pytest.mark.parametrize(
    ("web", "readers"),
    [
        (WebConfig(), set()),
        (WebConfig(embed_origins=(SHOP,)), {SHOP}),
        (WebConfig(cors_origins=(SHOP,), embed_origins=("https://b.example",)), {SHOP, "https://b.example"}),
        (WebConfig(embed_origins=("*",)), {SHOP, "https://b.example", "https://c.example"}),
    ],
    ids=["none", "one", "both settings", "any"],
)
async def test_embed_tokens_are_for_pages_the_operator_allows(
    service: Service, tenant: Tenant, chat: Chat, web: WebConfig, readers: set[str]
) -> None:
    token = (await embedded(service, tenant, chat.id)).client.headers["authorization"]
    visitor = await minted(service, tenant, chat.id, "ada", "https://c.example")
    async with (
        on_a_socket(build_app(service.parts, web)) as base_url,
        httpx.AsyncClient(base_url=base_url, headers={"Authorization": token}) as client,
    ):
        for origin in (SHOP, "https://b.example", "https://c.example"):
            answer = await client.get(f"/api/v1/chatbots/{chat.id}/info", headers={"Origin": origin})
            assert answer.status_code == 200
            assert answer.headers.get(ALLOWED) == (origin if origin in readers else None)
            headers = {"Origin": origin, "Authorization": f"Bearer {visitor}"}
            answer = await client.get(f"/api/v1/chatbots/{chat.id}/info", headers=headers)
            assert answer.headers.get(ALLOWED) == (origin if origin == "https://c.example" else None)
