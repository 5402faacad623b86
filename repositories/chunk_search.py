"""Chunks of one tenant, searched by words and by vectors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from app.db.vectors import VECTOR_BUCKETS
from app.domain.ids import ChunkId, DatasetId, DocumentId, TenantId
from repositories import chunk_search_statements as sql
from repositories.statements import Driver


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


class FoundChunk(NamedTuple):
    """A chunk that a search came across.

    `words` are the numbers, from 1, of those of the question's lexemes that it holds; `shares` tells of
    each how much of it is there (0..1): less for a single occurrence in a long chunk. `cosine` is None for a vector of
    another dimension or of zeros.
    """

    document_id: DocumentId
    id: ChunkId
    dataset_id: DatasetId
    document_name: str
    cosine: float | None
    words: Sequence[int]
    shares: Sequence[float]


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

    def __init__(self, driver: Driver, tenant_id: TenantId) -> None:
        self._driver = driver
        self._tenant_id = tenant_id

    async def frequencies(
        self, dataset_ids: Sequence[DatasetId], lexemes: Sequence[str], *, most: int
    ) -> dict[str, int]:
        """Return in how many chunks of the datasets each lexeme is, counted up to `most`."""
        values = {
            "tenant": self._tenant_id,
            "dataset_ids": list(dataset_ids),
            "lexemes": list(lexemes),
            "queries": each_of(lexemes),
            "most": most,
        }
        return {row["lexeme"]: row["frequency"] for row in await self._driver.all(sql.FREQUENCIES, values)}

    async def sample(self, dataset_id: DatasetId, *, most: int, least: int) -> dict[str, float]:
        """Return the lexemes that are in `least` or more of `most` sampled chunks, with the share of chunks that is."""
        values = {"tenant": self._tenant_id, "dataset_id": dataset_id, "most": most, "least": least}
        return {row["lexeme"]: row["found"] / row["size"] for row in await self._driver.all(sql.SAMPLE, values)}

    async def find_small(
        self, scope: SearchScope, lexemes: Sequence[str], *, vector: Sequence[float], most_near: int
    ) -> list[FoundChunk]:
        """Return every chunk that holds one of the lexemes, and those of the `most_near` nearest that hold none.

        For small datasets: nothing is left out, and all of it is measured.
        """
        values = {
            **self._scoped(scope),
            "query": any_of(lexemes),
            "queries": each_of(lexemes),
            "vector": _vector(vector),
            "dimensions": len(vector),
            "most": most_near,
        }
        return [FoundChunk(*row) for row in await self._driver.all(sql.small(_arms(scope)), values)]

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
            "queries": each_of(lexemes),
            "factors": list(factors.values()),
            "chunks": float(chunk_count),
            "most_each": most_each,
            "most": most,
        }
        await self._driver.set(sql.BY_WORDS)
        rows = await self._driver.all(sql.holding(_arms(scope)), values)
        counted = {lexemes[n - 1]: int(found) for n, found in (rows[0]["found"] if rows else [])}
        return Holding(chunks=[ChunkKey(row["document_id"], row["id"]) for row in rows], counted=counted)

    async def find_nearest(self, scope: SearchScope, *, vector: Sequence[float], most: int) -> list[ChunkKey]:
        """Return the `most` chunks nearest to `vector`, the nearest first; each vector is compared."""
        await self._driver.set(sql.ONE_BY_ONE)
        values = {**self._scoped(scope), "vector": _vector(vector), "dimensions": len(vector), "most": most}
        return [ChunkKey(*row[:2]) for row in await self._driver.all(sql.near_exact(_arms(scope)), values)]

    async def find_near(
        self, scope: SearchScope, *, vector: Sequence[float], most: int, ef_search: int, is_iterative: bool
    ) -> list[ChunkKey]:
        """Return about the `most` chunks nearest to `vector`, the nearest first.

        They come from the index of the vector's dimension, if there is one. `ef_search` and `is_iterative` say how it
        looks (pgvector).
        """
        await self._driver.set(sql.near_settings(ef_search=ef_search, is_iterative=is_iterative))
        values = {**self._scoped(scope), "vector": _vector(vector), "most": most}
        rows = await self._driver.all(sql.near(len(vector), _arms(scope)), values)
        return [ChunkKey(*row[:2]) for row in rows]

    async def measure(
        self, chunks: Sequence[ChunkKey], *, lexemes: Sequence[str], vector: Sequence[float]
    ) -> list[FoundChunk]:
        """Return how much of the question is in each of `chunks`, and how near each is. Order is not kept."""
        values = {
            "tenant": self._tenant_id,
            "document_ids": [chunk.document_id for chunk in chunks],
            "ids": [chunk.id for chunk in chunks],
            "queries": each_of(lexemes),
            "vector": _vector(vector),
            "dimensions": len(vector),
        }
        return [FoundChunk(*row) for row in await self._driver.all(sql.MEASURED, values)]

    async def has_iterative_scans(self) -> bool:
        """Tell whether pgvector goes on where a filter left too few neighbours: 0.8 and later."""
        version = str(await self._driver.scalar(sql.VERSION, {}))
        numbers = [int(part) if part.isdigit() else 0 for part in version.split(".")]
        return numbers >= [0, 8]

    async def bodies(self, found: Sequence[tuple[DocumentId, ChunkId]]) -> dict[tuple[str, str], ChunkBody]:
        """Return what hits show, by document and chunk id."""
        values = {
            "tenant": self._tenant_id,
            "document_ids": [document_id for document_id, _ in found],
            "ids": [chunk_id for _, chunk_id in found],
        }
        return {
            (row["document_id"], row["id"]): ChunkBody(
                content=row["content"],
                important_keywords=row["important_keywords"],
                questions=row["questions"],
                positions=row["positions"],
                image_id=row["image_id"],
                doc_type=row["doc_type"],
                document_metadata=row["meta_fields"],
            )
            for row in await self._driver.all(sql.BODIES, values)
        }

    async def metadata(self, dataset_ids: Sequence[DatasetId]) -> dict[DocumentId, dict[str, Any]]:
        """Return the metadata of the datasets' documents that have any."""
        values = {"tenant": self._tenant_id, "dataset_ids": list(dataset_ids)}
        return {DocumentId(row["id"]): row["meta_fields"] for row in await self._driver.all(sql.METADATA, values)}

    async def owned(self, dataset_ids: Sequence[DatasetId], document_ids: Sequence[DocumentId]) -> set[DocumentId]:
        """Return those of `document_ids` that are in one of the datasets."""
        values = {"tenant": self._tenant_id, "dataset_ids": list(dataset_ids), "document_ids": list(document_ids)}
        return {DocumentId(row["id"]) for row in await self._driver.all(sql.OWNED_DOCUMENTS, values)}

    def _scoped(self, scope: SearchScope) -> dict[str, Any]:
        return {
            "tenant": self._tenant_id,
            "dataset_ids": list(scope.dataset_ids),
            "document_ids": list(scope.document_ids) if scope.document_ids is not None else None,
        }


def any_of(lexemes: Sequence[str]) -> str:
    """Return text for a `::tsquery` cast that matches chunks with any of `lexemes`."""
    return " | ".join(each_of(lexemes))


def each_of(lexemes: Sequence[str]) -> list[str]:
    """Return text for a `::tsquery` cast for each of `lexemes`."""
    return ["'" + lexeme.replace("\\", "\\\\").replace("'", "''") + "'" for lexeme in lexemes]


def _arms(scope: SearchScope) -> int:
    """Return the number of datasets as the statements tell it apart: none is made for more than there are buckets."""
    return min(len(scope.dataset_ids), VECTOR_BUCKETS)


def _vector(vector: Sequence[float]) -> str:
    return orjson.dumps(list(vector)).decode()
