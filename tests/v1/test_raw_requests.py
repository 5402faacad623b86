"""What a request to a raw model may say, what of it reaches the provider, and what is refused (openai.md 3.1, 3.2)."""

import base64
import json
import re
from typing import Any

import httpx
import pytest

from app.domain.chats import Chat
from tests.service import Service
from tests.v1.raw import TOOLS, ask, joined, streamed

PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n0000").decode()


@pytest.mark.promise("openai:CC-07", "openai:CC-08")
async def test_stop_and_the_limit_of_tokens_reach_the_provider(client: httpx.AsyncClient) -> None:
    stopped = await streamed(client, ask(do={"text": "One two. END three"}, stop="END"))
    assert joined(stopped.data) == {"role": "assistant", "content": "One two. ", "calls": {}, "finish": "stop"}
    body = ask(do={"text": "One two"}, max_tokens=7, max_completion_tokens=1)
    short = (await client.post("/v1/chat/completions", json=body)).json()["choices"][0]
    assert (short["message"]["content"], short["finish_reason"]) == ("One ", "length")


@pytest.mark.promise("openai:CC-12", "openai:3.7-choice")
@pytest.mark.parametrize("choice", ["none", "auto", "required", {"type": "function", "function": {"name": "add"}}])
async def test_tool_choice_goes_to_the_provider(client: httpx.AsyncClient, service: Service, choice: Any) -> None:
    answer = await client.post("/v1/chat/completions", json=ask(tools=TOOLS, tool_choice=choice))
    assert answer.status_code == 200
    assert service.upstream.calls()[-1]["body"]["tool_choice"] == choice
    assert service.upstream.calls()[-1]["body"]["tools"] == TOOLS


CALLING: dict[str, Any] = {
    "role": "assistant",
    "tool_calls": [{"id": one, "type": "function", "function": {"name": "add", "arguments": "{}"}} for one in "ab"],
}


def tool(call_id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "1"}


USER = {"role": "user", "content": "How?"}


