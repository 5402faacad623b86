"""Assistants under `/v1/chat/completions`: results and streams (openai.md 3.1 to 3.6)."""

import re
import time
from typing import Any

import anyio
import openai
import pytest

from app.domain.chats import Chat
from tests.conftest import Tenant
from tests.service import Events, Service
from tests.v1.assistants import asked_of, asks, chunks_of, content_of, knowing, official, says
from tests.v1.ledger import ledger
from tests.v1.raw import assert_framed


@pytest.mark.promise("openai:CC-01", "openai:3.3-fingerprint")
async def test_a_minimal_call_gives_every_key_of_a_completion(service: Service, tenant: Tenant, chat: Chat) -> None:
    async with official(service, tenant) as client, service.client(tenant) as native:
        raw = await client.chat.completions.with_raw_response.create(model=chat.id, messages=says("Two words."))
        again = await client.chat.completions.create(model=chat.id, messages=says("Two words."))
        place, prompt = f"/api/v1/chats/{chat.id}", {**chat.prompt_config, "system": "Be long."}
        assert (await native.patch(place, json={"prompt_config": prompt})).json()["code"] == 0
        changed = await client.chat.completions.create(model=chat.id, messages=says("Two words."))
    body: dict[str, Any] = raw.http_response.json()
    message = body["choices"][0]["message"]

    assert re.fullmatch(r"chatcmpl-[A-Za-z0-9_-]{16,}", body["id"])
    assert len({body["id"], again.id, changed.id}) == 3
    assert (body["object"], body["model"]) == ("chat.completion", chat.id)
    assert isinstance(body["created"], int)
    assert abs(body["created"] - time.time()) < 60
    assert body["system_fingerprint"] == again.system_fingerprint
    assert len(body["system_fingerprint"]) > 8
    assert body["system_fingerprint"] != changed.system_fingerprint
    assert (message["role"], message["content"], message["refusal"]) == ("assistant", "Two words.", None)
    assert message["annotations"] == []
    assert "tool_calls" not in message
    assert (body["choices"][0]["finish_reason"], body["choices"][0]["logprobs"]) == ("stop", None)
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0, "audio_tokens": 0}
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
    {"text": "Cut", "finish": "length"},
    {"text": "Cut", "finish": "content_filter"},
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

    assert message["content"] == directive.get("text")
    assert message["refusal"] == directive.get("refusal")
    assert message.get("reasoning_content") == directive.get("think")
    assert {(one["object"], one["model"]) for one in chunks} == {("chat.completion.chunk", chat.id)}
    assert deltas[0] == {"role": "assistant", "content": None if "refusal" in directive else ""}
    assert all(any(delta.values()) for delta in deltas[1:-1])
    assert [delta.get("role") for delta in deltas] == ["assistant"] + [None] * (len(deltas) - 1)
    assert len({(one["id"], one["created"], one["model"], one["system_fingerprint"]) for one in chunks}) == 1
    for name in ("content", "refusal", "reasoning_content"):
        assert "".join(delta.get(name) or "" for delta in deltas) == (message.get(name) or "")
    assert deltas[-1]["annotations"] == message["annotations"]
    finishes = [one["choices"][0]["finish_reason"] for one in chunks if one["choices"]]
    assert finishes == [None] * (len(finishes) - 1) + [whole["choices"][0]["finish_reason"]]
    assert finishes[-1] == directive.get("finish", "stop")
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


@pytest.mark.promise("openai:T-13")
async def test_the_bytes_of_a_stream_are_those_both_clients_read(service: Service, tenant: Tenant, chat: Chat) -> None:
    async with service.client(tenant) as client:
        directives: list[dict[str, Any]] = [*STREAMED, {"text": "Zwei\nZeilen \u2028 🐘", "gap_ms": 1}]
        for more in ({}, {"stream_options": {"include_usage": True}}):
            for directive in directives:
                body = {"model": chat.id, "messages": asks(**directive), "stream": True, **more}
                assert_framed((await client.post("/v1/chat/completions", json=body)).content)


@pytest.mark.promise("openai:CC-05")
async def test_usage_comes_once_and_last_and_only_when_asked_for(service: Service, tenant: Tenant, chat: Chat) -> None:
    async with official(service, tenant) as client:
        plain = await chunks_of(client, model=chat.id, messages=says("A b c."))
        told = await chunks_of(client, model=chat.id, messages=says("A b c."), stream_options={"include_usage": True})

    assert all("usage" not in one for one in plain)
    assert [one for one in told if not one["choices"]] == told[-1:]
    assert told[-1]["usage"]["total_tokens"] > 0
    assert all(one["usage"] is None for one in told[:-1])


