"""A turn: one question and its answer."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from app.domain.errors import Conflict, Missing
from app.domain.ids import ChatId, KeyId, SessionId, TurnId
from app.domain.models import Usage


class TurnState(StrEnum):
    """Where a turn is; only `running` ever changes."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A turn as stored. `timings_ms` tells each step's duration; `error` is fit to show."""

    id: TurnId
    session_id: SessionId | None
    chat_id: ChatId | None
    api_key_id: KeyId
    state: TurnState
    owner: str
    fence: int
    is_stop_requested: bool
    model: str | None
    prompt_version: str | None
    finish_reason: str | None
    error_kind: str | None
    error: str | None
    usage: Usage
    reference_total: int | None
    timings_ms: dict[str, float] = field(default_factory=dict[str, float])
    created_at: datetime
    ended_at: datetime | None


class TurnMissing(Missing):
    """The turn does not exist, or belongs to another tenant."""


class SessionBusy(Conflict):
    """Another turn of the session is running and did not end in time."""


class TurnLost(Exception):
    """Another process has taken the turn over; this one must not write to it any more."""
