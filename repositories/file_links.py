"""Which documents were made of which files (knowledge.md 6)."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.files import FileId, FileLink
from app.domain.ids import DatasetId, DocumentId, TenantId, new_id

_SELECT = """
    SELECT l.id, l.file_id, l.document_id, l.created_at, l.updated_at, d.id AS dataset_id, d.name AS dataset_name
    FROM file_links l
    JOIN documents x ON x.tenant_id = l.tenant_id AND x.id = l.document_id
    JOIN datasets d ON d.tenant_id = x.tenant_id AND d.id = x.dataset_id AND d.deleted_at IS NULL
    WHERE l.tenant_id = :tenant
"""

_OF_FILES = text(f"{_SELECT} AND l.file_id = ANY(CAST(:ids AS text[])) ORDER BY l.created_at, l.id")

_ADD = text("""
    INSERT INTO file_links (tenant_id, id, file_id, document_id) VALUES (:tenant, :id, :file_id, :document_id)
""")


class FileLinkRepository:
    """Links of one tenant. Never commits. A link goes with its file or its document."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    async def of(self, file_ids: Sequence[FileId]) -> list[FileLink]:
        """Return the links of these files, the oldest first."""
        if not file_ids:
            return []
        rows = await self._connection.execute(_OF_FILES, {"tenant": self._tenant_id, "ids": list(file_ids)})
        return [_link(row) for row in rows]

    async def add(self, file_id: FileId, document_id: DocumentId) -> None:
        """Link a document to the file it was made of."""
        values = {"tenant": self._tenant_id, "id": new_id(), "file_id": file_id, "document_id": document_id}
        await self._connection.execute(_ADD, values)


def _link(row: Row[Any]) -> FileLink:
    return FileLink(
        id=row.id,
        file_id=FileId(row.file_id),
        document_id=DocumentId(row.document_id),
        dataset_id=DatasetId(row.dataset_id),
        dataset_name=row.dataset_name,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
