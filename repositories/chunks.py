"""Chunks of one tenant: stored by parsing, listed, changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.datasets import NewChunk, StoredChunk
from app.domain.ids import ChunkId, DatasetId, DocumentId, TenantId
from repositories.chunk_search import any_of

_DELETE = text("""
    DELETE FROM chunks WHERE tenant_id = :tenant AND document_id = ANY(CAST(:document_ids AS text[]))
""")

_ADD = text("""
    INSERT INTO chunks (tenant_id, document_id, id, dataset_id, section_id, ordinal, content, lexemes, embedding,
        dimensions, important_keywords, questions, positions, is_available, token_count, tags, tag_weights, cells,
        layer, doc_type, image_id)
    SELECT :tenant, :document_id, c.id, :dataset_id, c.section_id, c.ordinal, c.content, CAST(c.lexemes AS tsvector),
        CAST(c.embedding AS vector), vector_dims(CAST(c.embedding AS vector)),
        ARRAY(SELECT jsonb_array_elements_text(CAST(c.keywords AS jsonb))),
        ARRAY(SELECT jsonb_array_elements_text(CAST(c.questions AS jsonb))),
        CAST(c.positions AS jsonb), c.is_available, c.token_count,
        ARRAY(SELECT jsonb_array_elements_text(CAST(c.tags AS jsonb))), CAST(c.tag_weights AS jsonb),
        CAST(c.cells AS jsonb), c.layer, c.doc_type, c.image_id
    FROM unnest(CAST(:ids AS text[]), CAST(:section_ids AS text[]), CAST(:ordinals AS int[]),
        CAST(:contents AS text[]), CAST(:lexemes AS text[]), CAST(:embeddings AS text[]), CAST(:keywords AS text[]),
        CAST(:questions AS text[]), CAST(:positions AS text[]), CAST(:available AS boolean[]),
        CAST(:token_counts AS int[]), CAST(:tags AS text[]), CAST(:tag_weights AS text[]), CAST(:cells AS text[]),
        CAST(:layers AS smallint[]), CAST(:doc_types AS text[]), CAST(:image_ids AS text[]))
        AS c(id, section_id, ordinal, content, lexemes, embedding, keywords, questions, positions, is_available,
             token_count, tags, tag_weights, cells, layer, doc_type, image_id)
    ON CONFLICT (tenant_id, document_id, id) DO NOTHING
    RETURNING token_count
""")

_SHOWN = """id, document_id, dataset_id, content, important_keywords, questions, positions, image_id, is_available,
    created_at, ordinal, doc_type, tags, tag_weights"""

_GET = text(f"""
    SELECT {_SHOWN} FROM chunks WHERE tenant_id = :tenant AND document_id = :document_id AND id = :id
""")  # noqa: S608 (a constant)

_LIST_WHERE = """tenant_id = :tenant AND document_id = :document_id
    AND (CAST(:ids AS text[]) IS NULL OR id = ANY(CAST(:ids AS text[])))
    AND (CAST(:is_available AS boolean) IS NULL OR is_available = :is_available)
    AND (CAST(:query AS text) IS NULL OR lexemes @@ CAST(:query AS tsquery))"""

_LIST_COUNT = text(f"SELECT count(*) FROM chunks WHERE {_LIST_WHERE}")  # noqa: S608 (a constant)

# By page and top; what came through the API has no place and stands last, newest first (knowledge.md 3.2). Found by
# words, the best hits stand first.
_LIST = text(f"""
    SELECT {_SHOWN} FROM chunks WHERE {_LIST_WHERE}
    ORDER BY CASE WHEN CAST(:query AS text) IS NULL THEN 0
                  ELSE -ts_rank('{{0.03, 0.07, 0.35, 1.0}}', lexemes, CAST(:query AS tsquery)) END,
        (positions->0->>0)::int NULLS LAST, (positions->0->>3)::int NULLS LAST, created_at DESC, ordinal, id
    LIMIT :most OFFSET :skip
