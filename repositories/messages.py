"""Messages of sessions and turns, and the references of answers."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import orjson

from app.domain.ids import ChunkId, DatasetId, DocumentId, SessionId, TenantId, TurnId
from app.domain.models import ChatMessage, ToolCall
from app.domain.references import Live, Reference, without_deleted
from app.domain.sessions import Message
from repositories.statements import Driver, Statement

if TYPE_CHECKING:
    from asyncpg import Record

_ADD = Statement("""
    INSERT INTO messages (tenant_id, turn_id, role, session_id, position, content, reasoning)
    VALUES (:tenant, :turn_id, :role, :session_id, :position, :content, :reasoning)
""")

# A turn that failed is kept and shown, but is no part of what the model is told (openai.md 1.7).
_HISTORY = Statement("""
    SELECT role, content, tool_calls, extras FROM (
        SELECT m.role, m.content, m.position, m.tool_calls::text, m.extras::text
        FROM messages m LEFT JOIN turns t ON t.tenant_id = :tenant AND t.id = m.turn_id
        WHERE m.tenant_id = :tenant AND m.session_id = :session_id AND m.turn_id <> :but
          AND (t.state IS NULL OR t.state IN ('done', 'stopped')) AND (m.content <> '' OR m.tool_calls IS NOT NULL)
        ORDER BY m.position DESC LIMIT :most
    ) recent ORDER BY position
""")

COLUMNS = """m.turn_id, m.role, m.session_id, m.position, m.content, m.reasoning, m.thumbup, m.feedback, m.created_at,
    t.state, t.error, t.reference_total, m.tool_calls::text, m.extras::text"""

_OF_TURN = Statement(f"""
    SELECT {COLUMNS} FROM messages m LEFT JOIN turns t ON t.tenant_id = :tenant AND t.id = m.turn_id
    WHERE m.tenant_id = :tenant AND m.turn_id = :turn_id ORDER BY m.position
""")  # noqa: S608 (a constant)

_REFERENCES = Statement("""
    SELECT turn_id, number, chunk_id, document_id, document_name, dataset_id, content, positions::text, image_id, url,
        doc_type, similarity, vector_similarity, term_similarity, is_cited
    FROM message_references
    WHERE tenant_id = :tenant AND turn_id = ANY(CAST(:turn_ids AS text[])) ORDER BY turn_id, number
""")

# Asked once for a page, of the few documents its references name: to join them to each reference costs ten times that.
_LIVE = Statement("""
    SELECT true AS is_document, id FROM documents
    WHERE tenant_id = :tenant AND id = ANY(CAST(:document_ids AS text[]))
    UNION ALL
    SELECT false, id FROM datasets
    WHERE tenant_id = :tenant AND id = ANY(CAST(:dataset_ids AS text[])) AND deleted_at IS NULL
""")


class MessageRepository:
    """Messages and references of one tenant. Never commits."""

    def __init__(self, driver: Driver, tenant_id: TenantId) -> None:
        self._driver = driver
        self._tenant_id = tenant_id

    async def add_opener(self, session_id: SessionId, turn_id: TurnId, content: str) -> None:
        """Insert the assistant's first words at position 0 of a new session."""
        values = {"turn_id": turn_id, "role": "assistant", "session_id": session_id, "position": 0, "content": content}
        await self._driver.run(_ADD, {"tenant": self._tenant_id, "reasoning": None, **values})

    async def history(self, session_id: SessionId, *, but: TurnId, most: int) -> list[ChatMessage]:
        """Return the last `most` messages a model may be told, oldest first, without those of turn `but`."""
        values = {"tenant": self._tenant_id, "session_id": session_id, "but": but, "most": most}
        rows = await self._driver.all(_HISTORY, values)
        return [message for row in rows for message in told(row)]

    async def of_turn(self, turn_id: TurnId) -> list[Message]:
        """Return the question and the answer of a turn, with references; the answer is absent while it runs."""
        rows = await self._driver.all(_OF_TURN, {"tenant": self._tenant_id, "turn_id": turn_id})
        return await with_references(self._driver, self._tenant_id, rows)

    async def live(self, document_ids: Collection[str], dataset_ids: Collection[str]) -> Live:
        """Return which of these documents and datasets are still the tenant's."""
        return await _live(self._driver, self._tenant_id, document_ids, dataset_ids)


