"""Which pages may read what routes for pages answer (conversations.md 7.1; openai.md 1.3)."""

from dataclasses import replace

import httpx
import pytest

from app.domain.chats import Chat
from app.main import WebConfig, build_app
from tests.bots.world import SHOP, embedded, minted, page, visiting
from tests.conftest import Tenant
from tests.service import Service, on_a_socket, scripted

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
        assert "x-request-id" in answer.headers["access-control-expose-headers"]
        assert "Origin" in answer.headers["vary"]


@pytest.mark.promise("conversations:7.1-cors")
async def test_pages_of_other_origins_read_nothing(service: Service, tenant: Tenant, chat: Chat) -> None:
    token = await minted(service, tenant, chat.id, "ada")
    for bot in (
        page(service, token, chat.id, "https://evil.example"),
        page(service, "unknown", chat.id, SHOP),
        replace(await embedded(service, tenant, chat.id)),
    ):
        async with bot.client:
            headers = {"Origin": bot.client.headers.get("origin", "https://evil.example")}
            answer = await bot.client.get(f"{bot.path}/info", headers=headers)
            assert ALLOWED not in answer.headers


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
