"""Sections of documents' outlines."""

from collections.abc import Sequence

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.datasets import StoredSection
from app.domain.ids import DocumentId, SectionId, TenantId

_OF_DOCUMENT = text("""
    SELECT id, position, level, title, path, parent_id, content FROM sections
    WHERE tenant_id = :tenant AND document_id = :document_id ORDER BY position
""")

_DELETE_OTHERS = text("""
    DELETE FROM sections WHERE tenant_id = :tenant AND document_id = :document_id
      AND NOT (id = ANY(CAST(:ids AS text[])))
""")

_PUT = text("""
    INSERT INTO sections (tenant_id, id, document_id, position, level, title, path, parent_id, content)
    SELECT :tenant, s.id, :document_id, s.position, s.level, s.title,
           ARRAY(SELECT jsonb_array_elements_text(s.path)), s.parent_id, s.content
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS s(id text, position int, level int, title text, path jsonb,
        parent_id text, content text)
    ON CONFLICT (tenant_id, id) DO UPDATE SET position = excluded.position, level = excluded.level,
        title = excluded.title, path = excluded.path, parent_id = excluded.parent_id, content = excluded.content
""")

_ROWS_AT_ONCE = 500


class SectionRepository:
    """Sections of one tenant. Never commits."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    async def of_document(self, document_id: DocumentId) -> list[StoredSection]:
        """Return the sections in order."""
        rows = await self._connection.execute(_OF_DOCUMENT, {"tenant": self._tenant_id, "document_id": document_id})
        return [
            StoredSection(
                id=SectionId(row.id),
                position=row.position,
                level=row.level,
                title=row.title,
                path=tuple(row.path),
                parent_id=SectionId(row.parent_id) if row.parent_id is not None else None,
                content=row.content,
            )
            for row in rows
        ]

    async def replace(self, document_id: DocumentId, sections: Sequence[StoredSection]) -> None:
        """Make `sections` the document's outline; those whose id stays are updated, all others go."""
        own = {"tenant": self._tenant_id, "document_id": document_id}
        await self._connection.execute(_DELETE_OTHERS, {**own, "ids": [section.id for section in sections]})
        for start in range(0, len(sections), _ROWS_AT_ONCE):
            rows = [
                {
                    "id": section.id,
                    "position": section.position,
                    "level": section.level,
                    "title": section.title,
                    "path": section.path,
                    "parent_id": section.parent_id,
                    "content": section.content,
                }
                for section in sections[start : start + _ROWS_AT_ONCE]
            ]
            await self._connection.execute(_PUT, {**own, "rows": orjson.dumps(rows).decode()})
