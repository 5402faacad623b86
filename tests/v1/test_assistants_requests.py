"""What a request to an assistant may say under `/v1`, and what of it reaches the model (openai.md 3.1, 3.2)."""

import re
from typing import Any

import openai
import pytest

from app.domain.chats import Chat
from tests.conftest import Tenant
from tests.service import Service
from tests.v1.assistants import asked_of, official, says
from tests.v1.raw import envelope

AT_FAULT: list[tuple[dict[str, Any], str]] = [
    ({"temperature": 2.1}, "temperature"),
    ({"top_p": -0.1}, "top_p"),
    ({"presence_penalty": 3}, "presence_penalty"),
    ({"frequency_penalty": -3}, "frequency_penalty"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"n": 2}, "n"),
    ({"metadata": {"k" * 65: "v"}}, "metadata"),
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
    ({"messages": [*says("x"), {"role": "function", "name": "f", "content": "1"}]}, "messages.1.role"),
    (
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]},
        "messages.0.content.0",
    ),
    ({"reference": "yes"}, "reference"),
    ({"session_id": 3}, "session_id"),
    ({"variables": 3}, "variables"),
    ({"dataset_ids": "x"}, "dataset_ids"),
    ({"conversation": "x"}, "conversation"),
]


@pytest.mark.promise(
    "openai:3.1-range", "openai:CC-09-assistant", "openai:3.1-refused", "openai:CC-19", "openai:1.9-budget"
)
async def test_a_parameter_at_fault_is_named(service: Service, tenant: Tenant, chat: Chat) -> None:
    """By a status, where a stream was asked for too."""
    async with service.client(tenant) as client:
        for body, param in AT_FAULT:
            for more in ({}, {"stream": True}) if param != "stream_options" else ({}, {"stream": False}):
                call = {"model": chat.id, "messages": says("x"), **body, **more}
                answer = await client.post("/v1/chat/completions", json=call)
                error = envelope(answer)
                assert (answer.status_code, error["param"], error["type"]) == (400, param, "invalid_request_error"), (
                    body
                )
                assert re.sub(r"[.\d]+$", "", param) in error["message"]
    assert service.upstream.calls() == []


@pytest.mark.promise("openai:3.1-forwarded", "openai:CC-21-assistant", "openai:3.1-null")
async def test_settings_reach_the_model_and_unknown_keys_do_not(service: Service, tenant: Tenant) -> None:
    own = {"temperature": 0.1, "top_p": 0.5, "presence_penalty": 0.2}
    chat = await service.chat(tenant, llm_setting=own)
    forwarded: dict[str, Any] = {
        "temperature": 1.5, "frequency_penalty": -1.5, "stop": ["END"], "seed": 7, "logit_bias": {"50": -100},
        "reasoning_effort": "low", "verbosity": "high", "prediction": {"type": "content", "content": "x"},
        "service_tier": "flex", "prompt_cache_key": "k", "user": "u-1", "safety_identifier": "s-1",
        "response_format": {"type": "text"},
    }  # fmt: skip
    ours = {
        "max_completion_tokens": 50, "max_tokens": 9, "presence_penalty": None, "top_p": None, "modalities": ["text"],
        "store": False, "metadata": {"a": "b"}, "reference": True, "variables": {"a": "b"}, "n": 1,
    }  # fmt: skip
    unknown = {"top_k": 3, "moderation": {"model": "m"}, "chat_template_kwargs": {"a": 1}}
    call: dict[str, Any] = {"model": chat.id, "messages": says("x")}
    async with service.client(tenant) as client:
        for more in ({**forwarded, **ours, **unknown}, {}):
            answer = await client.post("/v1/chat/completions", json=call | more)
            assert answer.status_code == 200, answer.text
    body, plain = asked_of(service)
    usual = {"model", "messages", "stream", "stream_options"}

    assert {name: body[name] for name in body if name not in usual} == {**own, **forwarded, "max_tokens": 50}
    assert {name: plain[name] for name in plain if name not in usual} == own


@pytest.mark.promise("openai:3.2-names")
async def test_names_of_speakers_reach_the_model(service: Service, tenant: Tenant, chat: Chat) -> None:
    before = [{"role": "user", "content": "Hi.", "name": "ann"}, {"role": "assistant", "content": "Yes?", "name": "bo"}]
    messages = [*before, says("Well.")[0] | {"name": "cy"}]
    async with official(service, tenant) as client:
        await client.chat.completions.create(model=chat.id, messages=messages)
    assert asked_of(service)[0]["messages"][1:] == messages


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


@pytest.mark.promise("openai:CC-22-assistant")
async def test_messages_over_the_context_are_refused(service: Service, tenant: Tenant, chat: Chat) -> None:
    model = service.parts.catalogue.chat(None)
    model._upstreams[0].context_tokens = 60  # type: ignore[attr-defined]
    async with official(service, tenant) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(model=chat.id, messages=says("x " * 100))

    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "messages")
    assert service.upstream.calls() == []
