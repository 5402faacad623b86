"""Tokens per day, kept by calls at once too: what a call may cost is reserved before it begins (design.md 1.6).

A turn reserves in the transaction that opens it, and the engine releases it when its end is stored. Who asks a model
without a turn holds a reservation around all of it, the row of the ledger included:

    async with quotas.held(caller.tenant_id, caller.quota, estimated_tokens):
        ... ask the model, add its usage to the ledger ...
"""

import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import anyio
import structlog

from app.domain.ids import ProcessId, TenantId, new_id
from app.domain.limits import KeyOfTenant, TokenQuota, TokenStanding
from repositories.failures import DATABASE_FAILURES
from repositories.quotas import QuotaRepository
from repositories.unit_of_work import Database

log = structlog.get_logger()

ANSWER_TOKENS = 1024
"""What an answer is taken to cost before it is there, where the caller sets no `max_tokens`."""

_CHARS_PER_TOKEN = 4
_MOST = 1 << 40  # of an answer: whoever names more gets no more, and the sums stay within a column
_RELEASE_S = 5.0
_NEWS_S = 1.0  # how a key stands is told for so long without asking anew
_ASKED_S = 1.0  # an answer is not kept waiting longer to say how its key stands
_MOST_NOTED = 10_000


def estimate(texts: Iterable[str], max_tokens: int | None, *, more: int = 0) -> int:
    """Return about how many tokens a call will cost: its texts, its answer, and `more` tokens of other things."""
    return sum(map(len, texts)) // _CHARS_PER_TOKEN + min(max_tokens or ANSWER_TOKENS, _MOST) + more


@dataclass(frozen=True, slots=True)
class _Noted:
    """How a key stood when it last reserved something, or was asked about."""

    standing: TokenStanding
    at_s: float


class Quotas:
    """Reserves tokens of the day for calls of this process."""

    def __init__(
        self, database: Database, process_id: ProcessId, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._process_id = process_id
        self._monotonic = monotonic
        self._noted: OrderedDict[KeyOfTenant, _Noted] = OrderedDict()
        self._left: set[tuple[TenantId, str]] = set()  # still to be released: the database was away

    async def reserve(self, quotas: QuotaRepository, reservation_id: str, quota: TokenQuota, tokens: int) -> None:
        """Reserve `tokens` in somebody's transaction.

        Raises:
            QuotaUsedUp: nothing of the day is left.
            Limited: what is left is reserved by calls under way.
        """
        refused, standing = await quotas.reserve(reservation_id, quota, tokens, self._process_id)
        self._note((quotas.tenant_id, quota.key_id), standing)
        if refused is not None:
            raise quota.refusal(refused, datetime.now(UTC))

    async def standing(self, tenant_id: TenantId, quota: TokenQuota, *, since_s: float) -> TokenStanding | None:
        """Return how a key stands with its tokens; None when the database cannot say in good time.

        A call that reserved tokens was told then, so nobody is asked for one that came at `since_s` or later, of the
        monotonic clock; nor for any within a second.
        """
        key = (tenant_id, quota.key_id)
        noted, now = self._noted.get(key), self._monotonic()
        if noted is None or noted.at_s < min(since_s, now - _NEWS_S):
            noted = None
            try:
                with anyio.move_on_after(_ASKED_S):
                    async with self._database.quotas_alone(tenant_id) as quotas:
                        noted = self._note(key, await quotas.standing(quota))
            except DATABASE_FAILURES as error:
                log.warning("quota_not_told", error=str(error)[:300])
        if noted is None:
            return None
        return replace(noted.standing, left_s=max(0.0, noted.standing.left_s - (now - noted.at_s)))

    def _note(self, key: KeyOfTenant, standing: TokenStanding) -> "_Noted":
        self._noted[key] = noted = _Noted(standing, self._monotonic())
        self._noted.move_to_end(key)
        while len(self._noted) > _MOST_NOTED:
            self._noted.popitem(last=False)
        return noted

    async def release(self, tenant_id: TenantId, reservation_id: str) -> None:
        """Give a reservation back; if the database is away, when it is there again (`release_left`)."""
        try:
            async with self._database.quotas_alone(tenant_id) as quotas:
                await quotas.release(reservation_id)
        except DATABASE_FAILURES as error:
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
