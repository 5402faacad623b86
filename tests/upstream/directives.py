"""What a call asks of the scripted provider: JSON after `@@`, in the model name or in the last user message."""

import json
from functools import lru_cache
from typing import Any

import msgspec

_DECODER = json.JSONDecoder()


class ToolCall(msgspec.Struct, kw_only=True, frozen=True):
    """A call to one of the caller's tools; the arguments go out in pieces of three characters."""

    name: str
    arguments: str = "{}"
    id: str = "call_upstream"
    index: int | None = None  # as told; else its place


class Directive(msgspec.Struct, kw_only=True, frozen=True):
    """What a call asks of the provider."""

    text: str | None = None  # the answer; else `pieces` numbered words
    pieces: int = 16
    cut: int = 0  # text goes out in pieces of so many characters; 0: word by word
    gap_ms: float = 0  # between pieces; 0 writes several at once
    head_ms: float = 0  # before the head of the answer
    first_ms: float = 0  # between the head and the first piece
    think: str | None = None  # thinking before the answer
    think_as: str = "inline"  # or reasoning_content, or reasoning
    status: int = 200  # answer this status, with `message`
    status_from: int = 1  # ... from the so many-th call with this directive on
    times: int | None = None  # ... to the first so many calls with this directive, then behave
    message: str = "scripted failure"
    param: str | None = None  # of that answer's error
    retry_after: float | None = None
    cut_after: int | None = None  # drop the connection after so many pieces
    end_after: int | None = None  # end the body there, without finish reason and [DONE]
    stall_after: int | None = None  # say nothing more after so many pieces
    garbage_after: int | None = None  # send a line that is not JSON
    error_after: int | None = None  # send an error event
    no_usage: bool = False
    cached: int = 0  # tokens of the prompt, as the usage tells
    no_done: bool = False
    json_instead: bool = False  # a whole answer although a stream was asked for
    finish: str = "stop"
    dimensions: int = 8  # of embeddings
    calls: tuple[ToolCall, ...] = ()  # after the text; not when tools have answered
    then: str = "done"  # the answer when tools have answered
    mixes_calls: bool = False  # pieces of all calls in turns
    refusal: str | None = None
    logprobs: bool = False
    usage_everywhere: bool = False  # on the finish chunk too, as some providers do
    ignores_stop: bool = False  # of the request
    only_system: bool = False  # refuse the role `developer`
    nan: bool = False  # in embeddings


PLAIN = Directive()


def last_user_text(request: dict[str, Any]) -> str:
    """Return what was asked last, whatever the route."""
    for message in reversed(request.get("messages") or ()):
        if message.get("role") == "user":
            return str(message.get("content", ""))
    return str(request.get("query") or request.get("prompt") or "")


def directive_in(text: str) -> Directive | None:
    """Return the directive of a text, if it has one."""
    at = text.find("@@{")
    return _read_directive(text[at + 2 :]) if at >= 0 else None


@lru_cache(1024)
def _read_directive(text: str) -> Directive:
    return msgspec.convert(_DECODER.raw_decode(text)[0], Directive)