@pytest.mark.promise("openai:3.3-billed", "openai:CC-06", "openai:11-one-engine")
async def test_the_usage_is_what_is_billed(service: Service, tenant: Tenant) -> None:
    """The prompt and what was found count too, as the provider counts them: here in words."""
    known = await knowing(service, tenant)
    call: dict[str, Any] = {"model": known.chat.id, "messages": says("Forty tons.", cached=4)}
    async with official(service, tenant) as client:
        usage = (await client.chat.completions.create(**call)).usage
    [sent] = asked_of(service)
    words = sum(len(one["content"].split()) for one in sent["messages"])
    assert words > 30
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (words, 2, words + 2)
    assert usage.prompt_tokens_details.cached_tokens == 4
    rows: list[Any] = []
    with anyio.fail_after(5):
        while not rows:
            rows = [row for row in await ledger(service, tenant, 1) if row.kind == "chat"]
    assert [(row.prompt_tokens, row.completion_tokens, row.cached_tokens) for row in rows] == [(words, 2, 4)]
    assert [(row.chat_id, row.api_key_id, bool(row.turn_id)) for row in rows] == [(known.chat.id, tenant.key_id, True)]


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
        body = {"model": chat.id, "messages": asks(error_after=4, message="it broke"), "stream": True}
        answer = await client.post("/v1/chat/completions", json=body)

    events = Events(answer.status_code, answer.headers, answer.content).data
    assert "[DONE]" not in events
    assert content_of(events[:-1]) == "word0 word1 word2 word3 "
    assert {one["choices"][0]["finish_reason"] for one in events[:-1]} == {None}
    assert set(events[-1]) == {"error"}
    assert set(events[-1]["error"]) == {"message", "type", "param", "code"}
    assert "it broke" in events[-1]["error"]["message"]


@pytest.mark.promise("openai:CC-08-assistant")
async def test_a_length_stop_is_no_error(service: Service, tenant: Tenant, chat: Chat) -> None:
    async with official(service, tenant) as client:
        done = await client.chat.completions.create(model=chat.id, messages=asks(finish="length", text="cut"))

    assert (done.choices[0].finish_reason, done.choices[0].message.content) == ("length", "cut")


@pytest.mark.promise("openai:CC-20-assistant", "openai:3.5-reasoning")
async def test_thinking_stands_beside_the_answer(service: Service, tenant: Tenant, chat: Chat) -> None:
    for way, cut in (("inline", 0), ("inline", 1), ("inline", 3), ("reasoning_content", 0), ("reasoning", 2)):
        await assert_thinking_stands_beside(service, tenant, chat, think_as=way, cut=cut)


async def assert_thinking_stands_beside(service: Service, tenant: Tenant, chat: Chat, **directive: Any) -> None:
    messages = asks(text="Yes <x>.", think="is it so", gap_ms=0.5, **directive)
    call: dict[str, Any] = {"model": chat.id, "messages": messages}
    async with official(service, tenant) as client:
        raw = await client.chat.completions.with_raw_response.create(**call)
        chunks = await chunks_of(client, **call)
    body = raw.http_response.json()
    message = body["choices"][0]["message"]

    assert (message["content"], message["reasoning_content"]) == ("Yes <x>.", "is it so")
    assert "reasoning" not in message
    assert body["usage"]["completion_tokens_details"]["reasoning_tokens"] == 3
    assert content_of(chunks) == "Yes <x>."
    deltas = [one["choices"][0]["delta"] for one in chunks]
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "is it so"
    assert not any("reasoning" in delta for delta in deltas)


@pytest.mark.promise("openai:CC-26-assistant")
async def test_four_byte_characters_come_whole(service: Service, tenant: Tenant, chat: Chat) -> None:
    text = "𝒜😀 " * 200
    async with official(service, tenant) as client:
        chunks = await chunks_of(client, model=chat.id, messages=says(text))

    assert content_of(chunks) == text
    assert len(chunks) > 200


@pytest.mark.promise("openai:CC-23", "openai:3.2-query")
async def test_with_nothing_found_the_assistant_says_its_own_words(service: Service, tenant: Tenant) -> None:
    """Where nothing may be searched, and where nothing is found; what is searched for is the last thing asked."""
    known = await knowing(service, tenant)
    nowhere: dict[str, Any] = {"messages": says("Never said."), "extra_body": {"dataset_ids": []}}
    no_match: dict[str, Any] = {"messages": [*says("Never said."), *says("Never said.", "Xyzzy plugh?")]}
    match: dict[str, Any] = {"messages": [*says("Never said.", "Xyzzy plugh?"), *says("Forty tons.")]}
    async with official(service, tenant) as client:
        for call in (nowhere, no_match):
            done = await client.chat.completions.create(model=known.chat.id, **call)
            chunks = await chunks_of(client, model=known.chat.id, **call)
            choice, message = done.choices[0], done.choices[0].message.to_dict()
            assert (choice.message.content, choice.finish_reason) == ("Nothing is known of that.", "stop")
            assert message["reference"] == {"total": 0, "chunks": [], "doc_aggs": []}
            assert content_of(chunks) == "Nothing is known of that."
            assert chunks[-1]["choices"][0]["delta"] == {"annotations": [], "reference": message["reference"]}
        assert asked_of(service) == []
        found = await client.chat.completions.create(model=known.chat.id, **match)
    assert found.choices[0].message.content.startswith("Forty tons.")
    assert len(found.choices[0].message.to_dict()["reference"]["chunks"]) == 2
