"""What background jobs heard from models: asked once, paid once, also when a job starts over."""

from collections.abc import Mapping, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import TenantId

_FIND = text("SELECT answer FROM model_answers WHERE tenant_id = :tenant AND key = :key")

_FIND_MANY = text("""
    SELECT key, answer FROM model_answers WHERE tenant_id = :tenant AND key = ANY(CAST(:keys AS bytea[]))
""")

_KEEP = text("""
    INSERT INTO model_answers (tenant_id, key, answer)
    SELECT :tenant, k.key, k.answer FROM unnest(CAST(:keys AS bytea[]), CAST(:answers AS text[])) AS k(key, answer)
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

    async def find_many(self, keys: Sequence[bytes]) -> dict[bytes, str]:
        """Return the answers that are kept under any of `keys`."""
        rows = await self._connection.execute(_FIND_MANY, {"tenant": self._tenant_id, "keys": list(keys)})
        return {bytes(row.key): str(row.answer) for row in rows}

    async def keep_many(self, answers: Mapping[bytes, str]) -> None:
        """Keep answers by their keys; the first one of a key stays."""
        if answers:
            values = {"tenant": self._tenant_id, "keys": list(answers), "answers": list(answers.values())}
            await self._connection.execute(_KEEP, values)
