"""Keys of one tenant."""

from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Row, Select, and_, case, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.identity import api_keys, tenants
from app.domain.chats import TenantMissing
from app.domain.ids import KeyId, TenantId
from app.domain.principals import BotKind, KeyKind, KeyNotWritten, Scope, StoredKey, Visit

log = structlog.get_logger()

_parents = api_keys.alias("parents")

KEYS_OF_CALLERS: Select[Any] = select(
    *(each for each in api_keys.c if each.name not in ("expires_at", "revoked_at", "tokens_per_day")),
    func.least(api_keys.c.expires_at, _parents.c.expires_at).label("expires_at"),
    func.coalesce(
        func.least(api_keys.c.revoked_at, _parents.c.revoked_at),
        case((and_(api_keys.c.parent_id.is_not(None), _parents.c.id.is_(None)), api_keys.c.created_at)),
    ).label("revoked_at"),
    func.coalesce(api_keys.c.tokens_per_day, _parents.c.tokens_per_day).label("tokens_per_day"),
    tenants.c.tokens_per_day.label("tenant_tokens_per_day"),
).select_from(
    api_keys.outerjoin(
        _parents, and_(_parents.c.tenant_id == api_keys.c.tenant_id, _parents.c.id == api_keys.c.parent_id)
    ).join(tenants, tenants.c.tenant_id == api_keys.c.tenant_id)
)
"""Keys with what they have of their parent: they end when it does, a token whose parent is gone too."""


class KeyRepository:
    """API keys and embed tokens of one tenant. Never commits."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._own = api_keys.c.tenant_id == tenant_id

    async def add(self, key: StoredKey, digest: bytes) -> None:
        """Insert `key`, found later by `digest`.

        Raises:
            TenantMissing: the tenant was deleted.
            KeyNotWritten: the database refused it for another reason.
        """
        values: dict[str, Any] = {
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
            "parent_id": key.parent_id,
            "tokens_per_day": key.tokens_per_day,
        }
        if key.visit is not None:
            values |= {"bot_kind": key.visit.bot_kind.value, "bot_id": key.visit.bot_id}
            values |= {"origin": key.visit.origin, "visitor": key.visit.visitor}
        try:
            await self._connection.execute(insert(api_keys).values(values))
        except IntegrityError as error:
            if "fk_api_keys_tenants" in str(error.orig):
                raise TenantMissing("Tenant not found!") from error
            log.error("key_not_written", key=key.id, error=str(error.orig).partition("\nDETAIL")[0])  # no hash
            raise KeyNotWritten("Fail to new a dialog!") from error

    async def all(self) -> list[StoredKey]:
        """Return the tenant's keys and embed tokens, oldest first, revoked ones too."""
        meant = api_keys.c.kind != KeyKind.VISITOR.value
        rows = await self._connection.execute(
            select(api_keys).where(self._own, meant).order_by(api_keys.c.created_at, api_keys.c.id)
        )
        return [stored_key(row) for row in rows]

    async def get(self, key_id: KeyId) -> StoredKey | None:
        """Return a key of the tenant, of whatever kind."""
        return await self._one(api_keys.c.id == key_id)

    async def by_hash(self, digest: bytes) -> StoredKey | None:
        """Return the tenant's key whose secret has this keyed hash."""
        return await self._one(api_keys.c.hash == digest)

    async def live_shown_as(self, prefix: str, last4: str) -> list[StoredKey]:
        """Return the tenant's keys and embed tokens that lists show so and that nobody revoked."""
        statement = select(api_keys).where(
            self._own,
            api_keys.c.prefix == prefix,
            api_keys.c.last4 == last4,
            api_keys.c.kind != KeyKind.VISITOR.value,
            api_keys.c.revoked_at.is_(None),
        )
        return [stored_key(row) for row in await self._connection.execute(statement)]

    async def revoke(self, key_id: KeyId) -> bool:
        """End a key from now on; false when there is no such live key."""
        statement = (
            update(api_keys)
            .where(self._own, api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
            .values(revoked_at=func.now())
        )
        return (await self._connection.execute(statement)).rowcount == 1

    async def replace(self, key_id: KeyId, by: KeyId, ends_at: datetime) -> bool:
        """Let a key end at `ends_at`, if it does not sooner, in favour of `by`; false when it was replaced already."""
        statement = (
            update(api_keys)
            .where(
                self._own, api_keys.c.id == key_id, api_keys.c.replaced_by.is_(None), api_keys.c.revoked_at.is_(None)
            )
            .values(replaced_by=by, expires_at=func.least(api_keys.c.expires_at, ends_at))
        )
        return (await self._connection.execute(statement)).rowcount == 1

    async def touch(self, key_id: KeyId) -> None:
        """Note that the key was used now."""
        used = update(api_keys).where(self._own, api_keys.c.id == key_id).values(last_used_at=func.now())
        await self._connection.execute(used)

    async def _one(self, meant: ColumnElement[bool]) -> StoredKey | None:
        row = (await self._connection.execute(select(api_keys).where(self._own, meant))).one_or_none()
        return stored_key(row) if row is not None else None


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
        parent_id=KeyId(row.parent_id) if row.parent_id is not None else None,
        visit=_visit(row) if row.bot_kind is not None else None,
        tokens_per_day=row.tokens_per_day,
        tenant_tokens_per_day=getattr(row, "tenant_tokens_per_day", None),  # with the keys of callers only
        replaced_by=KeyId(row.replaced_by) if row.replaced_by is not None else None,
    )


def _visit(row: Row[Any]) -> Visit:
    return Visit(bot_kind=BotKind(row.bot_kind), bot_id=row.bot_id, origin=row.origin, visitor=row.visitor)
