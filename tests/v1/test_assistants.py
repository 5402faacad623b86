"""Assistants under `/v1/chat/completions`: results and streams (openai.md 3.1 to 3.6)."""

from typing import Any

import openai
import pytest

from app.domain.chats import Chat
from tests.conftest import Tenant
from tests.service import Service
from tests.v1.assistants import asked_of, asks, chunks_of, content_of, knowing, official, says


@pytest.mark.promise("openai:CC-01")
async def test_a_minimal_call_gives_every_key_of_a_completion(service: Service, tenant: Tenant, chat: Chat) -> None:
    async with official(service, tenant) as client:
        raw = await client.chat.completions.with_raw_response.create(model=chat.id, messages=says("Two words."))
        again = await client.chat.completions.create(model=chat.id, messages=says("Two words."))
    body: dict[str, Any] = raw.http_response.json()
    message = body["choices"][0]["message"]

    assert body["id"].startswith("chatcmpl-")
    assert body["id"] != again.id
    assert (body["object"], body["model"]) == ("chat.completion", chat.id)
    assert isinstance(body["created"], int)
    assert body["system_fingerprint"] == again.system_fingerprint
    assert (message["role"], message["content"], message["refusal"]) == ("assistant", "Two words.", None)
    assert message["annotations"] == []
    assert "tool_calls" not in message
    assert (body["choices"][0]["finish_reason"], body["choices"][0]["logprobs"]) == ("stop", None)
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0
    assert usage["completion_tokens_details"] == {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    }
    assert body["parley"] == {"session_id": None, "message_id": body["id"].removeprefix("chatcmpl-")}


STREAMED: list[dict[str, Any]] = [
    {"text": "Some words, at last."},
    {"text": "Thought over.", "think": "hm well"},
    {"text": ""},
    {"refusal": "I will not say that."},
]


@pytest.mark.promise("openai:CC-02", "openai:CC-03", "openai:CC-06")
async def test_a_stream_tells_what_a_whole_answer_tells(service: Service, tenant: Tenant, chat: Chat) -> None:
    for directive in STREAMED:
        await assert_both_ways_tell_the_same(service, tenant, chat, directive)


async def assert_both_ways_tell_the_same(
    service: Service, tenant: Tenant, chat: Chat, directive: dict[str, Any]
) -> None:
    call: dict[str, Any] = {"model": chat.id, "messages": asks(**directive)}
    async with official(service, tenant) as client:
        raw = await client.chat.completions.with_raw_response.create(**call)
        chunks = await chunks_of(client, **call, stream_options={"include_usage": True})
    whole = raw.http_response.json()
    message = whole["choices"][0]["message"]
    deltas = [one["choices"][0]["delta"] for one in chunks if one["choices"]]

    assert [delta.get("role") for delta in deltas] == ["assistant"] + [None] * (len(deltas) - 1)
    assert len({(one["id"], one["created"], one["model"], one["system_fingerprint"]) for one in chunks}) == 1
    for name in ("content", "refusal", "reasoning_content"):
        assert "".join(delta.get(name) or "" for delta in deltas) == (message.get(name) or "")
    assert deltas[-1]["annotations"] == message["annotations"]
    finishes = [one["choices"][0]["finish_reason"] for one in chunks if one["choices"]]
    assert finishes == [None] * (len(finishes) - 1) + [whole["choices"][0]["finish_reason"]]
    assert chunks[-1]["usage"] == whole["usage"]
    kinds = [name for delta in deltas for name in ("reasoning_content", "content", "refusal") if delta.get(name)]
    assert kinds == sorted(kinds, key=["reasoning_content", "content", "refusal"].index)


@pytest.mark.promise("openai:CC-04")
async def test_the_stream_helper_ends_with_the_message(service: Service, tenant: Tenant, chat: Chat) -> None:
    call: dict[str, Any] = {"model": chat.id, "messages": says("Helped along.")}
    async with official(service, tenant) as client, client.chat.completions.stream(**call) as stream:
        async for _ in stream:
            pass
        final = await stream.get_final_completion()

    assert final.choices[0].message.role == "assistant"
    assert final.choices[0].message.content == "Helped along."
    assert final.choices[0].finish_reason == "stop"
    assert (final.model_extra or {})["parley"]["message_id"] in final.id


