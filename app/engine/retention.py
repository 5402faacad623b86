"""Ends sessions nobody writes to any more, a few at a time (conversations.md 11)."""

from collections import defaultdict
from collections.abc import Sequence

import anyio
import structlog

from app.domain.ids import SessionId, TenantId
from repositories.failures import DATABASE_FAILURES
from repositories.limit_dispatch import IdleSession
from repositories.unit_of_work import Database

log = structlog.get_logger()

_LOOK_EVERY_S = 300.0
_AT_ONCE = 100  # sessions of one transaction: turns that wait for it do not wait long
_PAUSE_S = 0.05


class Retention:
    """Ends sessions without a write for `days`; 0 never does. Any number of processes may do it at once."""

    def __init__(self, database: Database, days: int) -> None:
        self._database = database
        self._days = days

    async def run(self) -> None:
        """Look again and again, until cancelled; a round that fails is told and the next one tried."""
        while self._days:
            try:
                await self.round()
            except DATABASE_FAILURES as error:
                log.warning("retention_round_failed", error=str(error)[:300])
            await anyio.sleep(_LOOK_EVERY_S)

    async def round(self) -> int:
        """End all that are idle, and forget those that ended as long ago again; how many ended."""
        total = 0
        while True:
            async with self._database.dispatch() as dispatch:
                idle = await dispatch.idle_sessions.find(days=self._days, most=_AT_ONCE)
            ended = 0
            for tenant_id, session_ids in _by_tenant(idle).items():
                async with self._database.unit(tenant_id) as unit:
                    ended += await unit.session_retention.end(session_ids, days=self._days)
            total += ended
            if not ended:  # none is left, or only such as somebody writes to
                break
            await anyio.sleep(_PAUSE_S)
        if total:
            log.info("idle_sessions_ended", sessions=total)
        await self._forget()
        return total

    async def _forget(self) -> None:
        while True:
            async with self._database.dispatch() as dispatch:
                hidden = await dispatch.idle_sessions.ended(days=self._days, most=_AT_ONCE)
            gone = 0
            for tenant_id, session_ids in _by_tenant(hidden).items():
                async with self._database.unit(tenant_id) as unit:
                    gone += await unit.session_retention.forget(session_ids, days=self._days)
            if len(hidden) < _AT_ONCE or not gone:
                return
            await anyio.sleep(_PAUSE_S)


def _by_tenant(sessions: Sequence[IdleSession]) -> dict[TenantId, list[SessionId]]:
    grouped: dict[TenantId, list[SessionId]] = defaultdict(list)
    for session in sessions:
        grouped[session.tenant_id].append(session.session_id)
    return grouped
