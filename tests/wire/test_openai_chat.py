"""The OpenAI dialect of one assistant to the byte (conversations.md 5.1; openai.md 1.8, 3.4 to 3.6)."""

import json
from typing import Any

import pytest

from app.domain.errors import Kind
from app.domain.events import ReasoningPiece, TextPiece, TurnEvent
from app.wire.openai_chat import OpenAIChatStream, completion_body
from tests.wire.events import ASKED, FOUND, PIECES, STARTED, TURN, done, failed, numbered, stopped

BASE = (
    b'"id":"chatcmpl-11111111-2222-4333-8444-555555555555","object":"chat.completion.chunk","created":1703123456,'
    b'"model":"mine","system_fingerprint":"fp"'
)
USAGE = (
    b'{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":1,'
    b'"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":2,"audio_tokens":0,'
    b'"accepted_prediction_tokens":3,"rejected_prediction_tokens":0}}'
)


def chunk(delta: bytes, finish: bytes = b"null", usage: bytes = b"null") -> bytes:
    return (
        b'data: {%b,"usage":%b,"choices":[{"index":0,"logprobs":null,"finish_reason":%b,"delta":{%b,'
        b'"function_call":null,"tool_calls":null}}]}\n\n' % (BASE, usage, finish, delta)
    )


ROLE = chunk(b'"role":"assistant","content":"","reasoning_content":null')
NOTHING = b'"content":null,"reasoning_content":null'


def written(*events: TurnEvent, has_reference: bool = False, has_usage_chunk: bool = False) -> bytes:
    stream = OpenAIChatStream(TURN, "mine", "fp", has_reference=has_reference, has_usage_chunk=has_usage_chunk)
    return stream.write(numbered(*events))


def read(raw: bytes) -> list[Any]:
    blocks = raw.decode().removesuffix("\n\n").split("\n\n")
    return [json.loads(one.removeprefix("data: ")) for one in blocks if one != "data: [DONE]"]


@pytest.mark.promise("conversations:5.1-chunk", "conversations:5.1-thinking")
def test_a_whole_answer_to_the_byte() -> None:
    """5.1: the role once, thinking beside the text, finish reason and usage on the last chunk."""
    assert written(STARTED, FOUND, ASKED, *PIECES, done()) == (
        ROLE
        + chunk(b'"content":null,"reasoning_content":"Let me "')
        + chunk(b'"content":null,"reasoning_content":"see."')
        + chunk(b'"content":"To reset","reasoning_content":null')
        + chunk(b'"content":" it","reasoning_content":null')
        + chunk(NOTHING, b'"stop"', USAGE)
        + b"data: [DONE]\n\n"
    )


@pytest.mark.promise("conversations:5.1-reference")
def test_references_travel_once_and_as_a_list() -> None:
    """5.1: on the last chunk, with the whole decorated answer; openai.md 3.4: a list of objects in one chunk only."""
    chunks = read(written(STARTED, FOUND, *PIECES, done(), has_reference=True))
    with_reference = [one for one in chunks if "reference" in one["choices"][0]["delta"]]
    assert with_reference == chunks[-1:]
    delta = chunks[-1]["choices"][0]["delta"]
    assert [one["id"] for one in delta["reference"]] == ["k0", "k1", "k2"]
    assert delta["final_content"] == "To reset it [ID:0]."


@pytest.mark.promise("conversations:5.1-usage-chunk")
def test_a_usage_chunk_comes_last_with_no_choices() -> None:
    """openai.md 3.4 step 5."""
    raw = written(STARTED, TextPiece("Hi"), done("Hi"), has_usage_chunk=True)
    *before, last = read(raw)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 12
    assert [one["usage"] for one in before[:-1]] == [None] * (len(before) - 1)
    assert raw.endswith(b"data: [DONE]\n\n")


