"""API tokens as the wire shows them (conversations.md 9)."""

from typing import Any

from app.domain.principals import KeyKind, StoredKey
from app.security.keys import NewKey
from app.services.tokens import ListedToken, TokenPair
from app.wire.envelope import epoch_ms, http_date


def new_token(pair: TokenPair) -> dict[str, Any]:
    """Return a token as the call shows it that made it: the only answer with its secrets."""
    return _row(pair.key.stored) | {"token": pair.key.secret, "beta": pair.beta.secret}


def rotated_token(pair: TokenPair, old: StoredKey) -> dict[str, Any]:
    """Return the token that takes the place of `old`, and when that one ends."""
    return new_token(pair) | {"replaces": {"id": old.id, "token": old.shown, "expires_at": _seconds(old)}}


def listed_token(one: ListedToken) -> dict[str, Any]:
    """Return a token as lists show it: of each secret the first characters and the last four."""
    used = [
        each
        for each in (one.key.last_used_at, one.beta.last_used_at if one.beta is not None else None)
        if each is not None
    ]
    return _row(one.key) | {
        "token": one.key.shown,
        "beta": one.beta.shown if one.beta is not None else None,
        "dialog_id": None,
        "source": None,
        "last_used_at": max(used).timestamp() if used else None,
        "replaced_by": one.key.replaced_by,
    }


def visitor_token(made: NewKey) -> dict[str, Any]:
    """Return a visitor's token; `expires_at` in seconds since 1970."""
    assert made.stored.kind is KeyKind.VISITOR  # noqa: S101 (no other key is told so)
    return {"token": made.secret, "expires_at": _seconds(made.stored)}


def _row(key: StoredKey) -> dict[str, Any]:
    return {
        "tenant_id": key.tenant_id,
        "token": None,
        "beta": None,
        "create_time": epoch_ms(key.created_at),
        "create_date": http_date(key.created_at),
        "update_time": None,
        "update_date": None,
        "id": key.id,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "expires_at": _seconds(key),
        "tokens_per_day": key.tokens_per_day,
    }


def _seconds(key: StoredKey) -> float | None:
    return key.expires_at.timestamp() if key.expires_at is not None else None
