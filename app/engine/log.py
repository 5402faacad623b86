"""The log of running turns: kept in memory for followers, written to Postgres in batches."""

import asyncio
from collections.abc import Iterable, Sequence

import anyio
import structlog

from app.domain.events import Numbered, TurnEvent
from app.domain.ids import TenantId, TurnId
from app.engine.codec import encode
from repositories.failures import DATABASE_FAILURES
from repositories.turn_events import LogEntry
from repositories.unit_of_work import Database

log = structlog.get_logger()

WINDOW = 4096
"""Events of a turn that may be shown to followers before they are stored. A dead process's turn is closed
with a number this far past the last stored one, so that it is new to every follower."""

AT_ONCE = 256
"""Events that may be added between two looks at the window."""

_SIZE_HINT = 24  # bytes an event costs beside its text, roughly


class TurnLog:
    """The events of one running turn. Event number n is `events[n - 1]`."""

    def __init__(self, tenant_id: TenantId, turn_id: TurnId, fence: int) -> None:
        self.tenant_id = tenant_id
        self.turn_id = turn_id
        self.fence = fence
        self.events: list[Numbered] = []
        self.stored = 0  # events up to this number are in Postgres
        self.is_sealed = False  # nothing more will come, whether or not a last event did
        self._changed = asyncio.Event()

    @property
    def pending(self) -> int:
        """How many events are not stored yet."""
        return len(self.events) - self.stored

    def append(self, events: Iterable[TurnEvent]) -> None:
        """Number the events and wake whoever follows."""
        number = len(self.events)
        for event in events:
            number += 1
            self.events.append((number, event))
        self._wake()

    def seal(self) -> None:
        """Let followers know that this log gets no further."""
        self.is_sealed = True
        self._wake()

    def since(self, number: int) -> list[Numbered]:
        """Return the events numbered above `number`."""
        return self.events[number:]

    async def beyond(self, number: int) -> None:
        """Return when there are events above `number`, or never will be."""
        while len(self.events) <= number and not self.is_sealed:
            await self._changed.wait()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()  # one for each batch: the cheapest there is
        changed.set()


class LogWriter:
    """Writes the logs of all running turns of the process: at most `interval_s` or `batch_bytes` late."""

    def __init__(self, database: Database, *, interval_s: float = 0.05, batch_bytes: int = 4096) -> None:
        self._database = database
        self._interval_s = interval_s
        self._batch_bytes = batch_bytes
        self._dirty: dict[TurnId, TurnLog] = {}
        self._delivered: dict[TenantId, list[TurnId]] = {}
        self._gathered_bytes = 0
        self._work = anyio.Event()
        self._full = anyio.Event()
        self._written = anyio.Event()
        self._writing = anyio.Lock()
        self._told: dict[TurnId, None] = {}

    def note(self, turn_log: TurnLog, events: Sequence[TurnEvent], size: int) -> None:
        """Append `events`, of about `size` characters together, and have them written soon."""
        turn_log.append(events)
        self._dirty[turn_log.turn_id] = turn_log
        self._gathered_bytes += size + _SIZE_HINT * len(events)
        self._work.set()
        if self._gathered_bytes >= self._batch_bytes:
            self._full.set()

    def note_delivered(self, tenant_id: TenantId, turn_id: TurnId) -> None:
        """Have it written that the answer of a turn reached its caller whole."""
        self._delivered.setdefault(tenant_id, []).append(turn_id)
        self._work.set()

    def note_written(self, turn_id: TurnId) -> None:
        """Have peers told that a turn has new events in Postgres."""
        self._told[turn_id] = None

    def take_written(self) -> list[TurnId]:
        """Return the turns with new events in Postgres since the last call, for peers to be told."""
        written, self._told = list(self._told), {}
        return written

    async def room(self, turn_log: TurnLog) -> None:
        """Return when the turn may show more events: never more than WINDOW are ahead of the store."""
        while turn_log.pending > WINDOW - AT_ONCE:
            self._full.set()
            await self._written.wait()

    async def take(self, turn_log: TurnLog) -> list[Numbered]:
        """Return the events not stored yet; the caller stores them, in its own transaction."""
        async with self._writing:
            self._dirty.pop(turn_log.turn_id, None)
            return turn_log.events[turn_log.stored :]

    async def run(self) -> None:
        """Write for ever; a failed batch is kept and tried again."""
        while True:
            await self._work.wait()
            with anyio.move_on_after(self._interval_s):
                await self._full.wait()
            try:
                await self.write()
            except DATABASE_FAILURES as error:
                log.warning("turn_log_write_failed", error=type(error).__name__, turns=len(self._dirty))
                await anyio.sleep(self._interval_s * 4)

    async def write(self) -> None:
        """Write what has gathered, in one transaction."""
        async with self._writing:
            self._work.set()  # `run` may be waiting on it while somebody else writes
            self._work, self._full, self._gathered_bytes = anyio.Event(), anyio.Event(), 0
            batch = [(turn_log, len(turn_log.events)) for turn_log in self._dirty.values()]
            delivered, self._delivered = self._delivered, {}
            try:
                await self._store(batch, delivered)
            except BaseException:
                self._restore(delivered)
                raise
            for turn_log, number in batch:
                turn_log.stored = number
                self._told[turn_log.turn_id] = None
                if turn_log.pending == 0:
                    del self._dirty[turn_log.turn_id]
            if self._dirty:
                self._work.set()
            written, self._written = self._written, anyio.Event()
            written.set()

    async def _store(self, batch: list[tuple[TurnLog, int]], delivered: dict[TenantId, list[TurnId]]) -> None:
        by_tenant: dict[TenantId, list[LogEntry]] = {}
        for turn_log, number in batch:
            events = turn_log.events[turn_log.stored : number]
            if events:
                by_tenant.setdefault(turn_log.tenant_id, []).append(entry(turn_log, events))
        if not by_tenant and not delivered:
            return
        async with self._database.log_batch() as store:
            for tenant_id, entries in by_tenant.items():
                await store.append(tenant_id, entries)
            for tenant_id, turn_ids in delivered.items():
                await store.delivered(tenant_id, turn_ids)

    def _restore(self, delivered: dict[TenantId, list[TurnId]]) -> None:
        for tenant_id, turn_ids in delivered.items():
            self._delivered.setdefault(tenant_id, []).extend(turn_ids)
        self._work.set()


def entry(turn_log: TurnLog, events: Sequence[Numbered]) -> LogEntry:
    """Return the stored form of consecutive events of a turn."""
    first, last = events[0][0], events[-1][0]
    return LogEntry(turn_log.turn_id, turn_log.fence, first, last, encode(events))
