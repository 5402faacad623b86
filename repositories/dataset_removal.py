"""Taking datasets apart: hidden at once, emptied in statements that are each short, then gone."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import DatasetId, DocumentId, TenantId
from repositories.jobs import cancelling
from repositories.stray_blobs import StrayBlobRepository

# Documents before jobs before datasets: the order in which everybody locks.
_LOCK_DOCUMENTS = text("""
    SELECT id FROM documents WHERE tenant_id = :tenant AND dataset_id = ANY(CAST(:ids AS text[])) ORDER BY id FOR UPDATE
""")

_CANCEL_JOBS = cancelling("""
    subject_id = ANY(CAST(:ids AS text[])) OR subject_id IN (
        SELECT d.id FROM documents d WHERE d.tenant_id = :tenant AND d.dataset_id = ANY(CAST(:ids AS text[])))
""")

_DELETE = text("DELETE FROM datasets WHERE tenant_id = :tenant AND id = ANY(CAST(:ids AS text[]))")

# Longer than a name may be (knowledge.md 1.1), so that it is in nobody's way.
_HIDE = text("""
    UPDATE datasets SET deleted_at = clock_timestamp(), name = rpad('deleted ' || id || ' ', 160, '.')
    WHERE tenant_id = :tenant AND id = ANY(CAST(:ids AS text[]))
""")
_UNTIE_CHATS = text("DELETE FROM chat_datasets WHERE tenant_id = :tenant AND dataset_id = ANY(CAST(:ids AS text[]))")
_UNTIE_FILES = text("""
    DELETE FROM file_links WHERE tenant_id = :tenant AND document_id IN (
        SELECT id FROM documents WHERE tenant_id = :tenant AND dataset_id = ANY(CAST(:ids AS text[])))
""")

_DROP_CHUNKS = text("""
    WITH gone AS (
        DELETE FROM chunks WHERE tenant_id = :tenant AND ctid = ANY(ARRAY(
            SELECT ctid FROM chunks WHERE tenant_id = :tenant AND dataset_id = :id LIMIT :most))
        RETURNING tenant_id, dataset_id, image_id
    ), strays AS (
        INSERT INTO stray_blobs (tenant_id, key, due_at)
        SELECT DISTINCT tenant_id, tenant_id || '/' || dataset_id || '/images/'
            || substr(image_id, length(dataset_id) + 2), clock_timestamp()
        FROM gone WHERE image_id <> ''
        ON CONFLICT (tenant_id, key) DO UPDATE SET due_at = EXCLUDED.due_at
    )
    SELECT count(*) FROM gone
""")
_DROP_ROWS = {
    table: text(f"""
        DELETE FROM {table} WHERE tenant_id = :tenant AND ctid = ANY(ARRAY(
            SELECT ctid FROM {table} WHERE tenant_id = :tenant AND dataset_id = :id LIMIT :most))
    """)  # noqa: S608 (constants)
    for table in ("graph_documents", "graph_relations", "graph_entities", "graph_communities")
}
_SOME_DOCUMENTS = text("""
    SELECT id FROM documents WHERE tenant_id = :tenant AND dataset_id = :id ORDER BY id LIMIT :most
""")
_DROP_SECTIONS = text("""
    DELETE FROM sections WHERE tenant_id = :tenant AND ctid = ANY(ARRAY(
        SELECT s.ctid FROM sections s JOIN documents d ON d.tenant_id = s.tenant_id AND d.id = s.document_id
        WHERE s.tenant_id = :tenant AND d.dataset_id = :id LIMIT :most))
""")
_DROP_DOCUMENTS = text("DELETE FROM documents WHERE tenant_id = :tenant AND id = ANY(CAST(:ids AS text[]))")
_COUNT_CHUNKS = text("SELECT count(*) FROM chunks WHERE tenant_id = :tenant AND dataset_id = :id")


class DatasetRemoval:
    """Removes datasets of one tenant. Never commits."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._strays = StrayBlobRepository(connection, tenant_id)

    async def delete(self, dataset_ids: Sequence[DatasetId]) -> list[str]:
        """Delete small datasets with all they hold, and cancel their jobs; the keys of files that nobody names now."""
        values = {"tenant": self._tenant_id, "ids": list(dataset_ids)}
        documents = [DocumentId(row.id) for row in await self._connection.execute(_LOCK_DOCUMENTS, values)]
        await self._connection.execute(_CANCEL_JOBS, values)
        keys = await self._strays.add_of_documents(documents)
        await self._strays.add_images(documents)
        await self._connection.execute(_DELETE, values)
        return keys

    async def hide(self, dataset_ids: Sequence[DatasetId]) -> None:
        """Take datasets out of everybody's sight: their names are free, their jobs cancelled, their ties cut."""
        values = {"tenant": self._tenant_id, "ids": list(dataset_ids)}
        for statement in (_CANCEL_JOBS, _UNTIE_FILES, _UNTIE_CHATS, _HIDE):
            await self._connection.execute(statement, values)

    async def chunk_count(self, dataset_id: DatasetId) -> int:
        """Return how many chunks there are still."""
        values = {"tenant": self._tenant_id, "id": dataset_id}
        return int((await self._connection.execute(_COUNT_CHUNKS, values)).scalar_one())

    async def drop_chunks(self, dataset_id: DatasetId, *, most: int) -> int:
        """Delete some of the chunks of a hidden dataset; how many."""
        values = {"tenant": self._tenant_id, "id": dataset_id, "most": most}
        return int((await self._connection.execute(_DROP_CHUNKS, values)).scalar_one())

    async def drop_rows(self, dataset_id: DatasetId, *, most: int) -> int:
        """Delete some of its outline and graph; how many rows."""
        values = {"tenant": self._tenant_id, "id": dataset_id, "most": most}
        for statement in (_DROP_SECTIONS, *_DROP_ROWS.values()):
            rows = (await self._connection.execute(statement, values)).rowcount
            if rows:
                return rows
        return 0

    async def drop_documents(self, dataset_id: DatasetId, *, most: int) -> int:
        """Delete some of its documents, their files noted as strays; how many."""
        values = {"tenant": self._tenant_id, "id": dataset_id, "most": most}
        documents = [DocumentId(row.id) for row in await self._connection.execute(_SOME_DOCUMENTS, values)]
        await self._strays.add_of_documents(documents)
        await self._connection.execute(_DROP_DOCUMENTS, {"tenant": self._tenant_id, "ids": documents})
        return len(documents)

    async def finish(self, dataset_id: DatasetId) -> None:
        """Delete the row of a dataset that is empty."""
        await self._connection.execute(_DELETE, {"tenant": self._tenant_id, "ids": [dataset_id]})
