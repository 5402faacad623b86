"""The OpenAI-like dialect of one assistant's URL (conversations.md 5.1), as SSE and as JSON."""

from collections.abc import Iterable
from typing import Any, assert_never

import orjson

from app.domain.errors import Kind
from app.domain.events import (
    Done,
    Ending,
    Failed,
    ModelAsked,
    Numbered,
    ReasoningPiece,
    RetrievalDone,
    Stopped,
    TextPiece,
    ToolCallPiece,
    TurnEvent,
    TurnStarted,
)
from app.domain.ids import TurnId
from app.domain.models import Usage
from app.domain.references import Reference, shown
from app.wire.dialects import OPENAI_TYPES, Dialect, refusal
from app.wire.references import chunk_with_metadata

DONE = b"data: [DONE]\n\n"


class OpenAIChatStream:
    """Turns events into `chat.completion.chunk` bytes. `model` is echoed as the caller named it.

    The role comes once, with the first chunk: official helpers join repeated strings (openai.md 3.4).
    `metadata_fields` says which metadata of their documents references have (`chunk_with_metadata`).
    """

    def __init__(
        self,
        turn_id: TurnId,
        model: str,
        fingerprint: str,
        *,
        has_reference: bool,
        has_usage_chunk: bool,
        metadata_fields: frozenset[str] | None = None,
    ) -> None:
        self._fields = metadata_fields
        self._base = {
            "id": completion_id(turn_id),
            "object": "chat.completion.chunk",
            "created": 0,
            "model": model,
            "system_fingerprint": fingerprint,
            "usage": None,
        }
        self._has_reference = has_reference
        self._has_usage_chunk = has_usage_chunk
        self._references: tuple[Reference, ...] = ()
        self._has_begun = False
        self._head = b""
        self._frame()

    def write(self, events: Iterable[Numbered]) -> bytes:
        """Return the bytes of `events`."""
        return b"".join(self._one(event) for _, event in events)

    def _one(self, event: TurnEvent) -> bytes:
        match event:
            case TextPiece():
                return self._begin() + self._piece(b'"content":%b,"reasoning_content":null' % orjson.dumps(event.text))
            case ReasoningPiece():
                return self._begin() + self._piece(b'"content":null,"reasoning_content":%b' % orjson.dumps(event.text))
            case TurnStarted():
                self._base["created"] = int(event.created_s)
                self._frame()
            case RetrievalDone():
                self._references = event.references
            case ModelAsked() | ToolCallPiece():
                pass
            case Done():
                return self._begin() + self._last(event, event.finish_reason.value) + DONE
            case Stopped():
                return self._begin() + self._last(event, "stop") + DONE
            case Failed():
                return b"data: " + orjson.dumps(stream_error(event)) + b"\n\n"
            case _:
                assert_never(event)
        return b""

    def _begin(self) -> bytes:
        if self._has_begun:
            return b""
        self._has_begun = True
        return self._chunk({"role": "assistant", "content": "", **_NOTHING})

    def _piece(self, delta: bytes) -> bytes:
        return self._head + delta + b',"function_call":null,"tool_calls":null}}]}\n\n'

    def _last(self, ending: Ending, finish_reason: str) -> bytes:
        delta: dict[str, Any] = {"content": None, **_NOTHING}
        if self._has_reference:
            delta["reference"] = [chunk_with_metadata(one, self._fields) for one in shown(self._references)]
            delta["final_content"] = ending.content
        usage = usage_object(ending.usage)
        last = self._chunk(delta, finish_reason, usage)
        if self._has_usage_chunk:
            last += b"data: " + orjson.dumps({**self._base, "choices": [], "usage": usage}) + b"\n\n"
        return last

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None, usage: Any = None) -> bytes:
        choice = {"index": 0, "logprobs": None, "finish_reason": finish_reason, "delta": delta}
        return b"data: " + orjson.dumps({**self._base, "usage": usage, "choices": [choice]}) + b"\n\n"

    def _frame(self) -> None:
        """Prepare what every piece of the turn has before its text."""
        base = orjson.dumps(self._base)[:-1]
        choices = b',"choices":[{"index":0,"logprobs":null,"finish_reason":null,"delta":{'
        self._head = b"data: " + base + choices


_NOTHING: dict[str, Any] = {"reasoning_content": None, "function_call": None, "tool_calls": None}


def completion_id(turn_id: TurnId) -> str:
    """Return the completion's id: one per turn, and the turn can be told from it."""
    return f"chatcmpl-{turn_id}"


def usage_object(usage: Usage) -> dict[str, Any]:
    """Return usage in OpenAI's words; `estimated` is there when any part was counted by us (openai.md 3.3)."""
    told: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": usage.completion_tokens - usage.reasoning_tokens,
            "rejected_prediction_tokens": 0,
        },
    }
    if usage.is_estimated:
        told["estimated"] = True
    return told


def stream_error(event: Failed) -> dict[str, Any]:
    """Return the event on which official clients raise (openai.md 3.6)."""
    kind = Kind(event.kind)
    code = refusal(kind, Dialect.OPENAI_CHAT).code
    return {"error": {"message": event.message, "type": OPENAI_TYPES[kind], "param": None, "code": code}}


def completion_body(
    turn_id: TurnId,
    model: str,
    fingerprint: str,
    started: TurnStarted,
    found: RetrievalDone | None,
    reasoning: str | None,
    ending: Done | Stopped,
    *,
    has_reference: bool,
    metadata_fields: frozenset[str] | None = None,
) -> dict[str, Any]:
    """Return a `chat.completion` (5.1, non-stream)."""
    message: dict[str, Any] = {"role": "assistant", "content": ending.content, "refusal": None}
    if reasoning:
        message["reasoning_content"] = reasoning
    if has_reference:
        references = found.references if found is not None else ()
        message["reference"] = [chunk_with_metadata(one, metadata_fields) for one in shown(references)]
    finish_reason = ending.finish_reason.value if isinstance(ending, Done) else "stop"
    return {
        "id": completion_id(turn_id),
        "object": "chat.completion",
        "created": int(started.created_s),
        "model": model,
        "system_fingerprint": fingerprint,
        "usage": usage_object(ending.usage),
        "choices": [{"index": 0, "logprobs": None, "finish_reason": finish_reason, "message": message}],
    }
