"""From an Authorization header to a caller, with a short memory."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import anyio
import structlog

from app.domain.errors import (
    Forbidden,
    KeyAbsent,
    KeyMalformed,
    PageKeyAbsent,
    PageKeyUnknown,
    Unauthenticated,
)
from app.domain.principals import Caller, KeyKind, StoredKey
from app.security.keys import hash_secret
from repositories.failures import DATABASE_FAILURES
from repositories.unit_of_work import Database

log = structlog.get_logger()

MEMORY_S = 0.9
"""A key that was revoked opens nothing a second later, on any process: nothing is believed longer than this."""

_REFRESH_EVERY_S = 0.35
_HOT_S = 30.0  # keys used this recently are read again before they are forgotten
_MEMORY_KEYS = 10_000
_TOUCH_EVERY_S = 60.0

_WORDS = 2  # of a header with an embed token
_UNKNOWN = "Authentication error: API key is invalid!"
_NO_TOKEN = "Authorization is not valid!"  # noqa: S105 (a message)
_OTHER_KIND = "This kind of key may not be used here."


@dataclass(slots=True)
class _Remembered:
    key: StoredKey
    read_at: float
    used_at: float


class Authenticator:
    """Finds the caller behind a key; answers from memory of less than a second.

    While `run` runs, the keys in use are read again in good time, all in one statement, so that a request
    seldom waits for its key.
    """

    def __init__(
        self,
        database: Database,
        pepper: bytes,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._pepper = pepper
        self._monotonic = monotonic
        self._memory: OrderedDict[bytes, _Remembered] = OrderedDict()
        self._touched: dict[str, float] = {}

    @property
    def pepper(self) -> bytes:
        """What secrets are hashed with; for those who make keys."""
        return self._pepper

    async def caller(self, header: str | None) -> Caller:
        """Return who sent `header` (`Bearer <key>` in any case, or a bare key; conversations.md 1.4).

        Raises:
            KeyAbsent, KeyMalformed, Unauthenticated: there is no key, or nobody knows it, or it ended.
            Forbidden: it is a token for pages.
        """
        key = await self._live(_secret_of(header))
        if key is None:
            raise Unauthenticated(_UNKNOWN)
        if key.kind is not KeyKind.API:
            raise Forbidden(_OTHER_KIND)
        return await self._admit(key)

    async def page_caller(self, header: str | None) -> Caller:
        """Return the page that sent `header`: two words, the second an embed or visitor token (conversations.md 7.1).

        Raises:
            PageKeyAbsent, PageKeyUnknown: there is no token, or nobody knows it, or it ended, or its key did.
            Forbidden: it is an API key.
        """
        words = (header or "").split()
        if not words:
            raise PageKeyAbsent(_NO_TOKEN)
        key = await self._live(words[1]) if len(words) == _WORDS else None
        if key is None:
            raise PageKeyUnknown(_UNKNOWN if len(words) == _WORDS else _NO_TOKEN)
        if key.kind is KeyKind.API:
            raise Forbidden(_OTHER_KIND)
        return await self._admit(key)

    async def _live(self, secret: str) -> StoredKey | None:
        key = await self._find(hash_secret(secret, self._pepper))
        return key if key is not None and key.is_valid(datetime.now(UTC)) else None

    async def _admit(self, key: StoredKey) -> Caller:
        await self._touch(key)
        return Caller(
            tenant_id=key.tenant_id,
            key_id=key.id,
            kind=key.kind,
            scopes=key.scopes,
            parent_id=key.parent_id,
            visit=key.visit,
            tokens_per_day=key.tokens_per_day,
            tenant_tokens_per_day=key.tenant_tokens_per_day,
        )

    async def _find(self, digest: bytes) -> StoredKey | None:
        now = self._monotonic()
        remembered = self._memory.get(digest)
        if remembered is not None and now - remembered.read_at < MEMORY_S:
            remembered.used_at = now
            return remembered.key
        found = await self._read([digest], now)
        if digest not in found:
            return None
        while len(self._memory) > _MEMORY_KEYS:
            self._memory.popitem(last=False)
        return found[digest]

    async def _read(self, digests: list[bytes], asked_at: float) -> dict[bytes, StoredKey]:
        """Read keys and remember them as of `asked_at`; those that are gone are forgotten."""
        async with self._database.dispatch() as dispatch:
            found = await dispatch.find_keys(digests)
        for digest in digests:
            before = self._memory.pop(digest, None)
            if digest in found:
                used_at = before.used_at if before is not None else asked_at
                self._memory[digest] = _Remembered(found[digest], asked_at, used_at)
        return found

    async def run(self) -> None:
        """Read the keys in use again and again, until cancelled."""
        while True:
            await anyio.sleep(_REFRESH_EVERY_S)
            now = self._monotonic()
            hot = [digest for digest, one in self._memory.items() if now - one.used_at < _HOT_S]
            try:
                if hot:
                    await self._read(hot, now)
            except DATABASE_FAILURES as error:
                log.warning("keys_not_refreshed", error=str(error)[:300])  # requests read for themselves

    async def _touch(self, key: StoredKey) -> None:
        """Note the use of a key, at most once a minute (conversations.md 8.2)."""
        now = self._monotonic()
        if now - self._touched.get(key.id, float("-inf")) < _TOUCH_EVERY_S:
            return
        if len(self._touched) >= _MEMORY_KEYS:
            self._touched.clear()
        self._touched[key.id] = now
        async with self._database.unit(key.tenant_id) as unit:
            await unit.keys.touch(key.id)


def _secret_of(header: str | None) -> str:
    if header is None or not header.strip():
        raise KeyAbsent("`Authorization` can't be empty")
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() == "bearer":
        if not rest.strip():
            raise KeyMalformed("Please check your authorization format.")
        return rest.strip()
    return header.strip()
