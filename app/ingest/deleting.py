"""The job that takes a deleted dataset apart: chunks first, then documents, then what lay in the blob store."""

from collections.abc import Awaitable, Callable

from app.domain.ids import DatasetId
from app.ingest.blobs import BlobStore
from app.ingest.dataset_jobs import DatasetRun
from app.ingest.sweeping import sweep_now
from repositories.dataset_removal import DatasetRemoval

_ROWS_AT_ONCE = 2000
_DOCUMENTS_AT_ONCE = 200
_SWEEP_S = 60.0


class DatasetDeleting:
    """Does it in many short transactions: doing it again goes on where it ended."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    async def __call__(self, run: DatasetRun) -> str:
        """Remove all that the dataset held, and the dataset.

        Raises:
            LeaseLost: another worker does it now.
        """
        dataset_id = run.dataset.id
        async with run.database.unit(run.job.tenant_id) as unit:
            total = await unit.dataset_removal.chunk_count(dataset_id)
        removed = 0
        while gone := await self._some(run, _drop_chunks):
            removed += gone
            await run.report(0.8 * removed / max(total, removed), f"{removed} of {total} chunks deleted.")
        while await self._some(run, _drop_rows):
            pass
        documents = 0
        while gone := await self._some(run, _drop_documents):
            documents += gone
            await run.report(0.9, f"{documents} of {run.dataset.document_count} documents deleted.")
        await self._some(run, _finish)
        await sweep_now(run.database, self._blobs, run.job.tenant_id, within_s=_SWEEP_S)
        return f"Dataset deleted with {documents} documents and {removed} chunks."

    async def _some(self, run: DatasetRun, drop: Callable[[DatasetRemoval, DatasetId], Awaitable[int]]) -> int:
        async with run.database.unit(run.job.tenant_id) as unit:
            await unit.jobs.hold(run.job)
            return await drop(unit.dataset_removal, run.dataset.id)


async def _drop_chunks(removal: DatasetRemoval, dataset_id: DatasetId) -> int:
    return await removal.drop_chunks(dataset_id, most=_ROWS_AT_ONCE)


async def _drop_rows(removal: DatasetRemoval, dataset_id: DatasetId) -> int:
    return await removal.drop_rows(dataset_id, most=_ROWS_AT_ONCE)


async def _drop_documents(removal: DatasetRemoval, dataset_id: DatasetId) -> int:
    return await removal.drop_documents(dataset_id, most=_DOCUMENTS_AT_ONCE)


async def _finish(removal: DatasetRemoval, dataset_id: DatasetId) -> int:
    await removal.finish(dataset_id)
    return 0
