"""Tags of tag datasets: how they are spread, and which chunks with the same words have (knowledge.md 5.10)."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import ChunkId, DatasetId, DocumentId, TenantId
from repositories.chunk_search import any_of

_VISIBLE = """c.tenant_id = :tenant AND c.dataset_id = ANY(CAST(:dataset_ids AS text[])) AND c.is_available
    AND EXISTS (SELECT FROM documents d WHERE d.tenant_id = c.tenant_id AND d.id = c.document_id AND d.is_enabled)"""

_COUNTS = text(f"""
    SELECT tag, count(*) AS times FROM chunks c CROSS JOIN LATERAL unnest(c.tags) AS tag
    WHERE {_VISIBLE} GROUP BY tag
""")  # noqa: S608 (a constant)

# `|| ''` unpacks a stored tsvector once, not once a term.
_COUNTS_BESIDE = text(f"""
    SELECT tag, count(*) AS times FROM (
        SELECT c.tags, c.lexemes || CAST('' AS tsvector) AS lexemes FROM chunks c
        WHERE {_VISIBLE} AND c.lexemes @@ CAST(:query AS tsquery) OFFSET 0
    ) c CROSS JOIN LATERAL unnest(c.tags) AS tag
    WHERE (
        SELECT count(*) FROM unnest(CAST(:queries AS tsquery[])) AS q(query) WHERE c.lexemes @@ q.query
    ) >= :least
    GROUP BY tag
""")  # noqa: S608 (a constant)


_WEIGHTS = text("""
    SELECT c.document_id, c.id, c.tag_weights
    FROM unnest(CAST(:document_ids AS text[]), CAST(:ids AS text[])) AS wanted(document_id, id)
    JOIN chunks c ON c.tenant_id = :tenant AND c.document_id = wanted.document_id AND c.id = wanted.id
    WHERE c.tag_weights <> '{}'
""")


class TagRepository:
    """Tags of one tenant's tag datasets. Never writes."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    async def counts(self, dataset_ids: Sequence[DatasetId]) -> dict[str, int]:
        """Return how many chunks of these datasets have each tag."""
        values = {"tenant": self._tenant_id, "dataset_ids": list(dataset_ids)}
        return {row.tag: row.times for row in await self._connection.execute(_COUNTS, values)}

    async def counts_beside(
        self, dataset_ids: Sequence[DatasetId], lexemes: Sequence[str], *, least: int
    ) -> dict[str, int]:
        """Return how many of the chunks that hold at least `least` of `lexemes` have each tag."""
        if not lexemes:
            return {}
        values = {
            "tenant": self._tenant_id,
            "dataset_ids": list(dataset_ids),
            "query": any_of(lexemes),
            "queries": [any_of([lexeme]) for lexeme in lexemes],
            "least": least,
        }
        return {row.tag: row.times for row in await self._connection.execute(_COUNTS_BESIDE, values)}

    async def weights(
        self, chunks: Sequence[tuple[DocumentId, ChunkId]]
    ) -> dict[tuple[DocumentId, ChunkId], dict[str, float]]:
        """Return the tags of those of the chunks that have any, with their scores, by document and chunk id."""
        values = {
            "tenant": self._tenant_id,
            "document_ids": [document_id for document_id, _ in chunks],
            "ids": [chunk_id for _, chunk_id in chunks],
        }
        return {
            (DocumentId(row.document_id), ChunkId(row.id)): row.tag_weights
            for row in await self._connection.execute(_WEIGHTS, values)
        }
