"""Who calls: a tenant by one of its keys, and what that key may do."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from app.domain.errors import Forbidden
from app.domain.ids import KeyId, TenantId


class KeyKind(StrEnum):
    """API keys open the API, embed tokens the routes for pages (conversations.md 7.1)."""

    API = "api"
    EMBED = "embed"


class Scope(StrEnum):
    """What a key may do: look, hold conversations, change things."""

    READ = "read"
    CHAT = "chat"
    MANAGE = "manage"


ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """A key as stored; its secret is not among it."""

    tenant_id: TenantId
    id: KeyId
    kind: KeyKind
    name: str
    prefix: str
    last4: str
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None

    def is_valid(self, now: datetime) -> bool:
        """Say whether the key opens anything at `now`."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whoever sent this request."""

    tenant_id: TenantId
    key_id: KeyId
    kind: KeyKind
    scopes: frozenset[Scope]

    def require(self, scope: Scope) -> None:
        """Return when the key has `scope`.

        Raises:
            Forbidden: it has not.
        """
        if scope not in self.scopes:
            raise Forbidden(f"This API key lacks the scope `{scope}`.")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTenant:
    """A tenant as stored."""

    id: TenantId
    name: str
    created_at: datetime
