"""An answerer with scripted models and a searcher that finds what it is told to."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

from app.domain.chats import Chat
from app.domain.errors import UpstreamFailed
from app.domain.events import RetrievalDone
from app.domain.ids import ChatId, ChunkId, DatasetId, DocumentId, KeyId, TenantId, TurnId, new_id
from app.domain.models import ChatMessage, GenerationOptions, ModelItem, ModelText
from app.domain.references import Reference
from app.domain.retrieval import GraphHit, SearchHit, SearchRequest, SearchResult
from app.engine.ask import Ask, Recognition, WebKey
from app.engine.draft import Draft
from app.engine.log import LogWriter, TurnLog
from app.engine.rag import RagAnswerer
from app.llm.scripted import ScriptedChatModel, ScriptedEmbeddingModel
from repositories.unit_of_work import Database
from tests.engine.conftest import WordCounter


def reference(number: int, content: str = "") -> Reference:
    """Return the chunk of this number, of a document of its own."""
    return Reference(
        chunk_id=ChunkId(f"c{number}"),
        content=content or f"passage {number}",
        document_id=DocumentId(f"d{number}"),
        document_name=f"{number}.pdf",
        dataset_id=DatasetId("s"),
        similarity=0.5,
    )


@dataclass
class Shelf:
    """A searcher: finds the passages of a query, or those of any; remembers what it was asked."""

    passages: dict[str, list[Reference]] = field(default_factory=dict[str, list[Reference]])
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    fails: bool = False
    graph: GraphHit | None = None
    requests: list[SearchRequest] = field(default_factory=list[SearchRequest])

    async def search(self, tenant_id: TenantId, request: SearchRequest) -> SearchResult:
        self.requests.append(request)
        if self.fails:
            raise UpstreamFailed("the embedding model is away")
        found = self.passages.get(request.question, self.passages.get("", []))
        hits = [SearchHit(reference=one, content_ltks="", document_metadata=self.metadata) for one in found]
        return SearchResult(hits=hits, total=len(hits), documents=[], graph=self.graph if request.use_kg else None)


@dataclass
class Web:
    """A web search; remembers keys and queries."""

    pages: list[Reference] = field(default_factory=list[Reference])
    fails: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    async def search(self, query: str, key: str, *, deadline_s: float) -> list[Reference]:
        self.asked.append((query, key))
        if self.fails:
            raise UpstreamFailed("The web search answered 500.")
        return self.pages


def page(number: int = 0) -> Reference:
    """Return a page of the web."""
    return replace(
        reference(100 + number, f"page {number}"), dataset_id=DatasetId(""), url=f"https://x.example/{number}"
    )


def talker(*said: str | Sequence[ModelItem | Exception], **more: Any) -> ScriptedChatModel:
    """Return a model that says one thing after the other."""
    scripts = [[ModelText(one)] if isinstance(one, str) else list(one) for one in said]
    return ScriptedChatModel(*scripts[0], next_scripts=scripts[1:], **more)


def ask(model: ScriptedChatModel, *, settings: dict[str, Any] | None = None, **more: Any) -> Ask:
    """Return the ask `refunds?` of an assistant with one dataset."""
    now = datetime.now(UTC)
    tenant_id = TenantId(new_id())
    chat = Chat(
        id=ChatId(new_id()), tenant_id=tenant_id, name="c", llm_id="talker", prompt_config=settings or {},
        created_at=now, updated_at=now,
    )  # fmt: skip
    values: dict[str, Any] = {
        "question": "refunds?",
        "system": "Knowledge:\n{knowledge}\nEnd.",
        "dataset_ids": (DatasetId("s"),),
        "embedding": ScriptedEmbeddingModel(),
        "options": GenerationOptions(),
    }
    return Ask(
        tenant_id=tenant_id, key_id=cast(KeyId, "k"), recognition=Recognition(route="x", body_hash=b""), chat=chat,
        model=model, prompt_version="1", **(values | more),
    )  # fmt: skip


WEB = WebKey(secret="tvly-1")


class Answered:
    """What came of an ask."""

    def __init__(self, draft: Draft, turn_log: TurnLog) -> None:
        self.draft = draft
        self.events = [event for _, event in turn_log.since(0)]
        self.found = [event for event in self.events if isinstance(event, RetrievalDone)]

    @property
    def purposes(self) -> list[str]:
        return [call.purpose for call in self.draft.calls]


async def answered(
    database: Database,
    asked: Ask,
    shelf: Shelf | None = None,
    *,
    web: Web | None = None,
    history: Sequence[ChatMessage] = (),
    within_s: float = 5,
) -> Answered:
    """Have an ask answered."""
    turn_log = TurnLog(asked.tenant_id, TurnId("t"), 1)
    draft = Draft(turn_log, LogWriter(database))
    answerer = RagAnswerer(shelf or Shelf(), WordCounter(), web)
    deadline_s = asyncio.get_running_loop().time() + within_s
    await answerer.answer(asked, history, draft, deadline_s=deadline_s)
    return Answered(draft, turn_log)


def said(role: Any, content: str) -> ChatMessage:
    return ChatMessage(role=role, content=content)
