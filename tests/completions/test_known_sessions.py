"""A question in a session this process knows costs one round trip before its model is asked; what is gone is told."""

from pathlib import Path

import httpx
import pytest

from app.domain.chats import Chat
from app.domain.ids import SessionId
from app.engine.turns import EngineConfig
from tests.completions.test_bodies import asked, path, refused, stored
from tests.conftest import Tenant
from tests.engine.test_cost import counted
from tests.pg import DatabaseUrls
from tests.service import Service, scripted, served
from tests.tasks import in_a_task
from tests.upstream.fixtures import ScriptedUpstream

OPENING = ("open_turn", "continue_session", "FROM sessions", "FROM chats", "FROM messages", "INTO", "make_room")


def opening(seen: list[str]) -> list[str]:
    """Return the statements that open a turn, of all that were seen."""
    return [one for one in seen if any(word in one for word in OPENING) and "turn_events" not in one]


@pytest.mark.promise("conversations:10.11-one-round-trip")
async def test_the_next_question_of_a_session_costs_one_statement(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asked(client, path(chat), question=scripted(text="Warm."))
    first = await asked(client, path(chat), question=scripted(text="One."))
    session_id = first["session_id"]
    for number in range(2):
        with counted(monkeypatch) as seen:
            second = await asked(client, path(chat), question=scripted(text="Two."), session_id=session_id)
        assert len(opening(seen)) == 1, opening(seen)
        turn = (await client.get(f"/api/v1/turns/{second['id']}")).json()["data"]
        said = [scripted(text="One."), "One.", *[scripted(text="Two."), "Two."] * number, scripted(text="Two.")]
        assert turn["usage"]["prompt_tokens"] == len(" ".join(["Be brief.", *said]).split())  # history and all
    assert [content for _, content in await stored(service, tenant, session_id)] == [
        "Hello!", scripted(text="One."), "One.", *[scripted(text="Two."), "Two."] * 2,
    ]  # fmt: skip


@pytest.mark.promise("conversations:10.11-one-round-trip")
async def test_the_variables_of_a_known_session_are_still_filled_in(
    service: Service, tenant: Tenant, client: httpx.AsyncClient
) -> None:
    prompt = {"system": "Call them {who}.", "parameters": [{"key": "who", "optional": False}], "prologue": "Hi!"}
    chat = await service.chat(tenant, prompt_config=prompt)
    sessions = f"/api/v1/chats/{chat.id}/sessions"
    nameless = (await client.post(sessions, json={})).json()["data"]["id"]
    named = (await client.post(sessions, json={"who": "Ann Lee"})).json()["data"]["id"]
    question = scripted(text="Yes.")
    for who in ({}, {}, {"who": "Bo"}):  # read, remembered, given anew
        answer = await asked(client, path(chat), question=question, session_id=named, **who)
        turn = (await client.get(f"/api/v1/turns/{answer['id']}")).json()["data"]
        prompt_words = turn["usage"]["prompt_tokens"]
        said = (await stored(service, tenant, named))[1:-1]
        system = f"Call them {who.get('who', 'Ann Lee')}."
        assert prompt_words == len(" ".join([system, *(content for _, content in said)]).split())
    for _ in range(2):
        told = await refused(client, path(chat), {"question": "?", "session_id": nameless})
        assert told == (400, 102, "Miss parameter: who")


@pytest.mark.promise("conversations:10.11-one-round-trip", "conversations:4.2-errors")
async def test_a_known_session_that_has_gone_or_is_of_another_chat_is_refused(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient
) -> None:
    other = await service.chat(tenant)
    await asked(client, path(other), question=scripted(text="Warm."))
    session_id = (await asked(client, path(chat), question=scripted(text="One.")))["session_id"]
    await asked(client, path(chat), question=scripted(text="Two."), session_id=session_id)
    told = (404, 105, f"You don't own the session {session_id}")
    assert await refused(client, path(other), {"question": "?", "session_id": session_id}) == told
    before = await stored(service, tenant, session_id)
    rival = await service.tenant()
    async with service.client(rival) as theirs:
        refusal = await refused(theirs, path(chat), {"question": "?", "session_id": session_id})
        assert refusal == (404, 105, f"You don't own the chat {chat.id}")
    assert await stored(service, tenant, session_id) == before

    await client.request("DELETE", f"/api/v1/chats/{chat.id}/sessions", json={"ids": [session_id]})
    assert await refused(client, path(chat), {"question": "?", "session_id": session_id}) == told
    assert await stored(service, tenant, session_id) == []


@pytest.mark.promise("conversations:10.11-one-round-trip", "conversations:11-messages-per-session")
@pytest.mark.parametrize("on_full", ["trim", "reject"])
async def test_a_known_session_is_kept_within_its_limit(
    fresh_database: DatabaseUrls, upstream: ScriptedUpstream, tmp_path: Path, on_full: str
) -> None:
    engine = EngineConfig(max_session_messages=5, on_full=on_full)  # type: ignore[arg-type]
    async with in_a_task(served(fresh_database, upstream, tmp_path, engine=engine)) as service:
        tenant = await service.tenant()
        chat = await service.chat(tenant)
        async with service.client(tenant) as client:
            session_id = (await asked(client, path(chat), question=scripted(text="1.")))["session_id"]
            await asked(client, path(chat), question=scripted(text="2."), session_id=session_id)
            before = await stored(service, tenant, session_id)
            third = {"question": scripted(text="3."), "session_id": session_id}
            if on_full == "reject":
                assert await refused(client, path(chat), third) == (400, 102, "Session message limit reached.")
                assert await stored(service, tenant, session_id) == before
            else:
                await asked(client, path(chat), **third)
                held = [content for _, content in await stored(service, tenant, session_id)]
                assert held == ["Hello!", scripted(text="2."), "2.", scripted(text="3."), "3."]
            async with service.database.unit(tenant.id) as unit:
                session = await unit.sessions.get(SessionId(session_id))
            assert session is not None
            assert session.round == (2 if on_full == "reject" else 3)
