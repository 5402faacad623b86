"""Assistants on pages of others (conversations.md 7.1, 7.4)."""

from collections.abc import AsyncIterator
from itertools import product
from typing import Any

import httpx
import pytest

from app.domain.chats import Chat
from app.domain.ids import SessionId
from app.domain.principals import KeyKind
from app.domain.sessions import Session
from tests.bots.world import Page, embedded, page, visiting
from tests.conftest import Tenant
from tests.service import MODEL, Service, scripted, stream
from tests.tokens.world import told
from tests.v1.assistants import FACTS, QUESTION, asked_of, knowing

WRONG: list[dict[str, Any]] = [
    {"question": 5},
    {"question": ["x"]},
    {"session_id": 5},
    {"stream": "yes"},
    {"quote": 1},
    {"user_id": {}},
    {"legacy": "x"},
    {"stream_mode": "backwards"},
    {"on_disconnect": "x"},
    {"question": "a\u0000b"},
]
END = [{"code": 0, "message": "", "data": True}, "[DONE]"]
NO_BOT = "Authentication error: no access to this chatbot!"


@pytest.fixture
async def bot(service: Service, tenant: Tenant, chat: Chat) -> AsyncIterator[Page]:
    found = await embedded(service, tenant, chat.id)
    async with found.client:
        yield found


async def session_of(service: Service, tenant: Tenant, session_id: str) -> Session:
    async with service.database.unit(tenant.id) as unit:
        found = await unit.sessions.get(SessionId(session_id))
    assert found is not None
    return found


async def said_in(service: Service, tenant: Tenant, bot: Page, session_id: str) -> list[str]:
    """What the session holds, as its tenant sees it."""
    async with service.client(tenant) as client:
        answer = await client.get(f"/api/v1/chats/{bot.dialog_id}/sessions/{session_id}")
    return [one["content"] for one in answer.json()["data"]["messages"]]


# --- without a session -----------------------------------------------------------------------------------------------


@pytest.mark.promise("conversations:7.4-opener")
@pytest.mark.parametrize("question", [{}, {"session_id": "", "question": "How?"}])
async def test_without_a_session_the_opener_comes_whatever_is_asked(
    service: Service, tenant: Tenant, bot: Page, question: dict[str, Any]
) -> None:
    body = {**question, "user_id": "u-1"}
    streamed = await stream(bot.client, "POST", f"{bot.path}/completions", json=body)
    whole = await bot.ask(**body)

    assert streamed.headers["content-type"] == "text/event-stream; charset=utf-8"
    first, *rest = streamed.data
    data: dict[str, Any] = {"answer": "Hello!", "reference": {}, "audio_binary": None, "id": None}
    assert first == {"code": 0, "message": "", "data": {**data, "session_id": first["data"]["session_id"]}}
    assert rest == END
    told_whole = whole.json()
    assert told_whole == {"code": 0, "data": {**data, "session_id": told_whole["data"]["session_id"]}}
    for session_id in (first["data"]["session_id"], told_whole["data"]["session_id"]):
        session = await session_of(service, tenant, session_id)
        assert (session.source, session.user_id, session.round, session.kind) == (None, "u-1", 0, "chat")
        assert await said_in(service, tenant, bot, session_id) == ["Hello!"]
    assert service.upstream.calls() == []


@pytest.mark.promise("conversations:7.4-variables")
async def test_other_keys_are_variables(service: Service, tenant: Tenant) -> None:
    prompt = {"system": "For {who}.", "prologue": "Hello {who}!", "parameters": [{"key": "who", "optional": False}]}
    chat = await service.chat(tenant, prompt_config=prompt)
    bot = await embedded(service, tenant, chat.id)
    async with bot.client:
        opened = (await bot.ask(who="Ada", llm_id="x", quote=True)).json()["data"]
        assert opened["answer"] == "Hello Ada!"
        session = await session_of(service, tenant, opened["session_id"])
        assert session.variables == {"who": "Ada"}
        assert (await bot.ask(question="Hi", session_id=opened["session_id"])).status_code == 200
        assert asked_of(service)[-1]["messages"][0] == {"role": "system", "content": "For Ada."}
        lacking = await bot.session()
        assert told(await bot.ask(question="Hi", session_id=lacking)) == (400, 102, "Miss parameter: who")


# --- in a session ----------------------------------------------------------------------------------------------------


