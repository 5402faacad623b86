"""What is asked of an assistant, whichever way it is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.domain.ids import SessionId
from app.domain.models import ChatMessage
from app.engine.ask import OnDisconnect


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What a call changes for itself; None keeps the assistant's own."""

    model: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question to an assistant, in a session (conversations.md 4.1, 4.6).

    `history` replaces what was said in the session before; with `is_stored` false for this answer only, of which the
    session then learns nothing. `reasoning` is the assistant's own unless given; `has_web` false keeps it off the web.
    `extras` is kept beside the question.
    """

    text: str | None
    session_id: str | None = None
    session_name: str = "New session"
    user_id: str = ""
    is_quoting: bool = True
    document_ids: tuple[str, ...] = ()
    dataset_ids: tuple[str, ...] = ()
    metadata_condition: dict[str, Any] | None = None
    variables: Mapping[str, Any] = field(default_factory=dict[str, Any])
    on_disconnect: OnDisconnect | None = None
    overrides: Overrides = field(default_factory=Overrides)
    reasoning: bool | int | None = None
    has_web: bool = True
    history: tuple[ChatMessage, ...] | None = None
    is_stored: bool = True
    extras: dict[str, Any] | None = None
    keeps_prompt: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A question with the history its caller keeps (conversations.md 5.1); the last message is the question."""

    messages: Sequence[ChatMessage]
    is_quoting: bool = False
    metadata_condition: dict[str, Any] | None = None
    variables: Mapping[str, Any] = field(default_factory=dict[str, Any])
    overrides: Overrides = field(default_factory=Overrides)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A session that was opened without a question, and what its assistant said."""

    session_id: SessionId
    opener: str
