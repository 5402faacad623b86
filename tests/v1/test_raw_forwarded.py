"""What of a request reaches the provider of a raw model, and as it came (openai.md 3.1, 3.2)."""

from typing import Any

import httpx
import pytest

from tests.conftest import Tenant
from tests.service import Service
from tests.v1.raw import TOOLS, ask
from tests.v1.test_raw_requests import CALLING, PNG, tool

EDGES: list[dict[str, Any]] = [
    {
        "temperature": 0, "top_p": 0, "presence_penalty": -2, "frequency_penalty": -2, "max_tokens": 1, "n": 1,
        "logprobs": True, "top_logprobs": 0, "logit_bias": {"1": -100}, "stop": [],
    },
    {
        "temperature": 2, "top_p": 1, "presence_penalty": 2, "frequency_penalty": 2, "max_completion_tokens": 1,
        "logprobs": True, "top_logprobs": 20, "logit_bias": {"1": 100}, "stop": ["a", "b", "c", "d"],
        "metadata": {f"{at:064}": "v" * 512 for at in range(16)},
        "tools": [{"type": "function", "function": {"name": f"{at:064}"}} for at in range(128)],
    },
]  # fmt: skip


@pytest.mark.promise("openai:3.1-ranges", "openai:CC-17", "openai:3.7-declared")
async def test_what_is_just_allowed_is(client: httpx.AsyncClient, service: Service) -> None:
    for more in EDGES:
        answer = await client.post("/v1/chat/completions", json=ask("How?", "able", **more))
        assert answer.status_code == 200, answer.text
        sent = service.upstream.calls()[-1]["body"]
        assert [sent[name] for name in ("temperature", "top_p")] == [more["temperature"], more["top_p"]]


FORWARDED: dict[str, Any] = {
    "temperature": 0.3, "top_p": 0.9, "presence_penalty": -1.5, "frequency_penalty": 1, "seed": -7,
    "logit_bias": {"50": -100}, "max_tokens": 50, "stop": ["A", "B"], "n": 2, "logprobs": True, "top_logprobs": 3,
    "response_format": {"type": "json_object"}, "parallel_tool_calls": False,
    "tools": [*TOOLS, {"type": "custom", "custom": {"name": "grep"}}],
    "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
    "functions": [{"name": "f"}], "function_call": "auto", "reasoning_effort": "of tomorrow", "verbosity": "low",
    "prediction": {"type": "content", "content": "x"}, "service_tier": "flex", "prompt_cache_key": "k",
    "prompt_cache_retention": "24h", "user": "u", "safety_identifier": "s", "modalities": ["text", "audio"],
    "audio": {"voice": "x", "format": "wav"}, "web_search_options": {}, "moderation": {"model": "m"},
}  # fmt: skip


@pytest.mark.promise("openai:3.1-forwarded-raw")
async def test_every_parameter_reaches_the_provider(client: httpx.AsyncClient, service: Service) -> None:
    body = ask("How?", "able", **FORWARDED)
    assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
    assert service.upstream.calls()[0]["body"] == body | {"stream": False}


@pytest.mark.promise("openai:3.1-max-tokens")
async def test_the_limit_of_tokens_has_the_name_the_provider_knows(
    client: httpx.AsyncClient, service: Service, tenant: Tenant
) -> None:
    """Also where an assistant speaks with the model; of two limits that of the newer name counts."""
    chat = await service.chat(tenant, llm_id="new-names")
    old_chat = await service.chat(tenant)
    for model, name in (
        ("scripted", "max_tokens"),
        (old_chat.id, "max_tokens"),
        ("new-names", "max_completion_tokens"),
        (chat.id, "max_completion_tokens"),
    ):
        for limits, most in (
            ({"max_tokens": 9}, 9),
            ({"max_completion_tokens": 8}, 8),
            ({"max_tokens": 7, "max_completion_tokens": 30}, 30),
        ):
            answer = await client.post("/v1/chat/completions", json=ask("How?", model, **limits))
            assert answer.status_code == 200, answer.text
            sent = service.upstream.calls()[-1]["body"]
            assert {key: sent[key] for key in sent if key.startswith("max_")} == {name: most}, model


@pytest.mark.promise("openai:3.2-forwarded")
async def test_every_role_and_part_reaches_the_provider(client: httpx.AsyncClient, service: Service) -> None:
    parts = [
        {"type": "text", "text": "What?"},
        *(
            {"type": "image_url", "image_url": {"url": PNG, "detail": one}}
            for one in ("auto", "low", "high", "original")
        ),
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
        {"type": "file", "file": {"file_data": "aGk=", "filename": "a.txt"}},
        {"type": "file", "file": {"file_id": "file-1"}},
    ]
    refusal = {"type": "refusal", "refusal": "No."}
    messages = [
        {"role": "developer", "name": "d", "content": [{"type": "text", "text": "a"}]},
        {"role": "system", "name": "s", "content": [{"type": "text", "text": "b"}]},
        {"role": "user", "name": "u", "content": parts},
        {"role": "assistant", "name": "a", "content": [{"type": "text", "text": "c"}, refusal]},
        {"role": "assistant", "content": None, "refusal": "No."},
        CALLING | {"content": None},
        tool("b"),
        tool("a") | {"name": "add", "content": [{"type": "text", "text": "1"}]},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"},
        {"role": "assistant", "content": "So it"},
    ]
    answer = await client.post("/v1/chat/completions", json={"model": "able", "messages": messages})
    assert answer.status_code == 200, answer.text
    assert service.upstream.calls()[0]["body"]["messages"] == messages


@pytest.mark.promise("openai:CC-21", "openai:3.1-unknown", "openai:1.1-extra-body")
async def test_vendor_keys_get_through_and_ours_do_not(client: httpx.AsyncClient, service: Service) -> None:
    vendor: dict[str, Any] = {
        "top_k": 4,
        "min_p": 0.1,
        "chat_template_kwargs": {"think": [True, None]},
        "verbosity": "x",
    }
    ours = {
        "session_id": "s", "reference": True, "metadata": {"a": "b"}, "store": False, "variables": {"a": 1},
        "metadata_condition": {"conditions": []}, "dataset_ids": ["x"],
    }  # fmt: skip
    body = ask() | vendor | ours | {"extra_body": {"mirostat": 2}, "user": "u"}
    assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
    sent = service.upstream.calls()[0]["body"]
    assert (
        sent
        == {"model": "scripted", "messages": body["messages"], "stream": False, "mirostat": 2, "user": "u"} | vendor
    )
