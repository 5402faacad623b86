"""Chunks of one tenant that are added, changed and deleted one by one (knowledge.md 3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.datasets import StoredChunk
from app.domain.ids import ChunkId, DatasetId, DocumentId, TenantId

# The same text again is the same chunk (knowledge.md 0.5, 3.1). What a parsed chunk knows of its place stays.
_PUT = text("""
    WITH before AS (
        SELECT additions, token_count FROM chunks
        WHERE tenant_id = :tenant AND document_id = :document_id AND id = :id
    ), put AS (
        INSERT INTO chunks AS c (tenant_id, document_id, id, dataset_id, ordinal, content, lexemes, embedding,
            dimensions, important_keywords, questions, token_count, tags, tag_weights, image_id, doc_type)
        VALUES (:tenant, :document_id, :id, :dataset_id, -1, :content, CAST(:lexemes AS tsvector),
            CAST(:embedding AS vector), vector_dims(CAST(:embedding AS vector)), CAST(:keywords AS text[]),
            CAST(:questions AS text[]), :tokens, CAST(:tags AS text[]), CAST(:tag_weights AS jsonb), :image_id,
            :doc_type)
        ON CONFLICT (tenant_id, document_id, id) DO UPDATE SET content = EXCLUDED.content,
            lexemes = CASE WHEN c.ordinal < 0 THEN EXCLUDED.lexemes ELSE CAST(:titled AS tsvector) END,
            embedding = EXCLUDED.embedding, dimensions = EXCLUDED.dimensions,
            important_keywords = EXCLUDED.important_keywords, questions = EXCLUDED.questions,
            token_count = EXCLUDED.token_count, tags = EXCLUDED.tags, tag_weights = EXCLUDED.tag_weights,
            image_id = CASE WHEN EXCLUDED.image_id = '' THEN c.image_id ELSE EXCLUDED.image_id END,
            doc_type = CASE WHEN EXCLUDED.doc_type = '' THEN c.doc_type ELSE EXCLUDED.doc_type END,
            is_available = true, created_at = clock_timestamp(), additions = c.additions + 1
        RETURNING created_at, additions, token_count
    )
    SELECT put.created_at, put.additions * put.token_count::bigint
        - COALESCE((SELECT additions * token_count::bigint FROM before), 0) AS more_tokens
    FROM put
""")

# Only if nobody changed it since it was read: lexemes and vector were made of what was read.
_CHANGE = text("""
    WITH before AS (
        SELECT additions * token_count::bigint AS tokens FROM chunks
        WHERE tenant_id = :tenant AND document_id = :document_id AND id = :id
    )
    UPDATE chunks c SET content = :content, lexemes = CAST(:lexemes AS tsvector),
        embedding = COALESCE(CAST(:embedding AS vector), c.embedding),
        dimensions = COALESCE(vector_dims(CAST(:embedding AS vector)), c.dimensions),
        important_keywords = CAST(:keywords AS text[]), questions = CAST(:questions AS text[]),
        positions = CAST(:positions AS jsonb), is_available = :is_available, token_count = :tokens,
        tags = CAST(:tags AS text[]), tag_weights = CAST(:tag_weights AS jsonb)
    FROM before
    WHERE c.tenant_id = :tenant AND c.document_id = :document_id AND c.id = :id AND c.content = :old_content
      AND c.important_keywords = CAST(:old_keywords AS text[]) AND c.questions = CAST(:old_questions AS text[])
      AND c.positions = CAST(:old_positions AS jsonb) AND c.is_available = :was_available
      AND c.tags = CAST(:old_tags AS text[]) AND c.tag_weights = CAST(:old_tag_weights AS jsonb)
    RETURNING c.additions * c.token_count::bigint - before.tokens AS more_tokens
""")

_REMOVE = text("""
    WITH gone AS (
        DELETE FROM chunks WHERE tenant_id = :tenant AND document_id = :document_id
          AND (CAST(:ids AS text[]) IS NULL OR id = ANY(CAST(:ids AS text[])))
        RETURNING additions, token_count, image_id
    )
    SELECT count(*) AS rows, COALESCE(sum(additions), 0)::bigint AS additions,
        COALESCE(sum(additions * token_count::bigint), 0)::bigint AS tokens,
        COALESCE(array_agg(image_id) FILTER (WHERE image_id <> ''), '{}') AS image_ids
    FROM gone
""")

_SWITCH = text("""
    UPDATE chunks SET is_available = :is_available
    WHERE tenant_id = :tenant AND document_id = :document_id AND id = ANY(CAST(:ids AS text[])) RETURNING id
""")

_ADD_COUNTS = text("""
    WITH counted AS (
        UPDATE documents SET chunk_count = chunk_count + :chunks, token_count = token_count + :tokens,
            updated_at = clock_timestamp()
        WHERE tenant_id = :tenant AND id = :document_id RETURNING tenant_id, dataset_id
    )
    UPDATE datasets d SET chunk_count = d.chunk_count + :chunks, token_count = d.token_count + :tokens,
        updated_at = clock_timestamp()
    FROM counted WHERE d.tenant_id = counted.tenant_id AND d.id = counted.dataset_id
