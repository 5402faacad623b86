"""Who is alive: this process renews its lease, and closes the turns of processes that did not."""

import os
import socket

import anyio
import structlog

from app.domain.ids import ProcessId, new_id
from app.engine.closing import take_over
from app.engine.turns import TurnEngine
from app.llm.base import TokenCounter
from repositories.expiry import AT_ONCE, Kept
from repositories.failures import DATABASE_FAILURES
from repositories.idempotency import KEPT_S
from repositories.unit_of_work import Database

log = structlog.get_logger()

LEASE_S = 8.0
RENEW_EVERY_S = 2.0
"""A dead process's turns are closed after LEASE_S and one round of another: within 11 s, 15 are promised."""

VISITORS_KEPT_S = 60.0  # after they ended
_KEPT_S = {
    Kept.EVENTS: 24 * 3600.0,  # design.md 1.2
    Kept.IDEMPOTENT: KEPT_S,
    Kept.MODEL_ANSWERS: 3 * 24 * 3600.0,  # long enough for any job to start over; they repeat what documents say
    Kept.WINDOWS: 25 * 3600.0,
    Kept.VISITORS: VISITORS_KEPT_S,
}
_EXPIRE_EVERY = 300  # rounds
_AT_ONCE = 100
_OPENING_S = 30.0  # between the commit that opens a turn and its first step in memory, at the very most


def new_process_id() -> ProcessId:
    """Return an id for this process."""
    return ProcessId(new_id())


class Lease:
    """Keeps one process of the service known as alive."""

    def __init__(self, database: Database, process_id: ProcessId, *, kind: str) -> None:
        self._database = database
        self._process_id = process_id
        self._kind = kind
        self.has_peers = True
        """Whether another process of this kind lived when the lease was last renewed."""

    async def take(self) -> None:
        """Become known."""
        async with self._database.service() as service:
            await service.register(
                self._process_id, kind=self._kind, host=socket.gethostname(), pid=os.getpid(), lease_s=LEASE_S
            )

    async def renew(self) -> None:
        """Stay known; become known again if others gave this process up."""
        async with self._database.service() as service:
            is_known = await service.renew(self._process_id, lease_s=LEASE_S)
            self.has_peers = await service.has_others(self._process_id, kind=self._kind)
        if not is_known:
            await self.take()

    async def leave(self) -> None:
        """End in order."""
        async with self._database.service() as service:
            await service.leave(self._process_id)


class Caretaker:
    """Renews the lease and does what is due for all: orphaned turns, stop requests, expired logs."""

    def __init__(self, database: Database, lease: Lease, engine: TurnEngine, counter: TokenCounter) -> None:
        self._database = database
        self._lease = lease
        self._engine = engine
        self._counter = counter

    async def run(self) -> None:
        """Work until cancelled; a round that fails is told and the next one tried."""
        rounds = 0
        while True:
            await anyio.sleep(RENEW_EVERY_S)
            rounds += 1
            try:
                await self.round()
                if rounds % _EXPIRE_EVERY == 1:
                    await self.expire()
            except DATABASE_FAILURES as error:
                log.warning("caretaker_round_failed", error=str(error)[:300])

    async def round(self) -> None:
        """Renew, take over what is orphaned, stop what was asked to stop."""
        await self._lease.renew()
        await self._engine.close_unclosed()
        await self.adopt()
        await self._adopt_own()
        async with self._database.dispatch() as dispatch:
            stops = await dispatch.stop_requested(self._engine.process_id)
        for turn_id in stops:
            self._engine.stop_local(turn_id)

    async def adopt(self) -> int:
        """Close every orphaned turn as failed with its partial text; return how many."""
        closed = 0
        while True:
            async with self._database.dispatch() as dispatch:
                orphans = await dispatch.orphaned_turns(_AT_ONCE)
            for orphan in orphans:
                taken = await take_over(self._database, orphan, self._engine.process_id, self._counter)
                closed += taken
                self._engine.wakeups.wake(orphan.turn_id)
            if len(orphans) < _AT_ONCE:
                return closed

    async def _adopt_own(self) -> None:
        """Close turns that are ours by name only: their opening was committed, but the word of it was lost."""
        async with self._database.dispatch() as dispatch:
            own = await dispatch.turns_of(self._engine.process_id, older_s=_OPENING_S)
        for turn in own:
            if not self._engine.drives(turn.turn_id):
                await take_over(self._database, turn, self._engine.process_id, self._counter)
                await self._engine.quotas.release(turn.tenant_id, turn.turn_id)
                self._engine.wakeups.wake(turn.turn_id)

    async def expire(self) -> None:
        """Delete what is kept for a while only, a bounded number of rows in each transaction."""
        for kept, age_s in _KEPT_S.items():
            rows = await self._expire(kept, age_s)
            if rows and kept is Kept.EVENTS:
                log.info("turn_logs_expired", rows=rows)
        async with self._database.dispatch() as dispatch:
            await dispatch.limits.expire()
        async with self._database.service() as service:
            await service.forget_dead()

    async def _expire(self, kept: Kept, age_s: float) -> int:
        total = 0
        while True:
            async with self._database.dispatch() as dispatch:
                rows = await dispatch.expiry.expire(kept, age_s)
            total += rows
            if rows < AT_ONCE:
                return total
