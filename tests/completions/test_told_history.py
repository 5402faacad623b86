"""A caller who brings the whole history (conversations.md 4.6): none of it is lost, doubled or kept from the model."""

from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.domain.chats import Chat
from app.domain.ids import SessionId, TurnId
from app.domain.models import ChatMessage
from tests.completions.test_bodies import asked, messages_of, path, refused, stored
from tests.completions.world import said
from tests.conftest import Tenant
from tests.contract.asking import told
from tests.engine.test_cost import counted
from tests.service import Service, scripted
from tests.upstream.fixtures import ScriptedUpstream

ALL = {"pass_all_history_messages": True}


def listed(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    """Return messages as a body holds them."""
    return [{"role": role, "content": content} for role, content in pairs]


@pytest.mark.promise("conversations:4.6-pass-all-failed")
async def test_a_question_whose_answer_failed_is_told_as_it_is_brought(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient, upstream: ScriptedUpstream
) -> None:
    bad = scripted(status=400, message="no")
    opener = (await client.post(path(chat), json={"question": "", "stream": False})).json()["data"]
    session_id = opener["session_id"]
    failed = await client.post(path(chat), json={"question": bad, "session_id": session_id, "stream": False})
    assert failed.status_code == 500
    last = scripted(text="Fine.")
    messages = listed(("user", bad), ("assistant", "made up since"), ("user", last))

    await asked(client, path(chat), session_id=session_id, messages=messages, **ALL)

    assert (await stored(service, tenant, session_id))[1:] == [
        ("user", bad), ("assistant", "made up since"), ("user", last), ("assistant", "Fine."),
    ]  # fmt: skip
    assert told(upstream) == [("system", "Be brief."), ("user", bad), ("assistant", "made up since"), ("user", last)]


@pytest.mark.promise("conversations:4.6-pass-all-streamed")
async def test_an_answer_brought_as_it_was_streamed_is_the_stored_one(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient
) -> None:
    question = scripted(text="Thirty days.")
    first = await asked(client, path(chat), question=question)
    session_id = first["session_id"]
    async with service.database.unit(tenant.id) as unit:
        cite = text("UPDATE messages SET content = :cited WHERE turn_id = :id AND role = 'assistant'")
        await unit._connection.execute(cite, {"id": first["id"], "cited": "Thirty days [ID:0][ID:2]."})
        await unit.session_messages.vote(SessionId(session_id), first["id"], thumbup=True, feedback="")
    for answer in ("Thirty days.", "<think>Hm, [ID:7].</think>Thirty days (ID: 0) (ID: 2)."):
        messages = listed(("user", question), ("assistant", answer), ("user", scripted(text="So.")))
        await asked(client, path(chat), session_id=session_id, messages=messages, **ALL)
        kept = (await messages_of(service, tenant, session_id))[2]
        assert (kept.turn_id, kept.content, kept.thumbup) == (first["id"], "Thirty days [ID:0][ID:2].", True)


@pytest.mark.promise("conversations:4.6-pass-all-ids")
async def test_an_answer_brought_otherwise_shares_its_id_with_its_question_and_leaves_no_turn_behind(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient
) -> None:
    question = scripted(text="One.")
    first = await asked(client, path(chat), question=question)
    session_id = first["session_id"]
    async with service.database.unit(tenant.id) as unit:
        await unit.session_messages.vote(SessionId(session_id), first["id"], thumbup=True, feedback="")
    messages = listed(("user", question), ("assistant", "Another."), ("user", scripted(text="Two.")))

    await asked(client, path(chat), session_id=session_id, messages=messages, **ALL)

    held = await messages_of(service, tenant, session_id)
    assert [one.position for one in held] == list(range(5))
    assert held[1].turn_id == held[2].turn_id != first["id"]
    assert (await client.get(f"/api/v1/turns/{first['id']}")).status_code == 404
    async with service.database.unit(tenant.id) as unit:
        session = await unit.sessions.get(SessionId(session_id))
        assert session is not None
        assert session.thumb_up == 0
        assert await unit.usage.has_turn(TurnId(first["id"]))  # what it cost stays counted


@pytest.mark.promise("conversations:4.6-pass-all-busy", "conversations:8.2-busy")
async def test_a_history_is_not_rewritten_while_an_answer_is_made(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient
) -> None:
    session_id = (await asked(client, path(chat), question=scripted(text="One.")))["session_id"]
    before = await stored(service, tenant, session_id)
    async with service.database.unit(tenant.id) as unit:
        running = text("UPDATE turns SET state = 'running' WHERE session_id = :id")
        await unit._connection.execute(running, {"id": session_id})
    async with service.database.unit(tenant.id) as unit:
        assert not await unit.told.replace(SessionId(session_id), (said("user", "Else?"),))
    engine = service.parts.engine
    engine._config = replace(engine._config, lock_timeout_s=0.2)
    busy = (400, 102, "Another answer is being generated for this session.")
    messages = listed(("user", "Else?"), ("assistant", "So."), ("user", "And?"))
    for body in ({"question": "And?"}, {"messages": messages, **ALL}):
        assert await refused(client, path(chat), {**body, "session_id": session_id}) == busy
    assert await stored(service, tenant, session_id) == before


@pytest.mark.promise("conversations:4.6-pass-all-cost")
async def test_a_long_history_costs_no_more_statements_than_a_short_one(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = SessionId((await asked(client, path(chat), question=scripted(text="One.")))["session_id"])
    costs: list[int] = []
    for pairs in (1, 400):
        history: list[ChatMessage] = []
        for number in range(pairs):
            history += [said("user", f"{pairs} {number}?"), said("assistant", f"{number}.")]
        with counted(monkeypatch) as seen:
            async with service.database.unit(tenant.id) as unit:
                assert await unit.told.replace(session_id, history)
        costs.append(len([one for one in seen if "messages" in one or "sessions" in one]))
        held: list[Any] = [(one.role, one.content) for one in await messages_of(service, tenant, session_id)]
        assert held[1:] == [(one.role, one.content) for one in history]
    assert costs[0] == costs[1]