WRONG: list[tuple[dict[str, Any], str, str | None]] = [
    ({"model": None}, "model", "missing_required_parameter"),
    ({"model": ""}, "model", "missing_required_parameter"),
    ({"model": ["scripted"]}, "model", "invalid_type"),
    ({"extra_body": "top_k"}, "extra_body", "invalid_type"),
    ({"temperature": 2.1}, "temperature", "invalid_value"),
    ({"temperature": -0.1}, "temperature", "invalid_value"),
    ({"temperature": "1"}, "temperature", "invalid_type"),
    ({"temperature": True}, "temperature", "invalid_type"),
    ({"top_p": -0.1}, "top_p", "invalid_value"),
    ({"top_p": 1.1}, "top_p", "invalid_value"),
    ({"presence_penalty": 2.5}, "presence_penalty", "invalid_value"),
    ({"presence_penalty": -2.1}, "presence_penalty", "invalid_value"),
    ({"frequency_penalty": -3}, "frequency_penalty", "invalid_value"),
    ({"frequency_penalty": 2.1}, "frequency_penalty", "invalid_value"),
    ({"max_tokens": 0}, "max_tokens", "invalid_value"),
    ({"max_completion_tokens": 0}, "max_completion_tokens", "invalid_value"),
    ({"max_completion_tokens": 1.5}, "max_completion_tokens", "invalid_type"),
    ({"n": 0}, "n", "invalid_value"),
    ({"n": 129}, "n", "invalid_value"),
    ({"seed": "x"}, "seed", "invalid_type"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "invalid_value"),
    ({"stop": [""]}, "stop.0", "invalid_value"),
    ({"stop": ["a", 1]}, "stop", "invalid_type"),
    ({"top_logprobs": 21, "logprobs": True}, "top_logprobs", "invalid_value"),
    ({"top_logprobs": -1, "logprobs": True}, "top_logprobs", "invalid_value"),
    ({"top_logprobs": 2}, "top_logprobs", "invalid_value"),
    ({"stream": "yes"}, "stream", "invalid_type"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
    ({"stream": False, "stream_options": {}}, "stream_options", "invalid_value"),
    ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage", "invalid_type"),
    ({"logit_bias": {"1": 101}}, "logit_bias.1", "invalid_value"),
    ({"logit_bias": {"1": -101}}, "logit_bias.1", "invalid_value"),
    ({"metadata": {"k": 1}}, "metadata.k", "invalid_type"),
    ({"metadata": {"k" * 65: "v"}}, "metadata", "invalid_value"),
    ({"metadata": {"k": "v" * 513}}, "metadata.k", "invalid_value"),
    ({"metadata": {str(at): "v" for at in range(17)}}, "metadata", "invalid_value"),
    ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "missing_required_parameter"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
        "response_format.json_schema.name",
        "missing_required_parameter",
    ),
    ({"tools": [{"type": "function", "function": {}}]}, "tools.0.function.name", "missing_required_parameter"),
    ({"tools": [*TOOLS, {"type": "function", "function": {"name": "a b"}}]}, "tools.2.function.name", "invalid_value"),
    (
        {"tools": [{"type": "function", "function": {"name": "a" * 65}}]},
        "tools.0.function.name",
        "invalid_value",
    ),
    ({"tools": [*TOOLS * 64, TOOLS[0]]}, "tools", "invalid_value"),
    (
        {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "sub"}}},
        "tool_choice",
        "invalid_value",
    ),
    ({"tool_choice": "sometimes"}, "tool_choice", "invalid_value"),
    ({"messages": []}, "messages", "invalid_value"),
    ({"messages": None}, "messages", "missing_required_parameter"),
    ({"messages": "hi"}, "messages", "invalid_type"),
    ({"messages": [{"content": "x"}]}, "messages.0.role", "missing_required_parameter"),
    ({"messages": [{"role": "narrator", "content": "x"}]}, "messages.0.role", "invalid_value"),
    ({"messages": [{"role": "user"}]}, "messages.0.content", "missing_required_parameter"),
    ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages.0.content.0.type", "invalid_value"),
    (
        {"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": PNG}}]}]},
        "messages.0.content.0.type",
        "invalid_value",
    ),
    *(
        (
            {"messages": [{"role": role, "content": [{"type": "image_url", "image_url": {"url": PNG}}]}, USER]},
            "messages.0.content.0.type",
            "invalid_value",
        )
        for role in ("developer", "assistant")
    ),
    (
        {"messages": [USER, CALLING, tool("a") | {"content": [{"type": "image_url"}]}, tool("b")]},
        "messages.2.content.0.type",
        "invalid_value",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG, "detail": "x"}}]}]},
        "messages.0.content.0.image_url.detail",
        "invalid_value",
    ),
    ({"messages": [USER, tool("a")]}, "messages.1", "invalid_value"),
    ({"messages": [USER, CALLING, tool("a")]}, "messages.1", "invalid_value"),
    ({"messages": [USER, CALLING, tool("a"), USER]}, "messages.1", "invalid_value"),
    ({"messages": [USER, CALLING, tool("a"), tool("a")]}, "messages.3", "invalid_value"),
    ({"messages": [USER, CALLING, tool("a"), tool("b"), tool("b")]}, "messages.4", "invalid_value"),
]


@pytest.mark.promise(
    "openai:CC-12",
    "openai:CC-13",
    "openai:CC-17",
    "openai:CC-19",
    "openai:1.6-shape-400",
    "openai:3.1-ranges",
    "openai:3.2-parts",
    "openai:3.2-pairing",
    "openai:3.7-declared",
)
async def test_what_is_wrong_is_named(client: httpx.AsyncClient, service: Service) -> None:
    for body, param, code in WRONG:
        answer = await client.post("/v1/chat/completions", json=ask() | body)
        error = answer.json()["error"]
        assert (answer.status_code, error["param"], error["code"]) == (400, param, code), body
        assert error["type"] == "invalid_request_error"
        assert re.sub(r"[.\d]+$", "", param) in error["message"], error
    assert service.upstream.calls() == []


OPTIONAL = (
    "stream", "stream_options", "temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "logit_bias",
    "max_completion_tokens", "max_tokens", "stop", "n", "logprobs", "top_logprobs", "response_format", "tools",
    "tool_choice", "parallel_tool_calls", "functions", "function_call", "reasoning_effort", "verbosity", "user",
    "safety_identifier", "metadata", "store", "modalities", "audio", "session_id", "reference", "extra_body",
    "prediction", "service_tier", "prompt_cache_key", "web_search_options", "moderation", "conversation", "variables",
    "metadata_condition", "dataset_ids",
)  # fmt: skip


@pytest.mark.promise("openai:T-17", "openai:CC-17", "openai:1.4-null", "openai:3.1-null")
async def test_null_is_as_good_as_nothing(client: httpx.AsyncClient, service: Service, chat: Chat) -> None:
    for model in ("scripted", chat.id):
        answer = await client.post("/v1/chat/completions", json=ask("How?", model) | dict.fromkeys(OPTIONAL))
        assert answer.status_code == 200, answer.text
        assert (await client.post("/v1/chat/completions", json=ask("How?", model))).status_code == 200
    asked = [call["body"] for call in service.upstream.calls()]
    assert set(asked[0]) == {"model", "messages", "stream"}
    assert asked[2] == asked[3]
    text: dict[str, Any] = {"model": "scripted", "prompt": "How?"}
    answer = await client.post("/v1/completions", json=text | dict.fromkeys((*OPTIONAL, "echo", "suffix", "best_of")))
    assert answer.status_code == 200, answer.text
    assert service.upstream.calls()[-1]["body"] == text | {"stream": False}


