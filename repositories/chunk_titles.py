"""What chunks know of their document's name: title lexemes, and the name's share in their vectors."""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import ChunkId, DocumentId, TenantId

_BATCH = text("""
    SELECT id, content, important_keywords, questions, ordinal FROM chunks
    WHERE tenant_id = :tenant AND document_id = :document_id AND layer = 0 AND id > :after
    ORDER BY id LIMIT :most
""")

# Lexemes: weight B is the title's alone; what else stood for the old one is named chunk by chunk.
# Vectors: all are of length 1, and v * l = s * old + (1 - s) * own, where l is the length the mixture had before it was
# normalised. `own` is not stored, but l follows from v . old; then the new mixture is v * l + s * (new - old).
_RETITLE = text("""
    UPDATE chunks c SET
        lexemes = CASE WHEN c.ordinal < 0 THEN c.lexemes ELSE ts_delete(ts_filter(c.lexemes, '{a,c,d}'),
            ARRAY(SELECT jsonb_array_elements_text(CAST(t.fine AS jsonb)))) || CAST(:title AS tsvector) END,
        embedding = CASE WHEN CAST(:old AS text) IS NULL THEN c.embedding ELSE l2_normalize(
            c.embedding + CAST(array_fill(CAST(m.share AS real), ARRAY[c.dimensions::int]) AS vector)
                * CAST(:shift AS vector)) END
    FROM unnest(CAST(:ids AS text[]), CAST(:fine AS text[])) AS t(id, fine), chunks o CROSS JOIN LATERAL (
        SELECT -(o.embedding <#> CAST(:old AS vector)) AS dot
    ) p CROSS JOIN LATERAL (
        SELECT CAST(:share AS float8) / GREATEST(0.01, :share * p.dot
            + sqrt(GREATEST(0, :share * :share * (p.dot * p.dot - 1) + (1 - :share) * (1 - :share)))) AS share
    ) m
    WHERE c.tenant_id = :tenant AND c.document_id = :document_id AND c.id = t.id
      AND o.tenant_id = c.tenant_id AND o.document_id = c.document_id AND o.id = c.id
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class TitledChunk:
    """A chunk's words without the title's. `has_title` tells whether the text search finds it by the title."""

    id: ChunkId
    content: str
    important_keywords: list[str]
    questions: list[str]
    has_title: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NameVectors:
    """Vectors of the old and the new file name, L2-normalised, and the `share` they have in a chunk's."""

    old: Sequence[float]
    new: Sequence[float]
    share: float


class ChunkTitleRepository:
    """Chunks of one tenant and the names of their documents. Never commits."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    async def batch(self, document_id: DocumentId, *, after: str, most: int) -> list[TitledChunk]:
        """Return the chunks of a document whose ids come after `after`, in order of their ids, without summaries."""
        values = {"tenant": self._tenant_id, "document_id": document_id, "after": after, "most": most}
        return [
            TitledChunk(
                id=ChunkId(row.id),
                content=row.content,
                important_keywords=list(row.important_keywords),
                questions=list(row.questions),
                has_title=row.ordinal >= 0,
            )
            for row in await self._connection.execute(_BATCH, values)
        ]

    async def retitle(
        self,
        document_id: DocumentId,
        stale: dict[ChunkId, list[str]],
        *,
        title: str,
        vectors: NameVectors | None,
    ) -> None:
        """Give chunks the lexemes `title` (text for a tsvector); `stale` are lexemes only the old title had.

        Without `vectors` theirs stay.
        """
        values = {
            "tenant": self._tenant_id,
            "document_id": document_id,
            "ids": list(stale),
            "fine": [orjson.dumps(lexemes).decode() for lexemes in stale.values()],
            "title": title,
            "old": orjson.dumps(list(vectors.old)).decode() if vectors else None,
            "shift": _difference(vectors) if vectors else None,
            "share": vectors.share if vectors else 0.1,
        }
        await self._connection.execute(_RETITLE, values)


def _difference(vectors: NameVectors) -> str:
    return orjson.dumps([new - old for new, old in zip(vectors.new, vectors.old, strict=True)]).decode()
