"""The ledger's rows of calls that have no turn: written behind the calls, many at once, and all of them."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import anyio
import anyio.to_thread
import structlog

from app.domain.errors import Unavailable
from app.domain.ids import KeyId, TenantId
from app.domain.models import Usage
from app.domain.retrieval import ModelCall
from repositories.failures import DATABASE_FAILURES
from repositories.unit_of_work import Database

log = structlog.get_logger()

_AGAIN_S = 0.5
_LAST_TRIES = 20
_MOST_WAITING = 20_000
_BATCH = 500


@dataclass(slots=True, eq=False)
class Entry:
    """A row to be written; `count` is asked for its usage, in a thread, if the provider told none."""

    tenant_id: TenantId
    key_id: KeyId
    call: ModelCall
    count: Callable[[], Usage] | None = None
    written: anyio.Event = field(default_factory=anyio.Event)


class Ledger:
    """Keeps rows until the database has them; `run` writes them. A process that ends cleanly writes all."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[Entry] = []
        self._wake = anyio.Event()

    def check_room(self) -> None:
        """Return when one more call may begin.

        Raises:
            Unavailable: the database has taken no rows for long, and too many wait for it.
        """
        if len(self._waiting) >= _MOST_WAITING:
            raise Unavailable("The service cannot account for more calls at the moment.", retry_after_s=2)

    def add(self, entry: Entry) -> None:
        """Keep a row; waits for nothing."""
        self._waiting.append(entry)
        self._wake.set()

    async def run(self) -> None:
        """Write what waits, again and again; when cancelled, write the rest."""
        try:
            while True:
                await self._wake.wait()
                self._wake = anyio.Event()
                while self._waiting:
                    if not await self._write():
                        await anyio.sleep(_AGAIN_S)
        finally:
            with anyio.CancelScope(shield=True):
                for _ in range(_LAST_TRIES):
                    if not self._waiting:
                        break
                    if not await self._write():
                        await anyio.sleep(_AGAIN_S)
            if self._waiting:
                log.error("usage_lost", rows=len(self._waiting))

    async def _write(self) -> bool:
        """Write the oldest rows, of each key in one transaction; say whether the database took them.

        With rows of several keys a transaction would hold the tenant's count of the day, which comes last, while it
        waits for the sums of the next key.
        """
        batch = self._waiting[:_BATCH]
        keys: dict[tuple[TenantId, KeyId], list[Entry]] = {}
        for entry in batch:
            if entry.count is not None:
                entry.call = replace(entry.call, usage=await anyio.to_thread.run_sync(entry.count))
                entry.count = None
            keys.setdefault((entry.tenant_id, entry.key_id), []).append(entry)
        try:
            for (tenant_id, key_id), entries in keys.items():
                await self._write_key(tenant_id, key_id, entries)
        except DATABASE_FAILURES as error:
            log.warning("usage_not_written_yet", error=str(error)[:300])
            return False
        return True

    async def _write_key(self, tenant_id: TenantId, key_id: KeyId, entries: list[Entry]) -> None:
        async with self._database.usage_alone(tenant_id) as usage:
            await usage.add([entry.call for entry in entries], api_key_id=key_id)
        done = {id(entry) for entry in entries}
        self._waiting = [entry for entry in self._waiting if id(entry) not in done]
        for entry in entries:
            entry.written.set()
