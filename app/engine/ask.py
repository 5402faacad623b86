"""What the engine is asked to do: a question, what it is asked of, and how the call is recognised again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app.domain.chats import Chat
from app.domain.ids import DatasetId, DocumentId, KeyId, SessionId, TenantId
from app.domain.models import ChatMessage, GenerationOptions
from app.domain.sessions import Session
from app.llm.base import ChatModel, EmbeddingModel

OnDisconnect = Literal["finish", "stop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognition:
    """How a call is known again when it is repeated (design.md 1.5).

    `retry_count` is the stock client's own count of attempts before this one, None when it sent none.
    """

    route: str
    body_hash: bytes
    request_id: str = ""
    idempotency_key: str | None = None
    retry_count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A session that begins with this turn, and the opener its assistant said."""

    session: Session
    opener: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One question for the engine; everything that could be checked has been.

    `history` is given by callers who keep it themselves; the engine reads that of a session. It ends before
    the question. `system` and `empty_response` have their variables filled in, `{knowledge}` excepted.
    """

    tenant_id: TenantId
    key_id: KeyId
    recognition: Recognition
    chat: Chat
    question: str
    model: ChatModel
    options: GenerationOptions
    prompt_version: str
    system: str
    session_id: SessionId | None = None
    new_session: NewSession | None = None
    history: Sequence[ChatMessage] = ()
    empty_response: str = ""
    is_quoting: bool = True
    is_searching: bool = True
    is_refining: bool = False
    dataset_ids: tuple[DatasetId, ...] = ()
    document_ids: tuple[DocumentId, ...] = ()
    embedding: EmbeddingModel | None = None
    metadata_condition: dict[str, Any] | None = None
    on_disconnect: OnDisconnect = "finish"
