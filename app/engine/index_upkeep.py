"""Puts the words of new messages and sessions into their indexes while nobody waits for it."""

import anyio
import structlog

from repositories.failures import DATABASE_FAILURES
from repositories.unit_of_work import Database

log = structlog.get_logger()

_EVERY_S = 2.0


class IndexUpkeep:
    """Empties the lists of words that wait for the indexes of messages and of names (docs/sessions.md).

    Else the write that makes a list too long would do it, and a turn's end would wait some 100 ms for that. Searches
    read the lists too, so nothing is missed meanwhile. Any number of processes may run it: one at a time works.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(self) -> None:
        """Work until cancelled; a round that fails is told and the next one tried."""
        while True:
            await anyio.sleep(_EVERY_S)
            try:
                await self.round()
            except DATABASE_FAILURES as error:
                log.warning("index_upkeep_failed", error=str(error)[:300])

    async def round(self) -> None:
        """Empty the lists."""
        async with self._database.dispatch() as dispatch:
            await dispatch.tidy_session_indexes()
