"""The events of a turn: a small closed union that every wire is a pure function of (design.md 1.2).

A turn's events are numbered from 1. Numbers grow; a gap appears only where a dead process's turn was
closed by another. The last event is exactly one of Done, Stopped, Failed.
"""

from dataclasses import dataclass
from typing import Any

import msgspec

from app.domain.ids import ChatId, SessionId, TurnId
from app.domain.models import FinishReason, Usage
from app.domain.references import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnStarted:
    """The question and the turn are stored. `created_s` is epoch seconds."""

    turn_id: TurnId
    session_id: SessionId | None
    chat_id: ChatId | None
    model: str
    created_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalDone:
    """What was found; `total` counts hits over the threshold. Absent when nothing was to be searched."""

    references: tuple[Reference, ...]
    total: int


@dataclass(frozen=True, slots=True)
class ModelAsked:
    """A prompt of `prompt_chars` characters went to a model. For the ledger of a turn whose process died."""

    model: str
    provider: str
    prompt_chars: int


class ReasoningPiece(msgspec.Struct, frozen=True):
    """More of the model's thinking, never empty."""

    text: str


class TextPiece(msgspec.Struct, frozen=True):
    """More of the answer, never empty. The pieces of a turn join to its text before citation repair.

    `logprobs` and `is_refusal` as in `ModelText`, and a struct as that is.
    """

    text: str
    logprobs: tuple[dict[str, Any], ...] = ()
    is_refusal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallPiece:
    """More of a call to one of the caller's tools.

    Calls are numbered from 0 and each is whole before the next begins. `id` and `name` come with the first piece of a
    call, and are empty in all others.
    """

    number: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What every last event tells.

    `content` is the answer as stored (after citation repair); `cited` the reference numbers in it;
    `ended_s` epoch seconds; `usage` the sum over the turn's model calls.
    """

    content: str
    cited: tuple[int, ...]
    usage: Usage
    ended_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Done(Ending):
    """The answer is whole, as far as the model went."""

    finish_reason: FinishReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped(Ending):
    """Somebody stopped the turn; what was produced is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Ending):
    """The turn could not be finished; what was produced is kept. `kind` is a `Kind`, `message` fit to show.

    `code` and `param` are those of the `ParleyError`, where it has them.
    """

    kind: str
    message: str
    code: str | None = None
    param: str | None = None


TurnEvent = (
    TurnStarted | RetrievalDone | ModelAsked | ReasoningPiece | TextPiece | ToolCallPiece | Done | Stopped | Failed
)

Numbered = tuple[int, TurnEvent]
"""An event with its number in the turn."""


def is_last(event: TurnEvent) -> bool:
    """Say whether nothing follows `event`."""
    return isinstance(event, Ending)
