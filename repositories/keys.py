"""Keys of one tenant."""

from typing import Any

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.identity import api_keys
from app.domain.ids import KeyId, TenantId
from app.domain.principals import KeyKind, Scope, StoredKey


class KeyRepository:
    """API keys and embed tokens of one tenant. Never commits."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    async def add(self, key: StoredKey, digest: bytes) -> None:
        """Insert `key`, found later by `digest`."""
        values = {
            "tenant_id": self._tenant_id,
            "id": key.id,
            "kind": key.kind.value,
            "name": key.name,
            "prefix": key.prefix,
            "last4": key.last4,
            "hash": digest,
            "scopes": sorted(key.scopes),
            "created_at": key.created_at,
            "expires_at": key.expires_at,
        }
        await self._connection.execute(insert(api_keys).values(values))

    async def all(self) -> list[StoredKey]:
        """Return the tenant's keys, oldest first, revoked ones too."""
        rows = await self._connection.execute(select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id))
        return [stored_key(row) for row in rows]

    async def revoke(self, key_id: KeyId) -> bool:
        """End a key from now on; false when there is no such live key."""
        statement = (
            update(api_keys)
            .where(api_keys.c.tenant_id == self._tenant_id, api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
            .values(revoked_at=func.now())
        )
        return (await self._connection.execute(statement)).rowcount == 1

    async def touch(self, key_id: KeyId) -> None:
        """Note that the key was used now."""
        own = (api_keys.c.tenant_id == self._tenant_id) & (api_keys.c.id == key_id)
        await self._connection.execute(update(api_keys).where(own).values(last_used_at=func.now()))


def stored_key(row: Row[Any]) -> StoredKey:
    """Return the key a row of `api_keys` holds."""
    return StoredKey(
        tenant_id=TenantId(row.tenant_id),
        id=KeyId(row.id),
        kind=KeyKind(row.kind),
        name=row.name,
        prefix=row.prefix,
        last4=row.last4,
        scopes=frozenset(Scope(scope) for scope in row.scopes),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