""")

# No index leads with a chunk's id; the tenant's documents are walked, each by the primary key.
_IS_ANYWHERE = text("""
    SELECT EXISTS (
        SELECT FROM documents d WHERE d.tenant_id = :tenant AND EXISTS (
            SELECT FROM chunks c WHERE c.tenant_id = d.tenant_id AND c.document_id = d.id AND c.id = :id))
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class PutChunk:
    """A chunk that came through the API; `titled` are its lexemes with those of the file's name."""

    id: ChunkId
    content: str
    lexemes: str
    titled: str
    embedding: Sequence[float]
    token_count: int
    important_keywords: Sequence[str] = ()
    questions: Sequence[str] = ()
    tags: Sequence[str] = ()
    tag_weights: Mapping[str, float] = field(default_factory=dict[str, float])
    image_id: str = ""
    doc_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedChunk:
    """What a chunk becomes; without an embedding its vector stays."""

    after: StoredChunk
    lexemes: str
    token_count: int
    embedding: Sequence[float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedChunks:
    """What deleted chunks leave behind; `additions` and `tokens` are their part of the counters."""

    rows: int
    additions: int
    tokens: int
    image_ids: list[str]


class ChunkEdits:
    """Changes of single chunks of one tenant. Never commits.

    Whoever writes chunks of a document holds its row (`documents.lock`) from before the first one, and keeps the
    counters of document and dataset: the sums of `additions`, and of `additions * token_count`.
    """

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    async def put(self, dataset_id: DatasetId, document_id: DocumentId, chunk: PutChunk) -> tuple[datetime, int]:
        """Insert a chunk, or overwrite the one of the same id; when that was, and by how much the tokens grew.

        A parsed chunk keeps its place, picture and the words of its file's name.
        """
        values = {
            "tenant": self._tenant_id,
            "dataset_id": dataset_id,
            "document_id": document_id,
            "id": chunk.id,
            "content": chunk.content,
            "lexemes": chunk.lexemes,
            "titled": chunk.titled,
            "embedding": _vector(chunk.embedding),
            "keywords": list(chunk.important_keywords),
            "questions": list(chunk.questions),
            "tokens": chunk.token_count,
            "tags": list(chunk.tags),
            "tag_weights": _json(dict(chunk.tag_weights)),
            "image_id": chunk.image_id,
            "doc_type": chunk.doc_type,
        }
        row = (await self._connection.execute(_PUT, values)).one()
        return row.created_at, int(row.more_tokens)

    async def change(self, before: StoredChunk, changed: ChangedChunk) -> int | None:
        """Write `changed` if the chunk is still `before`; by how much its tokens grew, None when it is not."""
        after = changed.after
        values = {
            "tenant": self._tenant_id,
            "document_id": before.document_id,
            "id": before.id,
            "content": after.content,
            "lexemes": changed.lexemes,
            "embedding": _vector(changed.embedding) if changed.embedding is not None else None,
            "keywords": after.important_keywords,
            "questions": after.questions,
            "positions": _json(after.positions),
            "is_available": after.is_available,
            "tokens": changed.token_count,
            "tags": after.tags,
            "tag_weights": _json(after.tag_weights),
            "old_content": before.content,
            "old_keywords": before.important_keywords,
            "old_questions": before.questions,
            "old_positions": _json(before.positions),
            "was_available": before.is_available,
            "old_tags": before.tags,
            "old_tag_weights": _json(before.tag_weights),
        }
        row = (await self._connection.execute(_CHANGE, values)).one_or_none()
        return int(row.more_tokens) if row is not None else None

    async def remove(self, document_id: DocumentId, chunk_ids: Sequence[str] | None) -> RemovedChunks:
        """Delete these chunks of the document, those that exist, or all for None."""
        values = {
            "tenant": self._tenant_id,
            "document_id": document_id,
            "ids": list(chunk_ids) if chunk_ids is not None else None,
        }
        row = (await self._connection.execute(_REMOVE, values)).one()
        return RemovedChunks(
            rows=row.rows, additions=row.additions, tokens=row.tokens, image_ids=[str(each) for each in row.image_ids]
        )

    async def switch(self, document_id: DocumentId, chunk_ids: Sequence[str], *, is_available: bool) -> set[str]:
        """Make chunks of the document available or not; the ids of those that exist."""
        values = {
            "tenant": self._tenant_id,
            "document_id": document_id,
            "ids": list(chunk_ids),
            "is_available": is_available,
        }
        return {row.id for row in await self._connection.execute(_SWITCH, values)}

    async def add_counts(self, document_id: DocumentId, *, chunks: int = 0, tokens: int = 0) -> None:
        """Change the counters of the document and then of its dataset by these amounts."""
        values = {"tenant": self._tenant_id, "document_id": document_id, "chunks": chunks, "tokens": tokens}
        await self._connection.execute(_ADD_COUNTS, values)

    async def is_anywhere(self, chunk_id: str) -> bool:
        """Tell whether any document of the tenant has a chunk of this id."""
        values = {"tenant": self._tenant_id, "id": chunk_id}
        return bool((await self._connection.execute(_IS_ANYWHERE, values)).scalar_one())


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _vector(values: Sequence[float]) -> str:
    return _json(list(values))
