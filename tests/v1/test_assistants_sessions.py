"""Assistants bound to a session, variables, narrowing (openai.md 3.2, 3.9)."""

from typing import Any

import anyio
import httpx
import openai
import pytest

from app.domain.chats import Chat
from tests.conftest import Tenant
from tests.service import Service
from tests.v1.assistants import asked_of, asks, chunks_of, knowing, official, says
from tests.v1.ledger import ledger
from tests.v1.raw import envelope


async def session_of(client: httpx.AsyncClient, chat: Chat) -> str:
    made = await client.post(f"/api/v1/chats/{chat.id}/sessions", json={"name": "s"})
    session_id: str = made.json()["data"]["id"]
    return session_id


@pytest.mark.promise("openai:CC-24", "openai:3.9-names", "openai:3.9-parley", "openai:11-one-engine")
async def test_a_session_gives_the_history_and_keeps_the_turn_once(
    service: Service, tenant: Tenant, chat: Chat
) -> None:
    async with service.client(tenant) as native, official(service, tenant) as client:
        session_id = await session_of(native, chat)
        told, users, bound = list[str](), list[str](), {"session_id": session_id}
        names: list[dict[str, Any]] = [
            {"session_id": session_id, "user": "visitor-6"},
            {"metadata": {"session_id": session_id}},
            {"conversation": f"conv_{session_id}"},
            {"conversation": {"id": f"conv_{session_id}"}, "safety_identifier": "visitor-7"},
        ]
        for number, name in enumerate(names):
            done = await client.chat.completions.create(
                model=chat.id, messages=says(f"Answer {number}.", f"Question {number}?"), extra_body=name
            )
            assert (done.model_extra or {})["parley"]["session_id"] == session_id
            told.append((done.model_extra or {})["parley"]["message_id"])
            read = await native.get(f"/api/v1/chats/{chat.id}/sessions/{session_id}")
            users.append(read.json()["data"]["user_id"])
        streamed = await chunks_of(client, model=chat.id, messages=says("Last."), extra_body=bound)
        listed = await native.get(f"/api/v1/chats/{chat.id}/sessions", params={"id": session_id})
    [session] = listed.json()["data"]
    sent = asked_of(service)[3]["messages"]

    assert [one["role"] for one in sent] == ["system", *["user", "assistant"] * 3, "user"]
    assert [one["content"] for one in sent if one["role"] == "assistant"] == ["Answer 0.", "Answer 1.", "Answer 2."]
    assert [one["content"] for one in session["messages"] if one["role"] == "assistant"][1:] == [
        "Answer 0.", "Answer 1.", "Answer 2.", "Answer 3.", "Last."
    ]  # fmt: skip
    assert len(session["messages"]) == 11
    assert [*users, session["user_id"]] == [*["visitor-6"] * 3, "visitor-7", "visitor-7"]
    told.append(streamed[0]["parley"]["message_id"])
    assert [one["id"] for one in session["messages"] if one["role"] == "assistant"][1:] == told
    assert streamed[0]["parley"]["session_id"] == session_id
    assert all("parley" not in one for one in streamed[1:])


@pytest.mark.promise("openai:3.9-unknown-session", "openai:3.9-stateless")
async def test_sessions_of_others_are_unknown_and_calls_without_one_leave_none(
    service: Service, tenant: Tenant, chat: Chat
) -> None:
    other_chat = await service.chat(tenant)
    stranger = await service.tenant()
    strange_chat = await service.chat(stranger)
    async with service.client(tenant) as native, service.client(stranger) as strange:
        foreign = [await session_of(native, other_chat), await session_of(strange, strange_chat), "0" * 32]
        bodies: set[str] = set()
        async with official(service, tenant) as client:
            for session_id in foreign:
                for more in ({}, {"stream": True}):
                    with pytest.raises(openai.NotFoundError) as refused:
                        await client.chat.completions.create(
                            model=chat.id, messages=says("x"), extra_body={"session_id": session_id}, **more
                        )
                    assert (refused.value.code, refused.value.type) == (None, "invalid_request_error")
                    bodies.add(str(refused.value.body).replace(session_id, "<id>"))
            await client.chat.completions.create(model=chat.id, messages=says("x"))
        listed = await native.get(f"/api/v1/chats/{chat.id}/sessions")

    assert listed.json()["data"] == []
    assert len(bodies) == 1  # they look alike


