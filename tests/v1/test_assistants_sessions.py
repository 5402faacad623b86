"""Assistants bound to a session, variables, narrowing, and what their models can do (openai.md 3.2, 3.8, 3.9)."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import openai
import pydantic
import pytest

from app.domain.chats import Chat
from app.llm.entries import ModelEntry
from tests.conftest import Tenant
from tests.pg import DatabaseUrls
from tests.service import Service, served
from tests.tasks import in_a_task
from tests.upstream.fixtures import ScriptedUpstream
from tests.v1.assistants import WEATHER, asked_of, asks, chunks_of, content_of, knowing, official, says

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 16


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
        names: list[dict[str, Any]] = [
            {"session_id": session_id},
            {"metadata": {"session_id": session_id}},
            {"conversation": f"conv_{session_id}"},
            {"conversation": {"id": f"conv_{session_id}"}, "safety_identifier": "visitor-7"},
        ]
        for number, name in enumerate(names):
            done = await client.chat.completions.create(
                model=chat.id, messages=says(f"Answer {number}.", f"Question {number}?"), extra_body=name
            )
            assert (done.model_extra or {})["parley"]["session_id"] == session_id
        streamed = await chunks_of(client, model=chat.id, messages=says("Last."), extra_body=names[0])
        listed = await native.get(f"/api/v1/chats/{chat.id}/sessions", params={"id": session_id})
    [session] = listed.json()["data"]
    sent = asked_of(service)[3]["messages"]

    assert [one["role"] for one in sent] == ["system", *["user", "assistant"] * 3, "user"]
    assert [one["content"] for one in session["messages"] if one["role"] == "assistant"][1:] == [
        "Answer 0.", "Answer 1.", "Answer 2.", "Answer 3.", "Last."
    ]  # fmt: skip
    assert len(session["messages"]) == 11
    assert session["user_id"] == "visitor-7"
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
        async with official(service, tenant) as client:
            for session_id in foreign:
                with pytest.raises(openai.NotFoundError):
                    await client.chat.completions.create(
                        model=chat.id, messages=says("x"), extra_body={"session_id": session_id}
                    )
            await client.chat.completions.create(model=chat.id, messages=says("x"))
        listed = await native.get(f"/api/v1/chats/{chat.id}/sessions")

    assert listed.json()["data"] == []


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
        second = await client.chat.completions.create(
            model=chat.id, messages=says("Second.", "Second?"), extra_body=bound
        )
        text = "".join([one.choices[0].delta.content or "" async for one in slow])
        listed = await native.get(f"/api/v1/chats/{chat.id}/sessions", params={"id": session_id})

    assert refused.status_code == 409
    assert refused.json()["error"]["code"] == "conversation_locked"
    assert 0 < int(refused.headers["retry-after-ms"]) < 1000
    assert second.choices[0].message.content == "Second."
    answers = [one["content"] for one in listed.json()["data"][0]["messages"] if one["role"] == "assistant"]
    assert answers[1:] == [text, "Second."]


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
        assert await found() == 2
        assert await found(dataset_ids=[known.dataset_id, foreign.dataset_id]) == 2
        assert await found(dataset_ids=[foreign.dataset_id]) == 0
        assert await found(metadata_condition=condition) == 0


@pytest.fixture
async def able(fresh_database: DatabaseUrls, upstream: ScriptedUpstream, tmp_path: Path) -> AsyncIterator[Service]:
    """A service with a model that can do everything, and one that can do nothing but talk."""
    entries = [
        ModelEntry(
            name="seer", provider="tests", kind="chat", base_url=upstream.base_url, api_key="x",
            capabilities=("vision", "tools", "json_schema", "logprobs"),
        ),
        ModelEntry(
            name="talker", provider="tests", kind="chat", base_url=upstream.base_url, api_key="x", capabilities=()
        ),
    ]  # fmt: skip
    async with in_a_task(served(fresh_database, upstream, tmp_path, entries=entries)) as found:
        yield found


def with_picture(url: str) -> list[Any]:
    [question] = says("A crane.")
    picture = {"type": "image_url", "image_url": {"url": url, "detail": "low"}}
    return [{"role": "user", "content": [{"type": "text", "text": question["content"]}, picture]}]


@pytest.mark.promise("openai:CC-14-assistant", "openai:3.8-capability", "openai:CC-10-assistant")
async def test_an_assistant_can_do_what_its_model_can(able: Service) -> None:
    tenant = await able.tenant()
    seer, talker = await able.chat(tenant, llm_id="seer"), await able.chat(tenant, llm_id="talker")
    good = "data:image/png;base64," + base64.b64encode(PNG).decode()
    form: Any = {"type": "json_object"}
    async with official(able, tenant) as client:
        for url in (good, "https://example.org/crane.png"):
            await client.chat.completions.create(model=seer.id, messages=with_picture(url))
            shown = asked_of(able)[-1]["messages"][-1]["content"][1]
            assert shown == {"type": "image_url", "image_url": {"url": url, "detail": "low"}}
        refusals: list[tuple[str, dict[str, Any], str]] = [
            (seer.id, {"messages": with_picture(good[:-4] + "!!!!")}, "invalid_image"),
            (talker.id, {"messages": with_picture(good)}, "unsupported_value"),
            (talker.id, {"messages": says("x"), "response_format": form}, "unsupported_value"),
            (talker.id, {"messages": says("x"), "tools": [WEATHER]}, "unsupported_value"),
            (talker.id, {"messages": says("x"), "logprobs": True}, "unsupported_parameter"),
        ]
        for model, call, code in refusals:
            with pytest.raises(openai.BadRequestError) as refused:
                await client.chat.completions.create(model=model, **call)
            assert refused.value.code == code
            assert model != talker.id or "talker" in str(refused.value)
        told = {"model": seer.id, "messages": says("Grüße, Welt 😀.", logprobs=True), "logprobs": True}
        whole = await client.chat.completions.create(**told)
        chunks = await chunks_of(client, **told)
    tokens = whole.choices[0].logprobs.content if whole.choices[0].logprobs else []
    streamed = [token for one in chunks for token in (one["choices"][0]["logprobs"] or {"content": []})["content"]]

    assert "".join(one.token for one in tokens or ()) == "Grüße, Welt 😀." == content_of(chunks)
    assert all(bytes(one.bytes or ()).decode() == one.token for one in tokens or ())
    assert [one["token"] for one in streamed] == [one.token for one in tokens or ()]


class Load(pydantic.BaseModel):
    """What a crane lifts."""

    tons: int


@pytest.mark.promise("openai:CC-16-parse")
async def test_the_parse_helper_gives_the_object(service: Service, tenant: Tenant, chat: Chat) -> None:
    async with official(service, tenant) as client:
        parsed = await client.chat.completions.parse(model=chat.id, messages=says('{"tons": 40}'), response_format=Load)

    assert parsed.choices[0].message.parsed == Load(tons=40)


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


@pytest.mark.promise("openai:T-15-assistant")
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
        await service.upstream.wait_for(lambda calls: calls[0]["cancelled"], timeout_s=3)
        with anyio.fail_after(3):
            body = {"model": chat.id, "messages": says("Next."), **bound}
            while (await native.post("/v1/chat/completions", json=body)).status_code == 409:  # noqa: ASYNC110 - a socket
                await anyio.sleep(0.05)
        listed = await native.get(f"/api/v1/chats/{chat.id}/sessions", params={"id": session_id})

    assert listed.json()["data"][0]["messages"][-1]["content"] == "Next."
