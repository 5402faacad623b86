"""Tokens of visitors: one bot, one origin, one visitor, ten minutes (conversations.md 7.1, 9)."""

import time
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import anyio
import httpx
import pytest
from sqlalchemy import func, select, update

from app.db.identity import api_keys
from app.domain.chats import Chat
from app.domain.ids import KeyId, SessionId
from app.domain.principals import Scope
from app.engine.lease import VISITORS_KEPT_S
from tests.bots.world import SHOP, embedded, minted, page, visiting
from tests.conftest import Tenant
from tests.contract.routes import keyed
from tests.service import Service, scripted, stream
from tests.tokens.world import told

ELSEWHERE = (403, 104, "This visitor token may not be used from here.")
OTHER_BOT = (403, 104, "This visitor token is for another bot.")
NO_ORIGINS = [
    "", "*", "null", "shop.example", "ftp://shop.example", "https://", "https://shop.example/page", f"{SHOP}?x",
    f"{SHOP}#x", "https://u:p@shop.example", "https://shop.example:x", "https://bücher.example",
    "https://shop .example", "https://a,https://b", "https://[::1", "https://*.example",
    f"{SHOP}\r\nX: y", f" {SHOP}", 5,
]  # fmt: skip
IMPOSSIBLE: list[dict[str, Any]] = [
    {},
    {"origin": SHOP},
    {"visitor": "ada"},
    {"origin": SHOP, "visitor": ""},
    {"origin": SHOP, "visitor": 5},
    {"origin": SHOP, "visitor": "x" * 256},
    *({"origin": SHOP, "visitor": "ada", "ttl_s": bad} for bad in (0, 601, "60", True)),
]
NOT_FOUND = (404, 105, "Session not found!")


@pytest.mark.promise("conversations:7.1-visitor-token")
async def test_a_visitor_asks_as_itself(service: Service, tenant: Tenant, chat: Chat) -> None:
    bot = await visiting(service, tenant, chat.id, "ada")
    async with bot.client:
        session_id = await bot.session(user_id="somebody else")
        answer = await bot.ask(question=scripted(text="Yes."), session_id=session_id, user_id="x")
        assert answer.json()["data"]["answer"] == "Yes."
        assert (await bot.client.get(f"{bot.path}/info")).json()["data"]["title"] == chat.name
    async with service.database.unit(tenant.id) as unit:
        session = await unit.sessions.get(SessionId(session_id))
    assert session is not None
    assert (session.user_id, session.round) == ("ada", 1)


@pytest.mark.promise("conversations:7.1-visitor-token")
async def test_the_answer_that_makes_a_token(client: httpx.AsyncClient, chat: Chat) -> None:
    path = f"/api/v1/chatbots/{chat.id}/visitor_tokens"
    for more, ttl_s in (({}, 600), ({"ttl_s": 5}, 5), ({"ttl_s": 1}, 1), ({"ttl_s": 600, "visitor": "x" * 255}, 600)):
        answer = await client.post(path, json={"origin": SHOP, "visitor": "ada", **more})
        data = answer.json()["data"]
        assert set(data) == {"token", "expires_at"}
        assert data["token"].startswith("visitor-")
        assert len(data["token"]) == len("visitor-") + 43
        assert abs(data["expires_at"] - time.time() - ttl_s) < 3


@pytest.mark.promise("conversations:7.1-visitor-origin")
async def test_pages_of_other_origins_may_not_use_it(service: Service, tenant: Tenant, chat: Chat) -> None:
    token = await minted(service, tenant, chat.id, "ada")
    for origin in (None, "", "null", f"{SHOP}.evil", "http://shop.example", f"{SHOP}:444", "*", f"{SHOP}/"):
        bot = page(service, token, chat.id, origin)
        async with bot.client:
            assert told(await bot.ask(question="Hi")) == ELSEWHERE, origin
            assert told(await bot.client.get(f"{bot.path}/info")) == ELSEWHERE, origin