@pytest.mark.promise("conversations:7.4-session", "conversations:7.4-events")
async def test_in_a_session_the_question_is_answered_as_a_stream(service: Service, tenant: Tenant, bot: Page) -> None:
    session_id = await bot.session()

    body = {"question": scripted(pieces=3), "session_id": session_id}
    events = await stream(bot.client, "POST", f"{bot.path}/completions", json=body)

    *pieces, final = events.data[:-2]
    assert events.data[-2:] == END
    assert all(set(event) == {"code", "message", "data"} for event in events.data[:-1])
    assert events.text == "word0 word1 word2 "
    assert {one["data"]["session_id"] for one in pieces} == {session_id}
    assert (final["data"]["answer"], final["data"]["final"]) == ("", True)
    assert final["data"]["final_content"] == "word0 word1 word2 "
    assert (await session_of(service, tenant, session_id)).round == 1


@pytest.mark.promise("conversations:7.4-session")
async def test_in_a_session_the_question_is_answered_as_one_object(service: Service, tenant: Tenant, bot: Page) -> None:
    session_id = await bot.session()
    said = ["Hello!"]
    for number in (1, 2):
        said += [scripted(text=f"Yes {number}."), f"Yes {number}."]
        answer = await bot.ask(question=said[-2], session_id=session_id)
        data = answer.json()["data"]
        assert (answer.status_code, data["answer"], data["session_id"]) == (200, f"Yes {number}.", session_id)
        assert (await session_of(service, tenant, session_id)).round == number
        assert await said_in(service, tenant, bot, session_id) == said
    assert told(await bot.ask(session_id=session_id)) == (400, 102, "Please input your question.")


@pytest.mark.promise("conversations:7.4-session-missing")
async def test_a_session_must_be_of_the_bot(
    service: Service, tenant: Tenant, bot: Page, client: httpx.AsyncClient
) -> None:
    other = await service.chat(tenant)
    elsewhere = (await client.post(f"/api/v1/chats/{other.id}/sessions", json={})).json()["data"]["id"]
    for session_id in ("0" * 32, elsewhere, "x", "\U0001f600"):
        for body in ({"question": "Hi"}, {}):
            answer = await bot.ask(session_id=session_id, **body)
            assert told(answer) == (404, 105, "Session not found!")


@pytest.mark.promise("conversations:7.4-page-chooses-nothing")
async def test_a_page_chooses_no_models_datasets_or_documents(service: Service, bot: Page) -> None:
    session_id = await bot.session()
    chosen: dict[str, Any] = {"llm_id": "nobody", "kb_ids": ["x"], "doc_ids": ["x"], "metadata_condition": "x"}
    settings = {"temperature": 1.25, "max_tokens": 3}
    answer = await bot.ask(question=scripted(text="Fine."), session_id=session_id, messages="x", **chosen, **settings)
    assert answer.json()["data"]["answer"] == "Fine."
    asked = asked_of(service)[-1]
    assert asked["model"] == MODEL
    assert 1.25 not in asked.values()
    assert 3 not in asked.values()


@pytest.mark.promise("conversations:7.4-missing", "conversations:7.1-tenant-22")
async def test_a_bot_of_another_tenant_is_none(service: Service, chat: Chat) -> None:
    rival = await service.tenant()
    for dialog_id in (chat.id, "0" * 32):
        bot = await embedded(service, rival, dialog_id)
        async with bot.client:
            assert told(await bot.ask(question="Hi")) == (404, 105, NO_BOT)
            assert told(await bot.ask(question="Hi", session_id="x")) == (404, 105, NO_BOT)
            answer = await bot.client.get(f"{bot.path}/info")
            unknown = f"Can't find dialog by ID: {dialog_id}"
            assert told(answer) == (404, 105, unknown)
            old = f"/compat/0.22{bot.path}"
            refused = await bot.client.post(f"{old}/completions", json={"question": "Hi"})
            assert (refused.status_code, refused.json()) == (200, {"code": 102, "message": NO_BOT})
            assert (await bot.client.get(f"{old}/info")).json() == {"code": 102, "message": unknown}


@pytest.mark.promise("conversations:7.4-missing")
async def test_a_deleted_bot_is_none(bot: Page, client: httpx.AsyncClient, chat: Chat) -> None:
    session_id = await bot.session()
    await client.delete(f"/api/v1/chats/{chat.id}")
    assert told(await bot.ask(question="Hi", session_id=session_id)) == (404, 105, NO_BOT)
    assert told(await bot.ask()) == (404, 105, NO_BOT)
    gone = await bot.client.get(f"{bot.path}/info")
    assert told(gone) == (404, 105, f"Can't find dialog by ID: {chat.id}")


