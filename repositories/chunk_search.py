"""Chunks of one tenant, searched by words and by vectors."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.vectors import VECTOR_BUCKETS, bucket_of
from app.domain.ids import ChunkId, DatasetId, DocumentId, TenantId

CONTENT_WEIGHT = 0.6
FIELD_WEIGHTS = (0.3, CONTENT_WEIGHT, 0.8, 1.0)
"""What a word counts in D the fine parts, C the content, B the title, A keywords and questions (text_index.py)."""
USUAL_LENGTH = 60.0
"""Lexemes of a chunk whose length counts neither for nor against it."""
LENGTH_BASE = 0.25
"""Share of the length that every chunk is taken to have, so that the shortest ones do not win by that alone."""

# The documents that are switched off are few: they are read once and looked up by hash.
_IN_SCOPE = """c.tenant_id = :tenant AND c.is_available
    AND (CAST(:document_ids AS text[]) IS NULL OR c.document_id = ANY(CAST(:document_ids AS text[])))
    AND c.document_id NOT IN (SELECT d.id FROM documents d WHERE d.tenant_id = :tenant
        AND d.dataset_id = ANY(CAST(:dataset_ids AS text[])) AND NOT d.is_enabled)"""
_SEARCHED = f"c.dataset_id = ANY(CAST(:dataset_ids AS text[])) AND {_IN_SCOPE}"

_ARMS = VECTOR_BUCKETS
"""Up to so many datasets are searched one by one: an index is asked for one value of its first column, not for many."""

_FREQUENCIES = text("""
    SELECT t.lexeme, (
        SELECT count(*) FROM (
            SELECT FROM unnest(CAST(:dataset_ids AS text[])) AS of(dataset_id)
            JOIN chunks c ON c.dataset_id = of.dataset_id AND c.tenant_id = :tenant
              AND c.lexemes @@ CAST(t.query AS tsquery) LIMIT :most
        ) found) AS frequency
    FROM unnest(CAST(:lexemes AS text[]), CAST(:queries AS text[])) AS t(lexeme, query)
""")

# Ids are hashes, so the first ones in their order are a sample like any other, and the same one each time.
_SAMPLE = text("""
    SELECT lexeme, count(*) AS found, max(size) AS size FROM (
        SELECT unnest(tsvector_to_array(c.lexemes)) AS lexeme, count(*) OVER () AS size FROM (
            SELECT c.lexemes FROM chunks c WHERE c.tenant_id = :tenant AND c.dataset_id = :dataset_id
            ORDER BY c.id LIMIT :most
        ) c
    ) sampled GROUP BY lexeme HAVING count(*) >= :least
""")

# Left to itself the planner, which knows little of words, may read a whole dataset to find `most_each` chunks with one.
# Without plain index scans the text index is what is left to it. And one plan for all datasets is wrong for most.
_INDEX_SCANS = text("""
    SELECT set_config('enable_indexscan', :are, true), set_config('plan_cache_mode', 'force_custom_plan', true)
""")

# `|| ''` unpacks a stored tsvector once; without it every term of the question would unpack it again.
# `ts_rank` of one word is 0.61 for its first place and nears 1 with more; it is set against the length of the chunk.
_MEASURED = text("""
    SELECT c.id, c.document_id, c.dataset_id, d.name AS document_name, t.weight, t.matched,
        CASE WHEN c.dimensions = :dimensions THEN 1 - (c.embedding <=> CAST(:vector AS vector)) END AS cosine
    FROM unnest(CAST(:document_ids AS text[]), CAST(:ids AS text[])) AS wanted(document_id, id)
    JOIN chunks c ON c.tenant_id = :tenant AND c.document_id = wanted.document_id AND c.id = wanted.id
        AND c.is_available
    JOIN documents d ON d.tenant_id = c.tenant_id AND d.id = c.document_id AND d.is_enabled
    CROSS JOIN LATERAL (SELECT c.lexemes || CAST('' AS tsvector) AS lexemes OFFSET 0) u
    CROSS JOIN LATERAL (
        SELECT sqrt(CAST(:length_base AS float8) + CAST(:length_share AS float8) * length(u.lexemes)) AS length OFFSET 0
    ) l
    CROSS JOIN LATERAL (
        SELECT count(*) AS matched, COALESCE(sum(q.weight * least(1,
            ts_rank(CAST(:fields AS float4[]), u.lexemes, q.query) / l.length)), 0) AS weight
        FROM unnest(CAST(:queries AS tsquery[]), CAST(:weights AS float8[])) AS q(query, weight)
        WHERE u.lexemes @@ q.query
    ) t
