"""Chat completions of raw models (openai.md 3), over a socket, with the scripted provider behind."""

import re
import time
from typing import Any

import anyio
import httpx
import pytest

from tests.conftest import Tenant
from tests.service import Service
from tests.v1.ledger import ledger
from tests.v1.raw import CALLS, TOOLS, ask, assert_framed, joined, streamed

SAYINGS: list[dict[str, Any]] = [
    {"text": "One two  three\nfour."},
    {"calls": CALLS, "finish": "tool_use"},
    {"text": "Short", "finish": "max_tokens"},
    {"refusal": "I will not."},
    {"text": "So.", "think": "Hm, let me see."},
    {"text": "So.", "think": "Hm.", "think_as": "reasoning"},
    {"text": "So.", "think": "Hm, yes.", "think_as": "reasoning_content", "cached": 3},
    {"text": ""},
    {"text": 'He said "yes" \\ and <b>no</b> 🐘'},
]
FINISHES = {"stop": "stop", "tool_use": "tool_calls", "max_tokens": "length"}
ORDERS: list[tuple[dict[str, Any], list[str]]] = [
    ({"text": "a b"}, ["role", "content", "finish"]),
    ({"calls": CALLS}, ["role", "tool_calls", "finish"]),
    ({"refusal": "No no."}, ["role", "refusal", "finish"]),
    (
        {"text": "a", "think": "b c", "think_as": "reasoning_content"},
        ["role", "reasoning_content", "content", "finish"],
    ),
    ({"text": "a", "think": "b c", "think_as": "reasoning"}, ["role", "reasoning_content", "content", "finish"]),
    ({"text": "a", "think": "b c"}, ["role", "reasoning_content", "content", "finish"]),
    ({"text": ""}, ["role", "finish"]),
    ({"pieces": 40, "gap_ms": 1}, ["role", "content", "finish"]),
]


@pytest.mark.promise("openai:CC-01", "openai:3.3-result")
async def test_a_whole_answer_has_every_key(client: httpx.AsyncClient) -> None:
    answer = (await client.post("/v1/chat/completions", json=ask(do={"text": "It is so."}))).json()
    first: str = answer.pop("id")
    assert re.fullmatch(r"chatcmpl-[A-Za-z0-9_-]{16,}", first)
    assert abs(answer.pop("created") - time.time()) < 60
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
        await assert_modes_agree(client, do)


async def assert_modes_agree(client: httpx.AsyncClient, do: dict[str, Any]) -> None:
    body = ask(do=do)
    whole = (await client.post("/v1/chat/completions", json=body)).json()
    events = await streamed(client, body | {"stream_options": {"include_usage": True}})
    message, said = whole["choices"][0]["message"], joined(events.data)
    assert said["role"] == "assistant"
    assert message["content"] == do.get("text")
    assert said.get("content", "") == (message["content"] or "")
    assert said.get("reasoning_content") == message.get("reasoning_content") == do.get("think")
    assert "reasoning" not in said.keys() | message.keys()
    assert said.get("refusal") == message["refusal"] == do.get("refusal")
    calls = [
        {"id": call["id"], "name": call["function"]["name"], "arguments": call["function"]["arguments"]}
        for call in message.get("tool_calls", [])
    ]
    assert list(said["calls"].values()) == calls
    assert len(calls) == len(do.get("calls", ()))
    assert said["finish"] == whole["choices"][0]["finish_reason"] == FINISHES[do.get("finish", "stop")]
    usage = events.data[-2]["usage"]
    assert usage == whole["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens"] == len(body["messages"][0]["content"].split())
    assert usage["prompt_tokens_details"] == {"cached_tokens": do.get("cached", 0), "audio_tokens": 0}
    assert usage["completion_tokens_details"] == {
        "reasoning_tokens": len(do.get("think", "").split()),
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    }


@pytest.mark.promise("openai:CC-03", "openai:3.4-order", "openai:T-13", "openai:3.5-one-name", "openai:3.3-echo")
async def test_chunks_come_in_order(client: httpx.AsyncClient) -> None:
    for do, order in ORDERS:
        await assert_order(client, do, order)