@pytest.mark.promise("conversations:7.4-info")
async def test_what_a_page_shows_before_the_first_question(service: Service, tenant: Tenant) -> None:
    prompt = {"system": "Secret.", "prologue": "Hello {who}!", "tavily_api_key": "***"}
    shown, plain = [
        await service.chat(tenant, prompt_config=config, avatar="data:x", llm_id=llm)
        for config, llm in ((prompt, "scripted"), ({"system": "Secret."}, None))
    ]
    bot, other = [await embedded(service, tenant, chat.id) for chat in (shown, plain)]
    async with bot.client, other.client:
        assert (await bot.client.get(f"{bot.path}/info")).json() == {
            "code": 0,
            "data": {
                "title": shown.name,
                "avatar": "data:x",
                "prologue": "Hello {who}!",
                "has_tavily_key": True,
                "has_web_search_provider": True,
                "llm_id": "scripted",
            },
        }
        data = (await other.client.get(f"{other.path}/info")).json()["data"]
        assert (data["has_tavily_key"], data["has_web_search_provider"], data["llm_id"]) == (False, False, None)
        assert data["prologue"] == "Hi! I'm your assistant. What can I do for you?"


# --- keys ------------------------------------------------------------------------------------------------------------

ROUTES = [("POST", "completions"), ("GET", "info")]


@pytest.mark.promise("conversations:7.1-absent", "conversations:7.1-malformed", "conversations:7.1-unknown")
async def test_what_a_page_without_a_good_token_is_told(service: Service, bot: Page) -> None:
    token = bot.client.headers["authorization"].split()[1]
    no_token, unknown = "Authorization is not valid!", "Authentication error: API key is invalid!"
    async with service.client() as bare:
        for (method, name), (header, message) in product(
            ROUTES,
            (
                (None, no_token),
                ("", no_token),
                (token, no_token),
                ("Bearer", no_token),
                (f"Bearer {token} x", no_token),
                ("Bearer nobody", unknown),
                (f"Bearer {token[:-1]}", unknown),
            ),
        ):
            headers = {"Authorization": header} if header is not None else {}
            answer = await bare.request(method, f"{bot.path}/{name}", headers=headers, content=b"{no")
            assert told(answer) == (401, 103, message), header


@pytest.mark.promise("conversations:7.1-absent", "conversations:7.1-malformed", "conversations:7.1-unknown")
async def test_in_the_words_of_0_22(service: Service, bot: Page) -> None:
    token = bot.client.headers["authorization"].split()[1]
    absent = "AttributeError(\"'NoneType' object has no attribute 'split'\")"
    async with service.client() as bare:
        for headers, code, message in (
            ({}, 100, absent),
            ({"Authorization": token}, 102, 'Authorization is not valid!"'),
            ({"Authorization": "Bearer nobody"}, 102, 'Authentication error: API key is invalid!"'),
        ):
            answer = await bare.get(f"/compat/0.22{bot.path}/info", headers=headers)
            body = answer.json()
            assert (answer.status_code, body["code"], body["message"]) == (200, code, message)
            assert body.get("data") is None


@pytest.mark.promise("conversations:7.1-kinds", "conversations:1.4-two-secrets")
async def test_each_kind_of_key_stays_on_its_routes(service: Service, tenant: Tenant, bot: Page) -> None:
    refusal = (403, 104, "This kind of key may not be used here.")
    async with service.client(tenant) as client:
        for method, name in ROUTES:
            assert told(await client.request(method, f"{bot.path}/{name}", json={})) == refusal
    body = {"origin": "https://shop.example", "visitor": "v"}
    assert told(await bot.client.post(f"{bot.path}/visitor_tokens", json=body)) == refusal
    assert told(await bot.client.get("/api/v1/system/tokens")) == refusal
    assert told(await bot.client.get(f"/api/v1/chats/{bot.dialog_id}")) == refusal


@pytest.mark.promise("conversations:7.1-kinds")
async def test_an_embed_token_that_lost_its_key_opens_nothing(service: Service, tenant: Tenant, chat: Chat) -> None:
    """Tokens without any parent are from before parents were noted, and open what they did."""
    alone = await service.tenant(kind=KeyKind.EMBED, tenant_id=tenant.id)
    bot = page(service, alone.key, chat.id)
    async with bot.client:
        assert (await bot.ask()).status_code == 200


@pytest.mark.promise("conversations:7.4-body")
async def test_bodies_of_wrong_types(bot: Page) -> None:
    for body in WRONG:
        assert told(await bot.ask(**body))[:2] == (400, 102), body


@pytest.mark.promise("conversations:7.4-body")
async def test_bodies_that_are_none_of_ours(bot: Page) -> None:
    for content, message in (
        (b"{not json", "Malformed JSON syntax: Missing commas/brackets or invalid encoding"),
        (b"[]", "Request body must be a JSON object."),
    ):
        assert told(await bot.client.post(f"{bot.path}/completions", content=content)) == (400, 102, message)


