"""What the engine is asked to do: a question, what it is asked of, and how the call is recognised again."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from app.domain.chats import Chat
from app.domain.ids import DatasetId, DocumentId, KeyId, SessionId, TenantId
from app.domain.limits import TokenQuota
from app.domain.models import ChatMessage, GenerationOptions
from app.domain.references import Reference
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
class Told:
    """What was said in a session before the question, by a caller who replaces what is stored there (4.6)."""

    messages: tuple[ChatMessage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WebKey:
    """The key of an assistant's web search; never shown."""

    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What an earlier turn of the same question found; it is not searched for again (openai.md 3.7)."""

    references: tuple[Reference, ...] = ()
    total: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Skin:
    """How a turn asked for under `/v1` differs from a native one (openai.md 3).

    `instructions` follow the assistant's own prompt. `before` stands between the history of a session and `said`, which
    is what this turn adds to the history, if not the question alone; `stored` is what is kept as its question, if not
    the question. `is_marking` false keeps markers out of the answer, `is_prose` false any text but the model's.
    `has_tools` tells that the caller has tools, of which one may be called at most if `calls_one`.
    """

    instructions: str = ""
    before: tuple[ChatMessage, ...] = ()
    said: tuple[ChatMessage, ...] = ()
    stored: str | None = None
    found: Found | None = None
    is_marking: bool = True
    is_prose: bool = True
    has_tools: bool = False
    calls_one: bool = False


NATIVE = Skin()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One question for the engine; everything that could be checked has been.

    `history` is given by callers who keep it themselves; the engine reads that of a session. It ends before
    the question. `system` and `empty_response` have their variables filled in, `{knowledge}` excepted. `told` replaces
    what is stored in the session. `research_rounds` is how often the question may be thought about before it is
    answered (10.9); `quota` is its caller's (`Caller.quota`); `extras` is kept beside the question. A `chat` without an
    id is none: a model is asked alone. `user_id` is for the ledger, where it is not the session's.
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
    research_rounds: int = 0
    web_key: WebKey | None = None
    told: Told | None = None
    extras: dict[str, Any] | None = None
    keeps_prompt: bool = False
    quota: TokenQuota | None = None
    user_id: str | None = None
    on_disconnect: OnDisconnect = "finish"
    skin: Skin = NATIVE
