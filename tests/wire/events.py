"""Events of one turn, as every dialect gets them."""

from app.domain.errors import Kind
from app.domain.events import (
    Done,
    Failed,
    ModelAsked,
    Numbered,
    ReasoningPiece,
    RetrievalDone,
    Stopped,
    TextPiece,
    TurnEvent,
    TurnStarted,
)
from app.domain.ids import ChatId, ChunkId, DatasetId, DocumentId, SessionId, TurnId
from app.domain.models import FinishReason, Usage
from app.domain.references import Reference

TURN = TurnId("11111111-2222-4333-8444-555555555555")
SESSION = SessionId("a" * 32)

STARTED = TurnStarted(turn_id=TURN, session_id=SESSION, chat_id=ChatId("c" * 32), model="m", created_s=1703123456.75)
ASKED = ModelAsked("m", "p", 12)
USAGE = Usage(prompt_tokens=7, completion_tokens=5, reasoning_tokens=2, cached_tokens=1)


def reference(number: int, document: str = "d0", similarity: float | None = 0.5) -> Reference:
    return Reference(
        chunk_id=ChunkId(f"k{number}"),
        content=f"Chunk {number} ü",
        document_id=DocumentId(document),
        document_name=f"{document}.pdf",
        dataset_id=DatasetId("s0"),
        positions=[[1, 2, 3, 4, 5]],
        doc_type="text",
        similarity=similarity,
        vector_similarity=0.25,
        term_similarity=None,
    )


FOUND = RetrievalDone(references=(reference(0), reference(1, "d1"), reference(2)), total=9)


def done(content: str = "To reset it [ID:0].", cited: tuple[int, ...] = (0,), reason: str = "stop") -> Done:
    return Done(content=content, cited=cited, usage=USAGE, ended_s=1703123457.5, finish_reason=FinishReason(reason))


def stopped(content: str) -> Stopped:
    return Stopped(content=content, cited=(), usage=USAGE, ended_s=1703123457.5)


def failed(content: str = "", kind: Kind = Kind.UPSTREAM, message: str = "No luck.") -> Failed:
    return Failed(content=content, cited=(), usage=USAGE, ended_s=1703123457.5, kind=kind.value, message=message)


def numbered(*events: TurnEvent) -> list[Numbered]:
    """Number `events` from 1."""
    return list(enumerate(events, start=1))


PIECES = (ReasoningPiece("Let me "), ReasoningPiece("see."), TextPiece("To reset"), TextPiece(" it"))
