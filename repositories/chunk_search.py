"""Chunks of one tenant, searched by words and by vectors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import ChunkId, DatasetId, DocumentId, TenantId

_SEARCHED = """c.tenant_id = :tenant AND c.dataset_id = ANY(CAST(:dataset_ids AS text[])) AND c.is_available
    AND (CAST(:document_ids AS text[]) IS NULL OR c.document_id = ANY(CAST(:document_ids AS text[])))"""

# Counting stops where more would hardly change a weight.
_FREQUENCIES = text("""
    SELECT t.lexeme, (
        SELECT count(*) FROM (
            SELECT FROM chunks c WHERE c.tenant_id = :tenant AND c.dataset_id = ANY(CAST(:dataset_ids AS text[]))
              AND c.lexemes @@ CAST(t.query AS tsquery) LIMIT :most
        ) found) AS frequency
    FROM unnest(CAST(:lexemes AS text[]), CAST(:queries AS text[])) AS t(lexeme, query)
""")

# `|| ''` unpacks a stored tsvector once; without it every term of the question would unpack it again. Cosines are
# made for those that are left: a vector is stored out of line and costs more to fetch than to compare.
_LEXICAL = text(f"""
    SELECT f.id, f.document_id, f.dataset_id, f.document_name, f.weight, f.matched,
        CASE WHEN c.dimensions = :dimensions THEN 1 - (c.embedding <=> CAST(:vector AS vector)) END AS cosine
    FROM (
        SELECT c.tenant_id, c.id, c.document_id, c.dataset_id, d.name AS document_name, t.weight, t.matched
        FROM (
            SELECT c.tenant_id, c.id, c.document_id, c.dataset_id, c.lexemes || CAST('' AS tsvector) AS lexemes
            FROM chunks c WHERE {_SEARCHED} AND c.lexemes @@ CAST(:query AS tsquery)
            OFFSET 0
        ) c
        JOIN documents d ON d.tenant_id = c.tenant_id AND d.id = c.document_id AND d.is_enabled
        CROSS JOIN LATERAL (
            SELECT COALESCE(sum(q.weight), 0) AS weight, count(*) AS matched
            FROM unnest(CAST(:queries AS tsquery[]), CAST(:weights AS float8[])) AS q(query, weight)
            WHERE c.lexemes @@ q.query
        ) t
        ORDER BY t.weight DESC, c.id LIMIT :most
    ) f
    JOIN chunks c ON c.tenant_id = f.tenant_id AND c.document_id = f.document_id AND c.id = f.id
""")  # noqa: S608 (a constant)

_ITERATIVE = text("SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true)")
_EF_SEARCH = text("SELECT set_config('hnsw.ef_search', :ef_search, true)")
_VERSION = text("SELECT extversion FROM pg_extension WHERE extname = 'vector'")

_BODIES = text("""
    SELECT c.id, c.document_id, c.content, c.important_keywords, c.questions, c.positions, c.image_id, c.doc_type,
        d.meta_fields
    FROM unnest(CAST(:document_ids AS text[]), CAST(:ids AS text[])) AS wanted(document_id, id)
    JOIN chunks c ON c.tenant_id = :tenant AND c.document_id = wanted.document_id AND c.id = wanted.id
    JOIN documents d ON d.tenant_id = c.tenant_id AND d.id = c.document_id
""")

_METADATA = text("""
    SELECT id, meta_fields FROM documents
    WHERE tenant_id = :tenant AND dataset_id = ANY(CAST(:dataset_ids AS text[])) AND meta_fields <> '{}' AND is_enabled
""")

_OWNED_DOCUMENTS = text("""
    SELECT id FROM documents WHERE tenant_id = :tenant AND dataset_id = ANY(CAST(:dataset_ids AS text[]))
      AND id = ANY(CAST(:document_ids AS text[]))
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchScope:
    """Where to look: datasets, and within them all documents or only these."""

    dataset_ids: Sequence[DatasetId]
    document_ids: Sequence[DocumentId] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundChunk:
    """A chunk that a search came across. `weight` is the share of the question's terms in it, `matched` how many."""

    id: ChunkId
    document_id: DocumentId
    dataset_id: DatasetId
    document_name: str
    weight: float
    matched: int
    cosine: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkBody:
    """What a hit shows beside its scores."""

    content: str
    important_keywords: list[str]
    questions: list[str]
    positions: list[list[int]]
    image_id: str
    doc_type: str
    document_metadata: dict[str, Any]


