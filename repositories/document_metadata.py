"""The `meta_fields` of a dataset's documents, many at a time."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import DatasetId, DocumentId, TenantId

_WHERE = """tenant_id = :tenant AND dataset_id = :dataset_id
    AND (CAST(:ids AS text[]) IS NULL OR id = ANY(CAST(:ids AS text[])))"""

_ALL = text(f"SELECT id, meta_fields FROM documents WHERE {_WHERE} AND meta_fields <> '{{}}'")  # noqa: S608 (constants)
_LOCK = text(f"""
    SELECT id, meta_fields FROM documents WHERE {_WHERE} AND meta_fields <> '{{}}' ORDER BY id FOR NO KEY UPDATE
""")  # noqa: S608 (constants)
_COUNT = text(f"SELECT count(*) FROM documents WHERE {_WHERE}")  # noqa: S608 (constants)
_KNOWN = text(f"SELECT id FROM documents WHERE {_WHERE}")  # noqa: S608 (constants)

_REPLACE = text("""
    UPDATE documents d SET meta_fields = CAST(m.fields AS jsonb), updated_at = clock_timestamp()
    FROM unnest(CAST(:ids AS text[]), CAST(:fields AS text[])) AS m(id, fields)
    WHERE d.tenant_id = :tenant AND d.id = m.id
""")

_ROWS_AT_ONCE = 1000


class DocumentMetadataRepository:
    """Metadata of documents of one tenant. Never commits. Documents without any are left out."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    def _values(self, dataset_id: DatasetId, document_ids: Sequence[DocumentId] | None) -> dict[str, Any]:
        ids = list(document_ids) if document_ids is not None else None
        return {"tenant": self._tenant_id, "dataset_id": dataset_id, "ids": ids}

    async def all(
        self, dataset_id: DatasetId, document_ids: Sequence[DocumentId] | None = None
    ) -> dict[DocumentId, dict[str, Any]]:
        """Return the metadata of all the dataset's documents, or of these."""
        rows = await self._connection.execute(_ALL, self._values(dataset_id, document_ids))
        return {DocumentId(row.id): row.meta_fields for row in rows}

    async def lock(
        self, dataset_id: DatasetId, document_ids: Sequence[DocumentId] | None
    ) -> dict[DocumentId, dict[str, Any]]:
        """As `all`, kept from others until this unit ends."""
        rows = await self._connection.execute(_LOCK, self._values(dataset_id, document_ids))
        return {DocumentId(row.id): row.meta_fields for row in rows}

    async def count(self, dataset_id: DatasetId) -> int:
        """Return how many documents the dataset has, with metadata or without."""
        return int((await self._connection.execute(_COUNT, self._values(dataset_id, None))).scalar_one())

    async def known(self, dataset_id: DatasetId, document_ids: Sequence[DocumentId]) -> set[DocumentId]:
        """Return those of `document_ids` that are in the dataset."""
        rows = await self._connection.execute(_KNOWN, self._values(dataset_id, document_ids))
        return {DocumentId(row.id) for row in rows}

    async def replace(self, fields: Mapping[DocumentId, Mapping[str, Any]]) -> None:
        """Store new metadata of documents that are locked."""
        items = list(fields.items())
        for start in range(0, len(items), _ROWS_AT_ONCE):
            some = items[start : start + _ROWS_AT_ONCE]
            values = {
                "tenant": self._tenant_id,
                "ids": [document_id for document_id, _ in some],
                "fields": [orjson.dumps(dict(each)).decode() for _, each in some],
            }
            await self._connection.execute(_REPLACE, values)
