"""Tokens of a day: reserved when a call begins, given back when what it cost is on the ledger."""

from typing import TYPE_CHECKING

from app.domain.ids import ProcessId, TenantId
from app.domain.limits import Shortage, TokenQuota, TokenStanding
from repositories.statements import Driver, Statement

if TYPE_CHECKING:
    from asyncpg import Record

# What was left of the day before whatever `done` did: that is carried out first, and this is what was so when the
# statement began. Where nobody keeps count of the day yet, the ledger's sums say what is spent: `reserve_tokens` counts
# them in.
_LEFT = """
    SELECT done.refused, q.most, q.most
        - COALESCE(
            (SELECT d.used FROM quota_days d
                WHERE d.tenant_id = :tenant AND d.day = today.day AND d.subject = q.subject),
            (SELECT sum(u.prompt_tokens + u.completion_tokens) FROM usage_daily u
                WHERE u.tenant_id = :tenant AND u.day = today.day AND (
                    q.subject = '' OR u.api_key_id = :key OR u.api_key_id IN (
                        SELECT k.id FROM api_keys k WHERE k.tenant_id = :tenant AND k.parent_id = :key))),
            0)
        - COALESCE(
            (SELECT sum(r.tokens) FROM quota_reservations r JOIN processes p ON p.id = r.process_id
                WHERE r.tenant_id = :tenant AND r.subject = q.subject AND r.day = today.day
                  AND p.lease_until > clock_timestamp()),
            0) AS remaining,
        extract(epoch FROM (CAST(today.day + 1 AS timestamp) AT TIME ZONE 'UTC') - statement_timestamp())::float8
            AS left_s
    FROM done, (SELECT (statement_timestamp() AT TIME ZONE 'UTC')::date AS day) today,
        (VALUES ('', CAST(:of_tenant AS bigint)), (CAST(:key AS text), CAST(:of_key AS bigint))) AS q(subject, most)
    WHERE q.most IS NOT NULL ORDER BY remaining LIMIT 1
"""

_RESERVE = Statement(f"""
    WITH done AS MATERIALIZED (
        SELECT reserve_tokens(:tenant, :id, :process, :key, :of_key, :of_tenant, :tokens) AS refused
    ) {_LEFT}
""")

_STANDING = Statement(f"""
    WITH done AS MATERIALIZED (SELECT set_config('parley.tenant', :tenant, true) AS refused) {_LEFT}
""")

_RELEASE = Statement("SELECT release_tokens(:tenant, :id)")


class QuotaRepository:
    """Quotas of one tenant. Never commits; each method is one statement that sets the tenant itself."""

    def __init__(self, driver: Driver, tenant_id: TenantId) -> None:
        self._driver = driver
        self.tenant_id = tenant_id

    async def reserve(
        self, reservation_id: str, quota: TokenQuota, tokens: int, process_id: ProcessId
    ) -> tuple[Shortage | None, TokenStanding]:
        """Reserve `tokens` of today's quotas, else say what is short; and how the key stands then.

        A reservation counts until it is released, or its process dies. Of calls that reserve at the same moment none is
        told what the others reserve.
        """
        values = {
            "tenant": self.tenant_id,
            "id": reservation_id,
            "process": process_id,
            "key": quota.key_id,
            "of_key": quota.of_key,
            "of_tenant": quota.of_tenant,
            "tokens": tokens,
        }
        row = await self._driver.first(_RESERVE, values)
        assert row is not None  # noqa: S101 (whoever has a quota has at least one)
        if row["refused"] is not None:
            return Shortage(row["refused"]), _standing(row, 0)
        return None, _standing(row, tokens)

    async def standing(self, quota: TokenQuota) -> TokenStanding:
        """Return how the key stands with its quotas of today."""
        values = {
            "tenant": self.tenant_id,
            "key": quota.key_id,
            "of_key": quota.of_key,
            "of_tenant": quota.of_tenant,
        }
        row = await self._driver.first(_STANDING, values)
        assert row is not None  # noqa: S101 (whoever has a quota has at least one)
        return _standing(row, 0)

    async def release(self, reservation_id: str) -> None:
        """Give back what is reserved under this id, if anything is."""
        await self._driver.scalar(_RELEASE, {"tenant": self.tenant_id, "id": reservation_id})


def _standing(row: "Record", reserved: int) -> TokenStanding:
    remaining = max(0, int(row["remaining"]) - reserved)
    return TokenStanding(limit=row["most"], remaining=remaining, left_s=row["left_s"])