@pytest.mark.promise("conversations:7.1-visitor-origin")
async def test_an_origin_is_kept_as_browsers_write_it(service: Service, tenant: Tenant, chat: Chat) -> None:
    for given, sent in (
        ("https://Shop.Example/", SHOP),
        ("https://shop.example:443", SHOP),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://[::1]:80", "http://[::1]"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    ):
        bot = page(service, await minted(service, tenant, chat.id, "ada", given), chat.id, sent)
        async with bot.client:
            assert (await bot.client.get(f"{bot.path}/info")).status_code == 200, given


@pytest.mark.promise("conversations:7.1-visitor-bot")
async def test_it_opens_one_bot_alone(service: Service, tenant: Tenant, chat: Chat) -> None:
    other = await service.chat(tenant)
    token = await minted(service, tenant, chat.id, "ada")
    for dialog_id in (other.id, "0" * 32):
        bot = page(service, token, dialog_id, SHOP)
        async with bot.client:
            assert told(await bot.ask(question="Hi")) == OTHER_BOT
            assert told(await bot.client.get(f"{bot.path}/info")) == OTHER_BOT
    async with page(service, token, chat.id, SHOP).client as client:
        kind = (403, 104, "This kind of key may not be used here.")
        assert told(await client.get("/api/v1/chats")) == kind
        assert told(await client.post(f"/api/v1/chats/{chat.id}/completions", json={"question": "x"})) == kind
        body = {"origin": SHOP, "visitor": "eve"}
        assert told(await client.post(f"/api/v1/chatbots/{chat.id}/visitor_tokens", json=body)) == kind
        for path in ("/api/v1/searchbots/detail?search_id=x",):
            assert (await client.get(path)).status_code in (403, 404)


@pytest.mark.promise("conversations:7.1-visitor-sessions")
async def test_no_visitor_sees_a_session_of_another(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient
) -> None:
    """Each of many visitors, with names that are nearly the same, tries the sessions of all: its own alone open."""
    names = ["ada", "Ada", "ada ", "adaa", "a%", "ada\u0301", "adá"]
    pages = {name: await visiting(service, tenant, chat.id, name) for name in names}
    sessions = {name: await bot.session() for name, bot in pages.items()}
    plain = (await client.post(f"/api/v1/chats/{chat.id}/sessions", json={})).json()["data"]["id"]
    for bot in pages.values():
        assert told(await bot.ask(question="Hi", session_id=plain)) == NOT_FOUND
    for (name, bot), (owner, session_id) in product(pages.items(), sessions.items()):
        answer = await bot.ask(session_id=session_id)  # without a question: nothing is asked of the model
        wanted = (400, 102, "Please input your question.") if name == owner else NOT_FOUND
        assert told(answer) == wanted, (name, owner)
        if name != owner:
            assert told(await bot.ask(session_id=session_id, question="What was said?")) == NOT_FOUND
    for bot in pages.values():
        await bot.client.aclose()


@pytest.mark.promise("conversations:7.1-visitor-sessions")
async def test_a_visitor_comes_back_with_a_new_token(service: Service, tenant: Tenant, chat: Chat) -> None:
    first, later = [await visiting(service, tenant, chat.id, "ada") for _ in range(2)]
    async with first.client, later.client:
        session_id = await first.session()
        answer = await later.ask(question=scripted(text="Again."), session_id=session_id)
        assert answer.json()["data"]["answer"] == "Again."


@pytest.mark.promise("conversations:7.1-visitor-end")
async def test_it_ends_and_its_row_is_swept(service: Service, tenant: Tenant, chat: Chat) -> None:
    async with service.client(tenant) as client:
        path = f"/api/v1/chatbots/{chat.id}/visitor_tokens"
        answer = await client.post(path, json={"origin": SHOP, "visitor": "ada", "ttl_s": 2})
    kept = await visiting(service, tenant, chat.id, "eve")
    bot = page(service, answer.json()["data"]["token"], chat.id, SHOP)
    async with bot.client, kept.client:
        assert (await bot.client.get(f"{bot.path}/info")).status_code == 200
        await anyio.sleep(max(0, answer.json()["data"]["expires_at"] - time.time()) + 0.05)
        refused = await bot.client.get(f"{bot.path}/info")
        assert told(refused) == (401, 103, "Authentication error: API key is invalid!")
        assert (await kept.client.get(f"{bot.path}/info")).status_code == 200

    async def visitors() -> list[str]:
        async with service.database.unit(tenant.id) as unit:
            meant = select(api_keys.c.visitor).where(api_keys.c.kind == "visitor").order_by(api_keys.c.visitor)
            return list((await unit._connection.execute(meant)).scalars())

    await service.parts.caretaker.expire()
    assert await visitors() == ["ada", "eve"]
    async with service.database.unit(tenant.id) as unit:
        ended = datetime.now(UTC) - timedelta(seconds=VISITORS_KEPT_S + 1)
        old = update(api_keys).where(api_keys.c.visitor == "ada").values(expires_at=ended)
        await unit._connection.execute(old)
    await service.parts.caretaker.expire()
    assert await visitors() == ["eve"]
    async with service.database.unit(tenant.id) as unit:
        assert await unit.keys.get(KeyId(tenant.key_id)) is not None
        assert (await unit._connection.execute(select(func.count()).select_from(api_keys))).scalar_one() == 2


@pytest.mark.promise("conversations:7.1-visitor-minting")
async def test_what_no_visitors_token_can_be(client: httpx.AsyncClient, chat: Chat) -> None:
    for body in [*({"origin": origin, "visitor": "ada"} for origin in NO_ORIGINS), *IMPOSSIBLE]:
        answer = await client.post(f"/api/v1/chatbots/{chat.id}/visitor_tokens", json=body)
        assert told(answer)[:2] == (400, 102), body


@pytest.mark.promise("conversations:7.1-visitor-minting")
async def test_who_may_make_one(service: Service, tenant: Tenant, chat: Chat) -> None:
    path, body = f"/api/v1/chatbots/{chat.id}/visitor_tokens", {"origin": SHOP, "visitor": "ada"}
    reader = await service.tenant(scopes=frozenset({Scope.READ, Scope.MANAGE}), tenant_id=tenant.id)
    async with (
        service.client(reader) as reading,
        service.client(await service.tenant()) as rival,
        service.client() as bare,
        (await embedded(service, tenant, chat.id)).client as embed,
    ):
        assert told(await reading.post(path, json=body)) == (403, 104, "This API key lacks the scope `chat`.")
        assert told(await rival.post(path, json=body)) == (404, 105, f"Can't find dialog by ID: {chat.id}")
        assert told(await bare.post(path, json=body)) == (401, 103, "`Authorization` can't be empty")
        assert told(await embed.post(path, json=body)) == (403, 104, "This kind of key may not be used here.")
    async with service.client(tenant) as client:
        unknown = f"/api/v1/searches/{chat.id}/visitor_tokens"
        assert told(await client.post(unknown, json=body)) == (404, 105, "Can't find this Search App!")
        assert told(await client.post(path, content=b"{no"))[:2] == (400, 102)


@pytest.mark.promise("conversations:7.1-visitor-bot")
async def test_a_token_for_a_search_app_opens_no_assistant(
    service: Service, client: httpx.AsyncClient, chat: Chat
) -> None:
    made = await client.post("/api/v1/searches", json={"name": "docs"})
    if made.status_code == 404:
        pytest.fail("search apps are not there")
    search_id = made.json()["data"]["search_id"]
    body = {"origin": SHOP, "visitor": "ada"}
    answer = await client.post(f"/api/v1/searches/{search_id}/visitor_tokens", json=body)
    bot = page(service, answer.json()["data"]["token"], chat.id, SHOP)
    async with bot.client:
        assert told(await bot.ask()) == OTHER_BOT
        assert told(await bot.client.get(f"{bot.path}/info")) == OTHER_BOT


@pytest.mark.promise("conversations:7.1-visitor-bot", "conversations:7.1-kinds")
async def test_it_opens_no_other_route(service: Service, tenant: Tenant, chat: Chat) -> None:
    """Every route there is, before anything of the call is read: those for API keys, and those of other bots."""
    bot = page(service, await minted(service, tenant, chat.id, "ada"), chat.id, SHOP)
    async with bot.client:
        for one in keyed(service.app):
            answer = await bot.client.request(one.method, one.filled(), content=b"{not json")
            assert answer.status_code == 403, (str(one), answer.text)
            if one.is_page:
                assert told(answer) == OTHER_BOT, str(one)


@pytest.mark.promise("conversations:7.1-visitor-end")
async def test_an_answer_that_began_is_told_whole_after_its_token_ended(
    service: Service, tenant: Tenant, chat: Chat
) -> None:
    async with service.client(tenant) as client:
        path = f"/api/v1/chatbots/{chat.id}/visitor_tokens"
        made = (await client.post(path, json={"origin": SHOP, "visitor": "ada", "ttl_s": 1})).json()["data"]
    bot = page(service, made["token"], chat.id, SHOP)
    async with bot.client:
        body = {"question": scripted(pieces=8, gap_ms=200), "session_id": await bot.session()}
        streamed = await stream(bot.client, "POST", f"{bot.path}/completions", json=body)
        assert time.time() > made["expires_at"]
        assert (streamed.status, streamed.data[-1]) == (200, "[DONE]")
        assert told(await bot.ask(question="More", session_id=body["session_id"]))[:2] == (401, 103)