@pytest.mark.promise("openai:CC-05")
async def test_usage_comes_once_and_last_and_only_when_asked_for(service: Service, tenant: Tenant, chat: Chat) -> None:
    async with official(service, tenant) as client:
        plain = await chunks_of(client, model=chat.id, messages=says("A b c."))
        told = await chunks_of(client, model=chat.id, messages=says("A b c."), stream_options={"include_usage": True})

    assert all("usage" not in one for one in plain)
    assert told[-1]["choices"] == []
    assert told[-1]["usage"]["total_tokens"] > 0
    assert all(one["usage"] is None for one in told[:-1])


AT_FAULT: list[tuple[dict[str, Any], str]] = [
    ({"temperature": 2.1}, "temperature"),
    ({"top_p": -0.1}, "top_p"),
    ({"presence_penalty": 3}, "presence_penalty"),
    ({"frequency_penalty": -3}, "frequency_penalty"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"n": 2}, "n"),
    ({"functions": [{"name": "f"}]}, "functions"),
    ({"function_call": "auto"}, "function_call"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"audio": {"voice": "x", "format": "wav"}}, "audio"),
    ({"web_search_options": {}}, "web_search_options"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools.0.type"),
    ({"logprobs": True}, "logprobs"),
    ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
    ({"messages": []}, "messages"),
    ({"variables": 3}, "variables"),
    ({"dataset_ids": "x"}, "dataset_ids"),
    ({"conversation": "x"}, "conversation"),
]


@pytest.mark.promise("openai:3.1-range", "openai:CC-09-assistant", "openai:3.1-refused", "openai:CC-19")
async def test_a_parameter_at_fault_is_named(service: Service, tenant: Tenant, chat: Chat) -> None:
    async with service.client(tenant) as client:
        for body, param in AT_FAULT:
            answer = await client.post("/v1/chat/completions", json={"model": chat.id, "messages": says("x"), **body})
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), body
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.promise("openai:3.1-forwarded", "openai:CC-21-assistant", "openai:3.1-null")
async def test_settings_reach_the_model_and_unknown_keys_do_not(service: Service, tenant: Tenant) -> None:
    chat = await service.chat(tenant, llm_setting={"temperature": 0.1, "top_p": 0.5})
    sent = {
        "temperature": 1.5,
        "max_completion_tokens": 50,
        "max_tokens": 9,
        "stop": ["END"],
        "seed": 7,
        "user": "u-1",
        "reasoning_effort": "low",
        "top_k": 3,
        "presence_penalty": None,
        "top_p": None,
        "modalities": ["text"],
        "store": False,
    }
    async with service.client(tenant) as client:
        answer = await client.post("/v1/chat/completions", json={"model": chat.id, "messages": says("x"), **sent})
    [body] = asked_of(service)

    assert answer.status_code == 200
    assert (body["temperature"], body["top_p"], body["max_tokens"], body["stop"]) == (1.5, 0.5, 50, ["END"])
    assert (body["seed"], body["user"], body["reasoning_effort"]) == (7, "u-1", "low")
    assert "top_k" not in body
    assert "presence_penalty" not in body


@pytest.mark.promise("openai:3.2-instructions", "openai:CC-15-assistant")
async def test_the_assistants_prompt_comes_first_and_the_callers_follows(
    service: Service, tenant: Tenant, chat: Chat
) -> None:
    messages = [
        {"role": "system", "content": "Speak Latin."},
        {"role": "user", "content": "Salve."},
        {"role": "assistant", "content": "Ave."},
        {"role": "developer", "content": [{"type": "text", "text": "No verse."}]},
        *says("Bene."),
    ]
    async with official(service, tenant) as client:
        await client.chat.completions.create(model=chat.id, messages=messages)
    sent = asked_of(service)[-1]["messages"]

    assert sent[0] == {"role": "system", "content": "Be brief.\n\nSpeak Latin.\n\nNo verse."}
    assert [one["role"] for one in sent] == ["system", "user", "assistant", "user"]
    assert sent[2]["content"] == "Ave."


@pytest.mark.promise("openai:3.2-final-assistant")
async def test_a_final_assistant_message_is_legal(service: Service, tenant: Tenant, chat: Chat) -> None:
    messages = [*says("and so on"), {"role": "assistant", "content": "It begins"}]
    async with official(service, tenant) as client:
        done = await client.chat.completions.create(model=chat.id, messages=messages)

    assert done.choices[0].message.content == "and so on"
    assert asked_of(service)[-1]["messages"][-1] == {"role": "assistant", "content": "It begins"}