async def with_references(driver: Driver, tenant_id: TenantId, rows: "Sequence[Record]") -> list[Message]:
    """Return the messages of rows of `COLUMNS`, answers with what they rest on; what was deleted since is `GONE`."""
    turn_ids = [row["turn_id"] for row in rows if row["reference_total"] is not None and row["role"] == "assistant"]
    references: dict[str, list[Record]] = {turn_id: [] for turn_id in turn_ids}
    found: Sequence[Record] = ()
    if turn_ids:
        found = await driver.all(_REFERENCES, {"tenant": tenant_id, "turn_ids": turn_ids})
    for reference in found:
        references[reference["turn_id"]].append(reference)
    documents = {reference["document_id"] for reference in found}
    live = await _live(driver, tenant_id, documents, {reference["dataset_id"] for reference in found})
    return [_message(row, references.get(row["turn_id"]) if row["role"] == "assistant" else None, live) for row in rows]


async def _live(
    driver: Driver, tenant_id: TenantId, document_ids: Collection[str], dataset_ids: Collection[str]
) -> Live:
    documents, datasets = set[DocumentId](), set[DatasetId]()
    if any(document_ids) or any(dataset_ids):
        values = {"tenant": tenant_id, "document_ids": list(document_ids), "dataset_ids": list(dataset_ids)}
        for row in await driver.all(_LIVE, values):
            if row["is_document"]:
                documents.add(DocumentId(row["id"]))
            else:
                datasets.add(DatasetId(row["id"]))
    return Live(documents=documents, datasets=datasets)


def told(row: "Record") -> list[ChatMessage]:
    """Return a stored message as a model is told it: what tools gave back before it is a message for each."""
    extras = orjson.loads(row["extras"]) if row["extras"] is not None else {}
    said = [
        ChatMessage(role="tool", content=one["content"], tool_call_id=one["tool_call_id"])
        for one in extras.get("tool_results", ())
    ]
    if not extras.get("is_results_only"):
        calls = _tool_calls(row["tool_calls"])
        said.append(ChatMessage(role=row["role"], content=row["content"], tool_calls=calls))
    return said


def _tool_calls(stored: str | None) -> tuple[ToolCall, ...]:
    calls = orjson.loads(stored) if stored is not None else []
    return tuple(
        ToolCall(id=call["id"], name=call["function"]["name"], arguments=call["function"]["arguments"])
        for call in calls
    )


def _message(row: "Record", references: "list[Record] | None", live: Live) -> Message:
    return Message(
        turn_id=row["turn_id"],
        role=row["role"],
        position=row["position"],
        content=row["content"],
        reasoning=row["reasoning"],
        thumbup=row["thumbup"],
        feedback=row["feedback"],
        state=row["state"],
        error=row["error"],
        reference_total=row["reference_total"],
        references=without_deleted(map(_reference, references), live) if references is not None else None,
        cited=tuple(one["number"] for one in references or () if one["is_cited"]),
        tool_calls=_tool_calls(row["tool_calls"]),
        extras=orjson.loads(row["extras"]) if row["extras"] is not None else None,
        created_at=row["created_at"],
    )


def _reference(row: "Record") -> Reference:
    return Reference(
        chunk_id=ChunkId(row["chunk_id"]),
        content=row["content"],
        document_id=DocumentId(row["document_id"]),
        document_name=row["document_name"],
        dataset_id=DatasetId(row["dataset_id"]),
        positions=orjson.loads(row["positions"]),
        image_id=row["image_id"],
        url=row["url"],
        doc_type=row["doc_type"],
        similarity=row["similarity"],
        vector_similarity=row["vector_similarity"],
        term_similarity=row["term_similarity"],
    )