@pytest.mark.promise("openai:CC-25", "openai:1.6-conversation-locked")
async def test_a_busy_session_refuses_at_once_and_a_retry_comes_after_it(
    service: Service, tenant: Tenant, chat: Chat
) -> None:
    async with service.client(tenant) as native, official(service, tenant, max_retries=4) as client:
        session_id = await session_of(native, chat)
        bound = {"session_id": session_id}
        slow = await client.chat.completions.create(
            model=chat.id, messages=asks("First?", pieces=4, gap_ms=250), stream=True, extra_body=bound
        )
        body = {"model": chat.id, "messages": says("Second.", "Second?"), **bound}
        with anyio.fail_after(1):
            refused = await native.post("/v1/chat/completions", json=body)
            also = await native.post("/v1/chat/completions", json=body | {"stream": True})
        second = await client.chat.completions.create(
            model=chat.id, messages=says("Second.", "Second?"), extra_body=bound
        )
        text = "".join([one.choices[0].delta.content or "" async for one in slow])
        listed = await native.get(f"/api/v1/chats/{chat.id}/sessions", params={"id": session_id})

    for one in (refused, also):
        error = envelope(one)
        assert (one.status_code, error["code"], error["type"]) == (409, "conversation_locked", "conflict_error")
        assert 0 < int(one.headers["retry-after-ms"]) < 1000
    assert second.choices[0].message.content == "Second."
    messages = listed.json()["data"][0]["messages"]
    assert [one["content"] for one in messages if one["role"] == "assistant"][1:] == [text, "Second."]
    assert [one["role"] for one in messages[1:]] == ["user", "assistant"] * 2  # what was refused left nothing


@pytest.mark.promise("openai:1.6-locked-longer", "openai:CC-25")
async def test_a_stock_client_waits_as_long_as_a_usual_answer_takes(
    service: Service, tenant: Tenant, chat: Chat
) -> None:
    """Its two retries come 0.5 s and 2.5 s after the first attempt: the answer before it takes 2 s."""
    async with service.client(tenant) as native, official(service, tenant, max_retries=2) as client:
        bound = {"session_id": await session_of(native, chat)}
        slow = await client.chat.completions.create(
            model=chat.id, messages=asks("First?", pieces=8, gap_ms=250), stream=True, extra_body=bound
        )
        waits: list[int] = []
        for count in ("0", "1", "2"):
            headers = {"x-stainless-retry-count": count}
            body = {"model": chat.id, "messages": says("No.", "Second?"), **bound}
            refused = await native.post("/v1/chat/completions", json=body, headers=headers)
            waits.append(int(refused.headers["retry-after-ms"]))
        second = await client.chat.completions.create(
            model=chat.id, messages=says("Second.", "Third?"), extra_body=bound
        )
        await slow.close()
    assert waits == [500, 2000, 8000]
    assert second.choices[0].message.content == "Second."


@pytest.mark.promise("openai:T-11", "openai:T-11-session")
async def test_attempts_that_fail_leave_one_question(service: Service, tenant: Tenant, chat: Chat) -> None:
    """Two attempts fail, the third succeeds: its history knows nothing of them, and nor does a later turn's."""
    async with service.client(tenant) as native, official(service, tenant, max_retries=2) as client:
        bound = {"session_id": await session_of(native, chat)}
        failing = asks("First?", text="At last.", status=401, times=2)  # 401: it is not asked again by ourselves
        done = await client.chat.completions.create(model=chat.id, messages=failing, extra_body=bound)
        await client.chat.completions.create(model=chat.id, messages=says("Next."), extra_body=bound)
    asked = [one["messages"] for one in asked_of(service)]

    assert done.choices[0].message.content == "At last."
    assert [[one["role"] for one in messages] for messages in asked[:3]] == [["system", "user"]] * 3
    assert [one["role"] for one in asked[3]] == ["system", "user", "assistant", "user"]
    assert asked[3][1]["content"] == failing[0]["content"]


@pytest.mark.promise("openai:CC-24", "openai:CC-22-knowledge")
async def test_a_long_session_leaves_room_for_an_answer(service: Service, tenant: Tenant, chat: Chat) -> None:
    """The oldest turns go so far that a twentieth of the context is left, whatever the turns' lengths."""
    model = service.parts.catalogue.chat(None)
    model._upstreams[0].context_tokens = 400  # type: ignore[attr-defined]
    async with service.client(tenant) as native, official(service, tenant) as client:
        bound = {"session_id": await session_of(native, chat)}
        for number in range(24):
            await client.chat.completions.create(
                model=chat.id, messages=says("so " * 10, f"{number}?"), max_tokens=200, extra_body=bound
            )
    sent = asked_of(service)
    assert min(one["max_tokens"] for one in sent) >= 20
    assert len(sent[-1]["messages"]) < 47


