"""Answers as RAGFlow 0.22 streams them: the whole text so far in every event (conversations.md 4.3, 4.5)."""

from collections.abc import Callable, Iterable
from typing import Any

import orjson

from app.domain.events import (
    Done,
    Failed,
    Numbered,
    ReasoningPiece,
    RetrievalDone,
    Stopped,
    TextPiece,
    TurnEvent,
    TurnStarted,
)
from app.domain.ids import SessionId, TurnId
from app.domain.references import Reference, count_documents, shown
from app.wire.compat22 import without_aliases
from app.wire.references import chunk_12, doc_aggs

END = b'data: {"code":0,"data":true}\n\n'
_ERROR = "**ERROR**: "


class NativeStream22:
    """Turns events into SSE bytes; each holds all that was said, and the last one the text with its citations.

    `has_message` puts an empty `message` into every event, as pages have it (conversations.md 7.4); without `is_shaped`
    an empty reference has no empty list in it (7.2). `prompt` is asked for the debug text once the turn has ended.
    """

    def __init__(
        self,
        turn_id: TurnId,
        *,
        session_id: SessionId | None = None,
        has_message: bool = False,
        is_shaped: bool = True,
        prompt: Callable[[], str] = str,
    ) -> None:
        self._turn_id = turn_id
        self._nothing: dict[str, Any] = {"chunks": []} if is_shaped else {}
        self._prompt = prompt
        self._session_id = session_id
        self._frame: dict[str, Any] = {"code": 0, "message": ""} if has_message else {"code": 0}
        self._thoughts: list[str] = []
        self._said: list[str] = []
        self._references: tuple[Reference, ...] | None = None
        self._total = 0

    def write(self, events: Iterable[Numbered]) -> bytes:
        """Return the bytes of `events`; the last event of a turn is followed by the terminator, and by no `[DONE]`."""
        return b"".join(self._one(event) for _, event in events)

    def _one(self, event: TurnEvent) -> bytes:
        match event:
            case TurnStarted():
                self._session_id = event.session_id
            case RetrievalDone():
                self._references, self._total = event.references, event.total
            case TextPiece() | ReasoningPiece():
                (self._said if isinstance(event, TextPiece) else self._thoughts).append(event.text)
                return self._event({**self._data(self._thought() + "".join(self._said)), "audio_binary": None})
            case Done() | Stopped():
                return self._event(self._last(event)) + END
            case Failed():
                return failed_events_22(event.message)
            case _:
                pass  # what else there is to tell, 0.22 does not
        return b""

    def _thought(self) -> str:
        return f"<think>{''.join(self._thoughts)}{'</think>' if self._said else ''}" if self._thoughts else ""

    def _data(self, answer: str) -> dict[str, Any]:
        return {"answer": answer, "reference": self._nothing, "id": self._turn_id, "session_id": self._session_id}

    def _last(self, ending: Done | Stopped) -> dict[str, Any]:
        thought = f"<think>{''.join(self._thoughts)}</think>" if self._thoughts else ""
        found = self._nothing
        if self._references is not None:
            counts = count_documents(self._references, ending.cited)
            found = {
                "total": self._total,
                "chunks": without_aliases([chunk_12(one) for one in shown(self._references)]),
                "doc_aggs": doc_aggs(counts),
            }
        told = {"reference": found, "prompt": self._prompt(), "created_at": ending.ended_s}
        return {**self._data(thought + ending.content), **told}

    def _event(self, data: dict[str, Any]) -> bytes:
        return b"data: " + orjson.dumps({**self._frame, "data": data}) + b"\n\n"


def opener_events_22(session_id: SessionId, opener: str) -> bytes:
    """Return the stream of a call without a session: a new one, and its assistant's first words (4.3)."""
    data: dict[str, Any] = {"answer": opener, "reference": {}, "audio_binary": None, "id": None}
    told = {"code": 0, "message": "", "data": {**data, "session_id": session_id}}
    return b"data: " + orjson.dumps(told) + b"\n\n" + END


def failed_events_22(message: str) -> bytes:
    """Return the stream, or the end of one, that tells of a failure (4.4)."""
    told = {"code": 500, "message": message, "data": {"answer": _ERROR + message, "reference": []}}
    return b"data: " + orjson.dumps(told) + b"\n\n" + END


def failed_body_22(message: str, turn_id: TurnId | None, session_id: SessionId | None) -> dict[str, Any]:
    """Return the JSON answer of a model that failed: to 0.22 it is an answer (4.5, last paragraph)."""
    data: dict[str, Any] = {"answer": _ERROR + message, "reference": {}, "id": turn_id, "session_id": session_id}
    return {"code": 0, "data": data}
