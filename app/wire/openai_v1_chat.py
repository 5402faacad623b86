"""The answer of an assistant under `/v1/chat/completions`: chunks of a stream, or one object (openai.md 3, 9)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

import orjson

from app.domain.errors import Kind
from app.domain.events import (
    Done,
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
from app.llm.passthrough import Tally
from app.wire.dialects import OPENAI_CODES, OPENAI_TYPES
from app.wire.inline_markers import MarkerStream
from app.wire.openai_chat import completion_id
from app.wire.openai_finish import usage_told
from app.wire.openai_head import DONE
from app.wire.openai_sources import Link, annotations, reference_object


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """How an answer is told: `model` as the caller named it; `link` gives the address of a reference's source.

    `has_final` adds the whole decorated answer to the last chunk, for clients of comparable products.
    """

    turn_id: TurnId
    model: str
    fingerprint: str
    link: Link
    has_reference: bool = True
    has_final: bool = False
    has_usage: bool = False
    is_marking: bool = True


@dataclass(frozen=True, slots=True)
class Delta:
    """What one event adds: to the message, and beside it."""

    values: dict[str, Any]
    logprobs: Sequence[dict[str, Any]] = ()
    finish_reason: str | None = None


class Unfolding:
    """Turns the events of a turn into what each adds to the message; stream and whole answer are made of the same."""

    def __init__(self, telling: Telling) -> None:
        self._telling = telling
        self._markers: MarkerStream | None = None
        self._found = RetrievalDone(references=(), total=0)
        self._has_begun = False
        self._is_prose = True  # neither a refusal nor calls of tools

    def take(self, event: TurnEvent) -> list[Delta]:
        """Return what `event` adds, in order; nothing for a failure but what was held back."""
        match event:
            case TextPiece():
                return self._text(event)
            case ReasoningPiece():
                return [*self._begin(""), Delta({"reasoning_content": event.text})]
            case ToolCallPiece():
                self._is_prose = False
                return [*self._rest(), *self._begin(None), *_calls(event)]
            case RetrievalDone():
                self._found = event
                if self._telling.is_marking:
                    self._markers = MarkerStream(len(event.references))
            case Done():
                return [*self._rest(), *self._begin(""), *self._end(event, event.finish_reason.value)]
            case Stopped():
                return [*self._rest(), *self._begin(""), *self._end(event, "stop")]
            case Failed():
                return self._rest()
            case TurnStarted() | ModelAsked():
                pass
            case _:
                assert_never(event)
        return []

    def _begin(self, content: str | None) -> list[Delta]:
        if self._has_begun:
            return []
        self._has_begun = True
        return [Delta({"role": "assistant", "content": content})]

    def _text(self, piece: TextPiece) -> list[Delta]:
        if piece.is_refusal:
            self._is_prose = False
            return [*self._begin(None), Delta({"refusal": piece.text})]
        text = self._markers.feed(piece.text) if self._markers is not None else piece.text
        if not text:
            return []
        return [*self._begin(""), Delta({"content": text}, piece.logprobs)]

    def _rest(self) -> list[Delta]:
        text = self._markers.flush() if self._markers is not None else ""
        return [*self._begin(""), Delta({"content": text})] if text else []

    def _end(self, ending: Done | Stopped, reason: str) -> list[Delta]:
        deltas: list[Delta] = []
        references = self._found.references
        extras: dict[str, Any] = {"annotations": []}
        if self._markers is not None:
            shown = {span.number for span in self._markers.spans}
            late = [number for number in ending.cited if number not in shown and number < len(references)]
            # What was placed when the answer was whole stands at its end: a stream cannot go back.
            if late and self._is_prose and (markers := self._markers.add(late)):
                deltas.append(Delta({"content": markers}))
            extras["annotations"] = annotations(self._markers.spans, references, self._telling.link)
        if self._telling.has_reference:
            extras["reference"] = reference_object(self._found, ending.cited, self._telling.link)
        if self._telling.has_final:
            extras["final_content"] = self._final(ending.content)
        return [*deltas, Delta(extras, finish_reason=reason)]

    def _final(self, content: str) -> str:
        if self._markers is None:
            return content
        markers = MarkerStream(len(self._found.references))
        return markers.feed(content) + markers.flush()


class AssistantStream:
    """Turns events into `chat.completion.chunk` bytes (openai.md 3.4)."""

    def __init__(self, telling: Telling) -> None:
        self._telling = telling
        self._unfolding = Unfolding(telling)
        self._base: dict[str, Any] = {}
        self._top: dict[str, Any] = {}  # of the first chunk only: helpers keep it from there

    def write(self, events: Iterable[Numbered]) -> bytes:
        """Return the bytes of `events`."""
        return b"".join(self._one(event) for _, event in events)

    def _one(self, event: TurnEvent) -> bytes:
        if isinstance(event, TurnStarted):
            self._base = {**_head(self._telling, event), "object": "chat.completion.chunk"}
            if self._telling.has_usage:
                self._base["usage"] = None
            self._top = {"parley": _parley(self._telling, event)}
            return b""
        written = b"".join(map(self._chunk, self._unfolding.take(event)))
        match event:
            case Done() | Stopped():
                if self._telling.has_usage:
                    usage = usage_told(Tally(usage=event.usage))
                    written += _data({**self._base, "choices": [], "usage": usage})
                return written + DONE
            case Failed():
                return written + _data(stream_error(event))
            case _:
                return written

    def _chunk(self, delta: Delta) -> bytes:
        logprobs = {"content": delta.logprobs, "refusal": None} if delta.logprobs else None
        choice = {"index": 0, "delta": delta.values, "logprobs": logprobs, "finish_reason": delta.finish_reason}
        top, self._top = self._top, {}
        return _data({**self._base, **top, "choices": [choice]})


def completion(telling: Telling, events: Iterable[TurnEvent]) -> dict[str, Any]:
    """Return the `chat.completion` of a whole turn that did not fail (openai.md 3.3)."""
    unfolding, message = Unfolding(telling), _Message()
    told: dict[str, Any] = {}
    for event in events:
        for delta in unfolding.take(event):
            message.add(delta)
        if isinstance(event, TurnStarted):
            told = {**_head(telling, event), "object": "chat.completion", "parley": _parley(telling, event)}
        elif isinstance(event, Done | Stopped):
            told["usage"] = usage_told(Tally(usage=event.usage))
    return {**told, "choices": [message.choice()]}


class _Message:
    """Gathers deltas into the message they make."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {"content": [], "refusal": [], "reasoning_content": []}
        self._calls: list[dict[str, Any]] = []
        self._logprobs: list[dict[str, Any]] = []
        self._extras: dict[str, Any] = {}
        self._finish_reason = "stop"

    def add(self, delta: Delta) -> None:
        self._logprobs += delta.logprobs
        self._finish_reason = delta.finish_reason or self._finish_reason
        for name, value in delta.values.items():
            if name == "tool_calls":
                _join(self._calls, value)
            elif name in self._texts:
                self._texts[name].append(value or "")
            elif name != "role":
                self._extras[name] = value

    def choice(self) -> dict[str, Any]:
        content, refusal, reasoning = ("".join(texts) for texts in self._texts.values())
        has_content = bool(content) or not (self._calls or refusal)
        message: dict[str, Any] = {"role": "assistant", "content": content if has_content else None}
        message["refusal"] = refusal or None
        if reasoning:
            message["reasoning_content"] = reasoning
        if self._calls:
            message["tool_calls"] = self._calls
        logprobs = {"content": self._logprobs, "refusal": None} if self._logprobs else None
        return {
            "index": 0,
            "message": {**message, **self._extras},
            "logprobs": logprobs,
            "finish_reason": self._finish_reason,
        }


