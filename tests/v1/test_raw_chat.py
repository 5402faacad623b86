"""Chat completions of raw models (openai.md 3), over a socket, with the scripted provider behind."""

import base64
import json
from typing import Any

import anyio
import httpx
import pytest

from tests.conftest import Tenant
from tests.service import Service
from tests.v1.ledger import ledger
from tests.v1.raw import ask, streamed

CALLS: list[dict[str, str]] = [
    {"name": "look_up", "arguments": '{"wörd": "größe"}', "id": "call_a"},
    {"name": "add", "arguments": '{"a": 1, "b": 22}', "id": "call_b"},
]
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("look_up", "add")
]
PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n0000").decode()


SAYINGS: list[dict[str, Any]] = [
    {"text": "One two  three\nfour."},
    {"calls": CALLS, "finish": "tool_use"},
    {"text": "Short", "finish": "max_tokens"},
    {"refusal": "I will not."},
    {"text": "So.", "think": "Hm, let me see."},
    {"text": "So.", "think": "Hm.", "think_as": "reasoning"},
    {"text": ""},
    {"text": 'He said "yes" \\ and <b>no</b> 🐘'},
]
ORDERS: list[tuple[dict[str, Any], list[str]]] = [
    ({"text": "a b"}, ["role", "content", "finish"]),
    ({"calls": CALLS}, ["role", "tool_calls", "finish"]),
    ({"refusal": "No no."}, ["role", "refusal", "finish"]),
    (
        {"text": "a", "think": "b c", "think_as": "reasoning_content"},
        ["role", "reasoning_content", "content", "finish"],
    ),
    ({"text": "a", "think": "b c"}, ["role", "reasoning_content", "content", "finish"]),
    ({"text": ""}, ["role", "finish"]),
    ({"pieces": 40, "gap_ms": 1}, ["role", "content", "finish"]),
]


def joined(chunks: list[Any]) -> dict[str, Any]:
    """Return the first choice as clients put it together: strings are joined."""
    message: dict[str, Any] = {"calls": {}}
    for chunk in chunks:
        for choice in chunk["choices"] if isinstance(chunk, dict) else ():
            if choice["index"] != 0:
                continue
            for key, value in choice["delta"].items():
                if key == "tool_calls":
                    for part in value:
                        call = message["calls"].setdefault(part["index"], {"id": "", "name": "", "arguments": ""})
                        call["id"] += part.get("id", "")
                        for name, words in part["function"].items():
                            call[name] += words
                elif value is not None:
                    message[key] = message.get(key, "") + value
            if choice["finish_reason"]:
                message["finish"] = choice["finish_reason"]
    return message


@pytest.mark.promise("openai:CC-01", "openai:3.3-result")
async def test_a_whole_answer_has_every_key(client: httpx.AsyncClient) -> None:
    answer = (await client.post("/v1/chat/completions", json=ask(do={"text": "It is so."}))).json()
    first: str = answer.pop("id")
    assert first.startswith("chatcmpl-")
    assert isinstance(answer.pop("created"), int)
    usage = answer.pop("usage")
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    message: dict[str, Any] = {"role": "assistant", "content": "It is so.", "refusal": None, "annotations": []}
    assert answer == {
        "object": "chat.completion",
        "model": "scripted",
        "system_fingerprint": None,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
    }
    again = (await client.post("/v1/chat/completions", json=ask(do={"text": "It is so."}))).json()
    assert again["id"] != first


@pytest.mark.promise("openai:CC-02", "openai:CC-06", "openai:3.3-usage")
async def test_streamed_or_not_the_answer_is_the_same(client: httpx.AsyncClient) -> None:
    for do in SAYINGS:
        await compare_modes(client, do)