""")  # noqa: S608 (a constant)

_ROWS_AT_ONCE = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkFilter:
    """Which chunks of a document a list shows; empty fields do not filter. One of the lexemes is enough."""

    ids: Sequence[str] | None = None
    lexemes: Sequence[str] = ()
    is_available: bool | None = None


class ChunkRepository:
    """Chunks of one tenant. Never commits.

    Whoever writes chunks of a document holds its row (`documents.lock`) from before the first one, and keeps the
    counters of document and dataset: the sums of `additions`, and of `additions * token_count`.
    """

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    async def delete_of(self, document_ids: Sequence[DocumentId]) -> None:
        """Delete all chunks of these documents."""
        await self._connection.execute(_DELETE, {"tenant": self._tenant_id, "document_ids": list(document_ids)})

    async def add(self, dataset_id: DatasetId, document_id: DocumentId, chunks: Sequence[NewChunk]) -> tuple[int, int]:
        """Insert chunks; how many rows that made and their tokens. One whose id is there already makes none."""
        own = {"tenant": self._tenant_id, "dataset_id": dataset_id, "document_id": document_id}
        rows = tokens = 0
        for start in range(0, len(chunks), _ROWS_AT_ONCE):
            made = (
                await self._connection.execute(_ADD, {**own, **_columns(chunks[start : start + _ROWS_AT_ONCE])})
            ).all()
            rows += len(made)
            tokens += sum(row.token_count for row in made)
        return rows, tokens

    async def get(self, document_id: DocumentId, chunk_id: str) -> StoredChunk | None:
        """Return the chunk, if it is of that document."""
        values = {"tenant": self._tenant_id, "document_id": document_id, "id": chunk_id}
        row = (await self._connection.execute(_GET, values)).one_or_none()
        return _stored(row) if row is not None else None

    async def count(self, document_id: DocumentId, shown: ChunkFilter) -> int:
        """Return how many chunks of the document match."""
        return int((await self._connection.execute(_LIST_COUNT, self._listed(document_id, shown))).scalar_one())

    async def page(self, document_id: DocumentId, shown: ChunkFilter, *, most: int, skip: int) -> list[StoredChunk]:
        """Return a page of the chunks of a document that match: best hits first, else in reading order."""
        values = {**self._listed(document_id, shown), "most": most, "skip": skip}
        return [_stored(row) for row in await self._connection.execute(_LIST, values)]

    def _listed(self, document_id: DocumentId, shown: ChunkFilter) -> dict[str, Any]:
        return {
            "tenant": self._tenant_id,
            "document_id": document_id,
            "ids": list(shown.ids) if shown.ids is not None else None,
            "is_available": shown.is_available,
            "query": any_of(shown.lexemes) if shown.lexemes else None,
        }


def _columns(chunks: Sequence[NewChunk]) -> dict[str, list[Any]]:
    return {
        "ids": [chunk.id for chunk in chunks],
        "section_ids": [chunk.section_id for chunk in chunks],
        "ordinals": [chunk.ordinal for chunk in chunks],
        "contents": [chunk.content for chunk in chunks],
        "lexemes": [chunk.lexemes for chunk in chunks],
        "embeddings": [orjson.dumps(list(chunk.embedding)).decode() for chunk in chunks],
        "keywords": [orjson.dumps(list(chunk.important_keywords)).decode() for chunk in chunks],
        "questions": [orjson.dumps(list(chunk.questions)).decode() for chunk in chunks],
        "positions": [orjson.dumps(list(chunk.positions)).decode() for chunk in chunks],
        "available": [chunk.is_available for chunk in chunks],
        "token_counts": [chunk.token_count for chunk in chunks],
        "tags": [orjson.dumps(list(chunk.tags)).decode() for chunk in chunks],
        "tag_weights": [orjson.dumps(dict(chunk.tag_weights)).decode() for chunk in chunks],
        "cells": [None if chunk.cells is None else orjson.dumps(dict(chunk.cells)).decode() for chunk in chunks],
        "layers": [chunk.layer for chunk in chunks],
        "doc_types": [chunk.doc_type for chunk in chunks],
        "image_ids": [chunk.image_id for chunk in chunks],
    }


def _stored(row: Row[Any]) -> StoredChunk:
    return StoredChunk(
        id=ChunkId(row.id),
        document_id=DocumentId(row.document_id),
        dataset_id=DatasetId(row.dataset_id),
        content=row.content,
        important_keywords=list(row.important_keywords),
        questions=list(row.questions),
        positions=row.positions,
        image_id=row.image_id,
        is_available=row.is_available,
        created_at=row.created_at,
        ordinal=row.ordinal,
        doc_type=row.doc_type,
        tags=list(row.tags),
        tag_weights=row.tag_weights,
    )
