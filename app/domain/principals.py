"""Who calls: a tenant by one of its keys, and what that key may do."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from app.domain.errors import Broken, Forbidden
from app.domain.ids import KeyId, TenantId
from app.domain.limits import TokenQuota


class KeyKind(StrEnum):
    """API keys open the API; embed tokens the routes for pages; visitor tokens those of one bot, for one visitor."""

    API = "api"
    EMBED = "embed"
    VISITOR = "visitor"


class Scope(StrEnum):
    """What a key may do: look, hold conversations, change things."""

    READ = "read"
    CHAT = "chat"
    MANAGE = "manage"


class BotKind(StrEnum):
    """What a page can have in it: an assistant, or a search app."""

    CHAT = "chat"
    SEARCH = "search"


ALL_SCOPES = frozenset(Scope)

_OTHER_BOT = "This visitor token is for another bot."

PAGE_SCOPES = frozenset({Scope.READ, Scope.CHAT})
"""What a page needs; tokens for pages never have more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What a visitor's token is good for: one bot, on pages of one origin, as one visitor."""

    bot_kind: BotKind
    bot_id: str
    origin: str
    visitor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """A key as stored; its secret is not among it.

    `parent_id` is the API key that an embed or visitor token hangs on. Read for a caller (`find_keys`), the moments
    a token ends are those of its parent too, and the quota is its parent's.
    """

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
    parent_id: KeyId | None = None
    visit: Visit | None = None
    tokens_per_day: int | None = None
    tenant_tokens_per_day: int | None = None
    replaced_by: KeyId | None = None

    def is_valid(self, now: datetime) -> bool:
        """Say whether the key opens anything at `now`."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    @property
    def shown(self) -> str:
        """How lists show the secret."""
        return f"{self.prefix}...{self.last4}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whoever sent this request."""

    tenant_id: TenantId
    key_id: KeyId
    kind: KeyKind
    scopes: frozenset[Scope]
    parent_id: KeyId | None = None
    visit: Visit | None = None
    tokens_per_day: int | None = None
    tenant_tokens_per_day: int | None = None

    @property
    def quota(self) -> TokenQuota | None:
        """What the call's tokens are held to; None where there is no quota."""
        if self.tokens_per_day is None and self.tenant_tokens_per_day is None:
            return None
        return TokenQuota(key_id=self.limit_key, of_key=self.tokens_per_day, of_tenant=self.tenant_tokens_per_day)

    @property
    def limit_key(self) -> KeyId:
        """The API key this call counts for (conversations.md 11): its own, or the one its token hangs on."""
        return self.parent_id or self.key_id

    @property
    def visitor(self) -> str | None:
        """As whom alone the caller may speak; None when that is free."""
        return self.visit.visitor if self.visit is not None else None

    def require(self, scope: Scope) -> None:
        """Return when the key has `scope`.

        Raises:
            Forbidden: it has not.
        """
        if scope not in self.scopes:
            raise Forbidden(f"This API key lacks the scope `{scope}`.")

    def require_origin(self, origin: str | None) -> None:
        """Return when a page of `origin` may send this token: a visitor's from its own pages alone.

        Raises:
            Forbidden: it is a visitor's token from elsewhere.
        """
        if self.visit is not None and origin != self.visit.origin:
            raise Forbidden("This visitor token may not be used from here.")

    def require_bot_kind(self, kind: BotKind) -> None:
        """Return when the caller may use bots of that kind: all but visitors may any.

        Raises:
            Forbidden: it is a visitor of another kind.
        """
        if self.visit is not None and self.visit.bot_kind is not kind:
            raise Forbidden(_OTHER_BOT)

    def require_bot(self, kind: BotKind, bot_id: str | None) -> None:
        """Return when the caller may use that bot: all but visitors may any, even one that is not named.

        Raises:
            Forbidden: it is a visitor of another bot.
        """
        self.require_bot_kind(kind)
        if self.visit is not None and bot_id != self.visit.bot_id:
            raise Forbidden(_OTHER_BOT)


class KeyNotWritten(Broken):
    """The database did not take a new key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTenant:
    """A tenant as stored."""

    id: TenantId
    name: str
    created_at: datetime
    tokens_per_day: int | None = None
