"""Tables of contents of one tenant's documents (knowledge.md 5.12)."""

from collections.abc import Sequence

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.contents import ContentsEntry
from app.domain.ids import ChunkId, DocumentId, TenantId

_GET = text("SELECT toc FROM documents WHERE tenant_id = :tenant AND id = :id AND toc IS NOT NULL")
_KEEP = text("UPDATE documents SET toc = CAST(:toc AS jsonb) WHERE tenant_id = :tenant AND id = :id")


class ContentsRepository:
    """Tables of contents, kept in the document's row. Never commits."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    async def get(self, document_id: DocumentId) -> list[ContentsEntry]:
        """Return the entries in reading order; none where nobody made a table."""
        row = (await self._connection.execute(_GET, {"tenant": self._tenant_id, "id": document_id})).one_or_none()
        if row is None:
            return []
        return [
            ContentsEntry(
                level=each["level"], title=each["title"], chunk_ids=tuple(ChunkId(one) for one in each["chunk_ids"])
            )
            for each in row.toc
        ]

    async def keep(self, document_id: DocumentId, entries: Sequence[ContentsEntry] | None) -> None:
        """Replace the table; None when there is to be none."""
        toc = None
        if entries is not None:
            rows = [{"level": e.level, "title": e.title, "chunk_ids": list(e.chunk_ids)} for e in entries]
            toc = orjson.dumps(rows).decode()
        await self._connection.execute(_KEEP, {"tenant": self._tenant_id, "id": document_id, "toc": toc})
