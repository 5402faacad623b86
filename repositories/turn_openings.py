"""Opening turns: a question is stored with the turn that will answer it, in one statement."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson

from app.domain.ids import ChatId, KeyId, SessionId, TenantId, TurnId
from app.domain.models import ChatMessage
from app.domain.sessions import Session
from repositories.messages import told
from repositories.statements import Driver, Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """A session that begins with a turn, and its assistant's first words; `opener_id` is the id of that message."""

    session: Session
    opener: str
    opener_id: TurnId


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTurn:
    """A turn to be opened with its question. `extras` is kept beside the question, as JSON."""

    id: TurnId
    session_id: SessionId | None
    chat_id: ChatId | None
    api_key_id: KeyId
    owner: str
    route: str
    body_hash: bytes
    request_id: str
    question: str
    model: str
    prompt_version: str
    created_at: datetime
    beginning: Beginning | None = None
    extras: dict[str, Any] | None = None


class Opening(StrEnum):
    """What came of opening a turn; anything but `OPENED` stored nothing that may stay."""

    OPENED = "opened"
    STALE = "stale"  # the chat is not as the caller knows it
    BUSY = "busy"  # the session has a running turn
    GONE = "gone"  # there is no such session
    FULL = "full"  # the session holds as many messages as it may


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownChat:
    """A chat as it was read before: opening a turn checks that it still is so."""

    updated_at: datetime
    dataset_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How many messages a session may hold (0: any number), older turns making room for new ones if `is_trimming`.

    A model is told the last `told` of them.
    """

    most: int
    is_trimming: bool
    told: int


_OPEN = Statement("""
    SELECT open_turn(:tenant, :chat_updated_at, :chat_datasets, :id, :session_id, :chat_id, :api_key_id, :owner, :route,
        :body_hash, :request_id, :question, :model, :prompt_version, :created_at,
        CAST(CAST(:session AS text) AS jsonb), CAST(CAST(:extras AS text) AS jsonb))
""")

_CONTINUE = Statement("""
    SELECT * FROM continue_session(:tenant, :chat_updated_at, :chat_datasets, :id, :session_id, :chat_id, :api_key_id,
        :owner, :route, :body_hash, :request_id, :question, :model, :prompt_version, :created_at,
        CAST(CAST(:extras AS text) AS jsonb), :most, :is_trimming, :told)
""")


class TurnOpenings:
    """Turns of one tenant that begin. Never commits; each method is one statement that sets the tenant itself."""

    def __init__(self, driver: Driver, tenant_id: TenantId) -> None:
        self._driver = driver
        self._tenant_id = tenant_id

    async def open(self, turn: NewTurn, known: KnownChat | None = None) -> Opening:
        """Insert the turn and its question, and the session that begins with it; with `known` if the chat is still so.

        It may be a transaction of its own.
        """
        session = _session_row(turn.beginning) if turn.beginning is not None else None
        return Opening(await self._driver.scalar(_OPEN, self._values(turn, known) | {"session": session}))

    async def open_in_session(
        self, turn: NewTurn, known: KnownChat | None, room: Room
    ) -> tuple[Opening, list[ChatMessage]]:
        """Insert the turn and its question into a session that is there; what a model may be told of it before.

        It may be a transaction of its own. Turns that make room go with all that is theirs, never the opener.
        """
        values = {"most": room.most, "is_trimming": room.is_trimming, "told": room.told}
        came, *rows = await self._driver.all(_CONTINUE, self._values(turn, known) | values)
        return Opening(came["opening"]), [message for row in rows for message in told(row)]

    def _values(self, turn: NewTurn, known: KnownChat | None) -> dict[str, Any]:
        return {
            "tenant": self._tenant_id,
            "chat_updated_at": known.updated_at if known is not None else None,
            "chat_datasets": known.dataset_count if known is not None else None,
            "id": turn.id,
            "session_id": turn.session_id,
            "chat_id": turn.chat_id,
            "api_key_id": turn.api_key_id,
            "owner": turn.owner,
            "route": turn.route,
            "body_hash": turn.body_hash,
            "request_id": turn.request_id,
            "question": turn.question,
            "model": turn.model,
            "prompt_version": turn.prompt_version,
            "created_at": turn.created_at,
            "extras": orjson.dumps(turn.extras).decode() if turn.extras else None,
        }


def _session_row(beginning: Beginning) -> str:
    session = beginning.session
    row = {
        "kind": session.kind,
        "name": session.name,
        "user_id": session.user_id,
        "source": session.source,
        "variables": session.variables,
        "opener": beginning.opener,
        "opener_id": beginning.opener_id,
    }
    return orjson.dumps(row).decode()