@pytest.mark.promise("conversations:5.1-length")
@pytest.mark.parametrize("reason", ["stop", "length", "content_filter"])
def test_a_limit_of_the_model_is_a_finish_reason_and_no_error(reason: str) -> None:
    whole = completion_body(TURN, "mine", "fp", STARTED, None, None, done("Hi", reason=reason), has_reference=False)
    assert whole["choices"][0]["finish_reason"] == reason
    chunks = read(written(STARTED, TextPiece("Hi"), done("Hi", reason=reason)))
    assert chunks[-1]["choices"][0]["finish_reason"] == reason
    assert [one["choices"][0]["finish_reason"] for one in chunks[:-1]] == [None] * (len(chunks) - 1)


def test_an_empty_answer_has_a_role_and_a_finish() -> None:
    assert written(STARTED, done("")) == ROLE + chunk(NOTHING, b'"stop"', USAGE) + b"data: [DONE]\n\n"


def test_a_stopped_turn_finishes_as_stop() -> None:
    assert written(STARTED, TextPiece("Hi"), stopped("Hi")).endswith(
        chunk(NOTHING, b'"stop"', USAGE) + b"data: [DONE]\n\n"
    )


@pytest.mark.promise("conversations:5.1-stream-error")
@pytest.mark.parametrize("kind", list(Kind))
def test_a_failure_is_an_error_object_and_nothing_follows(kind: Kind) -> None:
    """5.1, openai.md 3.6: no finish chunk, no [DONE]; the text is not in the content."""
    raw = written(STARTED, TextPiece("Hi"), failed("Hi", kind))
    last = read(raw)[-1]
    assert set(last) == {"error"}
    assert set(last["error"]) == {"message", "type", "param", "code"}
    assert last["error"]["message"] == "No luck."
    assert b"[DONE]" not in raw
    assert b'finish_reason":"' not in raw


def test_the_role_comes_once_whatever_comes_first() -> None:
    """openai.md 3.4: the Python helper joins repeated strings."""
    for events in ((TextPiece("a"), TextPiece("b")), (ReasoningPiece("a"), TextPiece("b")), (TextPiece("a"),)):
        chunks = read(written(STARTED, *events, done("ab")))
        assert ["role" in one["choices"][0]["delta"] for one in chunks] == [True] + [False] * (len(chunks) - 1)


def test_a_stream_has_no_id_no_event_and_no_carriage_return() -> None:
    """openai.md T-13."""
    raw = written(STARTED, TextPiece("\r\n\u2028"), done("\r\n"), has_usage_chunk=True)
    assert b"\r" not in raw
    for block in raw.decode().removesuffix("\n\n").split("\n\n"):
        assert block.startswith("data: ")
        assert "\n" not in block


def test_bytes_do_not_depend_on_how_events_are_batched() -> None:
    events = numbered(STARTED, FOUND, ASKED, *PIECES, done())
    whole = written(STARTED, FOUND, ASKED, *PIECES, done())
    for size in (1, 2, 3, 5):
        writer = OpenAIChatStream(TURN, "mine", "fp", has_reference=False, has_usage_chunk=False)
        assert b"".join(writer.write(events[at : at + size]) for at in range(0, len(events), size)) == whole


@pytest.mark.promise("conversations:5.1-thinking", "conversations:5.1-whole")
def test_a_json_answer_keeps_thinking_out_of_the_content() -> None:
    """5.1, non-stream."""
    body = completion_body(TURN, "mine", "fp", STARTED, FOUND, "Hm.", done(), has_reference=True)
    (choice,) = body["choices"]
    message = choice["message"]
    assert (message["content"], message["reasoning_content"]) == ("To reset it [ID:0].", "Hm.")
    assert [one["id"] for one in message["reference"]] == ["k0", "k1", "k2"]
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    details = usage["completion_tokens_details"]
    assert details["accepted_prediction_tokens"] == usage["completion_tokens"] - details["reasoning_tokens"]