@pytest.mark.promise("openai:3.2-missing-assistant", "openai:M-02-chat")
async def test_an_assistant_of_nobody_or_of_another_tenant_is_no_model(
    service: Service, tenant: Tenant, chat: Chat
) -> None:
    other = await service.tenant()
    async with official(service, other) as client:
        with pytest.raises(openai.NotFoundError) as refused:
            await client.chat.completions.create(model=chat.id, messages=says("x"))

    assert refused.value.code == "model_not_found"
    assert refused.value.param == "model"
    assert chat.id in str(refused.value)


@pytest.mark.promise("openai:CC-18-assistant")
async def test_a_failure_is_a_status_before_the_first_piece_and_an_event_after_it(
    service: Service, tenant: Tenant, chat: Chat
) -> None:
    async with official(service, tenant) as client:
        with pytest.raises(openai.InternalServerError) as before:
            await client.chat.completions.create(model=chat.id, messages=asks(status=500), stream=True)
        stream = await client.chat.completions.create(model=chat.id, messages=asks(error_after=4), stream=True)
        with pytest.raises(openai.APIError) as after:
            async for _ in stream:
                pass

    assert before.value.status_code == 502
    assert before.value.code == "upstream_error"
    assert not isinstance(after.value, openai.APIStatusError)
    assert (after.value.code, after.value.type) == ("upstream_error", "server_error")


@pytest.mark.promise("openai:CC-18-silent")
async def test_a_failed_stream_has_no_finish_and_no_done(service: Service, tenant: Tenant, chat: Chat) -> None:
    async with service.client(tenant) as client:
        body = {"model": chat.id, "messages": asks(error_after=4), "stream": True}
        answer = await client.post("/v1/chat/completions", json=body)

    assert "[DONE]" not in answer.text
    assert '"finish_reason":"stop"' not in answer.text
    assert answer.text.count('"error"') == 1


@pytest.mark.promise("openai:CC-08-assistant")
async def test_a_length_stop_is_no_error(service: Service, tenant: Tenant, chat: Chat) -> None:
    async with official(service, tenant) as client:
        done = await client.chat.completions.create(model=chat.id, messages=asks(finish="length", text="cut"))

    assert (done.choices[0].finish_reason, done.choices[0].message.content) == ("length", "cut")


@pytest.mark.promise("openai:CC-20-assistant", "openai:3.5-reasoning")
async def test_thinking_stands_beside_the_answer(service: Service, tenant: Tenant, chat: Chat) -> None:
    for way in ("inline", "reasoning_content", "reasoning"):
        await assert_thinking_stands_beside(service, tenant, chat, way)


async def assert_thinking_stands_beside(service: Service, tenant: Tenant, chat: Chat, way: str) -> None:
    call: dict[str, Any] = {"model": chat.id, "messages": asks(text="Yes.", think="is it so", think_as=way)}
    async with official(service, tenant) as client:
        raw = await client.chat.completions.with_raw_response.create(**call)
        chunks = await chunks_of(client, **call)
    body = raw.http_response.json()
    message = body["choices"][0]["message"]

    assert (message["content"], message["reasoning_content"]) == ("Yes.", "is it so")
    assert "reasoning" not in message
    assert body["usage"]["completion_tokens_details"]["reasoning_tokens"] == 3
    assert content_of(chunks) == "Yes."
    assert "think>" not in str(chunks)


@pytest.mark.promise("openai:CC-26-assistant")
async def test_four_byte_characters_come_whole(service: Service, tenant: Tenant, chat: Chat) -> None:
    text = "𝒜😀 " * 200
    async with official(service, tenant) as client:
        chunks = await chunks_of(client, model=chat.id, messages=says(text))

    assert content_of(chunks) == text
    assert len(chunks) > 200


@pytest.mark.promise("openai:CC-22-assistant")
async def test_messages_over_the_context_are_refused(service: Service, tenant: Tenant, chat: Chat) -> None:
    model = service.parts.catalogue.chat(None)
    model._upstreams[0].context_tokens = 60  # type: ignore[attr-defined]
    async with official(service, tenant) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(model=chat.id, messages=says("x " * 100))

    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "messages")
    assert service.upstream.calls() == []


@pytest.mark.promise("openai:CC-23")
async def test_with_nothing_found_the_assistant_says_its_own_words(service: Service, tenant: Tenant) -> None:
    known = await knowing(service, tenant)
    async with official(service, tenant) as client:
        done = await client.chat.completions.create(
            model=known.chat.id, messages=says("Never said."), extra_body={"dataset_ids": []}
        )
    choice = done.choices[0]

    assert (choice.message.content, choice.finish_reason) == ("Nothing is known of that.", "stop")
    reference: Any = (choice.message.model_extra or {})["reference"]
    assert reference == {"total": 0, "chunks": [], "doc_aggs": []}
