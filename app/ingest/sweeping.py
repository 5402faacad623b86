"""Deleting files that no row names: those of uploads that never ended, and of what was deleted."""

from collections.abc import Sequence

import anyio
import structlog

from app.domain.ids import TenantId
from app.ingest.blobs import BlobStore
from repositories.unit_of_work import Database

log = structlog.get_logger()

SWEEP_EVERY_S = 60.0
_AT_ONCE = 100
_TENANTS_AT_ONCE = 100
_DELETE_S = 60.0
_FORGET_S = 10.0


class Sweeper:
    """Deletes stray blobs that are due."""

    def __init__(self, database: Database, blobs: BlobStore, *, every_s: float = SWEEP_EVERY_S) -> None:
        self._database = database
        self._blobs = blobs
        self._every_s = every_s

    async def run(self) -> None:
        """Sweep until cancelled; a round that fails is told and the next one tried."""
        while True:
            try:
                await self.sweep()
            except Exception:
                log.warning("sweep_failed", exc_info=True)
            await anyio.sleep(self._every_s)

    async def sweep(self) -> int:
        """Delete what is due, of every tenant; how many blobs that were."""
        async with self._database.dispatch() as dispatch:
            tenants = await dispatch.with_stray_blobs(_TENANTS_AT_ONCE)
        return sum([await self._sweep(tenant_id) for tenant_id in tenants])

    async def _sweep(self, tenant_id: TenantId) -> int:
        """One tenant whose blobs cannot be deleted holds up nobody else's."""
        try:
            return await sweep_tenant(self._database, self._blobs, tenant_id)
        except Exception:
            log.warning("sweep_failed", tenant=tenant_id, exc_info=True)
            return 0


async def sweep_tenant(database: Database, blobs: BlobStore, tenant_id: TenantId) -> int:
    """Delete one tenant's stray blobs that are due; how many.

    A blob that cannot be deleted stays noted, and is tried again later.
    """
    swept = 0
    while True:
        async with database.unit(tenant_id) as unit:
            keys = await unit.stray_blobs.claim(most=_AT_ONCE)
        if not keys:
            return swept
        with anyio.fail_after(_DELETE_S):
            await blobs.delete_many(keys)
        async with database.unit(tenant_id) as unit:
            await unit.stray_blobs.clear(keys)
        swept += len(keys)
        log.info("stray_blobs_deleted", count=len(keys))


async def sweep_now(database: Database, blobs: BlobStore, tenant_id: TenantId, *, within_s: float = 10.0) -> None:
    """Delete one tenant's stray blobs as far as time allows; what stays, or fails, is left to the sweeper."""
    with anyio.move_on_after(within_s, shield=True):
        try:
            await sweep_tenant(database, blobs, tenant_id)
        except Exception:
            log.warning("blobs_left_to_the_sweeper", exc_info=True)


async def forget_blobs(database: Database, blobs: BlobStore, tenant_id: TenantId, keys: Sequence[str]) -> None:
    """Delete blobs that nothing names after all; what cannot be deleted now is left to the sweeper."""
    if not keys:
        return
    with anyio.move_on_after(_FORGET_S, shield=True):
        async with database.unit(tenant_id) as unit:
            await unit.stray_blobs.add(keys)
        await sweep_now(database, blobs, tenant_id)
