"""Tokens per day, kept by calls at once too: what a call may cost is reserved before it begins (design.md 1.6).

A turn reserves in the transaction that opens it, and the engine releases it when its end is stored. Who asks a model
without a turn holds a reservation around all of it, the row of the ledger included:

    async with quotas.held(caller.tenant_id, caller.quota, estimated_tokens):
        ... ask the model, add its usage to the ledger ...
"""

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import anyio
import structlog
from asyncpg import InterfaceError, PostgresError
from sqlalchemy.exc import SQLAlchemyError

from app.domain.errors import Unavailable
from app.domain.ids import ProcessId, TenantId, new_id
from app.domain.limits import TokenQuota
from repositories.quotas import QuotaRepository
from repositories.unit_of_work import Database

log = structlog.get_logger()

ANSWER_TOKENS = 1024
"""What an answer is taken to cost before it is there, where the caller sets no `max_tokens`."""

_CHARS_PER_TOKEN = 4
_MOST = 1 << 40  # of an answer: whoever names more gets no more, and the sums stay within a column
_FAILURES = (SQLAlchemyError, PostgresError, InterfaceError, OSError, TimeoutError, Unavailable)
_RELEASE_S = 5.0


def estimate(texts: Iterable[str], max_tokens: int | None, *, more: int = 0) -> int:
    """Return about how many tokens a call will cost: its texts, its answer, and `more` tokens of other things."""
    return sum(map(len, texts)) // _CHARS_PER_TOKEN + min(max_tokens or ANSWER_TOKENS, _MOST) + more


class Quotas:
    """Reserves tokens of the day for calls of this process."""

    def __init__(self, database: Database, process_id: ProcessId) -> None:
        self._database = database
        self._process_id = process_id
        self._left: set[tuple[TenantId, str]] = set()  # still to be released: the database was away

    async def reserve(self, quotas: QuotaRepository, reservation_id: str, quota: TokenQuota, tokens: int) -> None:
        """Reserve `tokens` in somebody's transaction.

        Raises:
            QuotaUsedUp: nothing of the day is left.
            Limited: what is left is reserved by calls under way.
        """
        refused = await quotas.reserve(reservation_id, quota, tokens, self._process_id)
        if refused is not None:
            raise quota.refusal(refused, datetime.now(UTC))

    async def release(self, tenant_id: TenantId, reservation_id: str) -> None:
        """Give a reservation back; if the database is away, when it is there again (`release_left`)."""
        try:
            async with self._database.quotas_alone(tenant_id) as quotas:
                await quotas.release(reservation_id)
        except _FAILURES as error:
            log.warning("quota_not_released_yet", reservation=reservation_id, error=str(error)[:300])
            self._left.add((tenant_id, reservation_id))

    async def release_left(self) -> None:
        """Give back what could not be given back when it should have been."""
        left, self._left = self._left, set()
        for tenant_id, reservation_id in left:
            await self.release(tenant_id, reservation_id)

    @asynccontextmanager
    async def held(self, tenant_id: TenantId, quota: TokenQuota | None, tokens: int) -> AsyncGenerator[None, None]:
        """Hold `tokens` reserved for as long as the block runs; without a quota this does nothing.

        Raises:
            QuotaUsedUp: nothing of the day is left; the block is not entered.
            Limited: what is left is reserved by calls under way; it is not entered either.
        """
        if quota is None:
            yield
            return
        reservation_id = new_id()
        try:
            async with self._database.quotas_alone(tenant_id) as quotas:
                await self.reserve(quotas, reservation_id, quota, tokens)
            yield
        finally:
            with anyio.move_on_after(_RELEASE_S, shield=True):
                await self.release(tenant_id, reservation_id)
