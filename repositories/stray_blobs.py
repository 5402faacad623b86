"""Blobs that no row names: noted before bytes are written, and when their owner goes; swept when due.

A blob is never deleted while a document, file or chunk names it, whatever is noted here.
"""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import DocumentId, TenantId

UPLOAD_GRACE_S = 24 * 3600.0
"""How long bytes that were announced may wait for the row that names them."""

IMAGE_GRACE_S = 3600.0
"""How long the pictures of dropped chunks stay: parsing a document again makes the same ones."""

_ADD = text("""
    INSERT INTO stray_blobs (tenant_id, key, due_at)
    SELECT :tenant, k.key, clock_timestamp() + make_interval(secs => :due_in_s)
    FROM unnest(CAST(:keys AS text[])) AS k(key)
    ON CONFLICT (tenant_id, key) DO UPDATE SET due_at = EXCLUDED.due_at
""")

_CLEAR = text("DELETE FROM stray_blobs WHERE tenant_id = :tenant AND key = ANY(CAST(:keys AS text[]))")

_ADD_OF_DOCUMENTS = text("""
    INSERT INTO stray_blobs (tenant_id, key, due_at)
    SELECT DISTINCT :tenant, b.key, clock_timestamp()
    FROM documents d CROSS JOIN LATERAL (
        VALUES (d.blob_key), (d.tenant_id || '/' || d.dataset_id || '/images/' || NULLIF(d.thumbnail, ''))
    ) AS b(key)
    WHERE d.tenant_id = :tenant AND d.id = ANY(CAST(:ids AS text[])) AND b.key IS NOT NULL
      AND NOT EXISTS (SELECT FROM files f WHERE f.tenant_id = :tenant AND f.blob_key = b.key)
    ON CONFLICT (tenant_id, key) DO UPDATE SET due_at = EXCLUDED.due_at
    RETURNING key
""")

# An image id is `<dataset>-<name>` (app/ingest/images.py).
_ADD_IMAGES = text("""
    INSERT INTO stray_blobs (tenant_id, key, due_at)
    SELECT DISTINCT c.tenant_id,
        c.tenant_id || '/' || c.dataset_id || '/images/' || substr(c.image_id, length(c.dataset_id) + 2),
        clock_timestamp() + make_interval(secs => :due_in_s)
    FROM chunks c
    WHERE c.tenant_id = :tenant AND c.document_id = ANY(CAST(:ids AS text[])) AND c.image_id <> ''
    ON CONFLICT (tenant_id, key) DO UPDATE SET due_at = EXCLUDED.due_at
""")

_CLAIM = text("""
    WITH due AS (
        SELECT key FROM stray_blobs WHERE tenant_id = :tenant AND due_at <= statement_timestamp()
        ORDER BY due_at LIMIT :most FOR UPDATE SKIP LOCKED
    ), named AS (
        SELECT due.key FROM due WHERE
            EXISTS (SELECT FROM documents d WHERE d.tenant_id = :tenant AND d.blob_key = due.key)
            OR EXISTS (SELECT FROM files f WHERE f.tenant_id = :tenant AND f.blob_key = due.key)
            OR due.key LIKE '%/images/%' AND (
                EXISTS (SELECT FROM chunks c WHERE c.tenant_id = :tenant AND c.dataset_id = split_part(due.key, '/', 2)
                        AND c.image_id = split_part(due.key, '/', 2) || '-' || split_part(due.key, '/', 4))
                OR EXISTS (SELECT FROM documents d WHERE d.tenant_id = :tenant
                           AND d.dataset_id = split_part(due.key, '/', 2)
                           AND d.thumbnail = split_part(due.key, '/', 4)))
    ), forgotten AS (
        DELETE FROM stray_blobs s USING named WHERE s.tenant_id = :tenant AND s.key = named.key
    )
    UPDATE stray_blobs s SET due_at = clock_timestamp() + make_interval(secs => :hold_s)
    FROM due WHERE s.tenant_id = :tenant AND s.key = due.key AND due.key NOT IN (SELECT key FROM named)
    RETURNING s.key
""")

_HOLD_S = 600.0


class StrayBlobRepository:
    """Blobs of one tenant that nobody names. Never commits."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    async def add(self, keys: Sequence[str], *, due_in_s: float = 0.0) -> None:
        """Note blobs to be deleted in `due_in_s`, unless `clear` or a row that names them comes first."""
        if keys:
            values = {"tenant": self._tenant_id, "keys": list(keys), "due_in_s": due_in_s}
            await self._connection.execute(_ADD, values)

    async def clear(self, keys: Sequence[str]) -> None:
        """Forget blobs: they are named now, or deleted."""
        if keys:
            await self._connection.execute(_CLEAR, {"tenant": self._tenant_id, "keys": list(keys)})

    async def add_of_documents(self, document_ids: Sequence[DocumentId]) -> list[str]:
        """Note the bytes and thumbnails of documents that are about to be deleted, those no file has; their keys."""
        values = {"tenant": self._tenant_id, "ids": list(document_ids)}
        return [row.key for row in await self._connection.execute(_ADD_OF_DOCUMENTS, values)]

    async def add_images(self, document_ids: Sequence[DocumentId], *, due_in_s: float = 0.0) -> None:
        """Note the pictures of all chunks of these documents, which are about to be deleted."""
        values = {"tenant": self._tenant_id, "ids": list(document_ids), "due_in_s": due_in_s}
        await self._connection.execute(_ADD_IMAGES, values)

    async def claim(self, *, most: int) -> list[str]:
        """Take blobs that are due, to be deleted now; those that are named after all are forgotten."""
        values = {"tenant": self._tenant_id, "most": most, "hold_s": _HOLD_S}
        return [row.key for row in await self._connection.execute(_CLAIM, values)]