# --- its turns -------------------------------------------------------------------------------------------------------


@pytest.mark.promise("conversations:7.4-turns")
async def test_a_page_follows_its_turn_again_and_stops_it(service: Service, tenant: Tenant, chat: Chat) -> None:
    ada, eve = [await visiting(service, tenant, chat.id, name) for name in ("ada", "eve")]
    async with ada.client, eve.client:
        body = {"question": scripted(pieces=3, stall_after=2), "session_id": await ada.session()}
        async with ada.client.stream("POST", f"{ada.path}/completions", json=body) as answer:
            turn = f"{ada.path}/turns/{answer.headers['x-turn-id']}"
            for method, path in (("GET", f"{turn}/events"), ("POST", f"{turn}/stop")):
                assert told(await eve.client.request(method, path)) == (404, 105, "Turn not found!")
            async for line in answer.aiter_lines():
                if "word1" in line:
                    break
            stopped = await ada.client.post(f"{turn}/stop")
        assert stopped.json() == {"code": 0, "data": {"id": turn.rsplit("/", 1)[-1], "state": "stopped"}}
        again = await stream(ada.client, "GET", f"{turn}/events")
        assert again.text == "word0 word1 "
        assert again.data[-3]["data"]["final_content"] == "word0 word1 "
        rest = await stream(ada.client, "GET", f"{turn}/events", headers={"Last-Event-ID": "3"})
        assert len(rest.data) < len(again.data)


@pytest.mark.promise("conversations:7.4-events", "conversations:7.4-whole-22")
async def test_in_0_22_each_event_has_the_whole_text_and_a_message(bot: Page) -> None:
    opened = await stream(bot.client, "POST", f"/compat/0.22{bot.path}/completions", json={"question": "x"})
    first, last = opened.data
    assert (first["message"], first["data"]["answer"], last) == ("", "Hello!", {"code": 0, "data": True})
    whole = (await bot.client.post(f"/compat/0.22{bot.path}/completions", json={"stream": False})).json()
    assert whole == {"code": 0, "data": {**first["data"], "session_id": whole["data"]["session_id"]}}
    body = {"question": scripted(pieces=2, gap_ms=20), "session_id": first["data"]["session_id"]}
    answered = await stream(bot.client, "POST", f"/compat/0.22{bot.path}/completions", json=body)
    assert answered.data[-1] == {"code": 0, "data": True}
    texts = [event["data"]["answer"] for event in answered.data[:-1]]
    assert set(texts) <= {"word0 ", "word0 word1 "}
    assert texts[-2:] == ["word0 word1 "] * 2
    assert all(event["message"] == "" for event in answered.data[:-1])


@pytest.mark.promise("conversations:7.4-events")
async def test_a_model_that_fails_is_told_as_on_the_assistants_own_route(bot: Page) -> None:
    session_id = await bot.session()
    broken = await bot.ask(question=scripted(status=500, error="no"), session_id=session_id)
    assert (broken.status_code, broken.json()["code"]) == (500, 500)
    events = await stream(
        bot.client,
        "POST",
        f"{bot.path}/completions",
        json={"question": scripted(error_after=1, gap_ms=5), "session_id": session_id},
    )
    assert events.data[-2:] == END
    assert (events.data[-3]["code"], events.data[-3]["data"]["reference"]) == (500, [])


@pytest.mark.promise("conversations:7.4-quote", "conversations:7.4-page-chooses-nothing")
async def test_a_bot_cites_only_when_asked_to(service: Service, tenant: Tenant) -> None:
    known = await knowing(service, tenant)
    elsewhere = {"doc_ids": ["0" * 32], "kb_ids": ["0" * 32]}
    bot = await embedded(service, tenant, known.chat.id)
    async with bot.client:
        session_id = await bot.session()
        found = [
            (await bot.ask(question=scripted(QUESTION, text=FACTS[0]), session_id=session_id, **more)).json()["data"]
            for more in ({}, {"quote": False}, {"quote": True}, {"quote": True, **elsewhere})
        ]
    assert [data["reference"] for data in found[:2]] == [{}, {}]
    assert [data["answer"] for data in found[:2]] == [FACTS[0], FACTS[0]]
    assert FACTS[0] in {chunk["content"] for chunk in found[2]["reference"]["chunks"]}
    assert "[ID:" in found[2]["answer"]
    assert found[3]["reference"]["chunks"] == found[2]["reference"]["chunks"]
