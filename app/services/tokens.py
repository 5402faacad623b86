"""API tokens: made, listed, ended, replaced; and the tokens of visitors (conversations.md 9, 7.1)."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from app.domain.errors import Conflict, Forbidden, Invalid, Missing
from app.domain.ids import KeyId
from app.domain.origins import page_origin
from app.domain.principals import PAGE_SCOPES, BotKind, Caller, KeyKind, Scope, StoredKey, Visit
from app.security.keys import VISITOR_MOST_S, NewKey, hash_secret, make_embed_token, make_key
from repositories.unit_of_work import UnitOfWork

NAME_MOST = 255
OVERLAP_MOST_S = 30 * 24 * 3600
VISITOR_NAME_MOST = 255

_SHOWN = re.compile(r"(.+?)(?:\.\.\.|…)(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenWish:
    """What a new token shall be; None leaves it to the key that asks, or to nobody. `expires_at` is in the future."""

    name: str = ""
    scopes: frozenset[Scope] | None = None
    expires_at: datetime | None = None
    tokens_per_day: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPair:
    """An API key and its embed token, at birth."""

    key: NewKey
    beta: NewKey


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedToken:
    """An API key as lists show it, and its embed token if it has a live one."""

    key: StoredKey
    beta: StoredKey | None


class TokenService:
    """Keys of the tenant of the unit, in the name of `caller`: nobody gives or takes over more than they have."""

    def __init__(self, unit: UnitOfWork, caller: Caller, pepper: bytes) -> None:
        self._unit = unit
        self._caller = caller
        self._pepper = pepper

    async def create(self, wish: TokenWish) -> TokenPair:
        """Make a key with its embed token.

        Raises:
            Forbidden: it would have scopes or a quota that the caller's own key does not.
        """
        scopes = self._caller.scopes if wish.scopes is None else wish.scopes
        quota = self._caller.tokens_per_day if wish.tokens_per_day is None else wish.tokens_per_day
        self._check_scopes(scopes)
        self._check_quota(quota)
        now = datetime.now(UTC)
        key = make_key(
            tenant_id=self._caller.tenant_id,
            pepper=self._pepper,
            now=now,
            name=wish.name,
            scopes=scopes,
            lifetime=wish.expires_at - now if wish.expires_at is not None else None,
            tokens_per_day=quota,
        )
        return await self._stored(key, now)

    async def all(self) -> list[ListedToken]:
        """Return the API keys that nobody revoked, oldest first; expired ones too."""
        found = [key for key in await self._unit.keys.all() if key.revoked_at is None]
        betas = {key.parent_id: key for key in found if key.kind is KeyKind.EMBED}
        return [ListedToken(key=key, beta=betas.get(key.id)) for key in found if key.kind is KeyKind.API]

    async def delete(self, named: str, *, is_forced: bool = False) -> bool:
        """End the key that `named` is: its secret, its id, or as lists show it; false when there is none.

        Raises:
            Forbidden: it is the caller's own, and `is_forced` is not said.
            Invalid: lists show several keys so.
        """
        key = await self._find(named)
        if key is None:
            return False
        if key.id == self._caller.key_id and not is_forced:
            raise Forbidden("A key cannot delete itself; say ?force=true if you mean it.")
        return await self._unit.keys.revoke(key.id)

    async def rotate(self, named: str, overlap_s: int) -> tuple[TokenPair, StoredKey]:
        """Make new secrets for a key, which ends itself in `overlap_s` seconds; return both, the old key as it is then.

        Raises:
            Missing: there is no such live key.
            Invalid: it is no API key.
            Forbidden: it may do what the caller's own key may not.
            Conflict: it was rotated before.
        """
        now = datetime.now(UTC)
        old = await self._find(named)
        if old is None or not old.is_valid(now):
            raise Missing("No such token.")
        if old.kind is not KeyKind.API:
            raise Invalid("Rotate the API key: its embed token changes with it.")
        self._check_scopes(old.scopes)
        self._check_quota(old.tokens_per_day)
        key = make_key(
            tenant_id=old.tenant_id,
            pepper=self._pepper,
            now=now,
            name=old.name,
            scopes=old.scopes,
            lifetime=old.expires_at - now if old.expires_at is not None else None,
            tokens_per_day=old.tokens_per_day,
        )
        if not await self._unit.keys.replace(old.id, key.stored.id, now + timedelta(seconds=overlap_s)):
            raise Conflict("This token was rotated already.")
        pair = await self._stored(key, now)
        replaced = await self._unit.keys.get(old.id)
        assert replaced is not None  # noqa: S101 (changed above, in this unit)
        return pair, replaced

    async def visitor(self, visit: Visit, ttl_s: int) -> NewKey:
        """Make a token with which a page speaks to one bot, as one visitor, for `ttl_s` seconds."""
        made = make_key(
            tenant_id=self._caller.tenant_id,
            pepper=self._pepper,
            now=datetime.now(UTC),
            kind=KeyKind.VISITOR,
            scopes=PAGE_SCOPES,
            lifetime=timedelta(seconds=min(ttl_s, VISITOR_MOST_S)),
            parent_id=self._caller.key_id,
            visit=visit,
        )
        await self._unit.keys.add(made.stored, made.hash)
        return made

    async def _stored(self, key: NewKey, now: datetime) -> TokenPair:
        beta = make_embed_token(key.stored, pepper=self._pepper, now=now)
        await self._unit.keys.add(key.stored, key.hash)
        await self._unit.keys.add(beta.stored, beta.hash)
        return TokenPair(key=key, beta=beta)

    async def _find(self, named: str) -> StoredKey | None:
        found = await self._unit.keys.by_hash(hash_secret(named, self._pepper))
        found = found or await self._unit.keys.get(KeyId(named))
        shown = _SHOWN.fullmatch(named)
        if found is not None or shown is None:
            return found
        several = await self._unit.keys.live_shown_as(*shown.groups())
        if len(several) > 1:
            raise Invalid("Several tokens are shown so; name the one you mean by its id.")
        return several[0] if several else None

    def _check_scopes(self, scopes: frozenset[Scope]) -> None:
        lacking = sorted(scopes - self._caller.scopes)
        if lacking:
            raise Forbidden(f"This API key lacks the scope `{lacking[0]}`, so it cannot give it.")

    def _check_quota(self, wanted: int | None) -> None:
        own = self._caller.tokens_per_day
        if own is not None and (wanted is None or wanted > own):
            raise Forbidden(f"This API key has {own} tokens a day, so it cannot give more.")


def visit_of(bot_kind: BotKind, bot_id: str, *, origin: str, visitor: str) -> Visit:
    """Return a visit, its origin as browsers write it.

    Raises:
        Invalid: there is no such origin.
    """
    written = page_origin(origin)
    if written is None:
        raise Invalid("`origin` must be like https://shop.example or http://localhost:8080.", param="origin")
    return Visit(bot_kind=bot_kind, bot_id=bot_id, origin=written, visitor=visitor)
