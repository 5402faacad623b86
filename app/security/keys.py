"""API keys and tokens for pages: how a secret is made, and how it is kept as a keyed hash."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.domain.ids import KeyId, TenantId, new_id
from app.domain.principals import ALL_SCOPES, PAGE_SCOPES, KeyKind, Scope, StoredKey, Visit

API_PREFIX = "ragflow-"
VISITOR_PREFIX = "visitor-"

VISITOR_MOST_S = 600
"""A visitor's token lives this long at most, in seconds."""

_SHOWN = 4  # characters of a secret that lists show, at each end
_SHORT = 24  # of a chosen secret this short only the first two are


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key at birth: the only moment its secret is known to us."""

    secret: str
    stored: StoredKey
    hash: bytes


def hash_secret(secret: str, pepper: bytes) -> bytes:
    """Return the keyed hash (HMAC-SHA-256) under which a secret is stored and found."""
    return hmac.digest(pepper, secret.encode("utf-8", "surrogatepass"), hashlib.sha256)


def make_key(
    *,
    tenant_id: TenantId,
    pepper: bytes,
    now: datetime,
    kind: KeyKind = KeyKind.API,
    name: str = "",
    scopes: frozenset[Scope] = ALL_SCOPES,
    lifetime: timedelta | None = None,
    secret: str | None = None,
    parent_id: KeyId | None = None,
    visit: Visit | None = None,
    tokens_per_day: int | None = None,
) -> NewKey:
    """Make a key: `ragflow-` and 43 url-safe characters, or 32 for an embed token (conversations.md 9).

    `secret` is for the bootstrap key an operator chose (operations.md 3, `API_KEY`).
    """
    if secret is None:
        secret = _new_secret(kind)
    prefix, last4 = _shown(secret)
    stored = StoredKey(
        tenant_id=tenant_id,
        id=KeyId(new_id()),
        kind=kind,
        name=name,
        prefix=prefix,
        last4=last4,
        scopes=scopes,
        created_at=now,
        expires_at=now + lifetime if lifetime is not None else None,
        revoked_at=None,
        last_used_at=None,
        parent_id=parent_id,
        visit=visit,
        tokens_per_day=tokens_per_day,
    )
    return NewKey(secret=secret, stored=stored, hash=hash_secret(secret, pepper))


def make_embed_token(parent: StoredKey, *, pepper: bytes, now: datetime) -> NewKey:
    """Make the embed token of an API key: it may do no more than its key, and ends with it."""
    return make_key(
        tenant_id=parent.tenant_id,
        pepper=pepper,
        now=now,
        kind=KeyKind.EMBED,
        name=parent.name,
        scopes=_page_scopes(parent.scopes),
        parent_id=parent.id,
    )


def _page_scopes(scopes: frozenset[Scope]) -> frozenset[Scope]:
    """Return what a page gets of a key's scopes: whoever may hold conversations may see what they are held with."""
    return PAGE_SCOPES if Scope.CHAT in scopes else scopes & PAGE_SCOPES


def _new_secret(kind: KeyKind) -> str:
    match kind:
        case KeyKind.API:
            return API_PREFIX + secrets.token_urlsafe(32)
        case KeyKind.EMBED:
            return secrets.token_urlsafe(24)
        case KeyKind.VISITOR:
            return VISITOR_PREFIX + secrets.token_urlsafe(32)


def _shown(secret: str) -> tuple[str, str]:
    """Return what lists show of a secret: its first characters and its last four."""
    if len(secret) <= _SHORT:
        return secret[:2], ""
    named = next((prefix for prefix in (API_PREFIX, VISITOR_PREFIX) if secret.startswith(prefix)), "")
    return secret[: len(named) + _SHOWN], secret[-_SHOWN:]