class ChunkSearch:
    """Finds chunks of one tenant. Never writes."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    async def frequencies(
        self, dataset_ids: Sequence[DatasetId], lexemes: Sequence[str], *, most: int
    ) -> dict[str, int]:
        """Return in how many chunks of the datasets each lexeme is, counted up to `most`."""
        values = {
            "tenant": self._tenant_id,
            "dataset_ids": list(dataset_ids),
            "lexemes": list(lexemes),
            "queries": [any_of([lexeme]) for lexeme in lexemes],
            "most": most,
        }
        return {row.lexeme: row.frequency for row in await self._connection.execute(_FREQUENCIES, values)}

    async def find_lexical(
        self,
        scope: SearchScope,
        *,
        lexemes: Sequence[str],
        weights: Mapping[str, float],
        vector: Sequence[float],
        most: int,
    ) -> list[FoundChunk]:
        """Return, of the chunks with any of `lexemes`, the `most` with the greatest `weights`, with their cosines."""
        values = {
            **self._scoped(scope),
            "query": any_of(lexemes),
            "queries": [any_of([lexeme]) for lexeme in weights],
            "weights": list(weights.values()),
            "vector": orjson.dumps(list(vector)).decode(),
            "dimensions": len(vector),
            "most": most,
        }
        return [_found(row) for row in await self._connection.execute(_LEXICAL, values)]

    async def find_near(
        self, scope: SearchScope, *, vector: Sequence[float], least: float, most: int, is_exact: bool
    ) -> list[FoundChunk]:
        """Return the `most` chunks nearest to `vector` whose cosine is at least `least`.

        Not `is_exact`, they come from the index of the vector's dimension, if there is one; call `tune` before.
        """
        values = {**self._scoped(scope), "vector": orjson.dumps(list(vector)).decode(), "least": least, "most": most}
        rows = await self._connection.execute(_near(len(vector), is_exact=is_exact), values)
        return [_found(row) for row in rows]

    async def tune(self, *, ef_search: int, is_iterative: bool) -> None:
        """Prepare this unit for searches through the vector index."""
        await self._connection.execute(_EF_SEARCH, {"ef_search": str(ef_search)})
        if is_iterative:
            await self._connection.execute(_ITERATIVE)

    async def has_iterative_scans(self) -> bool:
        """Tell whether pgvector goes on where a filter left too few neighbours: 0.8 and later."""
        version = str((await self._connection.execute(_VERSION)).scalar_one())
        numbers = [int(part) if part.isdigit() else 0 for part in version.split(".")]
        return numbers >= [0, 8]

    def _scoped(self, scope: SearchScope) -> dict[str, Any]:
        return {
            "tenant": self._tenant_id,
            "dataset_ids": list(scope.dataset_ids),
            "document_ids": list(scope.document_ids) if scope.document_ids is not None else None,
        }

    async def bodies(self, found: Sequence[tuple[DocumentId, ChunkId]]) -> dict[tuple[str, str], ChunkBody]:
        """Return what hits show, by document and chunk id."""
        values = {
            "tenant": self._tenant_id,
            "document_ids": [document_id for document_id, _ in found],
            "ids": [chunk_id for _, chunk_id in found],
        }
        return {
            (row.document_id, row.id): ChunkBody(
                content=row.content,
                important_keywords=list(row.important_keywords),
                questions=list(row.questions),
                positions=row.positions,
                image_id=row.image_id,
                doc_type=row.doc_type,
                document_metadata=row.meta_fields,
            )
            for row in await self._connection.execute(_BODIES, values)
        }

    async def metadata(self, dataset_ids: Sequence[DatasetId]) -> dict[DocumentId, dict[str, Any]]:
        """Return the metadata of the datasets' documents that have any."""
        values = {"tenant": self._tenant_id, "dataset_ids": list(dataset_ids)}
        return {DocumentId(row.id): row.meta_fields for row in await self._connection.execute(_METADATA, values)}

    async def owned(self, dataset_ids: Sequence[DatasetId], document_ids: Sequence[DocumentId]) -> set[DocumentId]:
        """Return those of `document_ids` that are in one of the datasets."""
        values = {"tenant": self._tenant_id, "dataset_ids": list(dataset_ids), "document_ids": list(document_ids)}
        return {DocumentId(row.id) for row in await self._connection.execute(_OWNED_DOCUMENTS, values)}


def any_of(lexemes: Sequence[str]) -> str:
    """Return text for a `::tsquery` cast that matches chunks with any of `lexemes`."""
    return " | ".join("'" + lexeme.replace("\\", "\\\\").replace("'", "''") + "'" for lexeme in lexemes)


def _near(dimensions: int, *, is_exact: bool) -> Any:
    if is_exact:  # OFFSET keeps the distance from being made twice, for the order and for the answer
        nearest = f"""
            SELECT n.*, 1 - n.distance AS cosine FROM (
                SELECT c.tenant_id, c.id, c.document_id, c.dataset_id,
                    c.embedding <=> CAST(:vector AS vector) AS distance
                FROM chunks c WHERE {_SEARCHED} AND c.dimensions = {int(dimensions)} OFFSET 0
            ) n ORDER BY n.distance, n.id LIMIT :most
        """  # noqa: S608 (constants and a whole number)
    else:  # the index is over a cast and partial: the number has to stand in the statement, twice
        distance = f"c.embedding::vector({int(dimensions)}) <=> CAST(:vector AS vector({int(dimensions)}))"
        nearest = f"""
            SELECT c.tenant_id, c.id, c.document_id, c.dataset_id, 1 - ({distance}) AS cosine
            FROM chunks c WHERE {_SEARCHED} AND c.dimensions = {int(dimensions)}
            ORDER BY {distance} LIMIT :most
        """  # noqa: S608 (constants and whole numbers)
    return text(f"""
        SELECT n.id, n.document_id, n.dataset_id, n.cosine, d.name AS document_name, 0.0 AS weight, 0 AS matched
        FROM ({nearest}) n
        JOIN documents d ON d.tenant_id = n.tenant_id AND d.id = n.document_id AND d.is_enabled
        WHERE n.cosine >= :least ORDER BY n.cosine DESC, n.id
    """)  # noqa: S608 (constants and whole numbers)


def _found(row: Row[Any]) -> FoundChunk:
    return FoundChunk(
        id=ChunkId(row.id),
        document_id=DocumentId(row.document_id),
        dataset_id=DatasetId(row.dataset_id),
        document_name=row.document_name,
        weight=float(row.weight),
        matched=int(row.matched),
        cosine=float(row.cosine) if row.cosine is not None else None,
    )
