"""Providers that go their own way: what comes of it under `/v1` is OpenAI's way (openai.md 1.8, 3.3 to 3.5)."""

from typing import Any

import httpx
import orjson
import pytest

from app.domain.chats import Chat
from app.domain.errors import UpstreamFailed
from app.llm.openai_chunks import ChunkReader
from app.llm.passthrough import Tally
from app.wire.openai_finish import finish_reason, usage_told
from app.wire.openai_head import Head
from app.wire.openai_relay import ChatRelay
from tests.service import Service
from tests.v1.assistants import WEATHER
from tests.v1.raw import ask, assert_framed, joined, streamed

WORDS = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "no_content": "stop",
    "nobody_knows_it": "stop",
    "STOP": "stop",
    "length": "length",
    "max_tokens": "length",
    "MAX_TOKENS": "length",
    "content_filter": "content_filter",
    "safety": "content_filter",
}


@pytest.mark.promise("openai:3.3-finish-reason", "openai:CC-02")
async def test_finish_reasons_are_openais_words(client: httpx.AsyncClient, chat: Chat) -> None:
    """A few of them on the wire; all of them below."""
    calls = {"calls": [{"name": "weather"}]}  # then that is why it ended
    for model in ("scripted", chat.id):
        for do, told in (
            ({"text": "So.", "finish": "end_turn"}, "stop"),
            ({"text": "So.", "finish": "nobody_knows_it"}, "stop"),
            ({"text": "So.", "finish": "max_tokens"}, "length"),
            ({"text": "So.", "finish": "safety"}, "content_filter"),
            (calls | {"finish": "tool_use"}, "tool_calls"),
            (calls | {"finish": "end_turn"}, "tool_calls"),
        ):
            more = {"tools": [WEATHER]} if "calls" in do else {}
            body = ask("How?", model, do=do, **more)
            whole = (await client.post("/v1/chat/completions", json=body)).json()["choices"][0]
            said = joined((await streamed(client, body)).data)
            assert (whole["finish_reason"], said["finish"]) == (told, told), (model, do)


@pytest.mark.promise("openai:3.3-finish-reason")
def test_every_word_of_a_provider_is_known() -> None:
    for word, told in WORDS.items():
        assert finish_reason(word) == told, word
        reader = ChunkReader(api_key=None)
        items: list[Any] = []
        reader.take(orjson.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": word}]}), items)
        reader.close(items)
        assert items[-1].reason == told, word


@pytest.mark.promise("openai:3.3-finish-reason")
def test_no_word_of_a_provider_is_passed_on() -> None:
    assert {finish_reason(word) for word in (None, "", 3, "recitation", "model_length", "tool_use", "x")} == {
        "stop", "content_filter", "length", "tool_calls"
    }  # fmt: skip
    assert finish_reason("function_call") == "function_call"
    with pytest.raises(UpstreamFailed):
        finish_reason("network_error")


@pytest.mark.promise("openai:1.8-never-json")
async def test_a_provider_that_does_not_stream_is_streamed(client: httpx.AsyncClient, chat: Chat) -> None:
    do: dict[str, Any] = {"text": "All at once.", "think": "hm", "json_instead": True}
    for model, n in (("scripted", 1), ("able", 2), (chat.id, 1)):
        events = await streamed(client, ask("How?", model, do=do, n=n, stream_options={"include_usage": True}))
        assert events.headers["content-type"].startswith("text/event-stream")
        assert_framed(events.raw)
        said = joined(events.data)
        assert (said["role"], said["reasoning_content"], said["content"], said["finish"]) == (
            "assistant", "hm", "All at once.", "stop"
        )  # fmt: skip
        assert sum(bool(one["choices"][0]["finish_reason"]) for one in events.data[:-2]) == n
        assert events.data[-2]["usage"]["completion_tokens"] == 4


@pytest.mark.promise("openai:3.4-order", "openai:3.3-result")
def test_what_a_provider_changes_on_its_way_stays_as_it_was() -> None:
    head = Head("mine")
    relay = ChatRelay(head, Tally(), api_key=None)
    told: list[Any] = []
    for at, text in enumerate(("One", " two", " three", "")):
        chunk: dict[str, Any] = {
            "id": f"c{at}",
            "object": "chunk",
            "created": at,
            "model": f"m{at}",
            "system_fingerprint": f"fp_{at}",
        }
        choice: dict[str, Any] = {"index": 0, "delta": {"role": "assistant", "content": text}}
        chunk["choices"] = [choice | {"finish_reason": None if text else "stop"}]
        events = relay.feed(b"data: " + orjson.dumps(chunk) + b"\n\n").split(b"\n\n")
        told += [orjson.loads(one.removeprefix(b"data: ")) for one in events if one]
    assert {(one["id"], one["created"], one["model"], one["system_fingerprint"]) for one in told} == {
        (head.id, head.created, "mine", "fp_0")
    }
    assert joined(told) == {"role": "assistant", "content": "One two three", "calls": {}, "finish": "stop"}


@pytest.mark.promise("openai:3.3-usage")
def test_usage_that_makes_no_sense_is_made_to() -> None:
    told = usage_told(Tally(told={"total_tokens": 99, "prompt_tokens_details": {"cached_tokens": None, "odd": "x"}}))
    assert told["total_tokens"] == 0
    assert told["prompt_tokens_details"] == {"cached_tokens": 0, "audio_tokens": 0}


@pytest.mark.promise("openai:3.3-estimated")
async def test_an_assistants_usage_that_nobody_told_is_estimated(
    client: httpx.AsyncClient, service: Service, chat: Chat
) -> None:
    body = ask("How?", chat.id, do={"pieces": 5, "no_usage": True})
    whole = (await client.post("/v1/chat/completions", json=body)).json()["usage"]
    events = await streamed(client, body | {"stream_options": {"include_usage": True}})
    assert (whole["estimated"], whole["completion_tokens"]) == (True, 5)
    assert whole["prompt_tokens"] >= 3  # the prompt's words and the question's
    assert events.data[-2]["usage"] == whole
    assert len(service.upstream.calls()) == 2


@pytest.mark.promise("openai:3.5-sent-back")
async def test_thinking_that_is_sent_back_goes_to_raw_models_alone(
    client: httpx.AsyncClient, service: Service, chat: Chat
) -> None:
    before = [
        {"role": "user", "content": "What?"},
        {"role": "assistant", "content": "So.", "reasoning_content": "Hm."},
    ]
    for model in ("scripted", chat.id):
        body = ask("How?", model)
        body["messages"] = before + body["messages"]
        assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
    raw, assistant = (call["body"]["messages"] for call in service.upstream.calls())
    assert raw == body["messages"]
    assert [one for one in assistant if one["role"] == "assistant"] == [{"role": "assistant", "content": "So."}]
