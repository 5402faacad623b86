"""Tokens of a day: reserved when a call begins, given back when what it cost is on the ledger."""

from app.domain.ids import ProcessId, TenantId
from app.domain.limits import Shortage, TokenQuota
from repositories.statements import Driver, Statement

_RESERVE = Statement("SELECT reserve_tokens(:tenant, :id, :process, :key, :of_key, :of_tenant, :tokens)")

_RELEASE = Statement("SELECT release_tokens(:tenant, :id)")


class QuotaRepository:
    """Quotas of one tenant. Never commits; each method is one statement that sets the tenant itself."""

    def __init__(self, driver: Driver, tenant_id: TenantId) -> None:
        self._driver = driver
        self._tenant_id = tenant_id

    async def reserve(
        self, reservation_id: str, quota: TokenQuota, tokens: int, process_id: ProcessId
    ) -> Shortage | None:
        """Reserve `tokens` of today's quotas; else say what is short.

        A reservation counts until it is released, or its process dies.
        """
        values = {
            "tenant": self._tenant_id,
            "id": reservation_id,
            "process": process_id,
            "key": quota.key_id,
            "of_key": quota.of_key,
            "of_tenant": quota.of_tenant,
            "tokens": tokens,
        }
        refused: str | None = await self._driver.scalar(_RESERVE, values)
        return Shortage(refused) if refused is not None else None

    async def release(self, reservation_id: str) -> None:
        """Give back what is reserved under this id, if anything is."""
        await self._driver.scalar(_RELEASE, {"tenant": self._tenant_id, "id": reservation_id})
