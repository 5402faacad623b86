"""What documents hold, in bulk: chunks deleted or switched by statements that are each short."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import DocumentId, TenantId

_DROP = text("""
    DELETE FROM chunks WHERE tenant_id = :tenant AND ctid = ANY(ARRAY(
        SELECT ctid FROM chunks WHERE tenant_id = :tenant AND document_id = ANY(CAST(:ids AS text[])) LIMIT :most))
""")

_SWITCH = text("""
    UPDATE chunks SET is_available = :is_available WHERE tenant_id = :tenant AND ctid = ANY(ARRAY(
        SELECT ctid FROM chunks WHERE tenant_id = :tenant AND document_id = ANY(CAST(:ids AS text[]))
          AND is_available <> :is_available LIMIT :most))
""")

_ROWS_AT_ONCE = 2000


class DocumentContents:
    """Chunks of whole documents, which the caller has locked. Never commits; counters are the caller's to change."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    async def drop_chunks(self, document_ids: Sequence[DocumentId]) -> None:
        """Delete all chunks of these documents."""
        values = {"tenant": self._tenant_id, "ids": list(document_ids), "most": _ROWS_AT_ONCE}
        while (await self._connection.execute(_DROP, values)).rowcount == _ROWS_AT_ONCE:
            pass

    async def switch_chunks(self, document_ids: Sequence[DocumentId], *, is_available: bool) -> None:
        """Let searches find the chunks of these documents, or not."""
        values = {
            "tenant": self._tenant_id,
            "ids": list(document_ids),
            "is_available": is_available,
            "most": _ROWS_AT_ONCE,
        }
        while (await self._connection.execute(_SWITCH, values)).rowcount == _ROWS_AT_ONCE:
            pass
