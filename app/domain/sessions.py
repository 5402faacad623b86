"""A session: one conversation, and its messages."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from app.domain.errors import Missing
from app.domain.ids import ChatId, SessionId
from app.domain.models import Role
from app.domain.references import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One conversation. `round` counts finished turns; `duration_s` and `tokens` are sums over its turns."""

    id: SessionId
    chat_id: ChatId | None
    kind: str = "chat"
    name: str
    user_id: str = ""
    source: str | None = None
    variables: dict[str, Any] = field(default_factory=dict[str, Any])
    round: int = 0
    tokens: int = 0
    duration_s: float = 0.0
    thumb_up: int = 0
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message as stored. `turn_id` names the turn; question and answer share it.

    `state` is the turn's state, None for the opener. `references` is None when none were kept,
    and `cited` are the numbers of those the answer names.
    """

    turn_id: str
    role: Role
    position: int
    content: str
    reasoning: str | None = None
    thumbup: bool | None = None
    feedback: str | None = None
    state: str | None = None
    error: str | None = None
    reference_total: int | None = None
    references: tuple[Reference, ...] | None = None
    cited: tuple[int, ...] = ()
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFilter:
    """Which sessions are meant: all that is named must hold; only `keywords` reads message text."""

    id: str | None = None
    name: str | None = None
    user_id: str | None = None
    keywords: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None  # inclusive


class SessionMissing(Missing):
    """The session does not exist, is not of that chat, or belongs to another tenant."""