@pytest.mark.promise("openai:1.4-null")
async def test_null_within_an_object_is_as_good_as_nothing(client: httpx.AsyncClient, chat: Chat) -> None:
    message = {"role": "user", "content": [{"type": "text", "text": "How?"}], "name": None, "tool_calls": None}
    said = {"role": "assistant", "content": "So.", "tool_calls": None, "refusal": None, "function_call": None}
    function = {"name": "f", "description": None, "parameters": None, "strict": None}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": None, "strict": None, "description": None}}
    for model in ("scripted", chat.id):
        body = {"model": model, "messages": [message, said, message], "response_format": form}
        body |= {"tools": [{"type": "function", "function": function}], "logit_bias": {}, "metadata": {}}
        for more in ({}, {"stream": True, "stream_options": {"include_usage": None}}):
            answer = await client.post("/v1/chat/completions", json=body | more)
            assert answer.status_code == 200, answer.text
            assert '"usage":null' not in answer.text


@pytest.mark.promise("openai:CC-14", "openai:3.2-images")
async def test_pictures(client: httpx.AsyncClient, service: Service) -> None:
    def body(url: str, model: str = "able") -> dict[str, Any]:
        parts = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": url}}]
        return {"model": model, "messages": [{"role": "user", "content": parts}]}

    for url in (PNG, "https://example.org/no-such.png"):
        answer = await client.post("/v1/chat/completions", json=body(url))
        assert answer.status_code == 200, answer.text
        assert service.upstream.calls()[-1]["body"]["messages"] == body(url)["messages"]
    blind = await client.post("/v1/chat/completions", json=body(PNG, "scripted"))
    error = blind.json()["error"]
    assert (blind.status_code, error["code"], error["param"]) == (
        400, "unsupported_value", "messages.0.content.1.image_url"
    )  # fmt: skip
    assert "`scripted`" in error["message"]
    for url in ("data:image/png;base64,@@@", "data:text/plain;base64,aGk=", "data:image/png;base64,aGk=", "ftp://x/y"):
        answer = await client.post("/v1/chat/completions", json=body(url))
        error = answer.json()["error"]
        told = (answer.status_code, error["code"], error["param"])
        assert told == (400, "invalid_image", "messages.0.content.1.image_url.url"), url


@pytest.mark.promise("openai:CC-15", "openai:3.2-developer")
async def test_developer_is_system_where_that_is_all_there_is(client: httpx.AsyncClient, service: Service) -> None:
    body = ask(do={"only_system": True, "text": "Yes."})
    body["messages"].insert(0, {"role": "developer", "content": "Be brief.", "name": "op"})
    assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
    sent = service.upstream.calls()[-1]["body"]["messages"][0]
    assert sent == {"role": "system", "content": "Be brief.", "name": "op"}
    await client.post("/v1/chat/completions", json=body | {"model": "able"})
    assert service.upstream.calls()[-1]["body"]["messages"][0]["role"] == "developer"


@pytest.mark.promise("openai:3.8-unsupported")
async def test_structured_output(client: httpx.AsyncClient, service: Service) -> None:
    schema = {"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "number"}}}
    form = {"type": "json_schema", "json_schema": {"name": "it", "schema": schema, "strict": True}}
    assert (await client.post("/v1/chat/completions", json=ask(response_format=form))).status_code == 200
    sent = service.upstream.calls()[-1]["body"]["response_format"]
    assert json.dumps(sent) == json.dumps(form)
    unable = await client.post("/v1/chat/completions", json=ask("How?", "plain", response_format=form))
    error = unable.json()["error"]
    assert (unable.status_code, error["code"], error["param"]) == (400, "unsupported_value", "response_format")
    assert len(service.upstream.calls()) == 1


@pytest.mark.promise("openai:CC-22", "openai:1.6-upstream")
async def test_a_prompt_too_long(client: httpx.AsyncClient) -> None:
    message = "This model's maximum context length is 10 tokens."
    answer = await client.post("/v1/chat/completions", json=ask(do={"status": 400, "message": message}))
    assert answer.json()["error"] == {
        "message": message, "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded",
    }  # fmt: skip
