"""A session: one conversation, and its messages."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from app.domain.errors import Broken, Missing
from app.domain.ids import ChatId, SessionId
from app.domain.listing import OrderBy
from app.domain.models import Role, ToolCall
from app.domain.references import Reference

WORD_MOST_BYTES = 2000
"""How long the name and the user id of a session may be at most: an index row of PostgreSQL holds little more."""


def fits_index(text: str) -> bool:
    """Say whether a name or a user id is short enough for sessions to be found and ordered by it."""
    return len(text) <= WORD_MOST_BYTES and len(text.encode()) <= WORD_MOST_BYTES


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
    and `cited` are the numbers of those the answer names. `tool_calls` are what an answer asked its caller's tools to
    do; `extras` what is kept beside a question.
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
    tool_calls: tuple[ToolCall, ...] = ()
    extras: dict[str, Any] | None = None
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCursor:
    """The last session of a stretch of an ordered list: the next stretch begins after it, whatever came or went.

    `value` is what the list is ordered by; `created_at` and `id` tell apart what is equal there.
    """

    order_by: OrderBy
    is_descending: bool
    value: datetime | str
    created_at: datetime
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPage:
    """A stretch of a list of sessions. Where `is_total_exact` is false there are `total` at least.

    `following` is where the next stretch begins, None at the end.
    """

    total: int
    is_total_exact: bool = True
    sessions: list[Session]
    following: SessionCursor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRange:
    """Consecutive messages of one session, oldest first, and whether there are more on either side."""

    messages: list[Message]
    has_before: bool
    has_after: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a stretch of messages lies: before or after a position, or, with neither, at the end."""

    before: int | None = None
    after: int | None = None
    limit: int = 100


class SessionMissing(Missing):
    """The session does not exist, is not of that chat, or belongs to another tenant."""


class MessageMissing(Missing):
    """The session has no such message."""


class SessionNotWritten(Broken):
    """The database did not take a new session, or a change of one."""
