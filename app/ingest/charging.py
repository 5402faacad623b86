"""What models cost background jobs, written to the ledger whatever becomes of the job."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

import anyio

from app.domain.errors import Unavailable
from app.domain.ids import TenantId
from app.domain.retrieval import ModelCall
from app.ingest.embedding import gathered
from repositories.unit_of_work import Database, UnitOfWork

_WRITTEN_S = 5.0


async def charge(
    database: Database, tenant_id: TenantId, calls: Sequence[ModelCall], *, kept: Mapping[bytes, str] | None = None
) -> None:
    """Write calls to the ledger, and what was heard by them to what is kept; whoever is cancelled meanwhile still does.

    `kept` are answers by their keys.
    """
    with anyio.move_on_after(_WRITTEN_S, shield=True) as scope:
        async with database.unit(tenant_id) as unit:
            await unit.usage.add(calls)
            await unit.model_answers.keep_many(kept or {})
    if scope.cancelled_caught:
        raise Unavailable("The database took no rows in time.")


class Tab:
    """The calls of one job that are not in the ledger yet: put them into `calls` as they are made."""

    def __init__(self, database: Database, tenant_id: TenantId) -> None:
        self._database = database
        self._tenant_id = tenant_id
        self.calls: list[ModelCall] = []

    @asynccontextmanager
    async def unit(self) -> AsyncGenerator[UnitOfWork, None]:
        """Open a unit that writes the calls so far to the ledger, with all else that it writes or not at all."""
        made: list[ModelCall] = []
        try:
            async with self._database.unit(self._tenant_id) as unit:
                yield unit
                made, self.calls[:] = list(self.calls), []
                await unit.usage.add(gathered(made))
        except BaseException:
            self.calls[:0] = made
            raise

    async def settle(self) -> None:
        """Write what no unit has written: the job was taken away, or the process ends."""
        if self.calls:
            made, self.calls[:] = gathered(self.calls), []
            await charge(self._database, self._tenant_id, made)