""")

# The planner takes a dataset for smaller than it is, as the conditions say twice where it lies, and would sort all of
# it: so sorting is made dear, and the index is left.
_TUNE = """
    SELECT set_config('hnsw.ef_search', :ef_search, true), set_config('plan_cache_mode', 'force_custom_plan', true),
        set_config('enable_sort', 'off', true)
"""
_SORTS = text("SELECT set_config('enable_sort', 'on', true)")
_TUNED = text(_TUNE)
_TUNED_ITERATIVE = text(f"{_TUNE}, set_config('hnsw.iterative_scan', 'relaxed_order', true)")
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


class ChunkKey(NamedTuple):
    """What names a chunk: equal texts of two documents differ in both."""

    document_id: DocumentId
    id: ChunkId


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """Chunks that hold words of a question, best first, and how many were counted for each word that was found."""

    chunks: list[ChunkKey]
    counted: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundChunk:
    """A chunk that a search came across.

    `weight` is how much of the question's terms it holds (0..1): the weights of those in it, less for a single
    occurrence in a long chunk. `matched` is how many of them it holds.
    """

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

    async def sample(self, dataset_id: DatasetId, *, most: int, least: int) -> dict[str, float]:
        """Return the lexemes that are in `least` or more of `most` sampled chunks, with the share of chunks that is."""
        values = {"tenant": self._tenant_id, "dataset_id": dataset_id, "most": most, "least": least}
        return {row.lexeme: row.found / row.size for row in await self._connection.execute(_SAMPLE, values)}

    async def find_holding(
        self,
        scope: SearchScope,
        factors: Mapping[str, float],
        *,
        chunk_count: int,
        most_each: int,
        most: int,
    ) -> Holding:
        """Return the `most` chunks that hold the most of these lexemes, the rarer ones first.

        Of one lexeme `most_each` chunks are looked at, and counted. `factors` multiply what a lexeme weighs.
        """
        lexemes = list(factors)
        values = {
            **self._scoped(scope),
            "queries": [any_of([lexeme]) for lexeme in lexemes],
            "factors": list(factors.values()),
            "chunks": float(chunk_count),
            "most_each": most_each,
            "most": most,
        }
        await self._connection.execute(_INDEX_SCANS, {"are": "off"})
        rows = (await self._connection.execute(_holding(len(scope.dataset_ids)), values)).all()
        await self._connection.execute(_INDEX_SCANS, {"are": "on"})
        counted = {lexemes[n - 1]: int(found) for n, found in (rows[0].found if rows else [])}
        return Holding(chunks=[ChunkKey(row.document_id, row.id) for row in rows], counted=counted)

    async def find_near(
        self, scope: SearchScope, *, vector: Sequence[float], most: int, is_exact: bool
    ) -> list[ChunkKey]:
        """Return the `most` chunks nearest to `vector`, the nearest first.

        Not `is_exact`, they come from the index of the vector's dimension, if there is one; call `tune` before.
        """
        values = {**self._scoped(scope), "vector": _vector(vector), "most": most}
        statement = _near_exact(len(vector)) if is_exact else _near(len(vector), len(scope.dataset_ids))
        rows = (await self._connection.execute(statement, values)).all()
        if not is_exact:
            await self._connection.execute(_SORTS)
        return [ChunkKey(row.document_id, row.id) for row in rows]

    async def measure(
        self, chunks: Sequence[ChunkKey], *, weights: Mapping[str, float], vector: Sequence[float]
    ) -> list[FoundChunk]:
        """Return how much of the question is in each of `chunks`, and how near each is. Order is not kept."""
        values = {
            "tenant": self._tenant_id,
            "document_ids": [chunk.document_id for chunk in chunks],
            "ids": [chunk.id for chunk in chunks],
            "queries": [any_of([lexeme]) for lexeme in weights],
            "weights": list(weights.values()),
            "vector": _vector(vector),
            "dimensions": len(vector),
            "fields": list(FIELD_WEIGHTS),
            "length_base": LENGTH_BASE * CONTENT_WEIGHT**2,
            "length_share": (1 - LENGTH_BASE) * CONTENT_WEIGHT**2 / USUAL_LENGTH,
        }
        return [_found(row) for row in await self._connection.execute(_MEASURED, values)]

    async def tune(self, *, ef_search: int, is_iterative: bool) -> None:
        """Prepare this unit for one search through the vector index."""
        statement = _TUNED_ITERATIVE if is_iterative else _TUNED
        await self._connection.execute(statement, {"ef_search": str(ef_search)})

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


def _holding(datasets: int) -> Any:
    """Return the statement that finds chunks by words: one arm for each dataset, or one for all where they are many.

    Whatever is found of a word is weighed by how many chunks hold it, counted as far as was looked.
    """
    scopes = [f"c.dataset_id = {one} AND {_IN_SCOPE}" for one in _each(datasets)] if datasets < _ARMS else [_SEARCHED]
    arms = " UNION ALL ".join(
        f"(SELECT c.document_id, c.id FROM chunks c WHERE {scope} AND c.lexemes @@ CAST(t.query AS tsquery) "  # noqa: S608 (constants)
        "LIMIT :most_each)"
        for scope in scopes
    )
    return text(f"""
        WITH held AS MATERIALIZED (
            SELECT t.n, t.factor, c.document_id, c.id
            FROM unnest(CAST(:queries AS text[]), CAST(:factors AS float8[])) WITH ORDINALITY AS t(query, factor, n)
            CROSS JOIN LATERAL (SELECT * FROM ({arms}) a LIMIT :most_each) c
        ), terms AS MATERIALIZED (
            SELECT n, count(*) AS found, max(factor) * log(10 + greatest(0.5, CAST(:chunks AS float8) - count(*) + 0.5)
                / (count(*) + 0.5)) AS weight
            FROM held GROUP BY n
        )
        SELECT h.document_id, h.id, (SELECT array_agg(ARRAY[n, found]) FROM terms) AS found
        FROM held h JOIN terms USING (n) GROUP BY h.document_id, h.id
        ORDER BY sum(terms.weight) DESC, h.id LIMIT :most
    """)  # noqa: S608 (constants)


def _each(datasets: int) -> list[str]:
    return [f"(CAST(:dataset_ids AS text[]))[{number}]" for number in range(1, datasets + 1)]


def _near_exact(dimensions: int) -> Any:
    return text(f"""
        SELECT c.document_id, c.id FROM chunks c WHERE {_SEARCHED} AND c.dimensions = {int(dimensions)}
        ORDER BY c.embedding <=> CAST(:vector AS vector) LIMIT :most
    """)  # noqa: S608 (constants and a whole number)


def _near(dimensions: int, datasets: int) -> Any:
    """Return the statement over the vector indexes: one arm for each dataset, or for each bucket if those are fewer.

    The indexes are over a cast and partial: length and bucket have to stand in the statement.
    """
    size = int(dimensions)
    distance = f"c.embedding::halfvec({size}) <=> CAST(:vector AS halfvec({size}))"
    if datasets < VECTOR_BUCKETS:
        arms = [
            f"c.dataset_id = {one} AND {_IN_SCOPE} AND {bucket_of('c.dataset_id')} = {bucket_of(one)}"
            for one in _each(datasets)
        ]
    else:
        arms = [f"{_SEARCHED} AND {bucket_of('c.dataset_id')} = {bucket}" for bucket in range(VECTOR_BUCKETS)]
    each = " UNION ALL ".join(
        f"(SELECT c.document_id, c.id, {distance} AS distance FROM chunks c "  # noqa: S608 (constants and numbers)
        f"WHERE {arm} AND c.dimensions = {size} ORDER BY {distance} LIMIT :most)"
        for arm in arms
    )
    return text(f"SELECT document_id, id FROM ({each}) n ORDER BY distance LIMIT :most")  # noqa: S608 (as above)


def _vector(vector: Sequence[float]) -> str:
    return orjson.dumps(list(vector)).decode()


def _found(row: Row[Any]) -> FoundChunk:
    return FoundChunk(
        id=ChunkId(row.id),
        document_id=DocumentId(row.document_id),
        dataset_id=DatasetId(row.dataset_id),
        document_name=row.document_name,
        weight=float(row.weight),
        matched=int(row.matched),
        cosine=float(row.cosine) if row.cosine is not None and not math.isnan(row.cosine) else None,
    )
