"""Summaries over the chunks of documents: what they are made of, and how they are replaced (knowledge.md 5.11)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import DatasetId, DocumentId, TenantId

_DOCUMENTS = text("""
    SELECT d.id, d.name FROM documents d
    WHERE d.tenant_id = :tenant AND d.dataset_id = :dataset_id AND d.run = 'DONE' AND EXISTS (
        SELECT FROM chunks c WHERE c.tenant_id = d.tenant_id AND c.document_id = d.id)
    ORDER BY d.created_at, d.id
""")

_OWN = "tenant_id = :tenant AND document_id = :document_id AND layer = 0 AND is_available"

# By place in the document; what came through the API has none and stands last, oldest first.
_SOURCES = text(f"""
    SELECT id, content, CAST(embedding AS text) AS embedding FROM chunks WHERE {_OWN}
    ORDER BY ordinal < 0, ordinal, created_at, id LIMIT :most OFFSET :skip
""")  # noqa: S608 (a constant)

_STATE = text(f"""
    SELECT count(*) AS chunks, COALESCE(md5(string_agg(id || ' ' || md5(content), ',' ORDER BY id)), '') AS hash
    FROM chunks WHERE {_OWN}
""")  # noqa: S608 (a constant)

_LOCK = text("""
    SELECT run FROM documents WHERE tenant_id = :tenant AND id = :document_id AND dataset_id = :dataset_id FOR UPDATE
""")

_DELETE = text("""
    DELETE FROM chunks WHERE tenant_id = :tenant AND document_id = :document_id AND layer > 0
    RETURNING token_count * additions AS tokens, additions
""")

_WITH_SUMMARIES = text("""
    SELECT DISTINCT document_id FROM chunks WHERE tenant_id = :tenant AND dataset_id = :dataset_id AND layer > 0
    ORDER BY document_id
""")

_COUNT = text("""
    UPDATE documents SET chunk_count = chunk_count + :chunks, token_count = token_count + :tokens
    WHERE tenant_id = :tenant AND id = :document_id
""")

_ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Summarised:
    """A document that has chunks to summarise."""

    id: DocumentId
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceChunk:
    """A chunk of the document's own text; `embedding` is JSON, as the database writes a vector."""

    content: str
    embedding: str


class SummaryRepository:
    """Summaries of one tenant's documents. Never commits."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    async def documents(self, dataset_id: DatasetId) -> list[Summarised]:
        """Return the parsed documents of the dataset that have chunks, oldest first."""
        values = {"tenant": self._tenant_id, "dataset_id": dataset_id}
        return [
            Summarised(id=DocumentId(row.id), name=row.name)
            for row in await self._connection.execute(_DOCUMENTS, values)
        ]

    async def state(self, document_id: DocumentId) -> tuple[int, str]:
        """Return how many chunks can be summarised, and a hash that changes with any of them."""
        row = (await self._connection.execute(_STATE, self._of(document_id))).one()
        return row.chunks, row.hash

    async def sources(self, document_id: DocumentId) -> list[SourceChunk]:
        """Return the available chunks of the document's own text in reading order."""
        found: list[SourceChunk] = []
        while True:
            values = {**self._of(document_id), "most": _ROWS_AT_ONCE, "skip": len(found)}
            rows = (await self._connection.execute(_SOURCES, values)).all()
            found += [SourceChunk(content=row.content, embedding=row.embedding) for row in rows]
            if len(rows) < _ROWS_AT_ONCE:
                return found

    async def lock(self, dataset_id: DatasetId, document_id: DocumentId) -> bool:
        """Keep the document as it is until the unit ends; false when it is gone, or not parsed any more."""
        values = {**self._of(document_id), "dataset_id": dataset_id}
        row = (await self._connection.execute(_LOCK, values)).one_or_none()
        return row is not None and row.run == "DONE"

    async def delete(self, document_id: DocumentId) -> tuple[int, int]:
        """Delete the document's summaries; by how much chunks and tokens that lowers the counters."""
        rows: Sequence[Any] = (await self._connection.execute(_DELETE, self._of(document_id))).all()
        return sum(row.additions for row in rows), sum(row.tokens for row in rows)

    async def count(self, document_id: DocumentId, *, chunks: int, tokens: int) -> None:
        """Change the document's counters by these amounts."""
        await self._connection.execute(_COUNT, {**self._of(document_id), "chunks": chunks, "tokens": tokens})

    async def documents_with(self, dataset_id: DatasetId) -> list[DocumentId]:
        """Return the documents of the dataset that have summaries."""
        values = {"tenant": self._tenant_id, "dataset_id": dataset_id}
        return [DocumentId(row.document_id) for row in await self._connection.execute(_WITH_SUMMARIES, values)]

    def _of(self, document_id: DocumentId) -> dict[str, Any]:
        return {"tenant": self._tenant_id, "document_id": document_id}


def read_vector(embedding: str) -> list[float]:
    """Return a vector the database wrote; for a thread when there are many."""
    vector: list[float] = orjson.loads(embedding)
    return vector
