"""The native dialect of answers, as SSE and as JSON (conversations.md 4.4)."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, assert_never

import orjson

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
from app.domain.ids import SessionId, TurnId
from app.domain.references import Reference, count_documents, shown
from app.wire.envelope import success
from app.wire.references import chunk_12, doc_aggs

END = b'data: {"code":0,"message":"","data":true}\n\ndata: [DONE]\n\n'
_THINK, _THOUGHT = "<think>", "</think>"


class NativeStream:
    """Turns events into SSE bytes; holds only what earlier events of the same turn said.

    `is_cumulative` sends the whole text so far in each event (4.5, `legacy`); `has_ids` puts each event's number
    into an `id:` line, for followers that come back with `Last-Event-ID`. `session_id` is told where the turn is of
    no session; `more` stands in the data of every event that has any; `prompt` is asked at the end for the debug text.
    """

    def __init__(
        self,
        turn_id: TurnId,
        *,
        session_id: str | None = None,
        is_cumulative: bool = False,
        has_ids: bool = False,
        more: Mapping[str, Any] | None = None,
        prompt: Callable[[], str] = str,
    ) -> None:
        self._more = more or {}
        self._prompt = prompt
        self._turn_id = turn_id
        self._session_id = session_id
        self._is_cumulative = is_cumulative
        self._has_ids = has_ids
        self._created_s = 0.0
        self._said: list[str] = []
        self._thoughts: list[str] = []
        self._is_thinking = False
        self._references: tuple[Reference, ...] | None = None
        self._total = 0
        self._head = b""
        self._tail = b""
        self._frame()

    def write(self, events: Iterable[Numbered]) -> bytes:
        """Return the bytes of `events`; the last event of a turn is followed by the terminators."""
        return b"".join(self._one(number, event) for number, event in events)

    def _one(self, number: int, event: TurnEvent) -> bytes:
        match event:
            case TextPiece():
                return self._piece(number, event.text, is_thought=False)
            case ReasoningPiece():
                return self._piece(number, event.text, is_thought=True)
            case TurnStarted():
                self._created_s = event.created_s
                if event.session_id is not None:
                    self._session_id = event.session_id
                self._frame()
            case RetrievalDone():
                self._references, self._total = event.references, event.total
            case ModelAsked() | ToolCallPiece():
                pass
            case Done() | Stopped():
                return self._close_thought() + self._line(number, self._final(event)) + END
            case Failed():
                return self._close_thought() + self._line(number, failure(event)) + END
            case _:
                assert_never(event)
        return b""

    def _piece(self, number: int | None, text: str, *, is_thought: bool) -> bytes:
        tag = ""
        if is_thought is not self._is_thinking:
            tag = _THINK if is_thought else _THOUGHT
            self._is_thinking = is_thought
        text, said = tag + text, text
        if self._is_cumulative:
            self._thoughts.append(text if is_thought else tag)
            self._said.append("" if is_thought else said)
            text = "".join(self._thoughts) + "".join(self._said)
        return self._id(number) + self._head + orjson.dumps(text) + self._tail

    def _close_thought(self) -> bytes:
        """A turn that ends in mid-thought still closes its tag: no event of its own, so it has no number."""
        return self._piece(None, "", is_thought=False) if self._is_thinking else b""

    def _final(self, ending: Done | Stopped) -> dict[str, Any]:
        answer = "".join(self._thoughts) + ending.content if self._is_cumulative else ""
        data = {
            "answer": answer,
            "reference": reference(self._references, self._total, ending),
            "prompt": self._prompt(),
            "final_content": ending.content,
            "audio_binary": None,
            "id": self._turn_id,
            "session_id": self._session_id,
            "created_at": ending.ended_s,
            "final": True,
            **self._more,
        }
        return {"code": 0, "message": "", "data": data}

    def _line(self, number: int, content: dict[str, Any]) -> bytes:
        return self._id(number) + b"data: " + orjson.dumps(content) + b"\n\n"

    def _id(self, number: int | None) -> bytes:
        return b"id: %d\n" % number if self._has_ids and number is not None else b""

    def _frame(self) -> None:
        """Prepare what every piece of the turn has around its text."""
        data: dict[str, Any] = {
            "reference": {},
            "audio_binary": None,
            "id": self._turn_id,
            "session_id": self._session_id,
            "created_at": self._created_s,
            "final": False,
            **self._more,
        }
        self._head = b'data: {"code":0,"message":"","data":{"answer":'
        self._tail = b"," + orjson.dumps(data)[1:] + b"}\n\n"


def reference(references: tuple[Reference, ...] | None, total: int, ending: Ending) -> dict[str, Any]:
    """Return the `reference` object of an answer: empty when nothing was searched (4.4, 10.7 step 10)."""
    if references is None:
        return {}
    counts = count_documents(references, ending.cited)
    return {"total": total, "chunks": [chunk_12(one) for one in shown(references)], "doc_aggs": doc_aggs(counts)}


def failure(event: Failed) -> dict[str, Any]:
    """Return the event that tells of a failure after the stream opened (4.4)."""
    return {"code": 500, "message": event.message, "data": {"answer": f"**ERROR**: {event.message}", "reference": []}}


def opener_events(session_id: SessionId, opener: str, *, more: Mapping[str, Any] | None = None) -> bytes:
    """Return the stream that answers an empty question: the opener (4.3)."""
    data = _opened(session_id, opener, more)
    return b"data: " + orjson.dumps({"code": 0, "message": "", "data": data}) + b"\n\n" + END


def opener_body(session_id: SessionId, opener: str, *, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the JSON that answers an empty question (4.3)."""
    return success(_opened(session_id, opener, more))


def _opened(session_id: SessionId, opener: str, more: Mapping[str, Any] | None) -> dict[str, Any]:
    data: dict[str, Any] = {"answer": opener, "reference": {}, "audio_binary": None, "id": None}
    return {**data, "session_id": session_id, **(more or {})}


def answer_body(
    turn_id: TurnId,
    session_id: str | None,
    found: RetrievalDone | None,
    reasoning: str | None,
    ending: Done | Stopped,
    *,
    prompt: str = "",
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return an answer as one JSON object (4.5, last paragraph)."""
    thought = f"{_THINK}{reasoning}{_THOUGHT}" if reasoning else ""
    data = {
        "answer": thought + ending.content,
        "reference": reference(found.references, found.total, ending) if found is not None else {},
        "audio_binary": None,
        "prompt": prompt,
        "created_at": ending.ended_s,
        "id": turn_id,
        "session_id": session_id,
        **(more or {}),
    }
    return success(data)
