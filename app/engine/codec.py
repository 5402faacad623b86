"""Events as stored: a JSON list of `[number, kind, data]`, kinds of one letter, data of dataclasses as objects."""

from collections.abc import Sequence
from typing import Any, assert_never

import orjson

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
from app.domain.models import FinishReason, Usage
from app.domain.references import Reference


def encode(events: Sequence[Numbered]) -> bytes:
    """Return the stored form of consecutive events."""
    return orjson.dumps([_row(number, event) for number, event in events])


def decode(payload: bytes) -> list[Numbered]:
    """Return the events of a stored payload."""
    return [(number, _event(kind, data)) for number, kind, data in orjson.loads(payload)]


def _row(number: int, event: TurnEvent) -> tuple[int, str, Any]:
    match event:
        case TextPiece():
            if event.logprobs or event.is_refusal:
                return (number, "l", [event.text, event.logprobs, event.is_refusal])
            return (number, "t", event.text)
        case ReasoningPiece():
            return (number, "r", event.text)
        case ToolCallPiece():
            return (number, "c", [event.number, event.id, event.name, event.arguments])
        case TurnStarted():
            return (number, "b", event)
        case RetrievalDone():
            return (number, "k", event)
        case ModelAsked():
            return (number, "m", event)
        case Done():
            return (number, "d", event)
        case Stopped():
            return (number, "s", event)
        case Failed():
            return (number, "f", event)
        case _:
            assert_never(event)


def _event(kind: str, data: Any) -> TurnEvent:
    match kind:
        case "t":
            return TextPiece(data)
        case "l":
            text, logprobs, is_refusal = data
            return TextPiece(text, tuple(logprobs), is_refusal)
        case "r":
            return ReasoningPiece(data)
        case "c":
            at, call_id, name, arguments = data
            return ToolCallPiece(number=at, id=call_id, name=name, arguments=arguments)
        case "b":
            return TurnStarted(**data)
        case "k":
            references = tuple(Reference(**reference) for reference in data["references"])
            return RetrievalDone(references=references, total=data["total"])
        case "m":
            return ModelAsked(**data)
        case "d":
            return Done(**_ending(data), finish_reason=FinishReason(data["finish_reason"]))
        case "s":
            return Stopped(**_ending(data))
        case "f":
            told = {name: data.get(name) for name in ("code", "param")}  # those of older releases have neither
            return Failed(**_ending(data), kind=data["kind"], message=data["message"], **told)
        case _:
            raise ValueError(f"unknown event kind {kind!r}")


def _ending(data: dict[str, Any]) -> dict[str, Any]:
    return {
        "content": data["content"],
        "cited": tuple(data["cited"]),
        "usage": Usage(**data["usage"]),
        "ended_s": data["ended_s"],
    }
