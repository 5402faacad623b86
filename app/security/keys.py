"""API keys: how a secret is made, and how it is kept as a keyed hash."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.domain.ids import KeyId, TenantId, new_id
from app.domain.principals import ALL_SCOPES, KeyKind, Scope, StoredKey

API_PREFIX = "ragflow-"


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
) -> NewKey:
    """Make a key: `ragflow-` and 43 url-safe characters, or 32 for an embed token (conversations.md 9).

    `secret` is for the bootstrap key an operator chose (operations.md 3, `API_KEY`).
    """
    if secret is None:
        secret = API_PREFIX + secrets.token_urlsafe(32) if kind is KeyKind.API else secrets.token_urlsafe(24)
    stored = StoredKey(
        tenant_id=tenant_id,
        id=KeyId(new_id()),
        kind=kind,
        name=name,
        prefix=secret[: len(API_PREFIX) + 4] if len(secret) > 24 else secret[:2],
        last4=secret[-4:] if len(secret) > 24 else "",
        scopes=scopes,
        created_at=now,
        expires_at=now + lifetime if lifetime is not None else None,
        revoked_at=None,
        last_used_at=None,
    )
    return NewKey(secret=secret, stored=stored, hash=hash_secret(secret, pepper))