@pytest.mark.promise("openai:3.9-variables")
async def test_variables_fill_the_prompt_and_a_missing_one_is_named(service: Service, tenant: Tenant) -> None:
    prompt = {"system": "Speak as {role}.", "parameters": [{"key": "role", "optional": False}]}
    chat = await service.chat(tenant, prompt_config=prompt)
    async with official(service, tenant) as client:
        await client.chat.completions.create(
            model=chat.id, messages=says("Arr."), extra_body={"variables": {"role": "a pirate"}}
        )
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(model=chat.id, messages=says("x"))

    assert asked_of(service)[0]["messages"][0]["content"] == "Speak as a pirate."
    assert (refused.value.code, refused.value.param) == ("missing_required_parameter", "variables.role")


@pytest.mark.promise("openai:3.9-narrowing")
async def test_datasets_and_conditions_only_narrow(service: Service, tenant: Tenant) -> None:
    known, other = await knowing(service, tenant), await service.tenant()
    foreign = await knowing(service, other)
    async with official(service, tenant) as client:

        async def found(**narrow: Any) -> int:
            done = await client.chat.completions.create(model=known.chat.id, messages=says("Yes."), extra_body=narrow)
            reference: Any = (done.choices[0].message.model_extra or {})["reference"]
            return len(reference["chunks"])

        condition = {"conditions": [{"name": "harbour", "comparison_operator": "is", "value": "Bremen"}]}
        place = f"/api/v1/datasets/{known.dataset_id}/documents/{known.document_id}"
        async with service.client(tenant) as native:
            assert (await native.put(place, json={"meta_fields": {"harbour": "Kiel"}})).json()["code"] == 0
        of_kiel = {"conditions": [{"name": "harbour", "comparison_operator": "is", "value": "Kiel"}]}
        assert await found(metadata_condition=of_kiel) == 2
        assert await found(metadata_condition=of_kiel, dataset_ids=[foreign.dataset_id]) == 0
        assert await found() == 2
        assert await found(dataset_ids=[known.dataset_id, foreign.dataset_id]) == 2
        assert await found(dataset_ids=[foreign.dataset_id]) == 0
        assert await found(metadata_condition=condition) == 0


@pytest.mark.promise("openai:M-05-assistant")
async def test_every_assistant_listed_answers(service: Service, tenant: Tenant, chat: Chat) -> None:
    await service.chat(tenant)
    async with official(service, tenant) as client:
        listed = [one async for one in client.models.list()]
        assistants = [one.id for one in listed if (one.model_extra or {})["parley"]["kind"] == "assistant"]
        for name in assistants:
            done = await client.chat.completions.create(model=name, messages=says("Here."))
            assert (done.model, done.choices[0].message.content) == (name, "Here.")

    assert chat.id in assistants
    assert len(assistants) == 2


@pytest.mark.promise("openai:T-15-assistant", "openai:1.10-disconnect")
async def test_a_caller_who_leaves_ends_the_turn_and_frees_the_session(
    service: Service, tenant: Tenant, chat: Chat
) -> None:
    async with service.client(tenant) as native, official(service, tenant) as client:
        session_id = await session_of(native, chat)
        bound = {"session_id": session_id}
        stream = await client.chat.completions.create(
            model=chat.id, messages=asks(pieces=500, gap_ms=40), stream=True, extra_body=bound
        )
        async for _ in stream:
            break
        await stream.close()
        await service.upstream.wait_for(lambda calls: calls[0]["cancelled"], timeout_s=1.5)
        with anyio.fail_after(3):
            body = {"model": chat.id, "messages": says("Next."), **bound}
            while (await native.post("/v1/chat/completions", json=body)).status_code == 409:  # noqa: ASYNC110 - a socket
                await anyio.sleep(0.05)
        listed = await native.get(f"/api/v1/chats/{chat.id}/sessions", params={"id": session_id})

    messages = listed.json()["data"][0]["messages"]
    assert [one["role"] for one in messages[1:]] == ["user", "assistant"] * 2
    assert messages[-1]["content"] == "Next."
    assert messages[-3]["state"] == "stopped"
    assert messages[-3]["content"].startswith("word0 ")
    assert "word499" not in messages[-3]["content"]
    rows: list[Any] = []
    with anyio.fail_after(5):
        while len(rows) < 2:
            rows = [row for row in await ledger(service, tenant, 1) if row.kind == "chat"]
    assert (rows[0].is_estimated, 0 < rows[0].completion_tokens < 150) == (True, True)
