"""Answers kept for calls that come again with the same `Idempotency-Key` (design.md 1.5).

A call that is one transaction claims its key in it: whoever comes with the key meanwhile waits for its end. A call that
asks a model without a turn claims it in a transaction of its own (`begin`); until it ends its mark stands for the body.
"""

from dataclasses import dataclass
from typing import Any

from app.domain.errors import Invalid
from app.domain.ids import KeyId, ProcessId, TenantId, TurnId
from repositories.statements import Driver, Statement

KEPT_S = 24 * 3600.0
"""How long an answer is kept, in seconds."""


class KeyReused(Invalid):
    """The same Idempotency-Key came with another request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """What the first call answered: a turn to follow, or a status and a body.

    Without either it is still under way; a status without a body says that the body was too large to be kept.
    """

    turn_id: TurnId | None
    status: int | None
    body: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A call with a key that is carried out outside of transactions. It ends with its process `owner` at the latest."""

    api_key_id: KeyId
    key: str
    route: str
    body_hash: bytes
    owner: ProcessId
    id: str

    @property
    def mark(self) -> bytes:
        """What stands for the body until there is one."""
        return f"{self.owner} {self.id}".encode()


# Waits for a first call that is still at it: the primary key holds the second one back until that commits.
_CLAIM = Statement("""
    INSERT INTO idempotency (tenant_id, api_key_id, key, route, body_hash, turn_id)
    VALUES (:tenant, :api_key_id, :key, :route, :body_hash, :turn_id)
    ON CONFLICT DO NOTHING RETURNING key
""")
_GET = Statement("""
    SELECT route, body_hash, turn_id, status, body FROM idempotency
    WHERE tenant_id = :tenant AND api_key_id = :api_key_id AND key = :key
""")
_KEEP = Statement("""
    UPDATE idempotency SET status = :status, body = :body
    WHERE tenant_id = :tenant AND api_key_id = :api_key_id AND key = :key
""")

_BEGIN = Statement("""
    INSERT INTO idempotency (tenant_id, api_key_id, key, route, body_hash, body)
    VALUES (:tenant, :api_key_id, :key, :route, :body_hash, :mark)
    ON CONFLICT DO NOTHING RETURNING key
""")
_LOOK = Statement("""
    SELECT route, body_hash, turn_id, status, body, CASE
        WHEN status IS NULL AND turn_id IS NULL AND body IS NOT NULL THEN
            created_at < clock_timestamp() - make_interval(secs => :dead_s) OR NOT EXISTS (
                SELECT FROM processes p WHERE p.lease_until > clock_timestamp()
                    AND p.id = split_part(convert_from(body, 'UTF8'), ' ', 1))
        ELSE false END AS is_dead
    FROM idempotency WHERE tenant_id = :tenant AND api_key_id = :api_key_id AND key = :key
""")
_OF_MARK = "tenant_id = :tenant AND api_key_id = :api_key_id AND key = :key AND status IS NULL AND body = :mark"
_TAKE_OVER = Statement(f"""
    UPDATE idempotency SET body = :own, created_at = clock_timestamp() WHERE {_OF_MARK}
""")  # noqa: S608 (a constant)
_FINISH = Statement(f"UPDATE idempotency SET status = :status, body = :body WHERE {_OF_MARK}")  # noqa: S608 (a constant)
_DROP = Statement(f"DELETE FROM idempotency WHERE {_OF_MARK}")  # noqa: S608 (a constant)


class IdempotencyRepository:
    """Kept answers of one tenant. Never commits."""

    def __init__(self, driver: Driver, tenant_id: TenantId) -> None:
        self._driver = driver
        self._tenant_id = tenant_id

    async def claim(
        self, *, api_key_id: KeyId, key: str, route: str, body_hash: bytes, turn_id: TurnId | None = None
    ) -> KeptAnswer | None:
        """Become the first call with `key`: None. A later call gets what the first one answered.

        Raises:
            KeyReused: the first call had another route or body.
        """
        own = {"tenant": self._tenant_id, "api_key_id": api_key_id, "key": key}
        values = {**own, "route": route, "body_hash": body_hash, "turn_id": turn_id}
        if await self._driver.first(_CLAIM, values) is not None:
            return None
        row = await self._driver.first(_GET, own)
        if row is None or (row["route"], row["body_hash"]) != (route, body_hash):
            raise KeyReused("This Idempotency-Key was used for another request.")
        return KeptAnswer(turn_id=row["turn_id"], status=row["status"], body=row["body"])

    async def keep(self, *, api_key_id: KeyId, key: str, status: int, body: bytes) -> None:
        """Store the first call's answer; commits with whatever the call created."""
        values = {"tenant": self._tenant_id, "api_key_id": api_key_id, "key": key, "status": status, "body": body}
        await self._driver.run(_KEEP, values)

    async def begin(self, attempt: Attempt, *, dead_s: float) -> KeptAnswer | None:
        """Become the first call with the key: None. A later one gets what the first answered, if it has yet.

        A first call whose process is dead, or that began over `dead_s` seconds ago and never ended, is none.

        Raises:
            KeyReused: the first call had another route or body.
        """
        own = {"tenant": self._tenant_id, "api_key_id": attempt.api_key_id, "key": attempt.key}
        values = {**own, "route": attempt.route, "body_hash": attempt.body_hash, "mark": attempt.mark}
        if await self._driver.first(_BEGIN, values) is not None:
            return None
        row = await self._driver.first(_LOOK, own | {"dead_s": dead_s})
        if row is None:  # given back in between: the next look finds that out
            return KeptAnswer(turn_id=None, status=None, body=None)
        if (row["route"], row["body_hash"], row["turn_id"]) != (attempt.route, attempt.body_hash, None):
            raise KeyReused("This Idempotency-Key was used for another request.")
        if row["is_dead"] and await self._driver.run(_TAKE_OVER, own | {"mark": row["body"], "own": attempt.mark}):
            return None
        return KeptAnswer(turn_id=None, status=row["status"], body=row["body"])

    async def finish(self, attempt: Attempt, *, status: int, body: bytes | None) -> None:
        """Store the answer of a call that began; None for a body that is too large."""
        await self._driver.run(_FINISH, self._of(attempt) | {"status": status, "body": body})

    async def drop(self, attempt: Attempt) -> None:
        """Give the key of a call back that began and has no answer."""
        await self._driver.run(_DROP, self._of(attempt))

    def _of(self, attempt: Attempt) -> dict[str, Any]:
        own = {"tenant": self._tenant_id, "api_key_id": attempt.api_key_id, "key": attempt.key}
        return own | {"mark": attempt.mark}
