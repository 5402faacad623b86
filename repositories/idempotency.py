"""Answers kept for calls that come again with the same `Idempotency-Key` (design.md 1.5)."""

from dataclasses import dataclass

from app.domain.errors import Invalid
from app.domain.ids import KeyId, TenantId, TurnId
from repositories.statements import Driver, Statement

KEPT_S = 24 * 3600.0
"""How long an answer is kept, in seconds."""


class KeyReused(Invalid):
    """The same Idempotency-Key came with another request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """What the first call answered: a turn to follow, or a status and a body."""

    turn_id: TurnId | None
    status: int | None
    body: bytes | None


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
