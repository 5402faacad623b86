"""What background jobs heard from models: asked once, paid once, also when a job starts over."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import TenantId

_FIND = text("SELECT answer FROM model_answers WHERE tenant_id = :tenant AND key = :key")

_KEEP = text("""
    INSERT INTO model_answers (tenant_id, key, answer) VALUES (:tenant, :key, :answer)
    ON CONFLICT (tenant_id, key) DO NOTHING
""")


class ModelAnswerRepository:
    """Answers of one tenant, by a hash of what was asked of whom. Never commits."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    async def find(self, key: bytes) -> str | None:
        """Return the answer that is kept under `key`."""
        row = (await self._connection.execute(_FIND, {"tenant": self._tenant_id, "key": key})).one_or_none()
        return None if row is None else str(row.answer)

    async def keep(self, key: bytes, answer: str) -> None:
        """Keep an answer; the first one stays."""
        await self._connection.execute(_KEEP, {"tenant": self._tenant_id, "key": key, "answer": answer})