async def assert_order(client: httpx.AsyncClient, do: dict[str, Any], order: list[str]) -> None:
    model = "org/Ünder Model:v1"  # another name than its provider knows it by
    events = await streamed(client, ask("How?", model, do=do))
    assert_framed(events.raw)
    *chunks, _ = events.data
    assert len({(one["id"], one["created"], one["system_fingerprint"]) for one in chunks}) == 1
    assert {one["model"] for one in chunks} == {model}
    assert re.fullmatch(r"chatcmpl-[A-Za-z0-9_-]{16,}", chunks[0]["id"])  # ours, as the time is
    assert abs(chunks[0]["created"] - time.time()) < 60
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
    assert (whole["completion_tokens"], whole["prompt_tokens"] > 0) == (5, True)
    assert events.data[-2]["usage"] == whole
    told = (await client.post("/v1/chat/completions", json=ask(do={"pieces": 5}))).json()["usage"]
    assert "estimated" not in told


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
    else:
        most = (await client.post("/v1/chat/completions", json=body | {"n": 128})).json()
        assert [one["index"] for one in most["choices"]] == list(range(128))


@pytest.mark.promise("openai:CC-10", "openai:3.1-logprobs")
async def test_logprobs(client: httpx.AsyncClient, service: Service) -> None:
    body = ask("How?", "able", do={"text": "größe 🐘 so", "logprobs": True}, logprobs=True, top_logprobs=2)
    whole = (await client.post("/v1/chat/completions", json=body)).json()["choices"][0]
    sent = service.upstream.calls()[0]["body"]
    assert (sent["logprobs"], sent["top_logprobs"]) == (True, 2)
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
    assert [one["function"]["arguments"] for one in calls] == [one["arguments"] for one in CALLS]
    assert [one["function"]["name"] for one in calls] == [one["name"] for one in CALLS]
    answers = [{"role": "tool", "tool_call_id": one["id"], "content": "23"} for one in calls]
    body["messages"] += [{"role": "assistant", "content": None, "tool_calls": calls}, *answers]
    second = (await client.post("/v1/chat/completions", json=body)).json()
    assert second["choices"][0]["message"]["content"] == "It is 23."
    assert service.upstream.calls()[-1]["body"]["messages"] == body["messages"]


@pytest.mark.promise("openai:CC-18", "openai:3.6-stream-error", "openai:1.6-upstream")
async def test_failures_before_and_after_the_first_token(client: httpx.AsyncClient) -> None:
    """What the statuses before it are is in test_errors.py."""
    once = await streamed(client, ask(do={"status": 500, "times": 1, "text": "Well."}))
    assert joined(once.data)["content"] == "Well."
    for do in ({"error_after": 2, "message": "it broke"}, {"garbage_after": 2}, {"end_after": 2}, {"cut_after": 2}):
        events = await streamed(client, ask(do=do))
        assert events.status == 200
        error = events.data[-1]["error"]
        assert (error["code"], error["type"], error["param"]) == ("upstream_error", "server_error", None)
        assert do.get("message", "model provider") in error["message"]
        assert set(error) == {"message", "type", "param", "code"}
        assert "[DONE]" not in events.data
        assert joined(events.data[:-1])["content"] == "word0 word1 "
        assert "finish" not in joined(events.data[:-1])
    first = await client.post(
        "/v1/chat/completions", json=ask(do={"error_after": 0, "message": "it broke"}, stream=True)
    )
    assert first.status_code == 502


@pytest.mark.promise("openai:CC-20", "openai:3.5-think")
async def test_think_tags_never_leak(client: httpx.AsyncClient) -> None:
    """However they are cut: by words, and into single characters."""
    do = {"text": "So <th ink>a</think> <think>b c</think>d <x> e", "gap_ms": 0.5}
    for cut in (0, 1, 2, 3, 5):
        said = joined((await streamed(client, ask(do=do | {"cut": cut}))).data)
        assert (said["reasoning_content"], said["content"]) == ("b c", "So <th ink>a</think> d <x> e"), cut


@pytest.mark.promise("openai:CC-26")
async def test_four_byte_characters(client: httpx.AsyncClient) -> None:
    text = " ".join("🐘🦣" for _ in range(200))
    for cut in (0, 1):
        events = await streamed(client, ask(do={"text": text, "gap_ms": 0.2, "cut": cut}))
        assert joined(events.data)["content"] == text
        assert len(events.data) > 200


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
    assert [(row.is_estimated, 0 < row.completion_tokens < 150) for row in rows] == [(True, True)]


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
    assert [row.prompt_tokens for row in rows] == [3, 3]  # as the provider told: the words of the question