def stream_error(event: Failed) -> dict[str, Any]:
    """Return the last event of a stream that failed after its first byte (openai.md 3.6)."""
    kind = Kind(event.kind)
    code = event.code or OPENAI_CODES.get(kind)
    return {"error": {"message": event.message, "type": OPENAI_TYPES[kind], "param": event.param, "code": code}}


def _data(content: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(content) + b"\n\n"


def _head(telling: Telling, started: TurnStarted) -> dict[str, Any]:
    return {
        "id": completion_id(telling.turn_id),
        "object": "",
        "created": int(started.created_s),
        "model": telling.model,
        "system_fingerprint": f"fp_{telling.fingerprint}",
    }


def _parley(telling: Telling, started: TurnStarted) -> dict[str, Any]:
    return {"session_id": started.session_id, "message_id": telling.turn_id}


def _calls(piece: ToolCallPiece) -> list[Delta]:
    """Return a call's head with empty arguments, where it begins, and its arguments after that."""
    deltas: list[dict[str, Any]] = []
    if piece.id:
        function = {"name": piece.name, "arguments": ""}
        deltas.append({"index": piece.number, "id": piece.id, "type": "function", "function": function})
    if piece.arguments:
        deltas.append({"index": piece.number, "function": {"arguments": piece.arguments}})
    return [Delta({"tool_calls": [each]}) for each in deltas]


def _join(calls: list[dict[str, Any]], fragments: Sequence[dict[str, Any]]) -> None:
    for fragment in fragments:
        if "id" in fragment:
            head = {name: value for name, value in fragment.items() if name != "index"}
            calls.append({**head, "function": dict(fragment["function"])})
        else:
            calls[fragment["index"]]["function"]["arguments"] += fragment["function"]["arguments"]