async def compare_modes(client: httpx.AsyncClient, do: dict[str, Any]) -> None:
    body = ask(do=do)
    whole = (await client.post("/v1/chat/completions", json=body)).json()
    events = await streamed(client, body | {"stream_options": {"include_usage": True}})
    message, said = whole["choices"][0]["message"], joined(events.data)
    assert said["role"] == "assistant"
    assert said.get("content", "") == (message["content"] or "")
    assert said.get("reasoning_content") == message.get("reasoning_content")
    assert said.get("refusal") == message["refusal"]
    calls = [
        {"id": call["id"], "name": call["function"]["name"], "arguments": call["function"]["arguments"]}
        for call in message.get("tool_calls", [])
    ]
    assert list(said["calls"].values()) == calls
    assert said["finish"] == whole["choices"][0]["finish_reason"]
    usage = events.data[-2]["usage"]
    assert usage == whole["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert set(usage["completion_tokens_details"]) >= {"reasoning_tokens", "audio_tokens"}
    assert "cached_tokens" in usage["prompt_tokens_details"]


@pytest.mark.promise("openai:CC-03", "openai:3.4-order", "openai:T-13", "openai:3.5-one-name")
async def test_chunks_come_in_order(client: httpx.AsyncClient) -> None:
    for do, order in ORDERS:
        await check_order(client, do, order)


async def check_order(client: httpx.AsyncClient, do: dict[str, Any], order: list[str]) -> None:
    events = await streamed(client, ask(do=do))
    *chunks, done = events.data
    assert done == "[DONE]"
    assert events.raw.endswith(b"data: [DONE]\n\n")
    assert b"\r" not in events.raw
    assert not any(line.startswith((b"id:", b"event:", b"retry:")) for line in events.raw.split(b"\n"))
    assert len({(one["id"], one["created"], one["model"], one["system_fingerprint"]) for one in chunks}) == 1
    assert {one["object"] for one in chunks} == {"chat.completion.chunk"}
    assert all("usage" not in one for one in chunks)
    found: list[str] = []
    for chunk in chunks:
        choice = chunk["choices"][0]
        said = "finish" if choice["finish_reason"] else next(iter(choice["delta"]))
        assert choice["delta"] or said == "finish", "an empty delta"
        assert choice["finish_reason"] is None or choice["delta"] == {}
        if not found or found[-1] != said:
            found.append(said)
    assert found == order
    assert sum("role" in one["choices"][0]["delta"] for one in chunks) == 1
    assert chunks[0]["choices"][0]["delta"]["content"] == (None if {"calls", "refusal"} & do.keys() else "")


@pytest.mark.promise("openai:CC-05", "openai:3.4-usage-chunk")
@pytest.mark.parametrize("do", [{"pieces": 5}, {"pieces": 5, "usage_everywhere": True}])
async def test_usage_is_one_last_chunk_if_asked_for(client: httpx.AsyncClient, do: dict[str, Any]) -> None:
    events = await streamed(client, ask(do=do, stream_options={"include_usage": True, "include_obfuscation": True}))
    *chunks, last, done = events.data
    assert done == "[DONE]"
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 5
    assert all(one["usage"] is None and one["choices"] for one in chunks)
    without = await streamed(client, ask(do=do))
    assert b'"usage"' not in without.raw


@pytest.mark.promise("openai:3.3-estimated")
async def test_usage_nobody_told_is_estimated_and_says_so(client: httpx.AsyncClient) -> None:
    body = ask(do={"pieces": 5, "no_usage": True})
    whole = (await client.post("/v1/chat/completions", json=body)).json()["usage"]
    events = await streamed(client, body | {"stream_options": {"include_usage": True}})
    assert whole["estimated"] is True
    assert whole["completion_tokens"] == events.data[-2]["usage"]["completion_tokens"] == 5
    assert events.data[-2]["usage"]["estimated"] is True


@pytest.mark.promise("openai:CC-07", "openai:CC-08")
async def test_stop_and_the_limit_of_tokens_reach_the_provider(client: httpx.AsyncClient) -> None:
    stopped = await streamed(client, ask(do={"text": "One two. END three"}, stop="END"))
    assert joined(stopped.data) == {"role": "assistant", "content": "One two. ", "calls": {}, "finish": "stop"}
    body = ask(do={"text": "One two"}, max_tokens=7, max_completion_tokens=1)
    short = (await client.post("/v1/chat/completions", json=body)).json()["choices"][0]
    assert (short["message"]["content"], short["finish_reason"]) == ("One ", "length")


@pytest.mark.promise("openai:CC-09", "openai:3.1-n")
@pytest.mark.parametrize("model", ["able", "scripted"])
async def test_n_choices_come_in_order(client: httpx.AsyncClient, service: Service, model: str) -> None:
    """`able` is asked once for two, of `scripted` nothing is known: it is asked twice."""
    body = ask("How?", model, do={"text": "a b c"}, n=2, stream_options={"include_usage": True})
    events = await streamed(client, body)
    assert len(service.upstream.calls()) == (1 if model == "able" else 2)
    chunks = [one["choices"][0] for one in events.data[:-2]]
    begun = [one["index"] for one in chunks if "role" in one["delta"]]
    assert begun == [0, 1]
    texts = ["".join(one["delta"].get("content", "") for one in chunks if one["index"] == at) for at in (0, 1)]
    assert texts == ["a b c", "a b c"]
    assert sorted(one["index"] for one in chunks if one["finish_reason"]) == [0, 1]
    del body["stream_options"]
    whole = (await client.post("/v1/chat/completions", json=body)).json()
    assert [(one["index"], one["message"]["content"]) for one in whole["choices"]] == [(0, "a b c"), (1, "a b c")]
    if model == "scripted":
        assert events.data[-2]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"] == 6


@pytest.mark.promise("openai:CC-10", "openai:3.1-logprobs")
async def test_logprobs(client: httpx.AsyncClient) -> None:
    body = ask("How?", "able", do={"text": "größe 🐘 so", "logprobs": True}, logprobs=True, top_logprobs=2)
    whole = (await client.post("/v1/chat/completions", json=body)).json()["choices"][0]
    tokens = whole["logprobs"]["content"]
    assert "".join(one["token"] for one in tokens) == whole["message"]["content"] == "größe 🐘 so"
    assert bytes(byte for one in tokens for byte in one["bytes"]).decode() == "größe 🐘 so"
    chunks = (await streamed(client, body)).data[:-1]
    told = [one["choices"][0] for one in chunks if one["choices"][0]["delta"].get("content")]
    assert [one["logprobs"]["content"][0]["token"] for one in told] == [one["delta"]["content"] for one in told]
    unable = await client.post("/v1/chat/completions", json=ask("How?", "plain", logprobs=True))
    assert unable.status_code == 400
    assert (unable.json()["error"]["param"], unable.json()["error"]["code"]) == ("logprobs", "unsupported_parameter")


@pytest.mark.promise("openai:CC-11", "openai:3.7-arguments")
@pytest.mark.parametrize("is_streaming", [False, True])
async def test_a_round_of_tools(client: httpx.AsyncClient, service: Service, *, is_streaming: bool) -> None:
    body = ask(do={"calls": CALLS, "then": "It is 23.", "finish": "tool_calls"}, tools=TOOLS)
    calls: list[dict[str, Any]]
    if is_streaming:
        said = joined((await streamed(client, body)).data)
        calls = [
            {"id": one["id"], "type": "function", "function": {"name": one["name"], "arguments": one["arguments"]}}
            for one in said["calls"].values()
        ]
    else:
        choice = (await client.post("/v1/chat/completions", json=body)).json()["choices"][0]
        assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
        calls = choice["message"]["tool_calls"]
    assert [json.loads(one["function"]["arguments"]) for one in calls] == [{"wörd": "größe"}, {"a": 1, "b": 22}]
    answers = [{"role": "tool", "tool_call_id": one["id"], "content": "23"} for one in calls]
    body["messages"] += [{"role": "assistant", "content": None, "tool_calls": calls}, *answers]
    second = (await client.post("/v1/chat/completions", json=body)).json()
    assert second["choices"][0]["message"]["content"] == "It is 23."
    assert service.upstream.calls()[-1]["body"]["messages"] == body["messages"]


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
    ({"temperature": 2.1}, "temperature", "invalid_value"),
    ({"temperature": "1"}, "temperature", "invalid_type"),
    ({"top_p": -0.1}, "top_p", "invalid_value"),
    ({"presence_penalty": 2.5}, "presence_penalty", "invalid_value"),
    ({"frequency_penalty": -3}, "frequency_penalty", "invalid_value"),
    ({"max_tokens": 0}, "max_tokens", "invalid_value"),
    ({"max_completion_tokens": 1.5}, "max_completion_tokens", "invalid_type"),
    ({"n": 0}, "n", "invalid_value"),
    ({"n": 129}, "n", "invalid_value"),
    ({"seed": "x"}, "seed", "invalid_type"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "invalid_value"),
    ({"stop": [""]}, "stop.0", "invalid_value"),
    ({"top_logprobs": 21, "logprobs": True}, "top_logprobs", "invalid_value"),
    ({"top_logprobs": 2}, "top_logprobs", "invalid_value"),
    ({"stream": "yes"}, "stream", "invalid_type"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
    ({"stream": False, "stream_options": {}}, "stream_options", "invalid_value"),
    ({"logit_bias": {"1": 101}}, "logit_bias.1", "invalid_value"),
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
    ({"tools": TOOLS * 65}, "tools", "invalid_value"),
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
    assert service.upstream.calls() == []


OPTIONAL = (
    "stream", "stream_options", "temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "logit_bias",
    "max_completion_tokens", "max_tokens", "stop", "n", "logprobs", "top_logprobs", "response_format", "tools",
    "tool_choice", "parallel_tool_calls", "functions", "function_call", "reasoning_effort", "verbosity", "user",
    "safety_identifier", "metadata", "store", "modalities", "audio", "session_id", "reference", "extra_body",
)  # fmt: skip


@pytest.mark.promise("openai:T-17", "openai:CC-17", "openai:1.4-null")
async def test_null_is_as_good_as_nothing(client: httpx.AsyncClient, service: Service) -> None:
    answer = await client.post("/v1/chat/completions", json=ask() | dict.fromkeys(OPTIONAL))
    assert answer.status_code == 200
    assert set(service.upstream.calls()[0]["body"]) == {"model", "messages", "stream"}


@pytest.mark.promise("openai:CC-14", "openai:3.2-images")
async def test_pictures(client: httpx.AsyncClient, service: Service) -> None:
    def body(url: str, model: str = "able") -> dict[str, Any]:
        parts = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": url}}]
        return {"model": model, "messages": [{"role": "user", "content": parts}]}

    for url in (PNG, "https://example.org/no-such.png"):
        answer = await client.post("/v1/chat/completions", json=body(url))
        assert answer.status_code == 200, answer.text
        assert service.upstream.calls()[-1]["body"]["messages"] == body(url)["messages"]
    blind = (await client.post("/v1/chat/completions", json=body(PNG, "scripted"))).json()["error"]
    assert (blind["code"], "scripted" in blind["message"]) == ("unsupported_value", True)
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
    assert (unable.status_code, unable.json()["error"]["code"]) == (400, "unsupported_value")


@pytest.mark.promise("openai:CC-18", "openai:3.6-stream-error", "openai:1.6-upstream")
async def test_failures_before_and_after_the_first_token(client: httpx.AsyncClient, service: Service) -> None:
    for status, told, code in ((401, 502, "upstream_error"), (400, 400, None), (429, 429, "rate_limit_exceeded"),
                               (500, 502, "upstream_error"), (503, 503, "upstream_unavailable")):  # fmt: skip
        for is_streaming in (False, True):
            body = ask(str(is_streaming), do={"status": status, "message": "no"}, stream=is_streaming)
            answer = await client.post("/v1/chat/completions", json=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (told, code), answer.text
            assert answer.headers["content-type"] == "application/json"
    once = await streamed(client, ask(do={"status": 500, "times": 1, "text": "Well."}))
    assert joined(once.data)["content"] == "Well."
    for do in ({"error_after": 2, "message": "it broke"}, {"garbage_after": 2}, {"end_after": 2}, {"cut_after": 2}):
        events = await streamed(client, ask(do=do))
        assert events.status == 200
        assert events.data[-1]["error"]["code"] == "upstream_error"
        assert set(events.data[-1]["error"]) == {"message", "type", "param", "code"}
        assert "[DONE]" not in events.data
        assert joined(events.data[:-1])["content"] == "word0 word1 "
        assert "finish" not in joined(events.data[:-1])
    first = await client.post(
        "/v1/chat/completions", json=ask(do={"error_after": 0, "message": "it broke"}, stream=True)
    )
    assert first.status_code == 502


@pytest.mark.promise("openai:CC-22", "openai:1.6-upstream")
async def test_a_prompt_too_long(client: httpx.AsyncClient) -> None:
    message = "This model's maximum context length is 10 tokens."
    answer = await client.post("/v1/chat/completions", json=ask(do={"status": 400, "message": message}))
    assert answer.json()["error"] == {
        "message": message, "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded",
    }  # fmt: skip


@pytest.mark.promise("openai:CC-20", "openai:3.5-think")
async def test_think_tags_never_leak(client: httpx.AsyncClient) -> None:
    events = await streamed(client, ask(do={"text": "<th ink>a</think> <think>b c</think>d <x> e", "gap_ms": 1}))
    said = joined(events.data)
    assert said["reasoning_content"] == "b c"
    assert said["content"] == "<th ink>a</think> d <x> e"


@pytest.mark.promise("openai:CC-21", "openai:3.1-unknown", "openai:1.1-extra-body")
async def test_vendor_keys_get_through_and_ours_do_not(client: httpx.AsyncClient, service: Service) -> None:
    vendor: dict[str, Any] = {
        "top_k": 4,
        "min_p": 0.1,
        "chat_template_kwargs": {"think": [True, None]},
        "verbosity": "x",
    }
    ours = {"session_id": "s", "reference": True, "metadata": {"a": "b"}, "store": False, "variables": {}}
    body = ask() | vendor | ours | {"extra_body": {"mirostat": 2}, "user": "u"}
    assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
    sent = service.upstream.calls()[0]["body"]
    assert (
        sent
        == {"model": "scripted", "messages": body["messages"], "stream": False, "mirostat": 2, "user": "u"} | vendor
    )


@pytest.mark.promise("openai:CC-26")
async def test_four_byte_characters(client: httpx.AsyncClient) -> None:
    text = " ".join("🐘🦣" for _ in range(200))
    assert joined((await streamed(client, ask(do={"text": text, "gap_ms": 0.5}))).data)["content"] == text


@pytest.mark.promise("openai:T-15", "openai:1.10-disconnect", "openai:3.3-estimated")
async def test_who_leaves_ends_the_call(service: Service, tenant: Tenant) -> None:
    for is_streaming in (True, False):
        service.upstream.forget()
        body = ask(do={"pieces": 500, "gap_ms": 20, "head_ms": 0 if is_streaming else 3000}, stream=is_streaming)
        with anyio.move_on_after(0.5):
            async with (
                service.client(tenant) as client,
                client.stream("POST", "/v1/chat/completions", json=body) as answer,
            ):
                async for _ in answer.aiter_bytes():
                    pass
        await service.upstream.wait_for(lambda calls: bool(calls) and calls[0]["cancelled"], timeout_s=1.5)
    rows = await ledger(service, tenant, 1)
    assert [(row.is_estimated, 0 < row.completion_tokens < 500) for row in rows] == [(True, True)]


@pytest.mark.promise("openai:1.10-disconnect", "openai:11-usage")
async def test_every_call_is_on_the_ledger(client: httpx.AsyncClient, service: Service, tenant: Tenant) -> None:
    await client.post("/v1/chat/completions", json=ask(do={"pieces": 3}))
    await streamed(client, ask(do={"pieces": 4}))
    await client.post("/v1/chat/completions", json=ask(do={"status": 400}))
    rows = await ledger(service, tenant, 2)
    assert [(row.model, row.provider, row.completion_tokens, row.is_estimated) for row in rows] == [
        ("scripted", "tests", 3, False),
        ("scripted", "tests", 4, False),
    ]
    assert all((row.turn_id, row.api_key_id) == (None, tenant.key_id) for row in rows)
