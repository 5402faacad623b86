"""From an Authorization header to a caller, with a short memory."""

import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime

from app.domain.errors import Forbidden, Unauthenticated
from app.domain.principals import Caller, KeyKind, StoredKey
from app.security.keys import hash_secret
from repositories.unit_of_work import Database

MEMORY_S = 0.9
"""A key that was revoked opens nothing a second later, on any process: nothing is believed longer than this."""

_MEMORY_KEYS = 10_000
_TOUCH_EVERY_S = 60.0


class NoKey(Unauthenticated):
    """No Authorization header at all."""


class Authenticator:
    """Finds the caller behind a key; answers from memory for less than a second."""

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
        self._memory: OrderedDict[bytes, tuple[float, StoredKey]] = OrderedDict()
        self._touched: dict[str, float] = {}

    async def caller(self, header: str | None, kind: KeyKind = KeyKind.API) -> Caller:
        """Return who sent `header` (`Bearer <key>` in any case, or a bare key; conversations.md 1.4).

        Raises:
            NoKey, Unauthenticated: there is no key, or nobody knows it, or it ended.
            Forbidden: it is a key of another kind.
        """
        key = await self._find(hash_secret(_secret_of(header), self._pepper))
        if key is None or not key.is_valid(datetime.now(UTC)):
            raise Unauthenticated("Authentication error: API key is invalid!")
        if key.kind is not kind:
            raise Forbidden("This kind of key may not be used here.")
        await self._touch(key)
        return Caller(tenant_id=key.tenant_id, key_id=key.id, kind=key.kind, scopes=key.scopes)

    async def _find(self, digest: bytes) -> StoredKey | None:
        remembered = self._memory.get(digest)
        if remembered is not None and self._monotonic() - remembered[0] < MEMORY_S:
            return remembered[1]
        asked_at = self._monotonic()
        async with self._database.dispatch() as dispatch:
            key = await dispatch.find_key(digest)
        if key is None:
            self._memory.pop(digest, None)
            return None
        self._memory[digest] = (asked_at, key)
        self._memory.move_to_end(digest)
        while len(self._memory) > _MEMORY_KEYS:
            self._memory.popitem(last=False)
        return key

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
        raise NoKey("`Authorization` can't be empty")
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() == "bearer":
        if not rest.strip():
            raise Unauthenticated("Please check your authorization format.")
        return rest.strip()
    return header.strip()
